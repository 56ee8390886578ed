"""Workers that are stopped for longer than their lease and go on: they do nothing more."""

import os
import signal
from pathlib import Path

import psutil
import pytest
import pytest_celery

from maintenance.core import ledger
from maintenance.core.dispatch import mend, start_run
from maintenance.core.ledger import Origin
from maintenance.core.registry import task_named
from maintenance.models import Run, RunState, StoredReport, Trigger
from tests.acceptance.test_checklists_run import finished
from tests.celery_nodes import WorkerFactory
from tests.polling import eventually

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
    # Where the stop fell between the look and the batch, that one batch is done: see core/lease.py.
    assert lines.read_text().split().count(pid) <= len(first) + 1


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
