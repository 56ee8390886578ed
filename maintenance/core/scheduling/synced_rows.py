"""django-celery-beat's rows in the shape of the checklists: read and written many at a time.

A service that looks after hundreds of sites has thousands of them. Their number of statements grows by a
few for each :data:`ROWS_PER_TRANSACTION` rows. No signal is sent for a row; what a scheduler finds a change
by, the time of the row and that of the last change of any, is written with the rows, in one transaction. It
comes before the rows, as in the admin, so that neither waits for the other.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

from maintenance.core.runs.ledger_database import ledger_connection, ledger_transaction
from maintenance.core.scheduling.crontab_rows import stored_crontabs
from maintenance.core.scheduling.leadership import hold_leader
from maintenance.core.scheduling.schedule_versions import crontab_text
from maintenance.models import SyncedSchedule
from maintenance.schedules import Schedule

#: Few enough that a scheduler, or an operator who saves a row, never waits long.
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


#: The five fields of a crontab and the name of its timezone.
_Said = tuple[str, str]


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


def definition_of(row: PeriodicTask) -> dict[str, Any]:
    """Return what a row says, in the shape of the code's definitions; its crontab is read with it."""
    cron, timezone_name = _said_by(row.crontab)
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


def _said_by(crontab: CrontabSchedule | None) -> _Said:
    """Return what a crontab says; nothing where a row has an interval in its place."""
    return (crontab_text(crontab), str(crontab.timezone)) if crontab is not None else ("", "")


def write(writings: Sequence[Writing]) -> None:
    """Write rows, and what the code wanted them to say."""
    definitions = [each.definition for each in writings if each.definition is not None]
    crontabs = _crontabs({_wanted(definition) for definition in definitions})
    for start in range(0, len(writings), ROWS_PER_TRANSACTION):
        _write_at_once(writings[start : start + ROWS_PER_TRANSACTION], crontabs)


def _wanted(definition: dict[str, Any]) -> _Said:
    return definition["cron"], definition["timezone"]


def _crontabs(wanted: Collection[_Said]) -> Mapping[_Said, CrontabSchedule]:
    """Return a crontab for each that is wanted, written where no row says it yet."""
    if not wanted:
        return {}
    found: dict[_Said, CrontabSchedule] = {}
    # No constraint keeps these rows unique: of several that say the same the first one is taken.
    for crontab in stored_crontabs():
        found.setdefault(_said_by(crontab), crontab)
    missing = [
        CrontabSchedule(**Schedule("", cron).cron_fields, timezone=timezone_name)
        for cron, timezone_name in sorted(set(wanted) - found.keys())
        if cron
    ]
    written = CrontabSchedule.objects.bulk_create(missing)
    return found | {_said_by(crontab): crontab for crontab in written}


@ledger_transaction()
def _write_at_once(writings: Sequence[Writing], crontabs: Mapping[_Said, CrontabSchedule]) -> None:
    created: list[PeriodicTask] = []
    changed: list[PeriodicTask] = []
    for each in writings:
        if each.definition is None:
            continue
        row = each.row or PeriodicTask(name=each.name)
        _set_columns(row, each.definition, crontabs)
        (created if each.row is None else changed).append(row)
    if created or changed:
        _announce()
    now = timezone.now()
    PeriodicTask.objects.bulk_create(created)
    _update(changed, now)
    _remember({each.name: each.base for each in writings}, now)


def _announce() -> None:
    hold_leader()
    PeriodicTasks.update_changed()


def _update(rows: Sequence[PeriodicTask], now: datetime) -> None:
    """Write what definitions say into rows that are there; one that was deleted meanwhile stays so."""
    if not rows:
        return
    statement = _UPDATE.format(
        table=ledger_connection().ops.quote_name(PeriodicTask._meta.db_table),
        assignments=", ".join(f"{column} = wanted.{column}" for column in _COLUMNS),
        arrays=", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values()),
        columns=", ".join(_COLUMNS),
    )
    values = [[getattr(row, column) for row in rows] for column in ("id", *_COLUMNS)]
    with ledger_connection().cursor() as cursor:
        cursor.execute(statement, [now, *values])


def _set_columns(
    row: PeriodicTask, definition: dict[str, Any], crontabs: Mapping[_Said, CrontabSchedule]
) -> None:
    said = _wanted(definition)
    # An operator may have put an interval in the place of the crontab.
    if definition["cron"] and said != _said_by(row.crontab):
        row.crontab = crontabs[said]
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


@ledger_transaction()
def _switch_off_at_once(rows: Sequence[tuple[PeriodicTask, SyncedSchedule]]) -> None:
    _announce()
    now = timezone.now()
    PeriodicTask.objects.filter(pk__in=[row.pk for row, _synced in rows]).update(
        enabled=False, last_run_at=None, date_changed=now
    )
    _remember({synced.name: {**synced.definition, "enabled": False} for _, synced in rows}, now)


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
