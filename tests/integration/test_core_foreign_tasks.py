"""A site's own tasks under our scheduler: real beat and worker of a project that has no task of ours."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.models import Run, RunState, ScheduleVersion, StoredFinding
from tests.local_containers import LocalBeat, LocalRedis, LocalWorker
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

APPLICATION = "tests.plainsite.celery"
NAME = "append a word"

Start = Callable[..., None]


@pytest.fixture
def broker(default_redis_broker: LocalRedis) -> redis.Redis:
    return redis.Redis.from_url(default_redis_broker.url)


@pytest.fixture
def start(testapp_environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start beat or a worker of the plain site: ``start("beat", watched=True)``."""
    started: list[LocalBeat | LocalWorker] = []

    def run(role: str, *, watched: bool = False) -> None:
        environment = {**testapp_environment, "DJANGO_SETTINGS_MODULE": "tests.plainsite.settings"}
        if watched:
            environment["PLAINSITE_WATCHED"] = "1"
        if role == "beat":
            started.append(LocalBeat(tmp_path, environment, application=APPLICATION))
        else:
            started.append(
                LocalWorker(
                    tmp_path,
                    environment,
                    application=APPLICATION,
                    queues=["plain"],
                    arguments=["-c", "2"],
                )
            )

    yield run
    for process in started:
        process.teardown()


def schedule(path: Path, task: str = "append", **kwargs: Any) -> PeriodicTask:
    """Write a row that ran a minute ago and is due once an hour: due now, and not again for long."""
    hourly = IntervalSchedule.objects.create(every=3600, period="seconds")
    return PeriodicTask.objects.create(
        name=NAME,
        task=f"plainsite.{task}",
        interval=hourly,
        args=json.dumps([str(path), "word"] if task == "append" else [str(path)]),
        kwargs=json.dumps(kwargs),
        last_run_at=timezone.now() - timedelta(seconds=3601),
    )


def run_is(state: str) -> Callable[[], bool]:
    return lambda: Run.objects.filter(schedule=NAME, state=state).exists()


def words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize(
    ("task", "foreign"),
    [
        ("site.weed", True),
        ("maintenance.tasks.weed", True),
        ("maintenance.note_low", False),
        ("maintenance.was_renamed", False),
        ("note_low", True),
    ],
)
def test_a_task_is_foreign_unless_it_is_ours_or_was(task: str, foreign: bool) -> None:
    assert is_foreign(task) is foreign


def test_a_plain_task_runs_as_before_and_its_slot_ends_as_sent(
    start: Start, broker: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "words"
    row = schedule(path)

    start("beat")
    start("worker")

    eventually(lambda: words(path) == ["word"], 30, "the task has run")
    eventually(run_is(RunState.SENT), 10, "the broker's word is noted")
    run = Run.objects.get(schedule=NAME)
    assert run.scheduled_for == row.last_run_at + timedelta(seconds=3600)
    assert (run.task, run.resource, run.options) == ("plainsite.append", "", {})
    assert run.published_at is not None
    version = ScheduleVersion.objects.get(schedule=NAME)
    assert version.definition["policy"] == {"overlap": "allow"}
    assert "word" not in json.dumps(version.definition).replace(NAME, "")


def test_a_watched_task_is_executed_once_however_often_it_is_delivered(
    start: Start, broker: redis.Redis, tmp_path: Path
) -> None:
    path, gate = tmp_path / "words", tmp_path / "gate"
    schedule(path, gate=str(gate))
    start("beat", watched=True)
    eventually(lambda: broker.llen("plain") == 1, 30, "the message is in its queue")
    message = broker.lindex("plain", 0)
    broker.rpush("plain", message, message)

    start("worker", watched=True)

    eventually(run_is(RunState.RUNNING), 30, "the task is at work")
    gate.touch()
    eventually(run_is(RunState.SUCCEEDED), 10, "its end is noted")
    broker.rpush("plain", message)
    eventually(lambda: broker.llen("plain") == 0, 10, "all messages are taken")
    eventually(lambda: broker.hlen("unacked") == 0, 10, "all messages are dealt with")
    assert words(path) == ["word"]


def test_a_watched_task_that_fails_is_an_alarm_without_its_own_words(
    start: Start, broker: redis.Redis, tmp_path: Path
) -> None:
    schedule(tmp_path / "words", fails=True)

    start("beat", watched=True)
    start("worker", watched=True)

    eventually(run_is(RunState.FAILED), 40, "the failure is noted")
    finding = StoredFinding.objects.get(run__schedule=NAME)
    assert finding.sentence.startswith("ValueError was raised; the log of worker@")
    assert "secret" not in finding.sentence


def test_a_watched_task_that_retries_itself_runs_as_often_as_it_asks_for(
    start: Start, broker: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "words"
    schedule(path, "retry", times=2)

    start("beat", watched=True)
    start("worker", watched=True)

    eventually(run_is(RunState.SUCCEEDED), 60, "its last retry has ended")
    assert words(path) == ["0", "1", "2"]
    assert Run.objects.get(schedule=NAME).attempt == 3


def test_the_task_that_celery_schedules_daily_is_noted_as_the_sites_own_are(
    start: Start, broker: redis.Redis, tmp_path: Path
) -> None:
    row = schedule(tmp_path / "words")
    row.task, row.args = "celery.backend_cleanup", "[]"
    row.save()

    start("beat", watched=True)
    start("worker", watched=True)

    eventually(run_is(RunState.SUCCEEDED), 40, "its end is noted")


def test_a_schedule_that_is_deleted_before_its_slot_was_sent_ends_as_skipped(
    start: Start, broker: redis.Redis, tmp_path: Path
) -> None:
    Run.objects.create(
        task="plainsite.append",
        schedule="gone",
        scheduled_for=timezone.now(),
        trigger="beat",
        queue="",
        queued_at=timezone.now() - timedelta(minutes=1),
    )

    start("beat")

    gone = Run.objects.filter(schedule="gone", state=RunState.SKIPPED)
    eventually(gone.exists, 40, "it is given up")
    assert gone.get().reason == "its schedule was deleted before it was sent"
