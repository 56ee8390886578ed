"""The machine that a server runs on: as configured, or as seen where it is provably this one.

A server on a loopback address may still be in a container, or at the far end of a tunnel. It runs
here only if the process of our own session does: PostgreSQL by name, with the same process id, and
begun at the same moment.
"""

import os
from pathlib import Path

from maintenance.conf import ServerFacts
from maintenance.core.machine import cpu_count, memory_bytes
from maintenance.postgres.settings.model import Machine

#: Between the start of a process and the moment that the server stamps on its session.
SAME_START_SECONDS = 2.0

_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1"})


def machine_of(
    given: ServerFacts,
    host: str,
    backend_pid: int,
    backend_started_at: float,
    root: Path = Path("/"),
) -> Machine:
    """Return what is configured, completed by what can be seen of this machine.

    A machine that is seen is shared: at least we run on it. Storage is never guessed, because
    virtual disks call themselves what they like. ``root`` is where /proc and /sys lie.
    """
    memory, cpus, dedicated = given.memory_bytes, given.cpu_count, given.dedicated
    origin = "the configuration"
    seen = (memory is None or cpus is None) and runs_here(
        host, backend_pid, backend_started_at, root
    )
    if seen:
        origin = "this machine" if memory is None else origin
        dedicated = False if memory is None and dedicated is None else dedicated
        memory = memory or memory_bytes(backend_pid, root)
        cpus = cpus or cpu_count(backend_pid, root)
    return Machine(
        memory_bytes=memory,
        cpu_count=cpus,
        storage=given.storage,
        dedicated=True if dedicated is None else dedicated,
        origin=origin,
    )


def runs_here(
    host: str, backend_pid: int, backend_started_at: float, root: Path = Path("/")
) -> bool:
    """Tell whether the server of a session of ours is provably a process of this machine."""
    if host not in _LOOPBACK and not host.startswith("/"):
        return False
    try:
        stat = (root / f"proc/{backend_pid}/stat").read_text()
        kernel = (root / "proc/stat").read_text()
    except OSError:
        return False
    command = stat.partition("(")[2].rpartition(")")[0]
    # After the name, the twentieth field is the start in ticks since the machine's (proc(5)).
    ticks = float(stat.rpartition(")")[2].split()[19])
    boots = (float(t.split()[1]) for t in kernel.splitlines() if t.startswith("btime"))
    booted_at = next(boots, 0.0)
    started_at = booted_at + ticks / os.sysconf("SC_CLK_TCK")
    begun_together = abs(started_at - backend_started_at) <= SAME_START_SECONDS
    return command.startswith("postgres") and begun_together
