"""Why one session waits for another: for a lock that it holds, or for its place in the queue."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: PostgreSQL documentation, "Explicit Locking", table "Conflicting Lock Modes".
_CONFLICTS: Mapping[str, frozenset[str]] = {
    mode: frozenset(others.split())
    for mode, others in {
        "AccessShare": "AccessExclusive",
        "RowShare": "Exclusive AccessExclusive",
        "RowExclusive": "Share ShareRowExclusive Exclusive AccessExclusive",
        "ShareUpdateExclusive": (
            "ShareUpdateExclusive Share ShareRowExclusive Exclusive AccessExclusive"
        ),
        "Share": "RowExclusive ShareUpdateExclusive ShareRowExclusive Exclusive AccessExclusive",
        "ShareRowExclusive": (
            "RowExclusive ShareUpdateExclusive Share ShareRowExclusive Exclusive AccessExclusive"
        ),
        "Exclusive": (
            "RowShare RowExclusive ShareUpdateExclusive Share ShareRowExclusive Exclusive"
            " AccessExclusive"
        ),
        "AccessExclusive": (
            "AccessShare RowShare RowExclusive ShareUpdateExclusive Share ShareRowExclusive"
            " Exclusive AccessExclusive"
        ),
    }.items()
}


def conflict(one: str, other: str) -> bool:
    """Tell whether two lock modes (``ShareLock``) exclude each other; unknown ones are said to."""
    mode, against = one.removesuffix("Lock"), other.removesuffix("Lock")
    return mode not in _CONFLICTS or against not in _CONFLICTS or against in _CONFLICTS[mode]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that somebody waits for, as one holds or wants it; a row of ``sql/lock_queue.sql``.

    ``tag`` names what is locked. A prepared transaction has a ``gid`` and no ``pid``.
    """

    tag: str
    pid: int | None
    gid: str | None
    mode: str
    granted: bool


class LockQueues:
    """Who stands in front of whom at the locks that somebody waits for."""

    def __init__(self, locks: Iterable[Lock]) -> None:
        self._wanted: dict[int, Lock] = {}
        self._held: dict[tuple[str, int | None], list[Lock]] = defaultdict(list)
        for lock in locks:
            if lock.granted:
                self._held[lock.tag, lock.pid].append(lock)
            elif lock.pid is not None:
                self._wanted[lock.pid] = lock

    def is_queued_only(self, pid: int, blocker_pid: int) -> bool:
        """Whether the blocker holds nothing that ``pid`` wants, and only stands ahead of it."""
        wanted, other = self._wanted.get(pid), self._wanted.get(blocker_pid)
        if wanted is None or other is None or wanted.tag != other.tag:
            return False
        held = self._held.get((wanted.tag, blocker_pid), [])
        return not any(conflict(wanted.mode, lock.mode) for lock in held)

    def prepared_before(self, pid: int) -> tuple[str, ...]:
        """Return the prepared transactions that hold what ``pid`` wants."""
        wanted = self._wanted.get(pid)
        if wanted is None:
            return ()
        held = self._held.get((wanted.tag, None), [])
        return tuple(lock.gid for lock in held if lock.gid and conflict(wanted.mode, lock.mode))
