"""Schedules from code into django-celery-beat's rows, without overwriting an operator's edits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from maintenance.conf import Configuration
from maintenance.core.runs.registry import TaskSpec, task_named
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
    back with their target.
    """
    result = SyncResult()
    wanted = dict(_definitions(configuration))
    written = {row.name: row for row in SyncedSchedule.objects.all()}
    rows = _rows()
    for name, definition in wanted.items():
        _sync_one(name, definition, rows.get(name), written.get(name), result)
    for name in sorted(written.keys() - wanted.keys()):
        _retire(rows.get(name), written[name], result)
    return result


def _retire(row: PeriodicTask | None, synced: SyncedSchedule, result: SyncResult) -> None:
    """Disable a row that the code does not want any more, once: what an operator does then stays."""
    if row is None:
        synced.delete()
    elif synced.definition.get("enabled") and row.enabled:
        row.enabled = False
        row.save()
        synced.definition = {**synced.definition, "enabled": False}
        synced.save()
        result.disabled.append(row.name)


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
        current = _read(row)
        found += [
            Difference(name, key, value, current[key])
            for key, value in definition.items()
            if current[key] != value
        ]
    return found


def _rows() -> dict[str, PeriodicTask]:
    rows = PeriodicTask.objects.select_related("crontab").filter(name__startswith=NAME_PREFIX)
    return {row.name: row for row in rows}


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


def _sync_one(
    name: str,
    definition: dict[str, Any],
    row: PeriodicTask | None,
    synced: SyncedSchedule | None,
    result: SyncResult,
) -> None:
    if row is None and synced is not None:
        result.kept.append(Difference(name, "row", "present", "deleted"))
        return
    if row is None:
        _write(PeriodicTask(name=name), definition)
        result.created.append(name)
        return
    current = _read(row)
    base = synced.definition if synced is not None else definition
    edited = {key for key, value in current.items() if value != base.get(key)}
    result.kept += [
        Difference(name, key, definition[key], current[key])
        for key in sorted(edited)
        if current[key] != definition[key]
    ]
    merged = {key: current[key] if key in edited else value for key, value in definition.items()}
    if merged == current:
        _remember(name, definition)
        result.unchanged.append(name)
    else:
        _write(row, merged, base=definition)
        result.updated.append(name)


def _read(row: PeriodicTask) -> dict[str, Any]:
    """Return a row in the shape of :func:`_definition`."""
    crontab = row.crontab
    cron = (
        " ".join(
            str(getattr(crontab, name))
            for name in ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        )
        if crontab is not None
        else ""
    )
    return {
        "task": row.task,
        "cron": cron,
        "timezone": str(crontab.timezone) if crontab is not None else "",
        "kwargs": json.loads(row.kwargs or "{}"),
        "queue": row.queue,
        "headers": json.loads(row.headers or "{}"),
        "description": row.description,
        "enabled": row.enabled,
    }


@transaction.atomic
def _write(
    row: PeriodicTask, definition: dict[str, Any], base: dict[str, Any] | None = None
) -> None:
    """Save ``definition`` into ``row`` and remember ``base`` as what the code wanted."""
    if definition["cron"]:  # an operator may have put an interval in the place of the crontab
        schedule = Schedule(definition["task"], definition["cron"])
        fields = {**schedule.cron_fields, "timezone": definition["timezone"]}
        # No constraint keeps these rows unique: get_or_create would fail where there are two.
        crontab = CrontabSchedule.objects.filter(**fields).order_by("pk").first()
        row.crontab = crontab or CrontabSchedule.objects.create(**fields)
    row.task = definition["task"]
    row.kwargs = json.dumps(definition["kwargs"])
    row.queue = definition["queue"]
    row.headers = json.dumps(definition["headers"])
    row.description = definition["description"]
    row.enabled = definition["enabled"]
    row.save()
    _remember(row.name, base or definition)


def _remember(name: str, definition: dict[str, Any]) -> None:
    SyncedSchedule.objects.update_or_create(
        name=name, defaults={"definition": definition, "synced_at": timezone.now()}
    )
