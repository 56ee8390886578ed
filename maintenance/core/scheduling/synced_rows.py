"""django-celery-beat's rows in the shape of the checklists: read and written many at a time.

A service that looks after hundreds of sites has thousands of them. Their number of statements grows by a
few for each :data:`ROWS_PER_TRANSACTION` rows. No signal is sent for a row; what a scheduler finds a change
by, the time of the row and that of the last change of any, is written with the rows, in one transaction.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

from maintenance.models import SyncedSchedule
from maintenance.schedules import Schedule

#: Few enough that a scheduler, which waits for the note of the last change, never waits long.
ROWS_PER_TRANSACTION = 500

#: What a definition says of a row, as columns with their types; nothing else of a row is written.
_COLUMNS = {
    "task": "text",
    "crontab_id": "bigint",
    "kwargs": "text",
    "queue": "text",
    "headers": "text",
    "description": "text",
    "enabled": "boolean",
}
# ``bulk_update()`` costs a branch for each row and column, which the server tries for each row again.
_UPDATE = """
UPDATE {table} AS row SET date_changed = %s, {assignments}
FROM unnest(%s::bigint[], {arrays}) AS wanted (id, {columns})
WHERE row.id = wanted.id
"""


class Crontabs:
    """All crontabs, read once: what each of them says, and which one says it."""

    def __init__(self) -> None:
        self._said: dict[int, tuple[str, str]] = {}
        self._ids: dict[tuple[str, str], int] = {}
        # No constraint keeps these rows unique: of several that say the same the first one is taken.
        for crontab in CrontabSchedule.objects.order_by("pk"):
            self._add(crontab)

    def _add(self, crontab: CrontabSchedule) -> None:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        cron = " ".join(str(getattr(crontab, name)) for name in names)
        self._said[crontab.pk] = cron, str(crontab.timezone)
        self._ids.setdefault(self._said[crontab.pk], crontab.pk)

    def said_by(self, crontab_id: int | None) -> tuple[str, str]:
        """Return the five fields of a crontab and its timezone, empty where a row has none."""
        return self._said.get(crontab_id, ("", "")) if crontab_id is not None else ("", "")

    def id_of(self, cron: str, timezone_name: str) -> int:
        """Return the crontab that says this. Raises ``KeyError`` where none does yet."""
        return self._ids[cron, timezone_name]

    def add_missing(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Write the crontabs that no row says yet."""
        missing = [
            CrontabSchedule(**Schedule("", cron).cron_fields, timezone=timezone_name)
            for cron, timezone_name in sorted(set(wanted) - self._ids.keys())
        ]
        for crontab in CrontabSchedule.objects.bulk_create(missing):
            self._add(crontab)


@dataclass(frozen=True, slots=True)
class Writing:
    """What is to be written for one schedule.

    ``definition`` is what its row is to say, ``None`` where the row stays as it is; ``base`` is what is
    remembered as the wish of the code. ``row`` is ``None`` where there is none yet.
    """

    name: str
    row: PeriodicTask | None
    definition: dict[str, Any] | None
    base: dict[str, Any]


def definition_of(row: PeriodicTask, crontabs: Crontabs) -> dict[str, Any]:
    """Return what a row says, in the shape of the code's definitions."""
    cron, timezone_name = crontabs.said_by(row.crontab_id)
    return {
        "task": row.task,
        "cron": cron,
        "timezone": timezone_name,
        "kwargs": json.loads(row.kwargs or "{}"),
        "queue": row.queue,
        "headers": json.loads(row.headers or "{}"),
        "description": row.description,
        "enabled": row.enabled,
    }


def write(writings: Sequence[Writing], crontabs: Crontabs) -> None:
    """Write rows, and what the code wanted them to say."""
    definitions = [each.definition for each in writings if each.definition is not None]
    crontabs.add_missing(
        # An operator may have put an interval in the place of the crontab.
        (definition["cron"], definition["timezone"])
        for definition in definitions
        if definition["cron"]
    )
    for start in range(0, len(writings), ROWS_PER_TRANSACTION):
        _write_at_once(writings[start : start + ROWS_PER_TRANSACTION], crontabs)


@transaction.atomic
def _write_at_once(writings: Sequence[Writing], crontabs: Crontabs) -> None:
    now = timezone.now()
    created: list[PeriodicTask] = []
    changed: list[PeriodicTask] = []
    for each in writings:
        if each.definition is None:
            continue
        row = each.row or PeriodicTask(name=each.name)
        _set_columns(row, each.definition, crontabs)
        (created if each.row is None else changed).append(row)
    PeriodicTask.objects.bulk_create(created)
    _update(changed, now)
    _remember({each.name: each.base for each in writings}, now)
    if created or changed:
        PeriodicTasks.update_changed()


def _update(rows: Sequence[PeriodicTask], now: datetime) -> None:
    """Write what definitions say into rows that are there; one that was deleted meanwhile stays so."""
    if not rows:
        return
    statement = _UPDATE.format(
        table=connection.ops.quote_name(PeriodicTask._meta.db_table),
        assignments=", ".join(f"{column} = wanted.{column}" for column in _COLUMNS),
        arrays=", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values()),
        columns=", ".join(_COLUMNS),
    )
    values = [[getattr(row, column) for row in rows] for column in ("id", *_COLUMNS)]
    with connection.cursor() as cursor:
        cursor.execute(statement, [now, *values])


def _set_columns(row: PeriodicTask, definition: dict[str, Any], crontabs: Crontabs) -> None:
    said = definition["cron"], definition["timezone"]
    if definition["cron"] and said != crontabs.said_by(row.crontab_id):
        row.crontab_id = crontabs.id_of(*said)
    row.task = definition["task"]
    row.kwargs = json.dumps(definition["kwargs"])
    row.queue = definition["queue"]
    row.headers = json.dumps(definition["headers"])
    row.description = definition["description"]
    row.enabled = definition["enabled"]


def switch_off(rows: Sequence[tuple[PeriodicTask, SyncedSchedule]]) -> None:
    """Switch rows off as django-celery-beat does, and remember that it was not an operator."""
    for start in range(0, len(rows), ROWS_PER_TRANSACTION):
        _switch_off_at_once(rows[start : start + ROWS_PER_TRANSACTION])


@transaction.atomic
def _switch_off_at_once(rows: Sequence[tuple[PeriodicTask, SyncedSchedule]]) -> None:
    now = timezone.now()
    PeriodicTask.objects.filter(pk__in=[row.pk for row, _synced in rows]).update(
        enabled=False, last_run_at=None, date_changed=now
    )
    _remember({synced.name: {**synced.definition, "enabled": False} for _, synced in rows}, now)
    PeriodicTasks.update_changed()


def _remember(definitions: dict[str, dict[str, Any]], now: datetime) -> None:
    SyncedSchedule.objects.bulk_create(
        [
            SyncedSchedule(name=name, definition=definition, synced_at=now)
            for name, definition in definitions.items()
        ],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["definition", "synced_at"],
    )
