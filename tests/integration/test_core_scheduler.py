"""Beat's scheduler: slots become rows and messages, once each, under policies and under one leader."""

import gc
import json
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

import psycopg2
import pytest
import redis
from celery import Celery
from django.db import ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
)

from maintenance.core.findings import Severity
from maintenance.core.reports import Report, ReportDocument
from maintenance.core.runs import claims, ledger, recorder
from maintenance.core.runs.end_reports import failure_report
from maintenance.core.runs.recording import complete_unrecorded
from maintenance.core.runs.registry import task_named
from maintenance.core.runs.report_rows import store_short_reports
from maintenance.core.runs.waiting_runs import release_waiting
from maintenance.core.scheduling import slot_rows
from maintenance.core.scheduling.leadership import Leadership, NotLeading, hold_leader
from maintenance.core.scheduling.pausing import resume
from maintenance.core.scheduling.schedule_book import Held
from maintenance.core.scheduling.scheduler import LedgerScheduler
from maintenance.core.scheduling.slot_rows import slot_id
from maintenance.models import (
    Alarm,
    Blackout,
    Leader,
    Notification,
    Run,
    RunState,
    SchedulePolicy,
    ScheduleVersion,
    StoredFinding,
    StoredReport,
    Trigger,
)
from maintenance.reports.log_store import LogStore
from tests.local_containers import LocalRedis

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "maintenance: note"
BeatFactory = Callable[[], LedgerScheduler]


@pytest.fixture
def broker(default_redis_broker: LocalRedis, celery_setup_app: Celery) -> redis.Redis:
    """The broker that this process sends to."""
    return redis.Redis.from_url(default_redis_broker.url)


@pytest.fixture
def new_beat(broker: redis.Redis, celery_setup_app: Celery) -> Iterator[BeatFactory]:
    """Make beats of this process; they give the lead away after the test."""
    made: list[LedgerScheduler] = []

    def make() -> LedgerScheduler:
        made.append(LedgerScheduler(app=celery_setup_app, lazy=False))
        return made[-1]

    yield make
    for beat in made:
        beat.close()
        assert beat._recorder.flush(60)


@pytest.fixture
def beat(new_beat: BeatFactory) -> LedgerScheduler:
    """A beat that leads, with no schedule yet."""
    beat = new_beat()
    beat.tick()
    return beat


def hours_ago(hours: float) -> datetime:
    return timezone.now() - timedelta(hours=hours)


def hourly(**timing: Any) -> CrontabSchedule:
    fields = {"minute": "0", "hour": "*", "timezone": "UTC"}
    return CrontabSchedule.objects.create(**{**fields, **timing})


def row_of(task: str = "maintenance.note_high", **changes: Any) -> PeriodicTask:
    """Write a row that another scheduler ran three hours ago: a slot has passed since."""
    fields: dict[str, Any] = {
        "name": NAME,
        "task": task,
        "kwargs": '{"target": "", "options": {"number": 3}}',
        "headers": '{"maintenance_checklist": "daily"}',
        "last_run_at": hours_ago(3),
    }
    if not {"interval", "clocked"} & changes.keys():
        fields["crontab"] = hourly()
    return PeriodicTask.objects.create(**{**fields, **changes})


def policy_of(row: PeriodicTask, **settings: Any) -> SchedulePolicy:
    return SchedulePolicy.objects.create(row=row, **settings)


def look(beat: LedgerScheduler) -> None:
    """Tick as when the time for a look has come."""
    beat._leadership._renewed_at = 0.0
    beat.tick()


def miss_slots(beat: LedgerScheduler, hours: int, name: str = NAME) -> None:
    """Let the leader find slots of so many hours that nobody has decided, as after an outage."""
    moment = hours_ago(hours)
    ScheduleVersion.objects.filter(schedule=name).update(since=moment)
    Run.objects.filter(schedule=name).delete()
    PeriodicTask.objects.filter(name=name).update(last_run_at=moment)
    beat._book = None
    beat.tick()


def states(name: str = NAME) -> list[str]:
    runs = Run.objects.filter(schedule=name).order_by("scheduled_for")
    return list(runs.values_list("state", flat=True))


# --- Slots and rows ---


def test_a_slot_has_a_row_and_a_message_once(new_beat: BeatFactory, broker: redis.Redis) -> None:
    row = row_of()
    beat = new_beat()

    beat.tick()
    look(beat)

    run = Run.objects.get(schedule=row.name)
    slot = timezone.now().replace(minute=0, second=0, microsecond=0)
    assert run.scheduled_for == slot, "of what was due before it was taken over, the latest slot"
    assert run.id == slot_id(row.name, "", slot)
    assert (run.state, run.trigger, run.checklist) == (RunState.QUEUED, Trigger.BEAT, "daily")
    assert (run.options, run.published_at is not None) == ({"number": 3}, True)
    assert broker.llen("maintenance:high") == 1
    message = json.loads(broker.lrange("maintenance:high", 0, 0)[0])
    assert message["headers"]["id"] == str(run.id)
    row.refresh_from_db()
    assert (row.total_run_count, row.last_run_at >= run.queued_at) == (1, True)


def test_nothing_is_sent_at_the_first_start_that_was_never_run(
    new_beat: BeatFactory, broker: redis.Redis
) -> None:
    row = row_of(last_run_at=None)
    PeriodicTask.objects.filter(pk=row.pk).update(date_changed=hours_ago(48))

    new_beat().tick()

    assert states() == []
    version = ScheduleVersion.objects.get(schedule=NAME)
    assert timezone.now() - version.since < timedelta(seconds=30)
    assert version.definition["crontab"] == "0 * * * *"


def test_a_row_written_while_nobody_led_is_due_from_then_on(
    new_beat: BeatFactory, beat: LedgerScheduler
) -> None:
    beat.close()
    row = row_of(last_run_at=None)
    PeriodicTask.objects.filter(pk=row.pk).update(date_changed=hours_ago(2))

    new_beat().tick()

    assert states() == [RunState.SKIPPED, RunState.QUEUED]


def test_a_slot_that_cannot_run_ends_as_failed_with_the_reason_and_once(
    new_beat: BeatFactory, broker: redis.Redis
) -> None:
    row_of("maintenance.trim_streams", kwargs='{"target": "gone"}')
    row_of("maintenance.was_renamed", name="maintenance: renamed")
    beat = new_beat()

    beat.tick()
    look(beat)

    run = Run.objects.get(schedule=NAME)
    assert run.state == RunState.FAILED
    assert 'Unknown redis target "gone"' in run.reason
    assert StoredFinding.objects.get(run=run).severity == Severity.CRITICAL
    assert (
        'Unknown task "maintenance.was_renamed"'
        in Run.objects.get(schedule="maintenance: renamed").reason
    )
    assert broker.llen("maintenance:medium") == 0


def told(settings: Any, **more: Any) -> None:
    """Let somebody be told of alarms."""
    chosen = {"recipients": ["ops@example.org"], **more}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "notifications": chosen}


def test_a_slot_that_cannot_run_is_an_alarm_once(new_beat: BeatFactory, settings: Any) -> None:
    told(settings)
    row = row_of("maintenance.trim_streams", kwargs='{"target": "gone"}', last_run_at=None)
    policy_of(row, misfire="each")
    beat = new_beat()
    beat.tick()
    miss_slots(beat, hours=3)
    newest = Run.objects.latest("scheduled_for")
    assert states() == [RunState.FAILED] * 3

    alarm = Alarm.objects.get()
    assert (alarm.task, alarm.target, alarm.code) == (row.task, "gone", "run-failed")
    assert alarm.run_id == newest.id
    assert StoredFinding.objects.get(run=newest).since is not None
    assert [each.title for each in alarm.notifications.all()] == ["Critical: run-failed on gone"]

    miss_slots(beat, hours=1)
    assert Notification.objects.count() == 1, "it is open"


def test_slots_that_end_without_findings_cost_no_query_for_alarms(
    beat: LedgerScheduler, settings: Any
) -> None:
    told(settings)
    row = row_of(last_run_at=None)
    policy_of(row, paused_at=timezone.now(), paused_by="eva", pause_reason="full")
    look(beat)
    with CaptureQueriesContext(connection) as queries:
        miss_slots(beat, hours=2)

    assert states() == [RunState.SKIPPED] * 2
    assert not [each for each in queries.captured_queries if "maintenance_alarm" in each["sql"]]


def test_a_row_whose_hour_is_far_away_is_listed_all_the_same(beat: LedgerScheduler) -> None:
    far = hours_ago(-9).hour
    row_of(crontab=hourly(hour=str(far)))

    assert NAME in beat.schedule


def test_an_interval_is_due_from_where_it_was_counted(new_beat: BeatFactory) -> None:
    ten_minutes = IntervalSchedule.objects.create(every=10, period="minutes")
    row = row_of(interval=ten_minutes, last_run_at=timezone.now() - timedelta(minutes=25))

    new_beat().tick()

    run = Run.objects.get()
    assert run.scheduled_for == row.last_run_at + timedelta(minutes=20)


def test_what_is_due_once_is_switched_off_by_its_run(beat: LedgerScheduler) -> None:
    past = ClockedSchedule.objects.create(clocked_time=hours_ago(1))
    row_of(clocked=past, one_off=True, last_run_at=None)

    look(beat)
    look(beat)

    row = PeriodicTask.objects.get(name=NAME)
    assert (states(), row.enabled, row.total_run_count) == ([RunState.QUEUED], False, 0)
    assert ScheduleVersion.objects.filter(schedule=NAME).latest("since").definition == {}


def test_an_entry_of_the_settings_is_a_row_and_stays_untouched(
    new_beat: BeatFactory, celery_setup_app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"task": "maintenance.note_low", "schedule": 3600.0, "options": {"priority": 3}}
    monkeypatch.setitem(celery_setup_app.conf, "beat_schedule", {"from settings": entry})

    first = new_beat()
    first.tick()
    changed_at = PeriodicTask.objects.get(name="from settings").date_changed
    first.close()
    new_beat().tick()

    row = PeriodicTask.objects.get(name="from settings")
    assert (row.task, row.interval.every, row.priority) == ("maintenance.note_low", 3600, 3)
    assert row.date_changed == changed_at


# --- Edits ---


def test_an_edit_counts_at_the_next_look_and_fires_nothing_of_the_past(
    new_beat: BeatFactory,
) -> None:
    later = hours_ago(-3).hour
    row = row_of(crontab=hourly(hour=str(later)), last_run_at=None)
    beat = new_beat()
    beat.tick()
    row.crontab = hourly(hour=str(hours_ago(1).hour), minute="1")
    row.save()

    look(beat)

    assert states() == []
    first, second = ScheduleVersion.objects.filter(schedule=NAME).order_by("since")
    assert first.definition["crontab"] == f"0 {later} * * *"
    row.refresh_from_db()
    assert second.since == row.date_changed


def test_an_edit_past_the_model_and_a_deletion_are_seen(beat: LedgerScheduler) -> None:
    row_of(last_run_at=None)
    look(beat)

    PeriodicTask.objects.filter(name=NAME).update(crontab=hourly(minute="30"))
    PeriodicTasks.update_changed()
    look(beat)
    edited = ScheduleVersion.objects.filter(schedule=NAME).latest("since")
    PeriodicTask.objects.get(name=NAME).delete()
    look(beat)
    deleted = ScheduleVersion.objects.filter(schedule=NAME).latest("since")

    assert edited.definition["crontab"] == "30 * * * *"
    assert deleted.definition == {}
    assert deleted.since > edited.since


def test_only_what_was_changed_is_read_again(
    beat: LedgerScheduler, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        row_of(name=f"maintenance: {number}", last_run_at=None)
    look(beat)
    assert beat._book is not None
    before = dict(beat._book.held)

    row = PeriodicTask.objects.get(name="maintenance: 7")
    row.kwargs = '{"target": "", "options": {"number": 4}}'
    row.save()
    look(beat)

    read = {name for name, held in beat._book.held.items() if held.row is not None}
    assert len(read) >= 20
    assert all(beat._book.held[name] is held for name, held in before.items())
    changed = beat._book.held["maintenance: 7"].row
    assert changed is not None
    assert "4" in changed.kwargs
    assert ScheduleVersion.objects.filter(schedule="maintenance: 7").count() == 1


def test_slots_before_an_edit_are_decided_as_the_schedule_was(
    new_beat: BeatFactory, beat: LedgerScheduler
) -> None:
    row_of(last_run_at=None)
    look(beat)
    beat.close()
    moment, edited_at = hours_ago(4), hours_ago(2)
    ScheduleVersion.objects.filter(schedule=NAME).update(since=moment)
    PeriodicTask.objects.filter(name=NAME).update(
        crontab=hourly(minute="30"), date_changed=edited_at
    )

    new_beat().tick()

    minutes = [run.scheduled_for.minute for run in Run.objects.order_by("scheduled_for")]
    assert sorted(minutes) == minutes, "on the hour until the edit, half past since then"
    assert {0, 30} == set(minutes)
    assert ScheduleVersion.objects.filter(schedule=NAME).latest("since").since == edited_at


def test_a_row_that_was_deleted_while_nobody_led_has_only_the_slots_that_it_missed(
    new_beat: BeatFactory, beat: LedgerScheduler
) -> None:
    row = row_of(last_run_at=None)
    look(beat)
    miss_slots(beat, hours=2)
    beat.close()
    ScheduleVersion.objects.filter(schedule=NAME).update(since=hours_ago(100))
    row.delete()

    new_beat().tick()

    assert len(states()) == 2
    assert ScheduleVersion.objects.filter(schedule=NAME).latest("since").definition == {}


def test_a_row_that_was_written_anew_under_the_same_name_moves_its_own_cursor(
    beat: LedgerScheduler,
) -> None:
    row_of(last_run_at=None).delete()
    row_of(last_run_at=None)
    look(beat)
    PeriodicTask.objects.get(name=NAME).delete()
    row = row_of(last_run_at=None)
    look(beat)
    assert beat._book is not None

    assert beat._book.held[NAME].row_id == row.pk


def test_a_row_that_was_switched_off_and_on_again_misses_nothing_in_between(
    beat: LedgerScheduler,
) -> None:
    row = row_of(last_run_at=None)
    look(beat)
    row.enabled = False
    row.save()
    look(beat)
    row.enabled = True
    row.save()
    look(beat)

    definitions = ScheduleVersion.objects.filter(schedule=NAME).order_by("since")
    assert [bool(version.definition) for version in definitions] == [True, False, True]
    assert states() == []


def test_a_row_that_cannot_be_read_stops_no_other(beat: LedgerScheduler) -> None:
    broken = row_of(name="maintenance: broken", last_run_at=None)
    policy = policy_of(broken, days="last friday")
    look(beat)
    SchedulePolicy.objects.filter(pk=policy.pk).update(misfire="?", changed_at=timezone.now())
    row_of()

    look(beat)

    assert states() == [RunState.QUEUED]


def in_unknown_zone(row: PeriodicTask) -> None:
    """Give a row a time zone past the model, as a ledger of another machine may have it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus' WHERE id = %s",
            [row.crontab_id],
        )


def test_a_version_in_an_unknown_time_zone_stops_no_other_schedule(
    new_beat: BeatFactory, beat: LedgerScheduler
) -> None:
    odd = row_of(name="odd")
    row_of(name="well")
    look(beat)
    version = ScheduleVersion.objects.get(schedule="odd")
    version.definition["timezone"] = "Mars/Olympus"
    version.save()
    in_unknown_zone(odd)
    beat.close()

    other = new_beat()
    other.tick()
    miss_slots(other, 1, "well")

    assert other._book is not None
    assert "Mars/Olympus" in other._book.held["odd"].fault
    assert RunState.QUEUED in states("well")
    assert ScheduleVersion.objects.get(schedule="odd").definition, "it is not taken for gone"


def test_a_row_in_an_unknown_time_zone_stops_no_other_and_comes_back(
    new_beat: BeatFactory, beat: LedgerScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    odd = row_of(name="odd", last_run_at=None)
    look(beat)
    beat.close()
    in_unknown_zone(odd)
    row_of(name="well")

    other = new_beat()
    other.tick()

    assert states("well") == [RunState.QUEUED]
    assert "The schedule odd cannot be read and stays as it was" in caplog.text
    assert ScheduleVersion.objects.filter(schedule="odd").count() == 1

    CrontabSchedule.objects.filter(pk=odd.crontab_id).update(timezone="Asia/Tokyo")
    PeriodicTasks.update_changed()
    look(other)
    newest = ScheduleVersion.objects.filter(schedule="odd").latest("since")
    assert newest.definition["timezone"] == "Asia/Tokyo"


# --- Policies ---


@pytest.mark.parametrize(
    "kwargs",
    [
        '{"target": "local", "options": null}',
        '{"target": "local", "options": ["a"]}',
        '{"target": "local", "options": "dry_run"}',
        '{"target": "local", "options": {"number": NaN}}',
        '{"target": "local", "options": {"note": "\\u0000"}}',
        '{"target": "lo\\u0000cal"}',
        json.dumps({"target": "x" * 101}),
        '{"target": 7}',
    ],
)
def test_arguments_that_are_of_no_run_fail_that_run_alone(
    beat: LedgerScheduler, kwargs: str
) -> None:
    row_of(name="odd", kwargs=kwargs)
    row_of(name="well", headers='{"maintenance_checklist": "far too long for what it is"}')
    look(beat)

    for name in ("odd", "well"):
        miss_slots(beat, 1, name)

    assert RunState.QUEUED in states("well")
    assert RunState.FAILED in states("odd")
    failed = Run.objects.filter(schedule="odd", state=RunState.FAILED).latest("scheduled_for")
    assert 'The arguments of "odd" are of no run' in failed.reason
    assert failed.options == {}


def test_a_schedule_whose_rows_cannot_be_written_is_left_out_until_it_is_changed(
    beat: LedgerScheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = row_of(name="odd")
    row_of(name="well")
    look(beat)
    decide = slot_rows.origin_of

    def fails(held: Held) -> slot_rows.Origin:
        if held.name == "odd" and held.row is not None and not held.row.description:
            raise RuntimeError("nobody thought of that")
        return decide(held)

    monkeypatch.setattr(slot_rows, "origin_of", fails)
    for name in ("odd", "well"):
        miss_slots(beat, 1, name)

    assert states("odd") == []
    assert RunState.QUEUED in states("well")
    assert "odd cannot be written, and it is left out for now" in caplog.text
    assert caplog.text.count("is left out") == 2  # once each time that all schedules were read
    look(beat)
    assert caplog.text.count("is left out") == 2

    beat._looked_thoroughly_at = 0.0
    look(beat)
    assert caplog.text.count("is left out") == 3
    row.refresh_from_db()
    row.description = "mended"
    row.save()
    look(beat)
    assert RunState.QUEUED in states("odd")


def test_what_no_row_is_the_cause_of_leaves_none_out(
    beat: LedgerScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_of(name="well")
    look(beat)
    write = slot_rows.store_short_reports

    def lacks_a_right(*_arguments: Any) -> None:
        raise ProgrammingError("permission denied for table maintenance_run")

    monkeypatch.setattr(slot_rows, "store_short_reports", lacks_a_right)
    miss_slots(beat, 1, "well")
    assert states("well") == []
    monkeypatch.setattr(slot_rows, "store_short_reports", write)
    beat.tick()
    assert RunState.QUEUED in states("well")


def test_alarms_whose_rows_somebody_holds_hold_up_no_slot(
    beat: LedgerScheduler, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told(settings)
    row_of("maintenance.trim_streams", name="odd", kwargs='{"target": "gone"}')
    look(beat)
    Alarm.objects.all().delete()
    with closing(psycopg2.connect(**connection.get_connection_params())) as other:
        other.cursor().execute("LOCK TABLE maintenance_alarm IN EXCLUSIVE MODE")
        miss_slots(beat, 1, "odd")
        assert states("odd") == [RunState.FAILED]
        assert "Alarms of odd are left to its next slot" in caplog.text
    assert not Alarm.objects.exists()

    miss_slots(beat, 1, "odd")

    assert Alarm.objects.get().code == "run-failed"


def failing(beat: LedgerScheduler, count: int) -> None:
    """Let slots of so many schedules be due whose targets are not configured any more."""
    crontab = hourly()
    for number in range(count):
        row_of(
            "maintenance.trim_streams", name=f"odd {number}", crontab=crontab,
            kwargs=json.dumps({"target": f"gone{number}"}), last_run_at=None,
        )  # fmt: skip
    look(beat)
    fail_again(beat)


def fail_again(beat: LedgerScheduler) -> None:
    moment = hours_ago(1)
    ScheduleVersion.objects.update(since=moment)
    Run.objects.all().delete()
    PeriodicTask.objects.update(last_run_at=moment)
    beat._book = None


def lock_timeouts(queries: CaptureQueriesContext) -> int:
    return sum("'lock_timeout', '0.2s'" in each["sql"] for each in queries.captured_queries)


def test_slots_that_fail_together_cost_no_queries_each(
    beat: LedgerScheduler, settings: Any
) -> None:
    told(settings)
    failing(beat, 60)
    counts = []
    for _hour in range(2):
        with CaptureQueriesContext(connection) as queries:
            beat.tick()
        counts.append(len(queries))
        assert Run.objects.filter(state=RunState.FAILED).count() == 60
        fail_again(beat)

    assert max(counts) < 100
    assert Alarm.objects.filter(code="run-failed", resolved_at=None).count() == 60
    assert Notification.objects.count() == 60


def test_alarms_that_somebody_holds_cost_a_bounded_number_of_waits(
    beat: LedgerScheduler, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told(settings)
    failing(beat, 14)
    with closing(psycopg2.connect(**connection.get_connection_params())) as other:
        other.cursor().execute("LOCK TABLE maintenance_alarm IN EXCLUSIVE MODE")
        with CaptureQueriesContext(connection) as queries:
            beat.tick()

    assert Run.objects.filter(state=RunState.FAILED).count() == 14
    assert caplog.text.count("are left to its next slot") == 14
    assert 0 < lock_timeouts(queries) <= 11
    assert not Alarm.objects.exists()


def test_one_alarm_that_somebody_holds_keeps_no_other_from_being_raised(
    beat: LedgerScheduler, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told(settings)
    failing(beat, 8)
    beat.tick()
    held = Alarm.objects.get(target="gone5")
    Alarm.objects.all().delete()
    fail_again(beat)
    with closing(psycopg2.connect(**connection.get_connection_params())) as other:
        other.cursor().execute(
            "INSERT INTO maintenance_alarm (task, target, code, subject, fingerprint, severity,"
            " sentence, advice, raised_at, resolution)"
            " VALUES (%s, %s, '', '', %s, 'critical', '', '', now(), '')",
            [held.task, held.target, held.fingerprint],
        )
        beat.tick()

    assert "Alarms of odd 5 are left to its next slot" in caplog.text
    assert set(Alarm.objects.values_list("target", flat=True)) == {
        f"gone{number}" for number in range(8) if number != 5
    }


def test_an_alarm_is_waited_for_briefly_and_the_rows_of_schedules_as_ever(settings: Any) -> None:
    told(settings)
    [before] = lock_timeout_of_the_session()
    with transaction.atomic():
        run = Run.objects.create(
            task="maintenance.trim_streams", queue="high", state=RunState.FAILED,
            trigger=Trigger.BEAT, queued_at=hours_ago(1),
        )  # fmt: skip
        store_short_reports([(run, failure_report(run, "why"))], timezone.now())
        assert lock_timeout_of_the_session() == [before]
    assert Alarm.objects.get().run_id == run.id


def lock_timeout_of_the_session() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return list(cursor.fetchone())


def test_rows_that_somebody_holds_are_no_ledger_that_is_away(
    beat: LedgerScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    row = row_of()
    look(beat)
    fail_again(beat)
    with closing(psycopg2.connect(**connection.get_connection_params())) as other:
        other.cursor().execute(
            "SELECT 1 FROM django_celery_beat_periodictask WHERE id = %s FOR UPDATE", [row.pk]
        )
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10ms'")
            beat.tick()
            assert lock_timeout_of_the_session() == ["10ms"], "its session is kept"
            cursor.execute("RESET lock_timeout")

    assert "Rows of schedules are locked, tried again soon" in caplog.text
    assert "away" not in caplog.text
    assert states() == []
    beat.tick()
    assert states() == [RunState.QUEUED]


def test_a_week_without_beat_leaves_one_run_and_rows_that_say_so(beat: LedgerScheduler) -> None:
    row_of(last_run_at=None)
    look(beat)

    miss_slots(beat, hours=168)

    assert len(states()) == 168
    assert states()[:-1] == [RunState.SKIPPED] * 167
    run = Run.objects.get(state=RunState.QUEUED)
    assert run.stands_for == 168
    skipped = Run.objects.filter(state=RunState.SKIPPED).first()
    assert skipped is not None
    assert "stands for it" in skipped.reason
    assert StoredReport.objects.get(run=skipped).body["summary"] == f"Skipped: {skipped.reason}"


def test_more_slots_than_are_decided_at_once_end_in_one_run(beat: LedgerScheduler) -> None:
    row_of(crontab=hourly(minute="*"), last_run_at=None)
    look(beat)

    miss_slots(beat, hours=8)
    while Run.objects.count() < 480:
        beat.tick()
    beat.tick()

    run = Run.objects.exclude(state=RunState.SKIPPED).get()
    assert run.stands_for == Run.objects.count()
    assert run == Run.objects.latest("scheduled_for")


def test_slots_of_which_all_later_ones_lie_in_a_blackout_end_in_a_run_of_their_own(
    beat: LedgerScheduler,
) -> None:
    now = timezone.now()
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = set(range(24)) - {now.hour, (now.hour + 1) % 24}
    row_of(crontab=hourly(minute="*", hour=",".join(map(str, hours))), last_run_at=None)
    look(beat)
    closed = this_hour - timedelta(hours=5)
    Blackout.objects.create(reason="release day", starts_at=closed, ends_at=this_hour)

    miss_slots(beat, hours=8)
    assert beat._book is not None
    while (slot := beat._book.held[NAME].next_slot) is not None and slot < now:
        beat.tick()

    run = Run.objects.exclude(state=RunState.SKIPPED).get()
    open_slots = Run.objects.filter(scheduled_for__lt=closed)
    assert run == open_slots.latest("scheduled_for")
    assert run.stands_for == open_slots.count()
    assert Run.objects.count() > 400


def test_a_slot_is_skipped_while_the_run_before_lasts(beat: LedgerScheduler) -> None:
    row_of(crontab=hourly(minute="*"), last_run_at=None)
    look(beat)
    miss_slots(beat, hours=0)
    ledger_row = Run.objects.create(
        task="maintenance.note_high",
        schedule=NAME,
        scheduled_for=hours_ago(1),
        trigger=Trigger.BEAT,
        queue="high",
        queued_at=hours_ago(1),
    )

    PeriodicTask.objects.filter(name=NAME).update(last_run_at=hours_ago(1 / 60))
    ScheduleVersion.objects.filter(schedule=NAME).update(since=hours_ago(2 / 60))
    beat._book = None
    beat.tick()

    skipped = Run.objects.filter(schedule=NAME).latest("scheduled_for")
    assert skipped.state == RunState.SKIPPED
    assert f"its run before ({ledger_row.id}) has been waiting to start" in skipped.reason


def test_one_run_is_queued_behind_another_and_sent_when_that_has_ended(
    beat: LedgerScheduler, broker: redis.Redis
) -> None:
    row = row_of(last_run_at=None)
    policy_of(row, misfire="each")
    look(beat)
    miss_slots(beat, hours=3)
    first, second, third = Run.objects.order_by("scheduled_for")
    assert (first.reason, second.is_postponed, third.is_postponed) == ("", True, True)
    assert broker.llen("maintenance:high") == 1

    look(beat)
    assert broker.llen("maintenance:high") == 1, "the first one has not ended"
    claimed = claims.claim(first.id, task_named("note_high"), "", {"number": 3}, "w")
    ledger.finish(claimed, RunState.SUCCEEDED, Report("t", "done"))
    look(beat)

    second.refresh_from_db()
    third.refresh_from_db()
    assert (second.reason, second.published_at is not None) == ("", True)
    assert third.is_postponed
    assert broker.llen("maintenance:high") == 2


def slots_in_a_row(count: int, since: datetime, **fields: Any) -> None:
    """Write the rows of so many minutes."""
    first = Run.objects.create(
        task="maintenance.note_low", queue="low", schedule="minutely", trigger=Trigger.BEAT,
        scheduled_for=since, queued_at=since, **fields,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO maintenance_run SELECT (jsonb_populate_record(run, jsonb_build_object("
            " 'id', gen_random_uuid(), 'scheduled_for', scheduled_for + n * interval '1 minute'))).*"
            " FROM maintenance_run AS run, generate_series(1, %s) AS n WHERE id = %s",
            [count - 1, first.id],
        )


def rows_read() -> int:
    """Return how many rows of runs this transaction has read so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relname = 'maintenance_run'"
        )
        [count] = cursor.fetchone()
    return int(count)


def test_the_history_is_not_read_for_each_run_that_waits(broker: redis.Redis) -> None:
    slots_in_a_row(40_000, hours_ago(2000), state=RunState.SUCCEEDED, finished_at=hours_ago(1))
    slots_in_a_row(1, hours_ago(72), state=RunState.RUNNING)
    slots_in_a_row(2_500, hours_ago(70), state=RunState.QUEUED, reason="waits for the slot before")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE maintenance_run")

    with transaction.atomic():
        before = rows_read()
        assert release_waiting(timezone.now()) == []
        assert rows_read() - before < 5 * 42_501
        Run.objects.filter(state=RunState.RUNNING).update(state=RunState.SUCCEEDED)
        [freed] = release_waiting(timezone.now())

    assert freed == Run.objects.filter(state=RunState.QUEUED).earliest("scheduled_for")
    held = Run.objects.filter(state=RunState.QUEUED, available_at__gt=timezone.now())
    assert held.count() == 2_499


def test_a_paused_schedule_skips_its_slots_and_goes_on_with_the_next(
    beat: LedgerScheduler,
) -> None:
    row = row_of(last_run_at=None)
    policy_of(row, paused_at=timezone.now(), paused_by="eva", pause_reason="the disk is full")
    look(beat)

    miss_slots(beat, hours=2)

    assert states() == [RunState.SKIPPED] * 2
    assert {run.reason for run in Run.objects.all()} == {"paused by eva: the disk is full"}


def test_a_blackout_skips_what_lies_in_it(beat: LedgerScheduler) -> None:
    row_of(last_run_at=None)
    look(beat)
    Blackout.objects.create(reason="release day", starts_at=hours_ago(9), ends_at=hours_ago(-1))

    miss_slots(beat, hours=2)

    assert states() == [RunState.SKIPPED] * 2
    assert all("release day" in run.reason for run in Run.objects.all())


def test_a_schedule_whose_runs_fail_is_paused_with_an_alarm_and_gets_its_chances_again(
    beat: LedgerScheduler, settings: Any
) -> None:
    told(settings, alarm_severity="warning")
    row = row_of(last_run_at=None)
    policy_of(row, pause_after_failures=2)
    SchedulePolicy.objects.update(changed_at=hours_ago(100))
    look(beat)
    miss_slots(beat, hours=1)
    Run.objects.all().delete()
    for hours in (30, 20):
        Run.objects.create(
            task=row.task, schedule=NAME, scheduled_for=hours_ago(hours), trigger=Trigger.BEAT,
            queue="high", queued_at=hours_ago(hours), finished_at=hours_ago(hours),
            state=RunState.FAILED,
        )  # fmt: skip
    PeriodicTask.objects.filter(name=NAME).update(last_run_at=hours_ago(1))
    beat._book = None

    beat.tick()

    run = Run.objects.latest("scheduled_for")
    assert run.reason == "paused by the scheduler: 2 runs in a row failed"
    finding = StoredFinding.objects.get(run=run)
    assert (finding.code, finding.severity) == ("schedule-paused", Severity.WARNING)
    assert Alarm.objects.get(resolved_at=None).code == "schedule-paused"
    look(beat)
    assert ScheduleVersion.objects.filter(schedule=NAME).latest("since").definition["policy"]
    row.refresh_from_db()
    assert resume(row)
    look(beat)
    policy = ScheduleVersion.objects.filter(schedule=NAME).latest("since").definition["policy"]
    assert policy == {"pause_after_failures": 2}


def test_jitter_delays_the_message_and_a_deadline_ends_what_nobody_took(
    beat: LedgerScheduler, broker: redis.Redis
) -> None:
    row = row_of(crontab=hourly(minute="*"), last_run_at=None)
    policy_of(row, jitter_seconds=86_400, deadline_seconds=3600, priority=3)
    look(beat)

    miss_slots(beat, hours=0)
    ScheduleVersion.objects.filter(schedule=NAME).update(since=hours_ago(1 / 60))
    PeriodicTask.objects.filter(name=NAME).update(last_run_at=hours_ago(1 / 60))
    beat._book = None
    beat.tick()

    run = Run.objects.get(schedule=NAME)
    assert run.available_at is not None
    assert run.available_at > timezone.now()
    assert run.deadline_at == run.scheduled_for + timedelta(hours=1)
    assert (run.published_at, run.priority) == (None, 3)
    Run.objects.update(available_at=hours_ago(1))
    beat._later = [(hours_ago(1), str(run.id))]
    beat.tick()
    assert broker.llen("maintenance:high\x06\x163") == 1

    Run.objects.update(deadline_at=hours_ago(1))
    look(beat)

    run.refresh_from_db()
    assert run.state == RunState.SKIPPED
    assert "no worker took it" in run.reason


# --- The log store ---


def test_a_log_store_that_hangs_holds_up_neither_due_runs_nor_the_next_look(
    beat: LedgerScheduler, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_of(name="well")
    row_of("maintenance.trim_streams", name="odd", kwargs='{"target": "gone"}')
    look(beat)
    assert beat._recorder.flush(60)
    may_write, written = Event(), []
    save = LogStore.save

    def hangs(*arguments: Any) -> Any:
        may_write.wait(30)
        written.append(arguments)
        return save(*arguments)

    monkeypatch.setattr(LogStore, "save", hangs)
    Run.objects.all().delete()
    gone = Run.objects.create(
        task="maintenance.of_before", schedule="of before", scheduled_for=hours_ago(3),
        trigger=Trigger.BEAT, queue="high", queued_at=hours_ago(2),
    )  # fmt: skip
    moment = hours_ago(1)
    ScheduleVersion.objects.update(since=moment)
    PeriodicTask.objects.update(last_run_at=moment)
    broker.flushall()
    beat._book, beat._mended_at = None, 0.0

    beat.tick()

    assert states("odd") == [RunState.FAILED]
    gone.refresh_from_db()
    assert gone.state == RunState.FAILED
    assert broker.llen("maintenance:high") == 1
    assert not written
    may_write.set()
    assert beat._recorder.flush(60)
    assert len(written) == 2
    assert [len(stored.files) for stored in StoredReport.objects.filter(run__state="failed")] == [
        3,
        3,
    ]


def test_ends_of_runs_that_are_too_many_or_late_for_a_log_store_are_left_to_a_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(recorder, "MOST_WAITING", 1)
    may_write, is_writing = Event(), Event()

    def hangs(*_arguments: Any) -> None:
        is_writing.set()
        may_write.wait(30)

    monkeypatch.setattr(LogStore, "save", hangs)
    ended = [ended_run() for _number in range(4)]
    full = recorder.Recorder()
    full.record(*ended[0])
    assert is_writing.wait(30)
    full.record(*ended[1])
    full.record(*ended[2])

    assert not full.flush(0)
    monkeypatch.setattr(recorder, "MOST_SECONDS", 0.0)
    may_write.set()
    assert full.flush(60)
    full.record(*ended[3])
    assert full.flush(60)
    assert caplog.text.count("run finished") == 2
    for number, why in ((2, "too many wait"), (3, "it is late")):
        run, _document = ended[number]
        assert f"What is kept of run {run.id} is left to a worker: {why}" in caplog.text
    StoredReport.objects.filter(record_due_at__isnull=False).update(record_due_at=hours_ago(1))
    assert complete_unrecorded() == 2
    assert caplog.text.count("run finished") == 4


def ended_run() -> tuple[Run, ReportDocument]:
    run = Run.objects.create(
        task="maintenance.note_high", queue="high", trigger=Trigger.BEAT, queued_at=hours_ago(1)
    )
    return run, ledger.finish(run, RunState.FAILED, failure_report(run, "why"), "why")


# --- Leading ---


def test_one_beat_of_two_leads_and_the_other_follows_at_once_when_it_ends(
    new_beat: BeatFactory, broker: redis.Redis
) -> None:
    row_of()
    first, second = new_beat(), new_beat()

    first.tick()
    second.tick()
    first.close()
    second.tick()

    assert broker.llen("maintenance:high") == 1
    assert Leader.objects.get().token == 2
    assert second._leadership.is_held
    assert not first._leadership.is_held


def test_a_leader_that_was_replaced_writes_and_sends_nothing(
    new_beat: BeatFactory, beat: LedgerScheduler, broker: redis.Redis
) -> None:
    row_of(last_run_at=None)
    look(beat)
    Leader.objects.update(expires_at=hours_ago(1))
    other = new_beat()
    other.tick()
    miss_slots(beat, hours=2)
    assert states() == [], "the first one found its token gone"

    other._book = None
    other.tick()

    assert states() == [RunState.SKIPPED, RunState.QUEUED]
    assert broker.llen("maintenance:high") == 1
    assert Leader.objects.get().token == 2


def test_what_was_skipped_has_its_line_though_the_lead_is_lost_before_the_rest_is_sent(
    beat: LedgerScheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lead_is_lost(_runs: object) -> None:
        raise NotLeading("another one leads")

    row_of(last_run_at=None)
    look(beat)
    monkeypatch.setattr(beat, "_send", lead_is_lost)
    caplog.set_level(logging.INFO)
    miss_slots(beat, hours=2)

    assert states() == [RunState.SKIPPED, RunState.QUEUED]
    assert sum(each.getMessage() == "run finished" for each in caplog.records) == 1


def test_a_leader_whose_lease_is_old_sends_nothing_until_it_has_renewed_it(
    beat: LedgerScheduler,
) -> None:
    assert beat._leadership.may_send()
    beat._leadership._renewed_at -= 8

    assert not beat._leadership.may_send()
    beat._leadership.renew()
    assert beat._leadership.may_send()


def test_no_leader_writes_while_many_rows_are_written(beat: LedgerScheduler) -> None:
    Leader.objects.update(expires_at=hours_ago(1))
    took: list[bool] = []

    def take() -> None:
        other = Leadership("other")
        took.append(other.take())
        connection.close()

    for hold in (hold_leader, lambda: None):
        with transaction.atomic():
            hold()
            thread = Thread(target=take)
            thread.start()
            thread.join()

    assert took == [False, True]


def test_every_tick_shows_that_it_lives(beat: LedgerScheduler) -> None:
    Leader.objects.update(ticked_at=hours_ago(1))

    look(beat)

    ticked_at = Leader.objects.get().ticked_at
    assert ticked_at is not None
    assert timezone.now() - ticked_at < timedelta(seconds=10)


def test_what_lies_in_cycles_is_let_go_as_often_as_runs_are_mended(beat: LedgerScheduler) -> None:
    class Held:
        itself: Any = None

    held = Held()
    held.itself, seen = held, weakref.ref(held)
    del held
    gc.disable()
    try:
        beat._mended_at = 0.0
        beat.tick()
        assert seen() is None
    finally:
        gc.enable()


def test_what_a_broker_did_not_take_is_sent_later(
    new_beat: BeatFactory, default_redis_broker: LocalRedis
) -> None:
    row_of()
    default_redis_broker._container.kill("SIGSTOP")
    default_redis_broker._container.kill("SIGKILL")
    beat = new_beat()

    beat.tick()

    run = Run.objects.get()
    assert (run.state, run.published_at) == (RunState.QUEUED, None)
    default_redis_broker._container.start()
    Run.objects.update(queued_at=hours_ago(1))
    beat._mended_at = beat._broker_away_until = 0.0
    beat.tick()
    run.refresh_from_db()
    assert run.published_at is not None
    broker = redis.Redis.from_url(default_redis_broker.url)
    assert broker.llen("maintenance:high") == 1
