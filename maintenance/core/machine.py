"""What a machine lets a process use: memory and processors, the limits of its control group included."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Memory and processors that programs may use; ``None`` where nobody said and it cannot be seen.

    ``origin`` says where the figures come from.
    """

    memory_bytes: int | None = None
    cpu_count: int | None = None
    origin: str = "the configuration"


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """Memory that may be used, and what is left of it: cached files that can be dropped count as left."""

    total_bytes: int
    left_bytes: int


def this_machine() -> MachineFacts:
    """Return what our own process may use; without a /proc its memory is not known."""
    pid = os.getpid()
    try:
        memory = memory_bytes(pid)
    except OSError:
        memory = None
    return MachineFacts(memory, cpu_count(pid), "this machine")


def memory_bytes(pid: int, root: Path = ROOT) -> int:
    """Return the memory of the machine, or what the process's control group may use of it.

    ``root`` is where /proc and /sys lie. Raises ``OSError`` where there is no /proc.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    limits = (
        int(text)
        for name in ("memory.max", "memory.limit_in_bytes")
        for text in _group_files(pid, root, "memory", name)
        if text.isdigit()
    )
    return min([total, *limits])


def group_rooms(pid: int, root: Path = ROOT) -> Iterator[MemoryRoom]:
    """Yield what the process's control group, and each above it, leaves of its limit on memory.

    The kernel ends a process where any of them is full. What takes memory but could be dropped at once is
    the group's idle file cache (Linux documentation, "Memory Interface Files", inactive_file).
    """
    for folder in _group_folders(pid, root, "memory"):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit and used is not None:
            left = limit - used + _idle_cache_bytes(folder)
            yield MemoryRoom(limit, min(max(left, 0), limit))


def _number(folder: Path, *names: str) -> int | None:
    """Return what the first of these files says that is there; ``None`` where that is no number ("max")."""
    for name in names:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def _idle_cache_bytes(folder: Path) -> int:
    try:
        pairs = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except OSError:
        return 0
    numbers = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    # In the first version a name without "total" leaves out the groups below.
    return numbers.get("total_inactive_file", numbers.get("inactive_file", 0))


def cpu_count(pid: int, root: Path = ROOT) -> int:
    """Return the processors of the machine, or the share of them that the control group may use.

    Part of a processor counts as one (Linux documentation, "CPU Interface Files", cpu.max).
    """
    machine = os.cpu_count() or 1
    quotas = [_whole(text.split()) for text in _group_files(pid, root, "cpu", "cpu.max")]
    quota = _group_files(pid, root, "cpu", "cpu.cfs_quota_us")
    period = _group_files(pid, root, "cpu", "cpu.cfs_period_us")
    quotas += [_whole([q, p]) for q, p in zip(quota, period, strict=False)]
    return min([machine, *(number for number in quotas if number is not None)])


def _whole(fields: list[str]) -> int | None:
    """Return quota over period, rounded up; ``None`` without a limit ("max", or -1)."""
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return max(1, math.ceil(int(fields[0]) / int(fields[1])))


def _group_files(pid: int, root: Path, controller: str, name: str) -> Iterator[str]:
    """Yield what a file says in the process's group and in all above it."""
    for folder in _group_folders(pid, root, controller):
        if (folder / name).is_file():
            yield (folder / name).read_text().strip()


def _group_folders(pid: int, root: Path, controller: str) -> Iterator[Path]:
    """Yield where the files of the process's group are, and of all above it; some may not exist."""
    try:
        entries = (root / f"proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return
    for entry in entries:
        _, controllers, path = entry.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        place = Path("sys/fs/cgroup") / (controller if controllers else "")
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            yield root / place / folder
