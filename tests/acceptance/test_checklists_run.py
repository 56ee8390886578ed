"""Real beat, real workers, real messages: from a due row to a report in database and file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_celery
from celery import Celery
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin, request_cancel, stored_document
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, StoredReport, StoredSample, Trigger
from tests.celery_nodes import WorkerFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="tester")


def finished(run: Run, seconds: float = 30) -> Run:
    """Wait until the run is finished and return it anew."""

    def is_finished() -> bool:
        run.refresh_from_db()
        return run.is_finished

    eventually(is_finished, seconds, f"{run} is finished")
    return run


def files_of(run: Run, folder: Path) -> list[str]:
    """Wait for the run's files, whose names the ledger has first: they follow its end by a moment."""

    def are_written() -> bool:
        names = StoredReport.objects.get(run=run).files
        return bool(names) and all((folder / name).is_file() for name in names)

    eventually(are_written, 10, f"{run} has its files")
    return list(StoredReport.objects.get(run=run).files)


def test_a_due_row_reaches_its_queue_its_worker_and_the_log_store(
    make_worker: WorkerFactory,
    make_beat: Callable[[], pytest_celery.CeleryTestNode],
    report_folder: Path,
) -> None:
    high = make_worker("high", name="high")
    make_worker("medium", "low", name="other")
    every_second, _created = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    PeriodicTask.objects.create(
        name="maintenance: weekly check_disk_space on local",
        task="maintenance.check_disk_space",
        interval=every_second,
        queue="high",
        kwargs=json.dumps({"target": "local", "options": {}}),
        headers=json.dumps({"maintenance_checklist": "weekly"}),
        one_off=True,
    )

    make_beat()
    eventually(Run.objects.exists, 30, "beat has recorded the slot")
    run = finished(Run.objects.get())

    assert run.state == RunState.SUCCEEDED, run.reason
    assert run.worker == high.hostname()
    assert (run.trigger, run.checklist, run.queue) == ("beat", "weekly", "high")
    assert run.scheduled_for is not None
    assert run.scheduled_for <= timezone.now()
    document = stored_document(run)
    assert document.report.summary == run.summary
    names = files_of(run, report_folder)
    day = f"{run.finished_at:%Y/%m/%d}"
    assert {Path(name).suffix for name in names} == {".json", ".html", ".txt"}
    assert all(name.startswith(f"reports/{day}/weekly-check_disk_space-local-") for name in names)
    on_file = next(report_folder / name for name in names if name.endswith(".json"))
    assert json.loads(on_file.read_text())["report"]["summary"] == run.summary


def test_one_worker_on_three_queues_drains_them_in_strict_order(
    make_worker: WorkerFactory, celery_setup_app: object
) -> None:
    tasks = [task_named(f"note_{queue}") for queue in ("low", "medium", "high")]
    for number in range(100):
        for task in tasks:
            start_run(task, "", {"number": number}, BY_HAND)

    make_worker()
    eventually(lambda: Run.objects.filter(state=RunState.SUCCEEDED).count() == 300, 120, "300 runs")

    queues = list(Run.objects.order_by("started_at").values_list("queue", flat=True))
    assert queues == ["high"] * 100 + ["medium"] * 100 + ["low"] * 100


def test_the_setup_of_the_plugin_is_ready_and_answers_control(
    celery_setup: pytest_celery.CeleryTestSetup,
) -> None:
    assert celery_setup.ready(ping=False, control=True)
    run = finished(start_run(task_named("note_medium"), "", {"number": 7}, BY_HAND))

    assert run.summary == "Noted 7."
    assert run.worker == celery_setup.worker.hostname()
    celery_setup.worker.assert_log_exists(str(run.id))
    assert StoredSample.objects.get(run=run).value == 7.0


def test_progress_shows_on_the_row_and_in_celery_while_the_run_works(
    celery_setup: pytest_celery.CeleryTestSetup, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = start_run(task_named("wait_at_gate"), "", {"gate": str(gate)}, BY_HAND)

    def has_progress() -> bool:
        run.refresh_from_db()
        return run.progress_done > 0

    eventually(has_progress, 30, "progress on the row")
    result = celery_setup.app.AsyncResult(str(run.id))
    eventually(lambda: result.state == "PROGRESS", 10, "progress in Celery")
    assert result.info["phase"] == run.phase == "waiting at the gate"
    gate.touch()

    assert finished(run).state == RunState.SUCCEEDED
    eventually(lambda: result.state == "SUCCESS", 10, "an end in Celery")


def test_a_cancelled_run_stops_and_says_so(
    celery_setup: pytest_celery.CeleryTestSetup, tmp_path: Path
) -> None:
    run = start_run(task_named("wait_at_gate"), "", {"gate": str(tmp_path / "never")}, BY_HAND)

    def is_running() -> bool:
        run.refresh_from_db()
        return run.state == RunState.RUNNING

    eventually(is_running, 30, "the run is at work")
    request_cancel(run, "crew")

    assert finished(run).state == RunState.CANCELLED
    assert run.reason == "Cancelled by crew while it was at work."


def test_a_second_run_of_the_same_work_is_skipped_and_names_the_first(
    make_worker: WorkerFactory, tmp_path: Path
) -> None:
    make_worker("medium", arguments=("-c", "2"))
    gate = tmp_path / "gate"
    first = start_run(task_named("wait_at_gate"), "", {"gate": str(gate)}, BY_HAND)
    eventually(
        lambda: Run.objects.filter(id=first.id, state=RunState.RUNNING).exists(), 30, "first"
    )
    second = finished(start_run(task_named("wait_at_gate"), "", {"gate": str(gate)}, BY_HAND))
    gate.touch()

    assert second.state == RunState.SKIPPED
    assert str(first.id) in second.reason
    assert finished(first).state == RunState.SUCCEEDED


def test_a_target_that_is_down_fails_after_its_retries_and_others_go_on(
    celery_setup: pytest_celery.CeleryTestSetup,
) -> None:
    down = start_run(task_named("reach_in_vain"), "main", {}, BY_HAND)
    other = start_run(task_named("note_low"), "", {"number": 1}, BY_HAND)

    assert finished(other).state == RunState.SUCCEEDED
    assert finished(down).state == RunState.FAILED
    assert down.attempt == len(down.failures) == 3
    assert "cache.example:6379" in down.reason
    report = stored_document(down).report
    assert report.findings[0].severity == "critical"
    everything = json.dumps([down.reason, down.failures, report.to_json()])
    assert "very-secret" not in everything
    assert "very-secret" not in celery_setup.worker.logs()


def test_a_mistake_is_not_tried_again(celery_setup: pytest_celery.CeleryTestSetup) -> None:
    run = finished(start_run(task_named("break_at_once"), "", {}, BY_HAND))

    assert (run.state, run.attempt) == (RunState.FAILED, 1)
    assert "hunter2" not in run.reason
    result = celery_setup.app.AsyncResult(str(run.id))
    eventually(lambda: result.state == "FAILURE", 10, "a failure in Celery")
    assert "hunter2" not in str(result.result)


def test_celery_counts_a_rate_limit_in_each_worker(
    make_worker: WorkerFactory, celery_setup_app: Celery, tmp_path: Path
) -> None:
    folder = tmp_path / "touched"
    folder.mkdir()
    for name in ("one", "two"):
        make_worker(name, name=name)
        for _number in range(2):
            celery_setup_app.send_task(
                "tests.testapp.tasks.touch_rarely", [str(folder)], queue=name
            )

    # Once a minute is the limit: the second one has come long before.
    eventually(lambda: len(list(folder.iterdir())) == 2, 30, "both workers have done one")


def test_a_rate_limit_holds_over_two_workers(make_worker: WorkerFactory) -> None:
    make_worker("high", name="one")
    make_worker("high", name="two")
    runs = [start_run(task_named("note_rarely"), "", {"number": n}, BY_HAND) for n in range(8)]
    after = start_run(task_named("note_high"), "", {"number": 1}, BY_HAND)

    assert finished(after).state == RunState.SUCCEEDED
    ids = [run.id for run in runs]
    # A start that met another one at work ended as skipped; it was a start all the same.
    started = Run.objects.filter(id__in=ids, finished_at__isnull=False)
    eventually(lambda: started.count() == 3, 20, "three starts")
    assert Run.objects.filter(id__in=ids, state=RunState.QUEUED, attempt=0).count() == 5
