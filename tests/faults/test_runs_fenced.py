"""Workers that are stopped for longer than their lease and go on: they do nothing more."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import pytest_celery
import redis
from django.db import connection

from maintenance.core.runs import ledger
from maintenance.core.runs.dispatch import mend, start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, RunStep, StoredReport, Trigger
from tests.acceptance.test_checklists_run import finished
from tests.celery_nodes import WorkerFactory
from tests.faults.test_repairs_survive import (
    AT_WORK,
    OURS,
    TABLES,
    brake,
    make_slow_and_quick_tables,
    vacuum_counts,
)
from tests.local_containers import LocalRedis
from tests.polling import eventually
from tests.postgres_clients import ask

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="tester")
LEASE_SECONDS = 2.0


@pytest.fixture(autouse=True)
def short_lease(testapp_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that a test can wait for, in this process and in the workers."""
    monkeypatch.setattr(ledger, "LEASE_SECONDS", LEASE_SECONDS)
    testapp_environment["TESTAPP_LEASE_SECONDS"] = str(LEASE_SECONDS)


class Stopped:
    """A worker with its whole pool, stopped and continued."""

    def __init__(self, worker: pytest_celery.CeleryTestWorker) -> None:
        self._worker = worker
        leader = psutil.Process(worker.container._container.pid)
        self._pids = [leader.pid, *(child.pid for child in leader.children(recursive=True))]

    def stop(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)


def reaped(run: Run) -> None:
    """Wait until the lease of the run has run out, and give the run back."""
    eventually(lambda: mend()["lost"] == 1, 4 * LEASE_SECONDS, "the lease runs out")


def test_a_worker_that_was_stopped_for_longer_than_its_lease_starts_no_other_batch(
    make_worker: WorkerFactory, tmp_path: Path
) -> None:
    gate, lines = tmp_path / "gate", tmp_path / "gate.lines"
    worker = make_worker("medium", name="stopped")
    run = start_run(task_named("write_until_gate"), "", {"gate": str(gate)}, BY_HAND)
    eventually(lambda: lines.exists() and len(lines.read_text().split()) > 3, 30, "batches")

    stopped = Stopped(worker)
    stopped.stop()
    reaped(run)
    first = lines.read_text().split()
    make_worker("medium", name="heir")
    eventually(lambda: len(lines.read_text().split()) > len(first) + 3, 30, "the heir's batches")
    stopped.go_on()
    worker.wait_for_log("is not held by attempt 1 any more", timeout=20)
    gate.touch()

    assert finished(run).state == RunState.SUCCEEDED
    assert (run.attempt, run.deaths) == (2, 1)
    (pid,) = set(first)
    assert lines.read_text().split().count(pid) == len(first)


def test_a_run_that_kills_its_process_of_the_pool_each_time_is_dead_lettered(
    make_worker: WorkerFactory,
) -> None:
    worker = make_worker("medium", name="enduring")
    run = start_run(task_named("kill_its_process"), "", {}, BY_HAND)

    def given_up() -> bool:
        mend()
        run.refresh_from_db()
        return run.is_finished

    eventually(given_up, 60, "the run is given up")

    assert (run.state, run.deaths) == (RunState.FAILED, ledger.MOST_DEATHS)
    assert StoredReport.objects.get(run=run).body["findings"][0]["code"] == "dead-lettered"
    assert worker.container.status == "running"
    after = start_run(task_named("note_medium"), "", {"number": 1}, BY_HAND)
    assert finished(after).state == RunState.SUCCEEDED


# --- Real subjects ---

KEYS, MEMBERS, KEPT = 400, 400, 10
#: Keys of one batch of writes: the first has no more than so many members to remove.
MOST_OF_A_BATCH = 4000 // (MEMBERS - KEPT) + 1


def trimmed(client: redis.Redis) -> int:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(KEYS):
            pipeline.zcard(f"{number}-home")
        return pipeline.execute().count(KEPT)


def test_a_trim_that_was_stopped_for_longer_than_its_lease_writes_nothing_more(
    make_worker: WorkerFactory, default_redis_broker: LocalRedis
) -> None:
    with redis.Redis.from_url(default_redis_broker.url) as client:
        with client.pipeline(transaction=False) as pipeline:
            for number in range(KEYS):
                pipeline.zadd(f"{number}-home", {f"m{n}": n for n in range(MEMBERS)})
            pipeline.execute()
        worker = make_worker("medium", name="trimming")
        run = start_run(task_named("trim_slowly"), "main", {}, BY_HAND)
        eventually(lambda: trimmed(client) > 5, 30, "the first batches")

        stopped = Stopped(worker)
        stopped.stop()
        reaped(run)
        run.refresh_from_db()
        ledger.request_cancel(run, "tester")  # nobody takes it up, so that only one can write
        before = trimmed(client)
        assert 5 < before < KEYS - 2 * MOST_OF_A_BATCH
        stopped.go_on()
        worker.wait_for_log("is not held by attempt 1 any more", timeout=20)

        assert trimmed(client) == before


def test_a_vacuum_that_was_stopped_is_ended_on_the_server_before_its_heir_begins(
    make_worker: WorkerFactory,
) -> None:
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    make_slow_and_quick_tables(url)
    try:
        with brake(url) as release:
            worker = make_worker("medium", name="vacuuming")
            options = {"tables": list(TABLES), "jobs": 1}
            run = start_run(task_named("vacuum_analyze"), "default", options, BY_HAND)
            eventually(lambda: ask(url, AT_WORK) != [], 60, "the slow table is at work")
            eventually(lambda: RunStep.objects.filter(run=run).count() == 2, 30, "two tables noted")

            stopped = Stopped(worker)
            stopped.stop()
            reaped(run)
            [its_session] = ask(url, AT_WORK)  # the stopped worker's statement goes on
            make_worker("medium", name="heir")
            eventually(
                lambda: ask(url, AT_WORK) not in ([], [its_session]), 60, "the heir's VACUUM"
            )
            release()
        assert finished(run, 60).state == RunState.SUCCEEDED
        outcomes = {o["subject"]: o["verdict"] for o in run.report.body["outcomes"]}
        assert {f"public.{name}": "worked" for name in TABLES}.items() <= outcomes.items()
        codes = [finding["code"] for finding in run.report.body["findings"]]
        assert "expired-sessions-ended" in codes
        counts = vacuum_counts(url)

        stopped.go_on()
        worker.wait_for_log("is not held by attempt 1 any more", timeout=20)
        eventually(lambda: ask(url, OURS) == [], 10, "the end of our sessions")

        assert vacuum_counts(url) == counts
        assert (counts["first"], counts["second"]) == (1, 1)
    finally:
        ask(url, "DROP TABLE IF EXISTS first, second, slow")


def test_a_vacuum_that_is_cancelled_ends_on_the_server_within_five_seconds(
    make_worker: WorkerFactory,
) -> None:
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    make_slow_and_quick_tables(url)
    try:
        with brake(url):
            make_worker("medium", name="vacuuming")
            options = {"tables": list(TABLES), "jobs": 1}
            run = start_run(task_named("vacuum_analyze"), "default", options, BY_HAND)
            eventually(lambda: ask(url, AT_WORK) != [], 60, "the slow table is at work")

            asked_at = time.monotonic()
            ledger.request_cancel(run, "tester")
            eventually(lambda: ask(url, OURS) == [], 10, "the end of our sessions")

            assert time.monotonic() - asked_at < 5
        assert finished(run, 30).state == RunState.CANCELLED
        done = {o["subject"] for o in run.report.body["outcomes"]}
        assert {"public.first", "public.second"} <= done
    finally:
        ask(url, "DROP TABLE IF EXISTS first, second, slow")
