"""What surrounds a site's own task in its worker, carried out in this process on a real ledger."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
import redis
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from django.db import DataError
from django.utils import timezone

from maintenance.core.runs import ledger
from maintenance.core.runs.foreign_runs import execute_once
from maintenance.core.runs.watched_tasks import SLOT_HEADER
from maintenance.models import Run, RunState
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

    def finish(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(ledger, "finish", finish)

    assert carried_out(task, run, lambda: "done") == "done"

    assert f"The end of run {run.id} could not be noted" in caplog.text
    assert said in caplog.text
    assert "hunter2" not in caplog.text
