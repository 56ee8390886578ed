"""Tasks that are not ours, sent by our scheduler: the same slots and rows, their code unchanged.

What a task is given stands in django-celery-beat's row alone and is read when its message is sent: the
ledger holds no copy of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery
from django_celery_beat.models import PeriodicTask

from maintenance.core.runs.registry import PREFIX, is_registered
from maintenance.core.runs.watched_tasks import SLOT_HEADER

if TYPE_CHECKING:
    from maintenance.models import Run

#: The header in which beat names the schedule; tools read it.
NAME_HEADER = "periodic_task_name"


def is_foreign(task: str) -> bool:
    """Tell whether a task is somebody else's: unknown here, and not named as ours are.

    A task of ours that was renamed is not foreign: its slots fail with the reason.
    """
    if is_registered(task):
        return False
    return not task.startswith(PREFIX) or "." in task.removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """What somebody else's task is sent with, as django-celery-beat would send it."""

    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Mapping[str, Any]

    def send(self, app: Celery, options: Mapping[str, Any]) -> None:
        """Send it, with ``options`` of our own."""
        merged = {**self.options, **options}
        task = app.tasks.get(self.task)
        if task is not None:
            task.apply_async(self.args, self.kwargs, **merged)
        else:  # known to the workers only
            app.send_task(self.task, self.args, self.kwargs, **merged)


def read_messages(
    runs: "Sequence[Run]",
) -> "tuple[dict[UUID, ForeignMessage], list[tuple[Run, str]]]":
    """Return the messages of queued runs, and the runs that have none, with the reason. One query."""
    if not runs:
        return {}, []
    rows = PeriodicTask.objects.in_bulk({run.schedule for run in runs}, field_name="name")
    messages: dict[UUID, ForeignMessage] = {}
    refused: list[tuple[Run, str]] = []
    for run in runs:
        row = rows.get(run.schedule)
        if row is None:
            refused.append((run, "its schedule was deleted before it was sent"))
            continue
        try:
            messages[run.id] = _message(row, run)
        except (TypeError, ValueError) as error:
            refused.append((run, f"its arguments cannot be read as JSON: {error}"))
    return messages, refused


def _message(row: PeriodicTask, run: "Run") -> ForeignMessage:
    named = ("queue", "exchange", "routing_key", "priority")
    options = {name: getattr(row, name) for name in named if getattr(row, name) is not None}
    if row.expires_:
        options["expires"] = row.expires_
    options["headers"] = {
        **json.loads(row.headers or "{}"),
        NAME_HEADER: row.name,
        "celery_beat_task": True,
        SLOT_HEADER: run.scheduled_for.isoformat() if run.scheduled_for else "",
    }
    args, kwargs = json.loads(row.args or "[]"), json.loads(row.kwargs or "{}")
    return ForeignMessage(row.task, tuple(args), dict(kwargs), options)
