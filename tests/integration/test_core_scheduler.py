"""Slots, their runs, and the timetable that people read."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from celery import Celery
from celery.schedules import schedule
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
)
from django_celery_beat.schedulers import ModelEntry
from django_celery_beat.tzcrontab import TzAwareCrontab

from maintenance.conf import configuration
from maintenance.core.schedule_sync import sync_schedules
from maintenance.core.scheduler import LedgerScheduler, Slot, record_slot
from maintenance.core.slots import SlotCrontab, slot_due_at
from maintenance.core.timetable import next_due_at, timetable
from maintenance.models import Run, RunState, Trigger
from tests.local_containers import LocalRedis
from tests.testapp.celery import app

BERLIN = ZoneInfo("Europe/Berlin")


# --- When a slot is due ---


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ({"minute": "30", "hour": "3"}, "2026-11-23T02:00", "2026-11-23T03:30"),
        ({"minute": "30", "hour": "3"}, "2026-11-23T03:30", "2026-11-24T03:30"),
        ({"minute": "0", "hour": "4", "day_of_week": "1"}, "2026-11-24T00:00", "2026-11-30T04:00"),
        ({"minute": "0", "hour": "3", "day_of_month": "1"}, "2026-11-23T00:00", "2026-12-01T03:00"),
        (
            {"minute": "0", "hour": "3", "day_of_month": "2", "month_of_year": "1,4,7,10"},
            "2026-11-23T00:00",
            "2027-01-02T03:00",
        ),
    ],
)
def test_a_slot_is_due_at_the_first_time_after_the_last(
    cron: dict[str, str], after: str, due: str
) -> None:
    last = datetime.fromisoformat(after).replace(tzinfo=UTC)

    found = slot_due_at(TzAwareCrontab(**cron, tz=UTC), last)

    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_daily_slot_keeps_its_local_hour_over_the_change_to_winter_time() -> None:
    nightly = TzAwareCrontab(minute="30", hour="3", tz=BERLIN)
    before = datetime(2026, 10, 24, 3, 30, tzinfo=BERLIN)

    due = slot_due_at(nightly, before)

    assert due == datetime(2026, 10, 25, 3, 30, tzinfo=BERLIN)
    assert due.astimezone(UTC).hour == 2, "an hour later in UTC than the day before"


@pytest.mark.parametrize(
    ("now", "is_due", "wait_seconds"),
    [
        ("2026-10-25T00:30", True, 3600),  # 02:30, summer time
        ("2026-10-25T01:30", True, 3600),  # 02:30, winter time: an hour later all the same
        ("2026-10-25T00:29:30", False, 30),
    ],
)
def test_beat_goes_by_the_slots_in_the_hour_that_comes_twice(
    monkeypatch: pytest.MonkeyPatch, now: str, is_due: bool, wait_seconds: float
) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    hourly = SlotCrontab.of(CrontabSchedule(minute="30", timezone=BERLIN))
    monkeypatch.setattr(hourly, "nowfun", lambda: at.astimezone(BERLIN))
    last = at - timedelta(seconds=3600 if is_due else 3570)

    found = hourly.is_due(last.astimezone(BERLIN))

    assert (found.is_due, found.next) == (is_due, pytest.approx(wait_seconds))


def test_a_row_with_an_interval_is_due_one_interval_later() -> None:
    start = datetime(2026, 11, 23, 3, tzinfo=UTC)

    assert slot_due_at(schedule(timedelta(hours=2)), start) == start + timedelta(hours=2)


# --- Slots of rows ---


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


def slot_of(row: PeriodicTask) -> Slot:
    slot = Slot.of(ModelEntry(row, app=app))
    assert slot is not None
    return slot


@pytest.mark.django_db
def test_a_slot_is_what_its_row_says() -> None:
    slot = slot_of(row_of())

    assert slot.spec.short_name == "note_high"
    assert (slot.target, dict(slot.options)) == ("", {"number": 3})
    assert slot.origin.trigger == Trigger.BEAT
    assert slot.origin.checklist == "daily"
    assert slot.origin.schedule == "maintenance: daily note"
    assert slot.origin.scheduled_for == datetime(2026, 11, 23, 6, tzinfo=UTC)


@pytest.mark.django_db
def test_a_slot_has_the_same_id_in_every_process_and_another_for_every_due_time() -> None:
    row = row_of()
    first = slot_of(row).run_id

    assert slot_of(row).run_id == first
    row.last_run_at = datetime(2026, 11, 23, 6, 0, 1, tzinfo=UTC)
    assert slot_of(row).run_id != first


@pytest.mark.django_db
def test_a_task_of_somebody_else_is_no_slot_of_ours() -> None:
    assert Slot.of(ModelEntry(row_of("site.weed"), app=app)) is None


# --- Recording ---


@pytest.fixture
def broker(default_redis_broker: LocalRedis, celery_setup_app: Celery) -> redis.Redis:
    """The broker that this process sends to."""
    return redis.Redis.from_url(default_redis_broker.url)


@pytest.mark.django_db(transaction=True)
def test_a_slot_is_recorded_and_sent_once_by_two_beats(broker: redis.Redis) -> None:
    slot = slot_of(row_of())

    assert record_slot(slot)
    assert record_slot(slot)

    run = Run.objects.get()
    assert (run.id, run.state, run.trigger) == (slot.run_id, RunState.QUEUED, Trigger.BEAT)
    assert run.scheduled_for == datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert broker.llen("maintenance:high") == 1


@pytest.mark.django_db(transaction=True)
def test_a_slot_that_cannot_run_ends_as_failed_with_the_reason_and_once(
    broker: redis.Redis,
) -> None:
    slot = slot_of(row_of("maintenance.trim_streams", kwargs='{"target": "gone"}'))

    assert record_slot(slot)
    assert record_slot(slot)

    run = Run.objects.get()
    assert run.state == RunState.FAILED
    assert 'Unknown redis target "gone"' in run.reason
    assert broker.llen("maintenance:medium") == 0


@pytest.mark.django_db(transaction=True)
def test_a_due_row_is_sent_by_a_tick_of_beat_and_not_by_the_next(broker: redis.Redis) -> None:
    row = row_of()
    beat = LedgerScheduler(app=app, lazy=False)

    beat.tick()
    beat.tick()

    run = Run.objects.get(schedule=row.name)
    assert run.options == {"number": 3}
    assert broker.llen("maintenance:high") == 1
    row.refresh_from_db()
    assert row.total_run_count == 1
    assert row.last_run_at is not None
    assert timezone.now() - row.last_run_at < timedelta(minutes=1)
    beat.close()


@pytest.mark.django_db(transaction=True)
def test_a_row_whose_hour_is_far_away_is_known_to_beat_all_the_same(broker: redis.Redis) -> None:
    far = (timezone.now() + timedelta(hours=9)).hour
    hour = CrontabSchedule.objects.create(minute="0", hour=str(far), timezone="UTC")
    row = row_of(crontab=hour, last_run_at=timezone.now())

    assert row.name in LedgerScheduler(app=app, lazy=False).schedule


# --- The timetable ---


@pytest.mark.django_db
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


@pytest.mark.django_db
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


@pytest.mark.django_db
def test_a_slot_that_was_not_sent_is_overdue_since_its_due_time() -> None:
    row_of()
    now = datetime(2026, 11, 23, 7, tzinfo=UTC)

    (entry,) = timetable(now)

    assert entry.next_due_at == datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert entry.overdue_seconds(now) == 3600
    assert entry.overdue_seconds(now - timedelta(hours=2)) == 0


@pytest.mark.django_db
def test_a_row_that_was_never_sent_counts_from_its_last_edit() -> None:
    row = row_of(last_run_at=None)
    PeriodicTask.objects.filter(pk=row.pk).update(
        date_changed=datetime(2026, 11, 20, 12, tzinfo=UTC)
    )
    row.refresh_from_db()

    due = next_due_at(row, datetime(2026, 11, 23, tzinfo=UTC))

    assert due == datetime(2026, 11, 21, 6, tzinfo=UTC)


@pytest.mark.django_db
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


@pytest.mark.django_db
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
