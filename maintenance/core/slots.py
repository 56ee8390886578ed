"""The slots of a schedule: the due times that runs stand for, the same in beat, lists and proofs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, crontab
from celery.schedules import schedule as interval
from django_celery_beat.models import CrontabSchedule
from django_celery_beat.tzcrontab import TzAwareCrontab

from maintenance.core.cron import Cron

#: A crontab that is never due any more is looked at again after this long.
_NEVER = timedelta(days=365)


def cron_of(schedule: Any) -> Cron:  # a crontab: its stubs know none of its fields
    """Return the due times of a schedule, in its own time zone."""
    return Cron(
        schedule.minute,
        schedule.hour,
        schedule.day_of_month,
        schedule.month_of_year,
        schedule.day_of_week,
        schedule.tz,
    )


def slot_due_at(schedule: BaseSchedule, last_run_at: datetime) -> datetime | None:
    """Return the first due time after ``last_run_at``: the slot that a run stands for.

    ``None`` for a crontab that is never due.
    """
    start = schedule.maybe_make_aware(last_run_at)
    if isinstance(schedule, crontab):
        return cron_of(schedule).after(start)
    if isinstance(schedule, interval):
        every: timedelta = schedule.run_every  # type: ignore[attr-defined]  # missing in the stubs
        return start + every
    return schedule.now()  # solar and clocked rows name no slot of their own


class SlotCrontab(TzAwareCrontab):  # type: ignore[misc]  # the library has no types
    """A crontab that beat finds due at exactly its slots.

    Celery's own arithmetic leaves out the repeated hour of every schedule when clocks are put back.
    """

    @classmethod
    def of(cls, row: CrontabSchedule) -> "SlotCrontab":
        """Return the schedule of a row."""
        return cls(
            minute=row.minute,
            hour=row.hour,
            day_of_week=row.day_of_week,
            day_of_month=row.day_of_month,
            month_of_year=row.month_of_year,
            tz=row.timezone,
        )

    def remaining_delta(
        self, last_run_at: datetime, *_: Any, **__: Any
    ) -> tuple[datetime, timedelta, datetime]:
        """Return when the schedule began to wait, for how long it waits, and the time now."""
        start = self.maybe_make_aware(last_run_at).astimezone(UTC)
        due = slot_due_at(self, start)
        return start, _NEVER if due is None else due - start, self.now().astimezone(UTC)
