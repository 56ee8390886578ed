"""From the wish to a message, and the mending of what got lost, on real servers."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis
from celery import Celery
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from maintenance.core.errors import InvalidOptions, UnknownName
from maintenance.core.runs import claims, dispatch, ledger
from maintenance.core.runs.ledger import LEASE_SECONDS, Origin
from maintenance.core.runs.registry import task_named
from maintenance.core.runs.waiting_runs import skip_overdue
from maintenance.models import Run, RunState, StoredReport, Trigger
from tests.local_containers import LocalRedis

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="crew")
PREFIX = "maintenance:"


@pytest.fixture
def broker(default_redis_broker: LocalRedis, celery_setup_app: Celery) -> Iterator[redis.Redis]:
    """The broker that this process sends to, seen from the side."""
    with redis.Redis.from_url(default_redis_broker.url) as client:
        yield client


def messages(broker: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """Return the headers of what waits in a queue, oldest first."""
    waiting = broker.lrange(f"{PREFIX}{queue}", 0, -1)
    return [json.loads(message)["headers"] for message in reversed(waiting)]  # type: ignore[arg-type]


def start(name: str = "note_high", **options: Any) -> Run:
    run = dispatch.start_run(task_named(name), "", options, BY_HAND)
    run.refresh_from_db()
    return run


class OtherSession:
    """A session of the ledger that locks what it is told to, and says nothing more."""

    def __init__(self) -> None:
        self._connection = psycopg2.connect(**connection.get_connection_params())

    def __call__(self, statement: str, *parameters: object) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, [str(parameter) for parameter in parameters])

    def let_go(self) -> None:
        if not self._connection.closed:
            self._connection.rollback()  # answers when the locks are gone; a server ends a session later
            self._connection.close()


@pytest.fixture
def other_session() -> Iterator[OtherSession]:
    session = OtherSession()
    yield session
    session.let_go()


def silence(run: Run, **changes: Any) -> None:
    """Make a run look as if its worker had died a while ago."""
    long_ago = timezone.now() - timedelta(seconds=LEASE_SECONDS + 1)
    Run.objects.filter(id=run.id).update(heartbeat_at=long_ago, **changes)


def claimed(run: Run) -> Run:
    return claims.claim(run.id, task_named(run.task), run.target, run.options, "gone@host")


# --- Sending ---


def test_a_run_is_recorded_and_sent_to_the_queue_of_its_task(broker: redis.Redis) -> None:
    run = start("note_high", number=7)

    (message,) = messages(broker, "high")
    assert message["id"] == str(run.id)
    assert message["task"] == "maintenance.note_high"
    assert run.state == RunState.QUEUED
    assert run.published_at is not None
    assert (run.trigger, run.actor, run.options) == (Trigger.CLI, "crew", {"number": 7})


def test_a_message_goes_out_when_the_transaction_commits_and_not_before(
    broker: redis.Redis,
) -> None:
    with transaction.atomic():
        start()
        assert messages(broker, "high") == []

    assert len(messages(broker, "high")) == 1


def test_what_is_rolled_back_was_never_sent(broker: redis.Redis) -> None:
    with transaction.atomic():
        start()
        transaction.set_rollback(True)

    assert messages(broker, "high") == []
    assert not Run.objects.exists()


def test_bad_input_leaves_neither_a_row_nor_a_message(broker: redis.Redis) -> None:
    with pytest.raises(InvalidOptions, match='Did you mean "number"'):
        start("note_high", numbr=1)
    with pytest.raises(UnknownName, match='Did you mean "main"'):
        dispatch.start_run(task_named("trim_streams"), "mian", {}, BY_HAND)

    assert not Run.objects.exists()
    assert messages(broker, "high") == []


def test_a_task_without_a_configured_target_is_sent_so_that_its_run_can_say_so(
    broker: redis.Redis,
) -> None:
    run = dispatch.start_run(task_named("check_queue_depths"), "", {}, BY_HAND)

    assert messages(broker, "high")[0]["id"] == str(run.id)


def test_a_slot_is_sent_once_however_often_it_is_asked_for(broker: redis.Redis) -> None:
    due = datetime(2026, 11, 23, 6, tzinfo=UTC)
    slot = Origin(Trigger.BEAT, schedule="daily note", scheduled_for=due)
    run_id = uuid.uuid4()
    spec = task_named("note_high")
    dispatch.start_run(spec, "", {}, slot, run_id)

    with pytest.raises(IntegrityError):
        dispatch.start_run(spec, "", {}, slot, run_id)
    with pytest.raises(IntegrityError):
        dispatch.start_run(spec, "", {}, slot, uuid.uuid4())

    assert [message["id"] for message in messages(broker, "high")] == [str(run_id)]


def test_while_the_broker_is_down_a_run_stays_queued_and_is_sent_when_it_is_back(
    broker: redis.Redis, default_redis_broker: LocalRedis
) -> None:
    default_redis_broker.kill()
    run = start()
    assert (run.state, run.published_at) == (RunState.QUEUED, None)

    default_redis_broker.restart()
    Run.objects.filter(id=run.id).update(queued_at=timezone.now() - timedelta(seconds=11))

    assert dispatch.mend() == {"lost": 0, "republished": 1}
    assert messages(broker, "high")[0]["id"] == str(run.id)
    run.refresh_from_db()
    assert run.published_at is not None


# --- Mending ---


def test_mending_leaves_alone_what_is_well(broker: redis.Redis) -> None:
    start("note_high")
    claimed(start("note_low"))

    assert dispatch.mend() == {"lost": 0, "republished": 0}
    assert len(messages(broker, "high")) == 1


def test_a_run_whose_worker_died_is_sent_again_and_the_attempt_counts(broker: redis.Redis) -> None:
    run = claimed(start("note_high"))
    broker.flushall()
    silence(run)

    assert dispatch.mend() == {"lost": 1, "republished": 0}

    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    (failure,) = run.failures
    assert failure["attempt"] == 1
    assert "gone@host stopped responding (last heartbeat" in failure["reason"]
    assert messages(broker, "high")[0]["id"] == str(run.id)
    assert claimed(run).attempt == 2


def test_a_run_at_which_three_workers_are_lost_is_dead_lettered_and_never_sent_again(
    broker: redis.Redis, settings: Any, tmp_path: Path
) -> None:
    use_log_store(settings, tmp_path)
    run = start("note_high")
    for _ in range(ledger.MOST_DEATHS):
        run = claimed(run)
        silence(run, phase="vacuum public.status")
        assert dispatch.mend()["lost"] == 1
        run.refresh_from_db()
    broker.flushall()

    assert (run.state, run.severity, run.deaths) == (RunState.FAILED, "critical", 3)
    assert [failure["attempt"] for failure in run.failures] == [1, 2, 3]
    stored = StoredReport.objects.get(run=run)
    (finding,) = stored.body["findings"]
    assert finding["code"] == "dead-lettered"
    assert finding["sentence"].startswith("3 workers were lost while they held this run.")
    assert finding["evidence"]["last_phase"] == "vacuum public.status"
    assert stored.files
    assert len(list(tmp_path.rglob("*.json"))) == 1
    later = timezone.now() - timedelta(days=1)
    Run.objects.filter(id=run.id).update(queued_at=later, published_at=later)
    assert dispatch.mend() == {"lost": 0, "republished": 0}
    assert messages(broker, "high") == []


def test_what_three_lost_workers_left_is_tidied_up_by_a_run_that_ends_there(
    broker: redis.Redis,
) -> None:
    task = task_named("reindex_bloated_indexes")
    run = dispatch.start_run(task, "default", {}, BY_HAND)
    for options in ({}, {"leftovers_only": True}):
        for _ in range(ledger.MOST_DEATHS):
            silence(claimed(run))
            assert dispatch.mend()["lost"] == 1
        run.refresh_from_db()
        assert (run.state, run.options) == (RunState.FAILED, options)
        following = Run.objects.filter(state=RunState.QUEUED)
        assert following.exists() is (not options)
        following.update(available_at=None)  # its time has come
        run = following.first() or run


def test_lost_workers_do_not_use_up_the_attempts_of_errors(broker: redis.Redis) -> None:
    run = claimed(start("note_high"))
    ledger.record_failed_attempt(run, "The server is down.")
    ledger.requeue(run, 0)
    silence(claimed(run))
    dispatch.mend()

    run.refresh_from_db()
    assert (len(run.failures), ledger.errors_of(run), run.deaths) == (2, 1, 1)


def test_a_worker_that_writes_a_heartbeat_in_time_keeps_its_run(broker: redis.Redis) -> None:
    run = claimed(start("note_high"))
    silence(run)
    (seen,) = ledger.runs_without_a_worker()
    ledger.heartbeat(run)

    assert not dispatch.revive(seen)

    run.refresh_from_db()
    assert (run.state, run.attempt, run.deaths) == (RunState.RUNNING, 1, 0)


def test_a_run_that_was_to_be_cancelled_is_not_started_again(broker: redis.Redis) -> None:
    run = claimed(start("note_high"))
    broker.flushall()
    ledger.request_cancel(run, "crew")
    silence(run)

    dispatch.mend()

    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    assert messages(broker, "high") == []


def test_a_message_that_led_to_nothing_is_sent_again(broker: redis.Redis) -> None:
    run = start("note_high")
    broker.flushall()
    long_ago = timezone.now() - timedelta(seconds=dispatch.REPUBLISH_SECONDS + 1)
    Run.objects.filter(id=run.id).update(published_at=long_ago)

    assert dispatch.mend() == {"lost": 0, "republished": 1}
    assert dispatch.mend() == {"lost": 0, "republished": 0}
    assert len(messages(broker, "high")) == 1


def test_a_run_of_a_task_that_is_gone_gets_time_and_then_fails_with_the_reason(
    broker: redis.Redis,
) -> None:
    run = ledger.create_run(task_named("note_high"), "", {}, BY_HAND)
    minute = timezone.now() - timedelta(seconds=60)
    Run.objects.filter(id=run.id).update(task="maintenance.renamed", queued_at=minute)

    assert dispatch.mend() == {"lost": 0, "republished": 0}
    assert Run.objects.get(id=run.id).state == RunState.QUEUED

    long_ago = timezone.now() - timedelta(seconds=dispatch.UNKNOWN_TASK_SECONDS + 1)
    Run.objects.filter(id=run.id).update(queued_at=long_ago, available_at=minute)  # it was put off
    dispatch.mend()
    assert Run.objects.get(id=run.id).state == RunState.QUEUED

    Run.objects.filter(id=run.id).update(available_at=None)
    dispatch.mend()

    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert run.reason == "The task maintenance.renamed does not exist any more."


def test_a_running_run_of_a_task_that_is_gone_does_not_stop_the_mending(
    broker: redis.Redis,
) -> None:
    gone, well = claimed(start("note_high")), claimed(start("note_low"))
    silence(gone, task="maintenance.renamed")
    silence(well)

    assert dispatch.mend()["lost"] == 2
    states = set(Run.objects.values_list("task", "state"))
    assert ("maintenance.renamed", RunState.QUEUED) in states
    assert ("maintenance.note_low", RunState.QUEUED) in states


def test_a_row_that_a_session_which_hangs_has_locked_holds_up_no_mending(
    broker: redis.Redis, other_session: OtherSession
) -> None:
    hanging, well = claimed(start("note_high")), claimed(start("note_low"))
    for run in (hanging, well):
        silence(run)
    other_session("SELECT FROM maintenance_run WHERE id = %s FOR UPDATE", hanging.id)

    assert dispatch.mend()["lost"] == 1

    well.refresh_from_db()
    assert well.state == RunState.QUEUED
    other_session.let_go()
    assert dispatch.mend()["lost"] == 1


def test_a_deadline_of_a_row_that_somebody_has_locked_waits_for_the_next_look(
    other_session: OtherSession,
) -> None:
    passed = timezone.now() - timedelta(seconds=1)
    locked, free = (ledger.create_run(task_named("note_high"), "", {}, BY_HAND) for _ in range(2))
    Run.objects.update(deadline_at=passed)
    other_session("SELECT FROM maintenance_run WHERE id = %s FOR UPDATE", locked.id)
    with transaction.atomic():
        assert [run.id for run, _report in skip_overdue(timezone.now())] == [free.id]


def test_lost_runs_ask_a_broker_that_is_away_once(
    default_redis_broker: LocalRedis, celery_setup_app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        run = start("note_high", number=number)
        silence(run, state=RunState.RUNNING, attempt=1, resource=str(number))
    default_redis_broker.kill()
    try:
        assert dispatch.mend() == {"lost": 5, "republished": 0}
    finally:
        default_redis_broker.restart()
    assert caplog.text.count("The broker is away, 5 runs stay queued") == 1
    assert caplog.text.count("roker") == 1, "it was asked again"


def use_log_store(settings: Any, folder: Path) -> None:
    """Let the log store write below ``folder``."""
    backend = "django.core.files.storage.FileSystemStorage"
    store = {"BACKEND": backend, "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}
