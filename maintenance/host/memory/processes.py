"""The Gunicorn and Celery processes of this machine, and the memory that they hold.

A process and all that it started are one group. Memory is measured as PSS (proportional set size,
proc(5)): pages that several processes share are counted once among them, so that a group's sum is
what the machine really gives it. Adding up resident sizes counts the shared code of preloaded workers
once a worker; that is only done where the right to read PSS is missing, and said.

Cost: two small reads of /proc a process, and for those of a group the kernel adds up their pages,
about a millisecond for each 100 MB.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maintenance.core.errors import ConfigurationError
from maintenance.core.machine import ROOT, MemoryRoom, group_rooms
from maintenance.core.python_settings import read_python_settings
from maintenance.host.memory.command_lines import Program, program_of

if TYPE_CHECKING:
    import psutil

_FIRST_PID = 1


@dataclass(frozen=True, slots=True)
class Process:
    """One process. ``proportional_bytes`` is ``None`` where the kernel does not tell us."""

    pid: int
    resident_bytes: int
    proportional_bytes: int | None
    started_epoch_seconds: float


@dataclass(frozen=True, slots=True)
class Group:
    """A Gunicorn or Celery process with all that it started; several of one name are one group.

    ``is_proportional`` says that :attr:`memory_bytes` counts shared pages once.
    """

    program: Program
    processes: tuple[Process, ...]

    @property
    def is_proportional(self) -> bool:
        """Whether PSS is known of every process."""
        return all(process.proportional_bytes is not None for process in self.processes)

    @property
    def memory_bytes(self) -> int:
        """What the group holds: PSS, or the sum of resident sizes, which is too high."""
        if not self.is_proportional:
            return sum(process.resident_bytes for process in self.processes)
        return sum(process.proportional_bytes or 0 for process in self.processes)

    @property
    def memory_per_process_bytes(self) -> float:
        """The mean: what a leak raises, and more workers do not."""
        return self.memory_bytes / len(self.processes)

    @property
    def largest(self) -> Process:
        """The process with the largest resident size."""
        return max(self.processes, key=lambda process: process.resident_bytes)

    @property
    def oldest_epoch_seconds(self) -> float:
        """When the process that runs longest was started."""
        return min(process.started_epoch_seconds for process in self.processes)


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory and the load of this machine. Load is the mean of one minute, in processes.

    ``is_limited`` says that memory is what the limit of a control group allows, a container's: it is
    used up before the machine's own. Swap, processors and load are always the machine's.
    """

    memory_bytes: int
    available_bytes: int
    swap_used_bytes: int
    processors: int
    load: float
    is_limited: bool = False


def measure_machine(root: Path = ROOT) -> Machine:
    """Read the machine's memory and load.

    Of its memory and the limits that hold for all processes to be seen, what has least left counts.
    ``root`` is where the /proc and /sys of control groups lie.
    """
    import psutil  # noqa: PLC0415 - idle processes of the service do without

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    whole = MemoryRoom(memory.total, memory.available)
    # By the first process: in a container it stands under the container's limit, and on a machine under
    # none, where the service's own units have limits that the site's processes do not share.
    limits = [room for room in group_rooms(_FIRST_PID, root) if room.total_bytes < memory.total]
    room = min([whole, *limits], key=lambda each: each.left_bytes)
    return Machine(
        memory_bytes=room.total_bytes,
        available_bytes=room.left_bytes,
        swap_used_bytes=swap.used,
        processors=psutil.cpu_count() or 1,
        load=psutil.getloadavg()[0],
        is_limited=room is not whole,
    )


def measure_groups() -> list[Group]:
    """Find the groups among the processes that this user can see, and measure them."""
    import psutil  # noqa: PLC0415

    known: dict[int, psutil.Process] = {}
    programs: dict[int, Program] = {}
    for process in psutil.process_iter(["ppid", "cmdline"]):
        known[process.pid] = process
        program = program_of(process.info["cmdline"] or ())
        if program is not None:
            programs[process.pid] = program
    parents = {pid: process.info["ppid"] or 0 for pid, process in known.items()}
    members: dict[str, list[int]] = {}
    of_title: dict[str, Program] = {}
    for pid in known:
        root = root_of(pid, parents, programs)
        if root is not None:
            program = _with_config(programs[root], known[root])
            of_title.setdefault(program.title, program)
            members.setdefault(program.title, []).append(pid)
    measured = (
        Group(of_title[title], tuple(_measured(known[pid] for pid in pids)))
        for title, pids in sorted(members.items())
    )
    return [group for group in measured if group.processes]


def root_of(pid: int, parents: Mapping[int, int], programs: Mapping[int, Program]) -> int | None:
    """Return the highest process above ``pid``, or itself, that is a known program."""
    root: int | None = None
    seen: set[int] = set()
    while pid and pid not in seen:
        seen.add(pid)
        if pid in programs:
            root = pid
        pid = parents.get(pid, 0)
    return root


def _measured(processes: Iterable["psutil.Process"]) -> Iterator[Process]:
    """Measure each process that is still there."""
    import psutil  # noqa: PLC0415

    for process in processes:
        try:
            with process.oneshot():
                resident = process.memory_info().rss
                started = process.create_time()
            yield Process(process.pid, resident, _proportional_bytes(process), started)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended while we looked, or nothing of it is to be seen


def _proportional_bytes(process: "psutil.Process") -> int | None:
    import psutil  # noqa: PLC0415

    try:
        return getattr(process.memory_full_info(), "pss", None)
    except psutil.AccessDenied:
        return None


def _with_config(program: Program, process: "psutil.Process") -> Program:
    """Add what Gunicorn's configuration file says of ``max_requests``."""
    if program.kind != "gunicorn" or program.recycled_by:
        return program
    import psutil  # noqa: PLC0415

    written = program.config.removeprefix("file:") or "gunicorn.conf.py"
    if written.startswith("python:"):
        return program
    try:
        settings = read_python_settings(Path(process.cwd()) / written, psutil.cpu_count())
    except (OSError, ConfigurationError, psutil.Error):
        return program
    # What only running the file would tell may well be a limit: that there is none is not said.
    if not settings.values.get("max_requests") and "max_requests" not in settings.unknown:
        return program
    return Program(program.kind, program.name, ("max_requests",), program.config)
