"""The timetable that people read: due times and last results of our rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
)

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.core.scheduling.timetable import next_due_at, timetable
from maintenance.models import Run, SchedulePolicy, Trigger

pytestmark = pytest.mark.django_db


def row_of(task: str = "maintenance.note_high", **changes: Any) -> PeriodicTask:
    at_six = CrontabSchedule.objects.create(minute="0", hour="6", timezone="UTC")
    fields: dict[str, Any] = {
        "name": "maintenance: daily note",
        "task": task,
        "crontab": at_six,
        "kwargs": '{"target": "", "options": {"number": 3}}',
        "headers": '{"maintenance_checklist": "daily"}',
        "last_run_at": datetime(2026, 11, 22, 6, 0, 1, tzinfo=UTC),
    }
    return PeriodicTask.objects.create(**{**fields, **changes})


def test_the_timetable_lists_what_is_due_next_first_and_what_is_off_last() -> None:
    sync_schedules(configuration())
    off = "maintenance: monthly vacuum_analyze on default"
    PeriodicTask.objects.filter(name=off).update(enabled=False)
    now = timezone.now()

    entries = list(timetable(now))

    assert entries[-1].name == off
    assert entries[-1].next_due_at is None
    due = [entry.next_due_at for entry in entries if entry.next_due_at is not None]
    assert due == sorted(due)
    assert all(at > now for at in due)
    assert len(due) == len(entries) - 1
    by_name = {entry.short_name: entry for entry in entries}
    assert by_name["weekly check_disk_space on local"].when == "At 04:20, only on Monday (UTC)"


def test_the_timetable_knows_the_last_run_of_each_row() -> None:
    row = row_of()
    for day in (21, 22):
        Run.objects.create(
            task=row.task,
            schedule=row.name,
            scheduled_for=datetime(2026, 11, day, 6, tzinfo=UTC),
            trigger=Trigger.BEAT,
            queue="high",
            queued_at=datetime(2026, 11, day, 6, tzinfo=UTC),
        )

    (entry,) = timetable(timezone.now())

    assert entry.last_run is not None
    assert entry.last_run.queued_at.day == 22


def test_a_slot_that_was_not_sent_is_overdue_since_its_due_time() -> None:
    row_of()
    now = datetime(2026, 11, 23, 7, tzinfo=UTC)

    (entry,) = timetable(now)

    assert entry.next_due_at == datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert entry.overdue_seconds(now) == 3600
    assert entry.overdue_seconds(now - timedelta(hours=2)) == 0


def test_a_row_that_was_never_sent_counts_from_its_last_edit() -> None:
    row = row_of(last_run_at=None)
    PeriodicTask.objects.filter(pk=row.pk).update(
        date_changed=datetime(2026, 11, 20, 12, tzinfo=UTC)
    )
    row.refresh_from_db()

    due = next_due_at(row, datetime(2026, 11, 23, tzinfo=UTC))

    assert due == datetime(2026, 11, 21, 6, tzinfo=UTC)


def test_rows_that_are_never_due_again_have_no_next_time() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    never = CrontabSchedule.objects.create(
        minute="0", hour="1", day_of_month="30", month_of_year="2", timezone="UTC"
    )

    row = row_of()
    row.enabled = False
    assert next_due_at(row, now) is None
    row.enabled, row.one_off, row.total_run_count = True, True, 1
    assert next_due_at(row, now) is None
    row.one_off, row.expires = False, now - timedelta(days=1)
    assert next_due_at(row, now) is None
    row.expires, row.crontab = None, never
    assert next_due_at(row, now) is None


def test_every_kind_of_row_has_its_due_time_and_its_words() -> None:
    now = datetime(2026, 11, 23, 7, tzinfo=UTC)
    at = datetime(2026, 12, 24, 18, tzinfo=UTC)
    two_hours = IntervalSchedule.objects.create(every=2, period="hours")
    clocked = ClockedSchedule.objects.create(clocked_time=at)
    row_of(name="maintenance: a", crontab=None, interval=two_hours)
    row_of(name="maintenance: b", crontab=None, clocked=clocked, one_off=True)

    entries = {entry.short_name: entry for entry in timetable(now)}

    assert entries["a"].next_due_at == datetime(2026, 11, 22, 8, 0, 1, tzinfo=UTC)
    assert entries["a"].when == "Every 2 hours"
    assert entries["b"].next_due_at == at
    assert "2026-12-24" in entries["b"].when


def test_a_schedule_of_certain_days_is_due_on_those_and_says_so() -> None:
    row = row_of()
    SchedulePolicy.objects.create(row=row, days="last friday")

    (entry,) = timetable(datetime(2026, 11, 23, 7, tzinfo=UTC))

    assert entry.next_due_at == datetime(2026, 11, 27, 6, tzinfo=UTC)
    assert entry.when == "At 06:00, every day (UTC), on the last friday only"


def test_what_was_due_before_a_scheduler_led_for_the_first_time_is_not_overdue() -> None:
    row = row_of(last_run_at=None)
    PeriodicTask.objects.filter(pk=row.pk).update(
        date_changed=datetime(2026, 11, 20, 12, tzinfo=UTC)
    )
    row.refresh_from_db()
    led_since = datetime(2026, 11, 22, 7, tzinfo=UTC)

    due = next_due_at(row, datetime(2026, 11, 22, 8, tzinfo=UTC), led_since)

    assert due == datetime(2026, 11, 23, 6, tzinfo=UTC)
