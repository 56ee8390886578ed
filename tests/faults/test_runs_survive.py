"""Workers killed, brokers restarted, messages doubled: one run, one report, nothing lost."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_celery
from django.utils import timezone

from maintenance.core.runs import ledger
from maintenance.core.runs.dispatch import mend, publish, start_run
from maintenance.core.runs.ledger import LEASE_SECONDS, Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, RunStep, StoredReport, Trigger
from tests.acceptance.test_checklists_run import finished
from tests.celery_nodes import WorkerFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="tester")


def start_at_gate(gate: Path) -> Run:
    """Start a run that works until the gate opens, and wait until it is at work."""
    run = start_run(task_named("wait_at_gate"), "", {"gate": str(gate)}, BY_HAND)
    at_work = Run.objects.filter(id=run.id, state=RunState.RUNNING, progress_done__gt=0)
    eventually(at_work.exists, 30, "the run is at work")
    return run


def let_the_lease_expire(run: Run) -> None:
    """Move the last heartbeat into the past, as waiting for it would."""
    past = timezone.now() - timedelta(seconds=LEASE_SECONDS + 1)
    Run.objects.filter(id=run.id).update(heartbeat_at=past)


def test_a_killed_workers_run_is_done_by_another_worker(
    make_worker: WorkerFactory, tmp_path: Path
) -> None:
    victim = make_worker("medium", name="victim")
    gate = tmp_path / "gate"
    run = start_at_gate(gate)

    victim.kill()
    let_the_lease_expire(run)
    assert mend()["lost"] == 1
    gate.touch()
    heir = make_worker("medium", name="heir")

    assert finished(run).state == RunState.SUCCEEDED
    assert run.worker == heir.hostname()
    assert run.attempt == 2
    assert "stopped responding" in run.failures[0]["reason"]


def test_what_a_killed_worker_has_done_is_not_done_again(
    make_worker: WorkerFactory, tmp_path: Path
) -> None:
    victim = make_worker("medium", name="victim")
    gate = tmp_path / "gate"
    run = start_run(task_named("step_and_wait_at_gate"), "", {"gate": str(gate)}, BY_HAND)
    eventually(RunStep.objects.filter(run=run).exists, 30, "its first step is in the ledger")

    victim.kill()
    let_the_lease_expire(run)
    mend()
    gate.touch()
    make_worker("medium", name="heir")

    ended = finished(run)
    assert (ended.state, ended.summary) == (RunState.SUCCEEDED, "Found done: first.")
    assert not RunStep.objects.exists()


def test_a_run_that_kills_every_worker_is_dead_lettered(
    make_worker: WorkerFactory, tmp_path: Path
) -> None:
    gate = tmp_path / "never"
    run = start_run(task_named("wait_at_gate"), "", {"gate": str(gate)}, BY_HAND)

    for attempt in range(1, ledger.MOST_DEATHS + 1):
        victim = make_worker("medium", name=f"victim{attempt}")
        at_work = Run.objects.filter(id=run.id, state=RunState.RUNNING, attempt=attempt)
        eventually(at_work.exists, 30, f"attempt {attempt}")
        victim.kill()
        let_the_lease_expire(run)
        mend()

    run.refresh_from_db()
    assert (run.state, run.deaths) == (RunState.FAILED, ledger.MOST_DEATHS)
    assert StoredReport.objects.get(run=run).body["findings"][0]["code"] == "dead-lettered"


def test_a_doubled_message_runs_once(make_worker: WorkerFactory) -> None:
    run = start_run(task_named("note_medium"), "", {"number": 3}, BY_HAND)
    assert publish(run)
    assert publish(run)

    worker = make_worker("medium")
    finished(run)
    worker.wait_for_log("does nothing")

    assert Run.objects.get(id=run.id).attempt == 1
    assert StoredReport.objects.filter(run=run).count() == 1


def test_a_broker_restart_in_mid_run_costs_nothing(
    celery_setup: pytest_celery.CeleryTestSetup, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = start_at_gate(gate)

    celery_setup.broker.restart()
    gate.touch()

    assert finished(run, 60).state == RunState.SUCCEEDED
    assert run.attempt == 1


def test_a_worker_outlives_a_broker_that_is_killed_while_it_works(
    celery_setup: pytest_celery.CeleryTestSetup, tmp_path: Path
) -> None:
    for number in range(3):
        gate = tmp_path / f"gate-{number}"
        run = start_at_gate(gate)

        celery_setup.broker.container._container.kill()
        celery_setup.broker.container._container.start()
        gate.touch()

        assert finished(run, 60).state == RunState.SUCCEEDED
    after = start_run(task_named("note_medium"), "", {"number": 6}, BY_HAND)
    assert finished(after, 60).state == RunState.SUCCEEDED
    assert celery_setup.worker.container.status == "running"


def test_a_run_asked_for_while_the_broker_is_down_is_sent_when_it_is_back(
    celery_setup: pytest_celery.CeleryTestSetup,
) -> None:
    celery_setup.broker.container._container.stop()
    run = start_run(task_named("note_medium"), "", {"number": 4}, BY_HAND)
    assert Run.objects.get(id=run.id).published_at is None

    celery_setup.broker.container._container.start()
    Run.objects.filter(id=run.id).update(queued_at=timezone.now() - timedelta(minutes=1))
    assert mend()["republished"] == 1

    assert finished(run, 60).state == RunState.SUCCEEDED


def test_a_full_log_store_never_fails_the_work(
    make_worker: WorkerFactory, report_folder: Path
) -> None:
    report_folder.rmdir()
    report_folder.write_text("a file where a folder should be")
    worker = make_worker("medium")

    run = finished(start_run(task_named("note_medium"), "", {"number": 5}, BY_HAND))

    assert run.state == RunState.SUCCEEDED
    worker.wait_for_log("in the ledger only")
    assert StoredReport.objects.get(run=run).body["summary"] == "Noted 5."


def test_a_killed_beat_does_not_repeat_a_slot(
    make_worker: WorkerFactory, make_beat: Callable[[], pytest_celery.CeleryTestNode]
) -> None:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    every_minute, _created = CrontabSchedule.objects.get_or_create(
        minute="*", hour="*", day_of_month="*", month_of_year="*", day_of_week="*"
    )
    row = PeriodicTask.objects.create(
        name="maintenance: daily note_high",
        task="maintenance.note_high",
        crontab=every_minute,
        queue="high",
    )
    a_minute_ago = timezone.now() - timedelta(seconds=90)
    PeriodicTask.objects.filter(id=row.id).update(last_run_at=a_minute_ago)

    first = make_beat()
    eventually(Run.objects.exists, 30, "the slot is recorded")
    first.kill()
    # What the killed beat had not saved yet: the next one believes that the slot is still due.
    PeriodicTask.objects.filter(id=row.id).update(last_run_at=a_minute_ago, enabled=True)
    slot = Run.objects.order_by("scheduled_for").first()
    second = make_beat()
    second.wait_for_log("schedules are on")

    assert slot is not None
    eventually(
        lambda: Run.objects.filter(scheduled_for__gt=slot.scheduled_for).exists(),
        90,
        "the second beat records the next slot",
    )
    assert Run.objects.filter(scheduled_for=slot.scheduled_for).count() == 1
