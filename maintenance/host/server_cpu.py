"""How much of this machine's processors a database server uses, told from one of its sessions."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, slots=True)
class ServerCpu:
    """Processor time of all processes of a server over a short while.

    ``used_ratio`` is the share of all ``processors``: 1 is every one of them busy.
    """

    used_ratio: float
    processors: int
    processes: int
    seconds: float


def measure_server_cpu(session_pid: int, *, seconds: float = 1.0) -> ServerCpu | None:
    """Watch the server of a PostgreSQL session for ``seconds``.

    ``session_pid`` is what pg_backend_pid() says. ``None`` where the server runs elsewhere, or a
    pooler stands in between: no process of that number is a session of PostgreSQL here. What a
    process used that ended meanwhile is not counted.
    """
    import psutil  # noqa: PLC0415 - idle processes of the service do without

    try:
        session = psutil.Process(session_pid)
        server = session.parent() if session.name().startswith("postgres") else None
        if server is None or not server.name().startswith("postgres"):
            return None
        before = _times(server)
        started = time.monotonic()
        time.sleep(seconds)
        after = _times(server)
    except psutil.Error:
        return None
    passed = time.monotonic() - started
    used = sum(after[key] - before.get(key, 0.0) for key in after if key in before)
    used += sum(after[key] for key in after if key not in before)
    processors = psutil.cpu_count() or 1
    return ServerCpu(min(1.0, used / (passed * processors)), processors, len(after), passed)


def _times(server: "psutil.Process") -> dict[tuple[int, float], float]:
    """Return the processor time of each process of a server so far, by id and start."""
    import psutil  # noqa: PLC0415

    found: dict[tuple[int, float], float] = {}
    for process in (server, *server.children(recursive=True)):
        try:
            with process.oneshot():
                times = process.cpu_times()
                found[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue
    return found
