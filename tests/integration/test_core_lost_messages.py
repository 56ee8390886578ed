"""Messages that are missing, on a real broker: which runs are sent again, and which are not."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from celery import Celery
from django.utils import timezone

from maintenance.core.runs import dispatch
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.lost_messages import HELD_SECONDS, runs_with_lost_messages
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, Trigger
from tests.local_containers import LocalRedis

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(default_redis_broker: LocalRedis, celery_setup_app: Celery) -> Iterator[redis.Redis]:
    """The broker that this process sends to, seen from the side."""
    with redis.Redis.from_url(default_redis_broker.url) as client:
        yield client


def sent(name: str = "note_high", *, seconds_ago: float = HELD_SECONDS + 1) -> Run:
    """A run whose message went out a while ago."""
    run = dispatch.start_run(task_named(name), "", {}, Origin(Trigger.CLI, actor="crew"))
    past = timezone.now() - timedelta(seconds=seconds_ago)
    Run.objects.filter(id=run.id).update(published_at=past)
    return run


def take_one(broker: redis.Redis, queue: str) -> None:
    """Take a message and die: it is in the queue no more."""
    assert broker.rpop(f"maintenance:{queue}") is not None


def test_runs_whose_messages_wait_are_left_alone(broker: redis.Redis) -> None:
    for _number in range(3):
        sent()
    assert runs_with_lost_messages(timezone.now()) == []


def test_as_many_runs_as_messages_are_missing_are_found_the_oldest_first(
    broker: redis.Redis,
) -> None:
    sent(seconds_ago=HELD_SECONDS + 1)
    oldest = sent(seconds_ago=HELD_SECONDS + 60)
    sent("note_low")
    take_one(broker, "high")
    assert runs_with_lost_messages(timezone.now()) == [oldest]


def test_an_emptied_broker_has_lost_all(broker: redis.Redis) -> None:
    runs = [sent(), sent("note_low")]
    broker.flushall()
    assert {run.id for run in runs_with_lost_messages(timezone.now())} == {run.id for run in runs}


def test_newer_messages_do_not_hide_that_older_ones_are_missing(broker: redis.Redis) -> None:
    lost = sent()
    take_one(broker, "high")
    for _number in range(3):
        sent(seconds_ago=0.0)
    assert runs_with_lost_messages(timezone.now()) == [lost]


def test_a_message_that_a_worker_has_just_taken_is_not_missed_yet(broker: redis.Redis) -> None:
    sent(seconds_ago=HELD_SECONDS - 5)
    take_one(broker, "high")
    assert runs_with_lost_messages(timezone.now()) == []


def test_a_broker_that_is_away_has_lost_nothing(
    broker: redis.Redis, default_redis_broker: LocalRedis, caplog: pytest.LogCaptureFixture
) -> None:
    sent()
    default_redis_broker._container.stop()
    assert runs_with_lost_messages(timezone.now()) == []
    assert "does not say" in caplog.text


def test_a_broker_that_was_away_is_asked_again(
    broker: redis.Redis, default_redis_broker: LocalRedis
) -> None:
    run = sent()
    assert runs_with_lost_messages(timezone.now()) == []
    default_redis_broker._container.kill("SIGKILL")
    assert runs_with_lost_messages(timezone.now()) == []
    default_redis_broker._container.start()
    broker.flushall()
    assert runs_with_lost_messages(timezone.now()) == [run]


def test_what_is_lost_is_sent_again(broker: redis.Redis) -> None:
    sent()
    broker.flushall()
    assert dispatch.mend()["republished"] == 1
    assert broker.llen("maintenance:high") == 1
