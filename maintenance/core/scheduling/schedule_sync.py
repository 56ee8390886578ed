"""Schedules from code into django-celery-beat's rows, without overwriting an operator's edits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_celery_beat.models import PeriodicTask

from maintenance.conf import Configuration
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.core.scheduling.crontab_rows import with_crontabs
from maintenance.core.scheduling.synced_rows import (
    Writing,
    definition_of,
    switch_off,
    write,
)
from maintenance.models import SyncedSchedule
from maintenance.schedules import CHECKLISTS, Schedule

#: Every row of ours is named ``maintenance: ...``; others are never touched.
NAME_PREFIX = "maintenance: "


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one row that an operator changed: left alone, and shown."""

    schedule: str
    field: str
    in_code: Any
    in_row: Any

    def __str__(self) -> str:
        return f"{self.schedule}: {self.field} is {self.in_row!r}, the code says {self.in_code!r}"


@dataclass(slots=True)
class SyncResult:
    """What ``sync_schedules`` did: names of rows, and the operator's edits that it kept."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    kept: list[Difference] = field(default_factory=list)


def sync_schedules(configuration: Configuration) -> SyncResult:
    """Write one row per schedule and target.

    A row is compared with what was last written there. What an operator changed stays; what only
    the code changed is updated; a row deleted by an operator stays deleted. Rows whose target is
    no longer configured are disabled, not deleted: their history is worth keeping, and they come
    back with their target. Costs three queries where nothing changed, and a few statements for each
    500 rows that did.
    """
    result = SyncResult()
    wanted = dict(_definitions(configuration))
    written = {row.name: row for row in SyncedSchedule.objects.all()}
    rows = _rows()
    writings = [
        _compare(name, definition, rows.get(name), written.get(name), result=result)
        for name, definition in wanted.items()
    ]
    write([writing for writing in writings if writing is not None])
    _retire([written[name] for name in sorted(written.keys() - wanted.keys())], rows, result)
    return result


def _retire(
    unwanted: Sequence[SyncedSchedule], rows: Mapping[str, PeriodicTask], result: SyncResult
) -> None:
    """Disable rows that the code does not want any more, once: what an operator does then stays."""
    deleted = [synced.pk for synced in unwanted if synced.name not in rows]
    if deleted:
        SyncedSchedule.objects.filter(pk__in=deleted).delete()
    retired = [
        (rows[synced.name], synced)
        for synced in unwanted
        if synced.name in rows and synced.definition.get("enabled") and rows[synced.name].enabled
    ]
    switch_off(retired)
    result.disabled += [synced.name for _row, synced in retired]


def differences(configuration: Configuration) -> list[Difference]:
    """Return where rows and code differ, edited or not synchronised yet; write nothing."""
    written = set(SyncedSchedule.objects.values_list("name", flat=True))
    rows = _rows()
    found: list[Difference] = []
    for name, definition in _definitions(configuration):
        row = rows.get(name)
        if row is None:
            found.append(
                Difference(name, "row", "present", "deleted" if name in written else "missing")
            )
            continue
        current = definition_of(row)
        found += [
            Difference(name, key, value, current[key])
            for key, value in definition.items()
            if current[key] != value
        ]
    return found


def _rows() -> dict[str, PeriodicTask]:
    rows = PeriodicTask.objects.filter(name__startswith=NAME_PREFIX)
    return {row.name: row for row in with_crontabs(rows)}


def _definitions(configuration: Configuration) -> Iterator[tuple[str, dict[str, Any]]]:
    for checklist, schedules in CHECKLISTS.items():
        for schedule in schedules:
            spec = task_named(schedule.task)
            for target in spec.target_names(configuration):
                name = schedule_name(checklist, spec, target)
                yield name, _definition(checklist, schedule, spec, target, configuration.timezone)


def schedule_name(checklist: str, spec: TaskSpec, target: str) -> str:
    """Return the row's name: ``maintenance: weekly report_table_bloat on library``."""
    return f"{NAME_PREFIX}{checklist} {spec.short_name}{f' on {target}' if target else ''}"


def _definition(
    checklist: str, schedule: Schedule, spec: TaskSpec, target: str, timezone_name: str
) -> dict[str, Any]:
    return {
        "task": spec.name,
        "cron": schedule.cron,
        "timezone": timezone_name,
        "kwargs": {"target": target, "options": dict(schedule.options)},
        "queue": spec.queue,
        "headers": {"maintenance_checklist": checklist},
        "description": ": ".join(
            filter(None, (f"{checklist.capitalize()} checklist", schedule.line))
        ),
        "enabled": True,
    }


def _compare(
    name: str,
    definition: dict[str, Any],
    row: PeriodicTask | None,
    synced: SyncedSchedule | None,
    *,
    result: SyncResult,
) -> Writing | None:
    """Return what one row needs, ``None`` where that is nothing, and note it in ``result``."""
    if row is None and synced is not None:
        result.kept.append(Difference(name, "row", "present", "deleted"))
        return None
    if row is None:
        result.created.append(name)
        return Writing(name, None, definition, definition)
    current = definition_of(row)
    base = synced.definition if synced is not None else definition
    edited = {key for key, value in current.items() if value != base.get(key)}
    result.kept += [
        Difference(name, key, definition[key], current[key])
        for key in sorted(edited)
        if current[key] != definition[key]
    ]
    merged = {key: current[key] if key in edited else value for key, value in definition.items()}
    if merged != current:
        result.updated.append(name)
        return Writing(name, row, merged, definition)
    result.unchanged.append(name)
    is_remembered = synced is not None and synced.definition == definition
    return None if is_remembered else Writing(name, row, None, definition)
