"""From the first release to the newest with work in flight: rows, edited schedules, messages that wait."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery
from django.apps.registry import Apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DataError, IntegrityError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from maintenance.models import Blackout, Run, RunState, SchedulePolicy, StoredReport, SyncedSchedule
from tests.acceptance.test_hostile_messages import message, send
from tests.celery_nodes import WorkerFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = ("maintenance", "0001_initial")

#: As the first release wrote one: later ones have plots and bars beside it.
REPORT = {
    "title": "Activity",
    "summary": "One session waits for a lock.",
    "severity": "warning",
    "findings": [
        {
            "code": "lock-wait",
            "severity": "warning",
            "subject": "4711",
            "sentence": "Session 4711 waits for a lock since noon.",
            "evidence": {"wait_seconds": 90.0},
            "advice": "Look who holds it.",
            "commands": ["SELECT pg_cancel_backend(4711);"],
            "undo": [],
            "runbook": "",
            "measured": True,
        }
    ],
    "outcomes": [
        {
            "kind": "vacuum",
            "subject": "public.book",
            "statement": 'VACUUM "public"."book"',
            "reason": "30 % dead",
            "predicted": {"dead_rows": 0},
            "undo": "",
            "verdict": "worked",
            "sentence": "Dead rows were removed.",
            "before": {"dead_rows": 900},
            "after": {"dead_rows": 0},
            "duration_seconds": 2.5,
        }
    ],
    "tables": [{"title": "Sessions", "columns": ["pid", "wait_seconds"], "rows": [[4711, 90.0]]}],
    "facts": {"sessions": 3},
    "samples": [{"metric": "sessions", "value": 3.0, "subject": ""}],
}

DAILY = "maintenance: daily "
EDITED, DISABLED, OPTIONS, MOVED, DELETED, UNTOUCHED = (
    f"{DAILY}review_slow_queries on default",
    f"{DAILY}check_redis_memory on main",
    "maintenance: monthly vacuum_analyze on default",
    "maintenance: weekly report_table_bloat on default",
    f"{DAILY}warm_caches",
    f"{DAILY}check_queue_depths",
)
#: What the first release wrote of each: task, cron, target, queue, the guide's line.
THEN = {
    EDITED: ("review_slow_queries", "0 6 * * *", "default", "low", "Monitor slow query log"),
    DISABLED: ("check_redis_memory", "15 6 * * *", "main", "high", "High Redis Memory"),
    OPTIONS: ("vacuum_analyze", "0 3 1 * *", "default", "medium", "VACUUM and ANALYZE database"),
    MOVED: (
        "report_table_bloat",
        "30 3 * * 1",
        "default",
        "low",
        "Run database performance analysis",
    ),
    DELETED: ("warm_caches", "0 7 * * *", "", "high", "Implement caching"),
    UNTOUCHED: ("check_queue_depths", "10 6 * * *", "", "high", "Check Celery queue depths"),
}


@pytest.fixture
def ledger_of_then(transactional_db: None, make_database: Callable[[], str]) -> Iterator[Apps]:
    """The tables of the first release, in which this process and its children work; its models."""
    now = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = urlsplit(make_database()).path[1:]
    call_command("migrate", *FIRST, verbosity=0)
    yield MigrationExecutor(connection).loader.project_state([FIRST]).apps
    connection.close()
    connection.settings_dict["NAME"] = now


@pytest.fixture
def testapp_environment(
    ledger_of_then: Apps, testapp_environment: dict[str, str]
) -> dict[str, str]:
    """Workers of the newest release on that database."""
    return testapp_environment


def write_run(apps: Apps, task: str, state: str, **values: Any) -> uuid.UUID:
    """Write a row as the first release did."""
    then = timezone.now() - timedelta(hours=2)
    given = {
        "task": f"maintenance.{task}", "queue": "high", "trigger": "cli", "actor": "ann", "state": state,
        "queued_at": then, "published_at": then,
    } | values  # fmt: skip
    return uuid.UUID(str(apps.get_model("maintenance", "Run").objects.create(**given).id))


def write_finished(apps: Apps, state: str, schedule: str = "", **values: Any) -> uuid.UUID:
    """Write a run that has ended, with its report."""
    then = timezone.now() - timedelta(hours=1)
    run = write_run(
        apps, "review_activity", state, target="default", started_at=then, finished_at=then,
        schedule=schedule, scheduled_for=then, attempt=1, severity="warning",
        summary=REPORT["summary"], **values,
    )  # fmt: skip
    finding = REPORT["findings"][0]  # type: ignore[index]
    apps.get_model("maintenance", "StoredReport").objects.create(
        run_id=run, schema_version=1, body=REPORT, created_at=then
    )
    apps.get_model("maintenance", "StoredFinding").objects.create(
        run_id=run, fingerprint="0123456789abcdef", target="default", found_at=then,
        **{name: finding[name] for name in ("code", "severity", "subject", "sentence", "advice")},
    )  # fmt: skip
    apps.get_model("maintenance", "StoredSample").objects.create(
        run_id=run, target="default", metric="sessions", value=3.0, measured_at=then
    )
    return run


def crontab(text: str) -> CrontabSchedule:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return CrontabSchedule.objects.create(
        **dict(zip(names, text.split(), strict=True)), timezone="UTC"
    )


def write_schedules(apps: Apps) -> None:
    """Write rows as ``sync_schedules`` of the first release did, and edit them as an operator does."""
    for name, (task, cron, target, queue, line) in THEN.items():
        checklist = name.split()[1]
        definition: dict[str, Any] = {
            "task": f"maintenance.{task}",
            "cron": cron,
            "timezone": "UTC",
            "kwargs": {"target": target, "options": {}},
            "queue": queue,
            "headers": {"maintenance_checklist": checklist},
            "description": f"{checklist.capitalize()} checklist: {line}",
            "enabled": True,
        }
        PeriodicTask.objects.create(
            name=name, task=definition["task"], crontab=crontab(cron), queue=queue,
            kwargs=json.dumps(definition["kwargs"]), headers=json.dumps(definition["headers"]),
            description=definition["description"],
        )  # fmt: skip
        apps.get_model("maintenance", "SyncedSchedule").objects.create(
            name=name, definition=definition, synced_at=timezone.now()
        )
    edit(EDITED, crontab=crontab("0 12 * * *"))
    edit(DISABLED, enabled=False)
    edit(OPTIONS, kwargs=json.dumps({"target": "default", "options": {"dry_run": True}}))
    edit(MOVED, crontab=None, interval=IntervalSchedule.objects.create(every=2, period="days"))
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(name=DELETED).delete()


def edit(name: str, **changes: Any) -> None:
    row = PeriodicTask.objects.get(name=name)
    for field, value in changes.items():
        setattr(row, field, value)
    row.save()


def declare_queues(app: Celery) -> None:
    """Do what workers of then did: without that the broker forgets what is sent to it."""
    with app.connection_for_write() as broker, broker.channel() as channel:
        for queue in app.amqp.queues.values():
            queue(channel).declare()


def upgrade() -> None:
    """Do what the page of deployment says, in its order."""
    call_command("migrate", verbosity=0)
    call_command("sync_schedules", stdout=StringIO())


def test_work_in_flight_is_done_once_or_ends_with_a_reason(
    ledger_of_then: Apps,
    celery_setup_app: Celery,
    make_worker: WorkerFactory,
    make_beat: Callable[[], object],
) -> None:
    then, app = ledger_of_then, celery_setup_app
    silent = timezone.now() - timedelta(hours=1)
    waiting = write_run(then, "note_high", "queued", options={"number": 1})
    unsent = write_run(then, "note_low", "queued", queue="low", published_at=None)
    held = write_run(
        then, "note_medium", "running", queue="medium", attempt=1, worker="gone@host",
        started_at=silent, heartbeat_at=silent, options={"number": 2},
    )  # fmt: skip
    gone = write_run(then, "weed_garden", "queued")
    misfit = write_run(then, "note_high", "queued", options={"figure": 3})
    failed = write_run(
        then, "note_high", "failed", finished_at=silent, attempt=1, reason="no space left",
        failures=[{"attempt": 1, "at": silent.isoformat(), "reason": "no space left"}],
    )  # fmt: skip
    called, by_place, bare = (uuid.uuid4() for _ in range(3))
    declare_queues(app)
    # As older senders wrote them: of the headers the three that say what to do, or a body without options.
    send(app, message(target="", options={"number": 1}), task_id=str(waiting))
    send(app, message(target="", options={}), task="maintenance.weed_garden", task_id=str(gone))
    send(app, message(target="", options={"figure": 3}), task_id=str(misfit))
    send(app, message(target="", options={}), task_id=str(failed))
    send(app, message(target=""), task_id=str(called))
    send(app, [["", {"number": 4}], {}, {}], task_id=str(by_place))
    send(app, [[], {}, None], task_id=str(bare))

    upgrade()
    make_worker()
    make_beat()

    unfinished = Run.objects.filter(state__in=[RunState.QUEUED, RunState.RUNNING])
    by_hand = unfinished.exclude(trigger="beat")
    in_flight = {waiting, unsent, held, gone, misfit, failed, called, by_place, bare}
    eventually(
        lambda: Run.objects.filter(id__in=in_flight).count() == 9 and not by_hand.exists(),
        120,
        "runs of then are unfinished",
    )
    ended = {run.id: run for run in Run.objects.filter(id__in=in_flight)}
    for run_id in (waiting, unsent, called, by_place, bare):
        assert (ended[run_id].state, ended[run_id].attempt) == (RunState.SUCCEEDED, 1), ended[
            run_id
        ]
        assert StoredReport.objects.filter(run_id=run_id).count() == 1
    assert ended[waiting].summary == "Noted 1."
    assert ended[by_place].summary == "Noted 4."
    assert (ended[held].state, ended[held].attempt) == (RunState.SUCCEEDED, 2)
    assert ended[held].summary == "Noted 2."
    assert "gone@host stopped responding" in ended[held].failures[0]["reason"]
    assert ended[gone].state == RunState.FAILED
    assert ended[gone].reason == "The task maintenance.weed_garden does not exist any more."
    assert ended[misfit].state == RunState.FAILED
    assert 'Unknown option "figure"' in ended[misfit].reason
    assert (ended[failed].reason, ended[failed].attempt) == ("no space left", 1), (
        "is not begun again"
    )


def test_what_operators_edited_stays_and_old_reports_are_read(ledger_of_then: Apps) -> None:
    done = write_finished(ledger_of_then, "succeeded", schedule=EDITED)
    failed = write_finished(ledger_of_then, "failed", reason="The disk is full.")
    skipped = write_run(ledger_of_then, "note_high", "skipped", reason="no log target")
    write_schedules(ledger_of_then)

    upgrade()

    rows = {row.name: row for row in PeriodicTask.objects.select_related("crontab", "interval")}
    assert rows[EDITED].crontab.hour == "12"
    assert not rows[DISABLED].enabled
    assert json.loads(rows[OPTIONS].kwargs)["options"] == {"dry_run": True}
    assert (rows[MOVED].crontab, rows[MOVED].interval.every) == (None, 2)
    assert DELETED not in rows
    assert rows[UNTOUCHED].crontab.hour == "*", "follows the code, which looks every hour now"
    assert f"{DAILY}check_disk_space on local" in rows, "what is new came"

    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    for page in ("run", "storedfinding", "schedulerow"):
        assert client.get(reverse(f"admin:maintenance_{page}_changelist")).status_code == 200
    for run, words in (
        (done, "Session 4711 waits for a lock since noon."),
        (failed, "The disk is full."),
        (skipped, "no log target"),
    ):
        page = client.get(reverse("admin:maintenance_run_change", args=[run]))
        assert page.status_code == 200
        assert words in page.content.decode()
    shown = StringIO()
    with pytest.raises(SystemExit):  # a warning
        call_command("maintenance", "report", str(done), stdout=shown)
    for words in ("One session waits for a lock.", "public.book", "4711"):
        assert words in shown.getvalue()


def test_policies_and_blackouts_of_a_later_release_stay(ledger_of_then: Apps) -> None:
    write_schedules(ledger_of_then)
    later = ("maintenance", "0004_slots_and_policies")
    call_command("migrate", *later, verbosity=0)
    apps = MigrationExecutor(connection).loader.project_state([later]).apps
    row = apps.get_model("django_celery_beat", "PeriodicTask").objects.get(name=EDITED)
    apps.get_model("maintenance", "SchedulePolicy").objects.create(
        row=row, misfire="each", jitter_seconds=60, paused_at=timezone.now(), paused_by="ann",
        pause_reason="a move",
    )  # fmt: skip
    now = timezone.now()
    apps.get_model("maintenance", "Blackout").objects.create(
        reason="a move", starts_at=now, ends_at=now + timedelta(days=1)
    )

    upgrade()

    policy = SchedulePolicy.objects.get(row__name=EDITED)
    assert (policy.misfire, policy.jitter_seconds, policy.pause_reason) == ("each", 60, "a move")
    assert Blackout.objects.get().reason == "a move"


def test_going_back_keeps_runs_and_schedules_and_takes_what_is_newer(ledger_of_then: Apps) -> None:
    done = write_finished(ledger_of_then, "succeeded")
    write_schedules(ledger_of_then)
    upgrade()
    row = PeriodicTask.objects.get(name=EDITED)
    SchedulePolicy.objects.update_or_create(row=row, defaults={"misfire": "skip"})
    newer = Run.objects.create(
        task="maintenance.note_high", queue="high", trigger="api", queued_at=timezone.now(),
        resource="shared", stands_for=3,
    )  # fmt: skip

    call_command("migrate", *FIRST, verbosity=0)

    runs = ledger_of_then.get_model("maintenance", "Run").objects
    assert set(runs.values_list("id", flat=True)) == {done, newer.id}
    reports = ledger_of_then.get_model("maintenance", "StoredReport").objects
    assert reports.get(run_id=done).body == REPORT
    assert PeriodicTask.objects.get(name=EDITED).crontab.hour == "12"
    assert SyncedSchedule.objects.filter(name=DELETED).exists()

    upgrade()
    assert Run.objects.get(id=newer.id).stands_for == 1
    assert not SchedulePolicy.objects.filter(misfire="skip").exists()


def test_an_older_process_goes_on_writing_beside_the_newest_tables(ledger_of_then: Apps) -> None:
    """Beat and web of the release before, until they are restarted; or after one went back without migrating."""
    upgrade()

    waiting = write_run(ledger_of_then, "note_high", "queued")
    write_finished(ledger_of_then, "succeeded")

    run = Run.objects.get(id=waiting)
    assert (run.resource, run.stands_for, run.deaths, run.cancel_actor) == ("", 1, 0, "")


def test_going_back_is_refused_where_older_tables_cannot_hold_the_rows(
    ledger_of_then: Apps,
) -> None:
    """It stops half way then: the newest migrations bring it forth again."""
    upgrade()
    given = {"queue": "high", "trigger": "api", "queued_at": timezone.now()}
    long = Run.objects.create(task="x" * 101, **given)
    with pytest.raises(DataError, match="too long"):
        call_command("migrate", *FIRST, verbosity=0)
    upgrade()
    long.delete()
    for resource in ("a", "b"):
        Run.objects.create(
            task="maintenance.note_high", resource=resource, state="running", **given
        )
    with pytest.raises(IntegrityError, match="maintenance_run_one_at_a_time"):
        call_command("migrate", *FIRST, verbosity=0)
    upgrade()
    Run.objects.filter(resource="b").update(state="cancelled")
    call_command("migrate", *FIRST, verbosity=0)
    assert ledger_of_then.get_model("maintenance", "Run").objects.count() == 2
