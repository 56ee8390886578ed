"""What runs when, in words: the rows of our schedules with their due times and last results."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cron_descriptor import (
    FormatException,
    MissingFieldException,
    Options,
    WrongArgumentException,
    get_description,
)
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from maintenance.core.scheduling.crontab_rows import with_crontabs
from maintenance.core.scheduling.definitions import UNREADABLE
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import crontab_text, defined, recorded_since
from maintenance.models import Run

#: Before anything was written.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule row. ``next_due_at`` is in the past while a due slot was not sent yet."""

    name: str
    task: str
    when: str
    enabled: bool
    last_run_at: datetime | None
    next_due_at: datetime | None
    last_run: Run | None

    @property
    def short_name(self) -> str:
        """The row's name without the prefix that all of ours share."""
        return self.name.removeprefix(NAME_PREFIX)

    def overdue_seconds(self, now: datetime) -> float:
        """Seconds since the due time passed, 0.0 where it lies ahead or the row is off."""
        if not self.enabled or self.next_due_at is None:
            return 0.0
        return max((now - self.next_due_at).total_seconds(), 0.0)


@lru_cache(maxsize=1024)
def cron_in_words(cron: str) -> str:
    """Return crontab(5) fields in words: ``At 03:30, only on Monday``. Unreadable ones come back."""
    options = Options()
    options.use_24hour_time_format = True
    try:
        words = str(get_description(cron, options))
    except (FormatException, MissingFieldException, WrongArgumentException):
        return cron
    return f"{words}, every day" if words.startswith("At ") and "," not in words else words


def when_in_words(row: PeriodicTask) -> str:
    """Return a row's schedule in words, with the timezone that it is read in."""
    crontab: CrontabSchedule | None = row.crontab
    if crontab is None:
        return str(row.scheduler).capitalize()
    words = f"{cron_in_words(crontab_text(crontab))} ({crontab.timezone})"
    days = defined(row, row.date_changed or timezone.now(), None).days
    return f"{words}, on the {days} only" if days else words


def next_due_at(
    row: PeriodicTask, now: datetime, recorded: datetime | None = None
) -> datetime | None:
    """Return when beat sends the row next; in the past where it has not done so yet.

    Beat counts from the last dispatch, or from the last edit where there was none since, but not from before
    a scheduler led for the first time, which is ``recorded``: what was due until then nobody owes. ``None`` for a row that is off, expired, done for good, or never due (30 February).
    """
    if not row.enabled or (row.one_off and row.total_run_count):
        return None
    if row.clocked is not None:
        at: datetime = row.clocked.clocked_time
        return at
    since = row.last_run_at or max(row.date_changed or now, recorded or _EVER)
    try:
        return next(defined(row, since, None).after(since), None)
    except UNREADABLE:  # a crontab or days that cannot be read
        return None


def timetable(now: datetime) -> Iterator[Entry]:
    """Yield our rows by due time, those that are off last. Costs four queries."""
    recorded = recorded_since()
    rows = with_crontabs(
        PeriodicTask.objects.filter(name__startswith=NAME_PREFIX).select_related(
            "interval", "solar", "clocked", "maintenance_policy"
        )
    )
    last_runs = {
        run.schedule: run
        for run in Run.objects.filter(schedule__in=[row.name for row in rows])
        .order_by("schedule", "-queued_at")
        .distinct("schedule")
    }
    entries = [
        Entry(
            name=row.name,
            task=row.task,
            when=when_in_words(row),
            enabled=row.enabled,
            last_run_at=row.last_run_at,
            next_due_at=next_due_at(row, now, recorded),
            last_run=last_runs.get(row.name),
        )
        for row in rows
    ]
    last = datetime.max.replace(tzinfo=timezone.get_current_timezone())
    yield from sorted(entries, key=lambda entry: (entry.next_due_at or last, entry.name))
