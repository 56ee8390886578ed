"""The schedules as the leading scheduler holds them: which slot of which comes next.

Rows are read once. What changes in them later is found by the version that PostgreSQL keeps of every
row (``xmin``), so that an edit in the admin, one by ``update()``, and a deletion are all seen, and those
rows alone are read again. A heap knows what is due: a look at it costs nothing while nothing is.
"""

import heapq
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django.db.models import Max
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)

from maintenance.core.redaction import redact
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.scheduling.definitions import UNREADABLE, Definition
from maintenance.core.scheduling.schedule_versions import UNREADABLE_FIELD, Version, defined
from maintenance.models import Run, SchedulePolicy, ScheduleVersion

logger = logging.getLogger("maintenance.scheduler")

#: Rows are read in parts, so that the lease can be renewed in between.
ROWS_PER_READ = 1000

_INSTANT = timedelta(microseconds=1)
_KINDS = {
    "interval": IntervalSchedule,
    "crontab": CrontabSchedule,
    "solar": SolarSchedule,
    "clocked": ClockedSchedule,
}

RowState = tuple[Any, ...]


@dataclass(slots=True)
class Held:
    """One schedule, on or off. All its slots up to ``cursor`` are decided.

    ``fault`` says why its slots cannot be computed. ``carried`` counts missed slots that were left to a
    later one.
    """

    name: str
    row_id: int
    version: Version
    cursor: datetime
    row: PeriodicTask | None
    next_slot: datetime | None = None
    fault: str = ""
    carried: int = 0
    is_left_out: bool = False

    @property
    def definition(self) -> Definition:
        """What it is, while it is on."""
        assert self.version.definition is not None
        return self.version.definition

    def move(self, cursor: datetime) -> None:
        """Count all slots up to ``cursor`` as decided, and look for the next one."""
        self.cursor = max(self.cursor, cursor)
        if self.version.definition is None:
            self.next_slot = None
            return
        try:
            self.next_slot = next(self.definition.after(self.cursor), None)
        except UNREADABLE as error:
            self.next_slot, self.fault = None, str(error)
            logger.error("The slots of %s are unknown: %s", self.name, error)

    def become(self, other: "Held") -> None:
        """Be as a copy of it was."""
        for one in fields(self):
            setattr(self, one.name, getattr(other, one.name))

    def leave_out(self, error: Exception) -> None:
        """Have no slots until it is taken back."""
        self.next_slot, self.fault = None, f"{type(error).__name__}: {redact(str(error))}"
        self.is_left_out = True
        logger.error(
            "The slots of %s cannot be written, and it is left out for now: %s",
            self.name,
            self.fault,
        )

    def take_back(self) -> None:
        """Have slots again: what left it out may be mended."""
        self.fault, self.is_left_out = "", False
        self.move(self.cursor)

    def due(self, now: datetime, limit: int) -> tuple[list[datetime], bool]:
        """Return its undecided slots up to ``now``, the first ones, and whether more follow."""
        if self.fault:
            return [], False
        found = list(islice(self.definition.between(self.cursor, now), limit + 1))
        return found[:limit], len(found) > limit


@dataclass(frozen=True, slots=True)
class Change:
    """A schedule that is another one ``after`` some moment, or off, or gone, or new."""

    before: Held | None
    version: Version | None
    row: PeriodicTask | None
    cursor: datetime


@dataclass(slots=True)
class Book:
    """All schedules by name, and a heap of their next slots."""

    held: dict[str, Held] = field(default_factory=dict)
    states: dict[int, RowState] = field(default_factory=dict)
    mark: tuple[Any, ...] = ()
    _heap: list[tuple[datetime, str, datetime]] = field(default_factory=list)

    def put(self, held: Held) -> None:
        """Hold a schedule, in the place of one of the same name."""
        self.held[held.name] = held
        self.queue(held)

    def queue(self, held: Held) -> None:
        """Note when its next slot is due. What was noted before counts no more."""
        if held.next_slot is not None:
            heapq.heappush(self._heap, (held.next_slot, held.name, held.version.since))

    def take_back_left_out(self) -> None:
        """Try again with what was left out because its slots could not be written."""
        for held in self.held.values():
            if held.is_left_out:
                held.take_back()
                self.queue(held)

    def drop(self, name: str) -> None:
        """Forget a schedule."""
        self.held.pop(name, None)

    def next_due_at(self) -> datetime | None:
        """Return the moment of the next slot of all."""
        while self._heap:
            slot, name, since = self._heap[0]
            held = self.held.get(name)
            if held is not None and held.next_slot == slot and held.version.since == since:
                return slot
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: datetime, most: int) -> list[Held]:
        """Return schedules with a slot that is due, the earliest first, and take them from the heap."""
        found: dict[str, Held] = {}
        while len(found) < most:
            slot = self.next_due_at()
            if slot is None or slot > now:
                break
            held = self.held[heapq.heappop(self._heap)[1]]
            found[held.name] = held
        return list(found.values())


def change_mark() -> tuple[Any, ...]:
    """Return what is another value after any change of a schedule or policy. Costs a short query."""
    quote = ledger_connection().ops.quote_name
    changes, policy = quote(PeriodicTasks._meta.db_table), quote(SchedulePolicy._meta.db_table)
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT max(last_update) FROM {changes}), "  # noqa: S608 - names of tables
            f"max(changed_at), count(*) FROM {policy}"
        )
        mark: tuple[Any, ...] = cursor.fetchone()
    return mark


def row_states() -> dict[int, RowState]:
    """Return the version of every row with those of what it refers to: one query, no row is read."""
    quote = ledger_connection().ops.quote_name
    task = quote(PeriodicTask._meta.db_table)
    kinds = [(name, quote(model._meta.db_table)) for name, model in _KINDS.items()]
    joins = " ".join(
        f"LEFT JOIN {table} {name} ON {name}.id = t.{name}_id" for name, table in kinds
    )
    columns = ", ".join(f"{name}.xmin::text" for name, _table in kinds)
    policy = quote(SchedulePolicy._meta.db_table)
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            "SELECT t.id, t.name, t.xmin::text, policy.xmin::text, "  # noqa: S608 - names of tables
            f"{columns} FROM {task} t {joins} LEFT JOIN {policy} policy ON policy.row_id = t.id"
        )
        return {row[0]: row[1:] for row in cursor.fetchall()}


def read_rows(ids: Iterable[int]) -> Iterator[list[PeriodicTask]]:
    """Yield rows with all that belongs to them, in parts.

    A part in which a crontab cannot be read is read row by row; such a row comes without its crontab,
    which :func:`~maintenance.core.scheduling.schedule_versions.defined` refuses.
    """
    wanted = list(ids)
    for start in range(0, len(wanted), ROWS_PER_READ):
        part = wanted[start : start + ROWS_PER_READ]
        try:
            yield _rows(part, _KINDS)
        except UNREADABLE_FIELD:
            yield [row for pk in part for row in _row(pk)]


def _rows(ids: Sequence[int], kinds: Iterable[str]) -> list[PeriodicTask]:
    rows = PeriodicTask.objects.select_related(*kinds, "maintenance_policy")
    return list(rows.filter(pk__in=ids))


def _row(pk: int) -> list[PeriodicTask]:
    try:
        return _rows([pk], _KINDS)
    except UNREADABLE_FIELD:
        return _rows([pk], _KINDS.keys() - {"crontab"})


def last_versions() -> dict[str, Version]:
    """Return the last version of each schedule that there ever was."""
    last = ScheduleVersion.objects.order_by("schedule", "-since").distinct("schedule")
    return {row.schedule: Version.of(row) for row in last.iterator()}


def last_slots(names: Iterable[str]) -> Mapping[str, datetime]:
    """Return the latest slot of each schedule that has a row in the ledger."""
    found = (
        Run.objects.filter(schedule__in=list(names), scheduled_for__isnull=False)
        .order_by()
        .values("schedule")
        .annotate(last=Max("scheduled_for"))
    )
    return {row["schedule"]: row["last"] for row in found}


def cursor_of(version: Version, row: PeriodicTask | None, now: datetime) -> datetime:
    """Return up to where the slots of a schedule are decided, as its row says."""
    last_run_at = row.last_run_at if row is not None else None
    start = version.since - _INSTANT
    return max(start, min(last_run_at, now)) if last_run_at is not None else start


def first_version(row: PeriodicTask, now: datetime, *, is_first_start: bool) -> Version:
    """Return the version of a row that no scheduler of ours has held before.

    What another scheduler has run goes on: where a slot has passed since, the latest one is ours. A row
    that was never run has its slots since it was written; at the very first start of all from now on.
    """
    if row.last_run_at is None:
        since = now if is_first_start else min(row.date_changed or now, now)
        return Version(row.name, since, defined(row, since, None))
    definition = defined(row, now, None)
    since = _latest(definition, min(row.last_run_at, now), now) or now
    return Version(row.name, since, definition)


def _latest(definition: Definition, since: datetime, until: datetime) -> datetime | None:
    """Return the last slot of a time, looking back from its end in steps that grow."""
    back = timedelta(minutes=1)
    while True:
        start = max(since, until - back)
        try:
            found = list(definition.between(start, until))
        except UNREADABLE:
            return None
        if found or start == since:
            return found[-1] if found else None
        back *= 4


def changed_version(
    before: Version,
    row: PeriodicTask | None,
    last_update: datetime | None,
    bounds: tuple[datetime, datetime],
) -> Version | None:
    """Return the version that a row is from its last edit on, ``None`` where it is the same.

    The edit is where the row or its policy says; for a deletion, or an edit that left no time on them, where
    django-celery-beat noted the last change of any. ``bounds`` are the first moment whose slots are not
    decided yet, and now.
    """
    stamps = [] if row is None else [row.date_changed, _policy_changed_at(row)]
    edits = [stamp for stamp in stamps if stamp is not None and stamp > before.since]
    edited_at = max(edits) if edits else last_update or bounds[1]
    since = min(max(edited_at, bounds[0]), bounds[1])
    definition = None
    if row is not None and row.enabled:
        definition = defined(row, since, before.definition)
    if definition == before.definition:
        return None
    return Version(before.schedule, since, definition)


def _policy_changed_at(row: PeriodicTask) -> datetime | None:
    try:
        changed_at: datetime = row.maintenance_policy.changed_at
    except SchedulePolicy.DoesNotExist:
        return None
    return changed_at.astimezone(UTC)
