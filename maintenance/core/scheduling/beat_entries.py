"""Entries of ``beat_schedule`` as rows: a site that has its schedules in its settings keeps them there."""

import logging
from collections.abc import Mapping
from typing import Any

from celery import schedules
from django.core.exceptions import ValidationError
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import ModelEntry
from kombu.utils.json import dumps

logger = logging.getLogger("maintenance.scheduler")


def write_entries(entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a row for each entry that has none, or another one.

    A row that is the same stays untouched. django-celery-beat saves them all at each start, which
    forgets the slots that were due while no beat ran.
    """
    for name, entry in entries.items():
        try:
            _write(name, entry)
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            logger.error("The entry %s of beat_schedule cannot be read: %s", name, error)


def _write(name: str, entry: Mapping[str, Any]) -> None:
    fields = _fields(entry)
    row = PeriodicTask.objects.filter(name=name).first() or PeriodicTask(name=name)
    if row.pk is not None and all(getattr(row, key) == value for key, value in fields.items()):
        return
    for key, value in fields.items():
        setattr(row, key, value)
    row.save()


def _fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    row, kind = _schedule_row(entry["schedule"])
    fields: dict[str, Any] = {field: None for _type, _model, field in ModelEntry.model_schedules}
    fields[kind] = row
    fields["task"] = entry["task"]
    fields["args"] = dumps(list(entry.get("args") or ()))
    fields["kwargs"] = dumps(entry.get("kwargs") or {})
    fields |= ModelEntry._unpack_options(**(entry.get("options") or {}))
    return fields


def _schedule_row(given: Any) -> tuple[Any, str]:
    schedule = schedules.maybe_schedule(given)
    for kind, model, field in ModelEntry.model_schedules:
        if isinstance(schedule, kind):
            row = model.from_schedule(schedule)
            if row.pk is None:
                row.save()
            return row, field
    raise ValueError(f"{given!r} is no schedule")
