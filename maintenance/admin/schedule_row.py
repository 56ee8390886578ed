"""What one row of django-celery-beat means: its rhythm, what it runs on, and which list it is of."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django_celery_beat.models import PeriodicTask

from maintenance.core.scheduling.definitions import zone_named
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import crontab_text
from maintenance.core.scheduling.timetable import cron_in_words, next_due_at
from maintenance.schedules import CHECKLISTS

#: Beat may write down a dispatch this much later (``beat_sync_every`` is 180 s by default).
OVERDUE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a row runs. ``cron`` is empty for a row that has another kind of schedule.

    ``next_due`` is ``None`` for a row that is paused or never fires again; it lies in the past
    where beat has not sent it.
    """

    words: str
    cron: str
    zone: tzinfo
    next_due: datetime | None

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether beat should have sent it a while ago: then no beat is running."""
        return self.next_due is not None and now - self.next_due > OVERDUE_AFTER


def timing_of(row: PeriodicTask, now: datetime, recorded: datetime | None) -> Timing:
    """Read a row with its schedule. ``recorded`` is when a scheduler led for the first time."""
    due = next_due_at(row, now, recorded)
    crontab = row.crontab
    if crontab is None:
        return Timing(str(row.scheduler).capitalize(), "", UTC, due)
    cron = crontab_text(crontab)
    try:
        zone: tzinfo = zone_named(str(crontab.timezone))
    except ValueError as error:  # what is due in it is unknown, too
        return Timing(f"{cron_in_words(cron)}. {error}", cron, UTC, due)
    return Timing(cron_in_words(cron), cron, zone, due)


def arguments_of(row: PeriodicTask) -> tuple[str, dict[str, Any]]:
    """Return a row's target and options; what an operator left unreadable counts as none."""
    try:
        kwargs = json.loads(row.kwargs or "{}")
    except ValueError:
        kwargs = {}
    if not isinstance(kwargs, dict):
        return "", {}
    options = kwargs.get("options")
    return str(kwargs.get("target") or ""), options if isinstance(options, dict) else {}


def checklist_of(row: PeriodicTask) -> str:
    """Return the checklist that a row belongs to, empty for an operator's own row."""
    name = str(row.name)
    word = name.removeprefix(NAME_PREFIX).partition(" ")[0]
    return word if name.startswith(NAME_PREFIX) and word in CHECKLISTS else ""
