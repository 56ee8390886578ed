"""Whether every due slot ended in exactly one row: the slots recomputed, beside the runs. Pure.

The due times come from the versions of a schedule and not from what was sent, so that a scheduler that
forgets a slot cannot hide it. Slots before a version's ``since`` belong to the version before it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from heapq import merge
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Protocol

#: A crontab is minutes, a worker polls its queue each second: what starts within is on time.
ON_TIME_SECONDS = 60.0

#: :class:`~maintenance.core.cron.Cron` leaves out the first moment and has the last one; a version is
#: the other way round. No due time has a fraction of a second.
_JUST_BEFORE = timedelta(microseconds=1)


class DueTimes(Protocol):
    """What knows when a schedule is due."""

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due moments after ``since`` and up to ``until``, in their order."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a schedule was from ``since`` on. ``due`` is ``None`` from when it was off, or gone."""

    since: datetime
    due: DueTimes | None
    target: str = ""


@dataclass(frozen=True, slots=True)
class SlotRow:
    """The row of a slot, as the ledger has it. ``state`` is one of those of a run."""

    scheduled_for: datetime
    target: str
    state: str
    reason: str = ""
    started_at: datetime | None = None
    run_id: str = ""


class Verdict(StrEnum):
    """What became of a slot."""

    ON_TIME = "on time"
    LATE = "late"
    #: It did no work, and its row says why.
    SKIPPED = "skipped"
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
    """One slot, and what became of it. ``late_seconds`` is ``None`` where it has not started."""

    due_at: datetime
    target: str
    verdict: Verdict
    row: SlotRow | None = None
    late_seconds: float | None = None


def prove(
    versions: Sequence[Version],
    rows: Iterable[SlotRow],
    since: datetime,
    until: datetime,
    *,
    settled_until: datetime,
    overdue_before: datetime,
    on_time_seconds: float = ON_TIME_SECONDS,
) -> Iterator[Proved]:
    """Yield each slot of one schedule from ``since`` to before ``until``, in the order of their times.

    ``versions`` and ``rows`` (those of the same time) come in the order of their times, too. Slots up
    to ``settled_until`` were passed by a scheduler; a later one may be without a row until
    ``overdue_before``. The work grows with the number of slots and days, the memory with nothing.
    """
    due = ((at, target, None) for at, target in due_slots(versions, since, until))
    found = ((row.scheduled_for, row.target, row) for row in rows)
    for at, together in groupby(merge(due, found, key=itemgetter(0)), key=itemgetter(0)):
        expected, there = set[str](), list[SlotRow]()
        for _at, target, row in together:
            if row is None:
                expected.add(target)
            else:
                there.append(row)
        for row in there:
            if row.target not in expected:
                yield Proved(at, row.target, Verdict.UNEXPECTED, row)
                continue
            expected.discard(row.target)
            yield _judged(row, on_time_seconds)
        for target in expected:
            yield Proved(at, target, _without_row(at, settled_until, overdue_before))


def due_slots(
    versions: Sequence[Version], since: datetime, until: datetime
) -> Iterator[tuple[datetime, str]]:
    """Yield when and on which target a schedule was due from ``since`` to before ``until``."""
    ends = [*(following.since for _version, following in pairwise(versions)), until]
    for version, end in zip(versions, ends, strict=True):
        first, last = max(version.since, since), min(end, until)
        if version.due is None or first >= last:
            continue
        for at in version.due.between(first - _JUST_BEFORE, last - _JUST_BEFORE):
            yield at, version.target


def _judged(row: SlotRow, on_time_seconds: float) -> Proved:
    at, target = row.scheduled_for, row.target
    if row.state == "queued":
        return Proved(at, target, Verdict.WAITING, row)
    if row.state == "sent":  # what its worker makes of it is not told to the ledger
        return Proved(at, target, Verdict.ON_TIME, row)
    if row.state == "skipped" or row.started_at is None:
        return Proved(at, target, Verdict.SKIPPED, row)
    late_seconds = max((row.started_at - at).total_seconds(), 0.0)
    verdict = Verdict.ON_TIME if late_seconds <= on_time_seconds else Verdict.LATE
    return Proved(at, target, verdict, row, late_seconds)


def _without_row(at: datetime, settled_until: datetime, overdue_before: datetime) -> Verdict:
    if at <= settled_until:
        return Verdict.LOST
    return Verdict.OVERDUE if at < overdue_before else Verdict.WAITING
