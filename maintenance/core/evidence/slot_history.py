"""What became of every slot that was due, read from the ledger a few schedules at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, TypeVar

from django.db.models import Max
from django_celery_beat.models import PeriodicTask

from maintenance.core.evidence.proof import Due, Proved, SlotRow, Unread, prove
from maintenance.core.scheduling.definitions import UNREADABLE
from maintenance.core.scheduling.policies import MISSED_SECONDS, jitter
from maintenance.core.scheduling.schedule_versions import Version, due_slots, stored_versions
from maintenance.models import Run, ScheduleVersion

#: Schedules whose rows one query reads: few enough for a list of names, many enough that a thousand
#: schedules of a run a week cost no thousand queries.
SCHEDULES_PER_QUERY = 200
#: Slots of the last moments are left out: the leader looks at its schedules every two seconds, and
#: what it writes right now would be judged by half.
UNSETTLED_SECONDS = 10.0

_INSTANT = timedelta(microseconds=1)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScheduleHistory:
    """The slots of one schedule, to be read before the next schedule is asked for.

    ``known_since`` is when its first version begins: nothing is said of the time before, nor of the times
    that are ``unread``.
    """

    schedule: str
    known_since: datetime
    slots: Iterator[Proved]
    unread: tuple[Unread, ...] = ()


def unversioned_runs(since: datetime, until: datetime) -> int:
    """Count the runs of slots of schedules that have no version at all."""
    slots = Run.objects.filter(scheduled_for__gte=since, scheduled_for__lt=until)
    return slots.exclude(schedule__in=ScheduleVersion.objects.values("schedule")).count()


def slot_histories(
    since: datetime,
    until: datetime,
    now: datetime,
    *,
    fits: Callable[[str], bool] = lambda _schedule: True,
) -> Iterator[ScheduleHistory]:
    """Yield the history of each schedule that ``fits`` by its name, from ``since`` to before ``until``.

    Costs three queries for each 200 schedules, which an index answers in their order, and as much time as
    there are slots: half a minute a million. Memory is bounded by the versions of 200 schedules.
    """
    wanted = (versions for versions in stored_versions(since, until) if fits(versions[0].schedule))
    overdue_before = now - timedelta(seconds=MISSED_SECONDS)
    for some in _batched(wanted, SCHEDULES_PER_QUERY):
        by_name = {versions[0].schedule: versions for versions in some}
        # Read before the rows: rows and cursor are written together, so none can be missed.
        settled = _cursors(by_name)
        for schedule, rows in groupby(_rows(by_name, since, until), key=itemgetter(0)):
            versions = by_name.pop(schedule)
            yield _history(
                versions, _slot_rows(rows), since, until, settled[schedule], overdue_before
            )
        for schedule, versions in by_name.items():
            yield _history(versions, (), since, until, settled[schedule], overdue_before)


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _cursors(schedules: Iterable[str]) -> dict[str, datetime]:
    """Return up to which moment a scheduler has settled the slots of each schedule.

    That is its last slot, and all before its newest version: one is written once they are settled.
    """
    names = list(schedules)
    newest = ScheduleVersion.objects.filter(schedule__in=names).values("schedule")
    settled = {
        schedule: since - _INSTANT
        for schedule, since in newest.annotate(newest=Max("since")).values_list(
            "schedule", "newest"
        )
    }
    rows = PeriodicTask.objects.filter(name__in=names, last_run_at__isnull=False)
    for name, last in rows.values_list("name", "last_run_at"):
        settled[name] = max(settled[name], last)
    return settled


def _rows(schedules: Iterable[str], since: datetime, until: datetime) -> Iterator[tuple[Any, ...]]:
    found = Run.objects.filter(
        schedule__in=list(schedules), scheduled_for__gte=since, scheduled_for__lt=until
    ).order_by("schedule", "scheduled_for", "target")
    columns = (
        "schedule",
        "scheduled_for",
        "target",
        "state",
        "reason",
        "started_at",
        "id",
        "stands_for",
    )
    return found.values_list(*columns).iterator(chunk_size=2000)


def _slot_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[SlotRow]:
    for _schedule, scheduled_for, target, state, reason, started_at, run_id, stands_for in rows:
        yield SlotRow(scheduled_for, target, state, reason, started_at, run_id, stands_for)


def _history(  # noqa: PLR0917 - one schedule and the time that is looked at
    versions: Sequence[Version],
    rows: Iterable[SlotRow],
    since: datetime,
    until: datetime,
    settled_until: datetime,
    overdue_before: datetime,
) -> ScheduleHistory:
    schedule, known_since = versions[0].schedule, versions[0].since
    readable, unread = _readable(versions, since, until)
    slots = prove(
        _due(readable, since, until),
        (
            row
            for row in rows
            if row.scheduled_for >= known_since
            and not any(each.covers(row.scheduled_for) for each in unread)
        ),
        settled_until=settled_until,
        overdue_before=overdue_before,
    )
    return ScheduleHistory(schedule, known_since, slots, unread)


def _readable(
    versions: Sequence[Version], since: datetime, until: datetime
) -> tuple[Sequence[Version], tuple[Unread, ...]]:
    """Return the versions, without a definition where it cannot be computed, and when that was."""
    readable, unread = [], []
    ends = [*(version.since for version in versions[1:]), until]
    for version, end in zip(versions, ends, strict=True):
        try:
            next(version.slots(since, end), None)
            readable.append(version)
        except UNREADABLE as error:
            readable.append(replace(version, definition=None))
            unread.append(Unread(max(since, version.since), end, str(error)))
    return readable, tuple(unread)


def _due(versions: Sequence[Version], since: datetime, until: datetime) -> Iterator[Due]:
    for at, definition in due_slots(versions, since, until):
        later = jitter(versions[0].schedule, at, definition.policy)
        yield Due(at, definition.target, at + later)
