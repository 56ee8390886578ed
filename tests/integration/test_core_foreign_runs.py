"""What surrounds a site's own task in its worker, carried out in this process on a real ledger."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from django.db import DataError
from django.utils import timezone

from maintenance.core.runs import dispatch, ledger
from maintenance.core.runs.foreign_runs import execute_once
from maintenance.core.runs.recording import complete_unrecorded
from maintenance.core.runs.watched_tasks import SLOT_HEADER
from maintenance.models import Run, RunState, StoredFinding, StoredReport
from service.embedded.postgres import EmbeddedPostgres
from tests.integration.test_core_runner import cut_the_ledger
from tests.integration.test_core_steps import ledger_away
from tests.local_containers import LocalRedis

pytestmark = pytest.mark.django_db(transaction=True)

SiteTask = Task[Any, Any]


@pytest.fixture
def task(celery_setup_app: Celery) -> Iterator[SiteTask]:
    """A task of the site's own."""

    @celery_setup_app.task(name="site.work", bind=True, ignore_result=True)
    def work(_self: SiteTask) -> None:
        """Do nothing: each test says what is done."""

    yield celery_setup_app.tasks["site.work"]
    del celery_setup_app.tasks["site.work"]


@pytest.fixture
def run() -> Run:
    """A slot of the task whose message was sent."""
    now = timezone.now()
    return Run.objects.create(
        task="site.work", schedule="work", scheduled_for=now, trigger="beat", queue="low",
        queued_at=now, published_at=now,
    )  # fmt: skip


@contextmanager
def message(task: SiteTask, run: Run, *, retries: int = 0) -> Iterator[None]:
    """Let the task be at the message of a run, as a worker does."""
    task.push_request(
        id=str(run.id), hostname="worker@site", called_directly=False, args=(), kwargs={},
        retries=retries, headers={SLOT_HEADER: "x"}, delivery_info={"routing_key": "low", "exchange": ""},
    )  # fmt: skip
    try:
        yield
    finally:
        task.pop_request()


def carried_out(task: SiteTask, run: Run, work: Callable[[], Any], *, retries: int = 0) -> Any:
    """Do ``work`` for a message of the run; return or raise what the worker sees of it."""
    with message(task, run, retries=retries):
        return execute_once(task, work)


@pytest.fixture
def broker(default_redis_broker: LocalRedis, celery_setup_app: Celery) -> Iterator[redis.Redis]:
    """The broker that this process sends to, seen from the side."""
    with redis.Redis.from_url(default_redis_broker.url) as client:
        yield client


def sent(broker: redis.Redis) -> list[dict[str, Any]]:
    """Return the headers of the messages that were sent."""
    waiting = broker.lrange("maintenance:low", 0, -1)
    return [json.loads(message)["headers"] for message in waiting]  # type: ignore[union-attr]


def seconds_until(moment: str) -> float:
    return (datetime.fromisoformat(moment) - timezone.now()).total_seconds()


def never() -> None:
    raise AssertionError("this is not the time for it")


# --- A ledger that is away ---


@pytest.mark.parametrize("retries", [0, 3])
def test_a_ledger_that_is_away_uses_up_no_retry_of_the_task(
    task: SiteTask, run: Run, broker: redis.Redis, postgres_server: EmbeddedPostgres, retries: int
) -> None:
    with ledger_away(postgres_server), pytest.raises(Ignore):
        carried_out(task, run, never, retries=retries)

    (again,) = sent(broker)
    assert (again["id"], again["retries"]) == (str(run.id), retries)
    assert 3 < seconds_until(again["eta"]) < 6
    assert again[SLOT_HEADER]


def test_a_message_stays_with_its_broker_where_that_takes_no_other_one_either(
    task: SiteTask, run: Run, default_redis_broker: LocalRedis, postgres_server: EmbeddedPostgres
) -> None:
    default_redis_broker._container.stop()

    with ledger_away(postgres_server), pytest.raises(Reject) as refusal:
        carried_out(task, run, never)

    assert refusal.value.requeue


# --- Its own retries ---


@pytest.mark.parametrize("is_moment", [True, False])
def test_a_retry_waits_for_its_own_time_and_no_other_message_brings_it_before(
    task: SiteTask, run: Run, broker: redis.Redis, is_moment: bool
) -> None:
    in_an_hour = timezone.now() + timedelta(hours=1)

    def comes_again() -> None:
        raise task.retry(eta=in_an_hour) if is_moment else task.retry(countdown=3600)

    with pytest.raises(Retry):
        carried_out(task, run, comes_again)

    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    assert run.available_at is not None
    assert abs(run.available_at - in_an_hour) < timedelta(seconds=10)
    broker.flushall()  # a worker holds the message, and no queue does
    Run.objects.update(published_at=timezone.now() - timedelta(hours=1))
    assert dispatch.mend()["republished"] == 0
    with pytest.raises(Ignore):
        carried_out(task, run, never)
    run.refresh_from_db()
    assert (run.state, run.attempt) == (RunState.QUEUED, 1)
    assert sent(broker) == []


def retried(task: SiteTask, run: Run, countdown: float) -> None:
    def comes_again() -> None:
        raise Retry(when=countdown)

    with pytest.raises(Retry):
        carried_out(task, run, comes_again)


def test_the_message_of_a_retry_is_taken_at_its_time(task: SiteTask, run: Run) -> None:
    retried(task, run, 0.5)

    assert carried_out(task, run, lambda: "done", retries=1) == "done"

    run.refresh_from_db()
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)


def test_the_message_of_a_retry_that_comes_early_comes_again_at_its_time(
    task: SiteTask, run: Run, broker: redis.Redis
) -> None:
    retried(task, run, 30)

    with pytest.raises(Ignore):
        carried_out(task, run, never, retries=1)

    (again,) = sent(broker)
    assert again["retries"] == 1
    assert 25 < seconds_until(again["eta"]) < 31


@pytest.mark.parametrize(("retries", "messages"), [(0, 0), (1, 1)])
def test_the_message_of_a_retry_that_overtakes_the_note_of_it_comes_again(
    task: SiteTask, run: Run, broker: redis.Redis, retries: int, messages: int
) -> None:
    def overtaken() -> str:
        with pytest.raises(Ignore):
            carried_out(task, run, never, retries=retries)
        return "done"

    assert carried_out(task, run, overtaken) == "done"

    assert [again["retries"] for again in sent(broker)] == [retries] * messages


def test_a_task_that_rejects_its_message_for_good_has_failed(task: SiteTask, run: Run) -> None:
    def rejects() -> None:
        raise Reject("Mrs Smith's", requeue=False)

    with pytest.raises(Reject):
        carried_out(task, run, rejects)

    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert run.reason.startswith("It rejected its message for good")
    finding = StoredFinding.objects.get(run=run)
    assert "send the task again" in finding.advice
    assert "Smith" not in f"{run.reason} {finding.sentence} {finding.advice} {run.failures}"
    with pytest.raises(Ignore):
        carried_out(task, run, never)


def test_a_retry_that_no_broker_takes_is_sent_once_one_is_there(
    task: SiteTask, run: Run, default_redis_broker: LocalRedis
) -> None:
    default_redis_broker._container.stop()

    def comes_again() -> None:
        raise task.retry(countdown=60)

    with pytest.raises(Reject):
        carried_out(task, run, comes_again)

    run.refresh_from_db()
    assert (run.state, run.published_at) == (RunState.QUEUED, None)


def test_a_task_that_gives_its_message_back_to_the_broker_waits_for_it(
    task: SiteTask, run: Run
) -> None:
    def gives_back() -> None:
        raise Reject("later", requeue=True)

    with pytest.raises(Reject):
        carried_out(task, run, gives_back)

    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    assert carried_out(task, run, lambda: "done") == "done"


# --- The end ---


def test_a_ledger_that_blinks_as_a_task_ends_costs_neither_its_result_nor_the_note(
    task: SiteTask, run: Run
) -> None:
    def work() -> str:
        cut_the_ledger()
        return "done"

    assert carried_out(task, run, work) == "done"

    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED


def test_an_end_is_told_once_and_left_to_nobody(
    task: SiteTask, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    carried_out(task, run, lambda: "done")
    reports = StoredReport.objects.filter(run=run)
    reports.exclude(record_due_at=None).update(record_due_at=timezone.now())

    assert complete_unrecorded() == 0
    assert sum(each.getMessage() == "run finished" for each in caplog.records) == 1
    assert reports.get().files == []


@pytest.mark.parametrize(
    "refusal",
    [
        (DataError("postgres://app:hunter2@db is odd"), "DataError: postgres://app:***@db is odd"),
        (SoftTimeLimitExceeded(), "within its time limit"),
    ],
)
def test_an_end_that_the_ledger_cannot_store_leaves_the_result_as_it_is(
    task: SiteTask, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    refusal: tuple[Exception, str],
) -> None:  # fmt: skip
    error, said = refusal

    def finish(*_arguments: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(ledger, "finish", finish)

    assert carried_out(task, run, lambda: "done") == "done"

    assert f"The end of run {run.id} could not be noted" in caplog.text
    assert said in caplog.text
    assert "hunter2" not in caplog.text
