"""The dead man's switch on a real ledger: by command, and by a probe without a login."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, PeriodicTask, SolarSchedule

from maintenance.core.evidence.liveness_look import look
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.scheduling.definitions import Definition
from maintenance.core.scheduling.pausing import pause
from maintenance.models import Alarm, Leader, Run, RunState, ScheduleVersion
from maintenance.probes import verdict
from tests.ledger_rows import queued_run, running_run

pytestmark = pytest.mark.django_db

PROBE = "/maintenance/health/"
NEWSLETTER = "send the newsletter"


@pytest.fixture(autouse=True)
def fresh_verdict() -> Iterator[None]:
    verdict.forget()
    yield
    verdict.forget()


@pytest.fixture
def now() -> datetime:
    return ledger_now()


@pytest.fixture
def hourly(now: datetime) -> PeriodicTask:
    """A schedule of the site's own, taken over two days ago and sent ever since."""
    row: PeriodicTask = PeriodicTask.objects.create(
        name=NEWSLETTER, task="news.send", crontab=CrontabSchedule.objects.create(minute="0")
    )
    definition = Definition("news.send", crontab="0 * * * *", timezone="UTC")
    ScheduleVersion.objects.create(
        schedule=row.name, since=now - timedelta(days=2), definition=definition.to_json()
    )
    settle(row, now)
    return row


def settle(row: PeriodicTask, until: datetime) -> None:
    slot = until.replace(minute=0, second=0, microsecond=0)
    PeriodicTask.objects.filter(pk=row.pk).update(last_run_at=slot)


def lead(now: datetime, silent: timedelta = timedelta(seconds=1)) -> None:
    ticked = now - silent
    Leader.objects.update_or_create(
        name="scheduler",
        defaults={
            "holder": "beat@one",
            "token": 1,
            "since": now - timedelta(days=1),
            "expires_at": ticked + timedelta(seconds=10),
            "ticked_at": ticked,
        },
    )


def check() -> tuple[int, dict[str, Any]]:
    out, code = StringIO(), 0
    words = ("--check", "schedule", "--format", "json")
    try:
        call_command("health_check", *words, stdout=out, stderr=StringIO())
    except SystemExit as end:
        code = int(end.code or 0)
    document: dict[str, Any] = json.loads(out.getvalue())
    return code, document


def codes(document: dict[str, Any]) -> set[str]:
    return {f["code"] for report in document["reports"] for f in report["findings"]}


def test_all_is_well_while_a_leader_ticks_and_every_slot_has_passed(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    code, document = check()
    assert (code, codes(document)) == (0, set())
    answer = Client().get(PROBE)
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_dead_beat_is_noticed_by_whoever_asks(hourly: PeriodicTask, now: datetime) -> None:
    lead(now, silent=timedelta(minutes=10))
    code, document = check()
    assert code == 1
    assert codes(document) == {"leader-silent"}
    answer = Client().get(PROBE)
    assert (answer.status_code, answer.content) == (503, b"failing\n"), "and says no more"


def test_a_leader_that_ticks_and_forgets_a_slot_is_noticed_as_well(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    settle(hourly, now - timedelta(hours=5))
    assert codes(check()[1]) == {"schedule-overdue"}
    [slot] = look().overdue
    first = (now - timedelta(hours=4)).replace(minute=0, second=0, microsecond=0)
    assert (slot.schedule, slot.due_at) == (NEWSLETTER, first)
    assert Client().get(PROBE).status_code == 503


def test_a_schedule_that_was_just_switched_on_owes_nothing(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    ScheduleVersion.objects.create(schedule=NEWSLETTER, since=now - timedelta(days=1))
    hourly.enabled = True
    hourly.last_run_at = None
    hourly.save()  # at date_changed it was switched on
    assert codes(check()[1]) == set()


def test_due_times_that_cannot_be_computed_hide_no_others(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    sunset = SolarSchedule.objects.create(event="sunset", latitude=52.5, longitude=13.4)
    PeriodicTask.objects.create(name="at sunset", task="news.send", solar=sunset)
    settle(hourly, now - timedelta(hours=5))
    assert [slot.schedule for slot in look().overdue] == [NEWSLETTER]


def test_an_unknown_time_zone_hides_no_other_schedule(hourly: PeriodicTask, now: datetime) -> None:
    lead(now)
    settle(hourly, now - timedelta(hours=5))
    elsewhere = Definition("news.send", crontab="0 * * * *", timezone="Mars/Olympus")
    for name in ("known as", "never known as"):
        crontab = CrontabSchedule.objects.create(minute="7", hour=str(len(name)))
        PeriodicTask.objects.create(name=name, task="news.send", crontab=crontab)
    ScheduleVersion.objects.create(
        schedule="known as", since=now - timedelta(days=2), definition=elsewhere.to_json()
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus' WHERE minute = '7'"
        )

    assert [slot.schedule for slot in look().overdue] == [NEWSLETTER]
    assert Client().get(PROBE).status_code == 503


def test_a_look_that_fails_is_an_alarm_and_ends_no_other(
    hourly: PeriodicTask,
    now: datetime,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = {"recipients": ["ops@example.org"]}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "notifications": chosen}
    lead(now, silent=timedelta(minutes=10))
    Client().get(PROBE)
    assert open_alarms() == {"leader-silent"}

    def breaks() -> Any:
        raise KeyError("nobody thought of that")

    monkeypatch.setattr("maintenance.probes.look", breaks)
    verdict.forget()
    assert Client().get(PROBE).status_code == 503
    assert open_alarms() == {"leader-silent", "liveness-unjudged"}
    assert "nobody thought of that" in caplog.text

    monkeypatch.undo()
    lead(now)
    verdict.forget()
    assert Client().get(PROBE).status_code == 200
    assert open_alarms() == set()


def open_alarms() -> set[str]:
    return set(Alarm.objects.filter(resolved_at=None).values_list("code", flat=True))


def test_schedules_that_share_their_times_are_each_judged_by_what_is_settled(
    hourly: PeriodicTask, now: datetime
) -> None:
    """Some are up to date, some wait for an earlier or a later slot, and one begins later."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    for back in (0, 9, 3, 3, 0, 2):
        hourly_like(f"twin {back} {PeriodicTask.objects.count()}", hour - timedelta(hours=back))
    hourly_like("ahead", hour + timedelta(hours=1))
    assert hour + timedelta(hours=1) > now
    found = look()
    missed = {slot.schedule.split()[1]: slot.due_at for slot in found.overdue}
    assert missed["9"] == hour - timedelta(hours=8)
    assert missed["3"] == hour - timedelta(hours=2)
    assert missed["2"] == hour - timedelta(hours=1)
    assert [slot.due_at for slot in found.overdue] == sorted(s.due_at for s in found.overdue)
    assert len(found.overdue) == 4
    assert found.following is not None
    assert found.following.due_at == hour + timedelta(hours=1)
    assert found.following.schedule != "ahead", "its slot of the next hour is settled"


def test_a_look_at_more_schedules_asks_no_more_and_nothing_longer(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    few = statements_of_a_look()
    for number in range(200):
        hourly_like(f"twin {number}", now.replace(minute=0, second=0, microsecond=0))
    assert statements_of_a_look() == few
    assert look().enabled == 201


def hourly_like(name: str, settled_until: datetime) -> None:
    """Make a schedule with the times of the newsletter, of a task and a target of its own."""
    row = PeriodicTask.objects.create(
        name=name, task="news.send", crontab=CrontabSchedule.objects.get(minute="0")
    )
    definition = Definition(f"news.{name}", name, crontab="0 * * * *", timezone="UTC")
    since = settled_until - timedelta(days=1)
    ScheduleVersion.objects.create(
        schedule=name, since=since - timedelta(days=9), definition={"task": "of old"}
    )
    ScheduleVersion.objects.create(schedule=name, since=since, definition=definition.to_json())
    PeriodicTask.objects.filter(pk=row.pk).update(last_run_at=settled_until)


def statements_of_a_look() -> list[int]:
    """Return the length of each statement."""
    with CaptureQueriesContext(connection) as queries:
        look()
    return [len(each["sql"]) for each in queries.captured_queries]


def test_no_leader_ever_is_critical_and_so_is_a_queue_that_nobody_serves(
    hourly: PeriodicTask, now: datetime
) -> None:
    queued_run(age=timedelta(minutes=20))
    assert codes(check()[1]) == {"no-leader", "queue-stands"}
    lead(now)
    assert codes(check()[1]) == {"queue-stands"}
    running = running_run()
    assert running.queue == Run.objects.filter(state=RunState.QUEUED)[0].queue
    assert codes(check()[1]) == set(), "its worker is at work: the other one waits its turn"


def test_a_run_that_waits_for_its_time_is_no_sign_of_a_dead_worker(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    run = queued_run(age=timedelta(hours=2))
    Run.objects.filter(id=run.id).update(available_at=now + timedelta(hours=1))
    assert codes(check()[1]) == set()
    Run.objects.filter(id=run.id).update(available_at=now - timedelta(minutes=1))
    assert codes(check()[1]) == set(), "it could start a minute ago"


def test_paused_schedules_are_named_and_no_alarm(hourly: PeriodicTask, now: datetime) -> None:
    lead(now)
    pause(hourly, "ann", "holidays")
    code, document = check()
    assert (code, codes(document)) == (0, {"schedule-paused"})
    assert Client().get(PROBE).status_code == 200


def test_probes_cost_one_look_in_ten_seconds_and_take_no_other_method(
    hourly: PeriodicTask, now: datetime
) -> None:
    lead(now)
    client = Client()
    client.get(PROBE)
    with connection.execute_wrapper(_refuse):
        assert [client.get(PROBE).status_code for _ in range(5)] == [200] * 5
        assert client.post(PROBE).status_code == 405


def test_a_ledger_that_is_away_is_failing_and_no_traceback() -> None:
    with connection.execute_wrapper(_refuse):
        assert Client().get(PROBE).status_code == 503


def _refuse(*_query: Any) -> Any:
    from django.db import OperationalError

    raise OperationalError("the server closed the connection")
