"""Whether every due slot ended in exactly one row: the slots recomputed, beside the runs. Pure.

When a schedule was due comes from its versions (:mod:`maintenance.core.scheduling.schedule_versions`) and not from
what was sent, so that a scheduler that forgets a slot cannot hide it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

#: A crontab is minutes, a worker polls its queue each second: what starts within is on time.
ON_TIME_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Due:
    """One slot of a schedule. Its run is expected at ``begins_at``: its jitter later than ``at``."""

    at: datetime
    target: str
    begins_at: datetime


@dataclass(frozen=True, slots=True)
class SlotRow:
    """The row of a slot, as the ledger has it. ``state`` is one of those of a run.

    A late run ``stands_for`` the slots that were missed before its own, too; those have rows that say so.
    """

    scheduled_for: datetime
    target: str
    state: str
    reason: str = ""
    started_at: datetime | None = None
    run_id: UUID | None = None
    stands_for: int = 1


class Verdict(StrEnum):
    """What became of a slot."""

    ON_TIME = "on time"
    LATE = "late"
    #: It did no work, and its row says why.
    SKIPPED = "skipped"
    #: It ended as failed before it began: its target is not configured any more, or its task is gone.
    FAILED_TO_START = "failed to start"
    #: It has its row, or is due so recently that it need not have one yet.
    WAITING = "waiting"
    #: No row yet, and no scheduler has come so far: it gets one when a scheduler is back.
    OVERDUE = "overdue"
    #: A scheduler has passed it, and it has no row: nobody will run it.
    LOST = "lost"
    #: A row at a time at which the schedule was not due.
    UNEXPECTED = "unexpected"


#: Those of slots that have no row although they should.
MISSING = frozenset({Verdict.OVERDUE, Verdict.LOST})


@dataclass(frozen=True, slots=True)
class Proved:
    """One slot, and what became of it.

    ``late_seconds`` is ``None`` where it has not started. It is counted to the start of the last
    attempt: what a run did in an earlier one did not end it.
    """

    due_at: datetime
    target: str
    verdict: Verdict
    row: SlotRow | None = None
    late_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A time, up to ``until``, exclusive, in which nobody can compute when a schedule was due, and why."""

    since: datetime
    until: datetime
    reason: str

    def covers(self, moment: datetime) -> bool:
        """Tell whether a moment lies in this time."""
        return self.since <= moment < self.until


def prove(
    due: Iterable[Due],
    rows: Iterable[SlotRow],
    *,
    settled_until: datetime,
    overdue_before: datetime,
    on_time_seconds: float = ON_TIME_SECONDS,
) -> Iterator[Proved]:
    """Yield what became of each due slot of one schedule, and the rows that stand for none.

    Both come in the order of their times and of one span of time, and so do the answers; a schedule is
    due once at a time. Slots up to ``settled_until`` were passed by a scheduler; a later one may be
    without a row until ``overdue_before``. The work grows with the number of slots, the memory with
    nothing.
    """
    coming = iter(rows)
    row = next(coming, None)
    for slot in due:
        found: SlotRow | None = None
        while row is not None and row.scheduled_for <= slot.at:
            if found is None and row.scheduled_for == slot.at and row.target == slot.target:
                found = row
            else:
                yield Proved(row.scheduled_for, row.target, Verdict.UNEXPECTED, row)
            row = next(coming, None)
        if found is not None:
            yield _judged(slot, found, on_time_seconds)
        else:
            verdict = _without_row(slot.at, settled_until, overdue_before)
            yield Proved(slot.at, slot.target, verdict)
    while row is not None:
        yield Proved(row.scheduled_for, row.target, Verdict.UNEXPECTED, row)
        row = next(coming, None)


def _judged(slot: Due, row: SlotRow, on_time_seconds: float) -> Proved:
    if row.state == "queued":
        return Proved(slot.at, slot.target, Verdict.WAITING, row)
    if row.state == "sent":  # what its worker makes of it is not told to the ledger
        return Proved(slot.at, slot.target, Verdict.ON_TIME, row)
    if row.state == "failed" and row.started_at is None:
        return Proved(slot.at, slot.target, Verdict.FAILED_TO_START, row)
    if row.state == "skipped" or row.started_at is None:
        return Proved(slot.at, slot.target, Verdict.SKIPPED, row)
    late_seconds = max((row.started_at - slot.begins_at).total_seconds(), 0.0)
    verdict = Verdict.ON_TIME if late_seconds <= on_time_seconds else Verdict.LATE
    return Proved(slot.at, slot.target, verdict, row, late_seconds)


def _without_row(at: datetime, settled_until: datetime, overdue_before: datetime) -> Verdict:
    if at <= settled_until:
        return Verdict.LOST
    return Verdict.OVERDUE if at < overdue_before else Verdict.WAITING
