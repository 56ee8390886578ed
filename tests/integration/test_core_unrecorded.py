"""What is kept outside of the ledger comes later where a process was killed, or the log store away."""

import json
import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from maintenance.core.reports import Report
from maintenance.core.runs import ledger, recording
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.recording import complete_unrecorded, record
from maintenance.core.runs.waiting_runs import skip_overdue
from maintenance.models import Run, RunState, StoredReport, Trigger
from tests.ledger_rows import queued_run, running_run
from tests.made_tasks import TaskFactory

pytestmark = pytest.mark.django_db(transaction=True)

FILE_STORAGE = "django.core.files.storage.FileSystemStorage"


@pytest.fixture(autouse=True)
def log_store(settings: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "log-store"
    keep_in(folder, settings)
    return folder


def keep_in(folder: Path, settings: Any) -> None:
    store = {"BACKEND": FILE_STORAGE, "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def lines(caplog: pytest.LogCaptureFixture) -> int:
    return sum(each.getMessage() == "run finished" for each in caplog.records)


def ended_run() -> Run:
    """A run whose worker was killed when the ledger had its end and nothing else."""
    run = running_run()
    ledger.finish(run, RunState.SUCCEEDED, Report("Made", "All is well."))
    return run


def make_due() -> None:
    """Let the time pass that whoever ended them had."""
    due = StoredReport.objects.filter(record_due_at__isnull=False)
    due.update(record_due_at=Now() - timedelta(seconds=1))


def test_a_run_leaves_nothing_to_be_completed(task_that: TaskFactory) -> None:
    run = work_here(
        ledger.create_run(task_that(lambda _job: Report("T", "S.")), "", {}, Origin(Trigger.CLI))
    )
    stored = StoredReport.objects.get(run=run)
    assert stored.record_due_at is None
    assert stored.told_at is not None
    assert len(stored.files) == 3


def test_what_a_killed_worker_left_is_completed_once(
    log_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = ended_run()
    assert complete_unrecorded() == 0, "whoever ended it has time to do it"
    make_due()

    assert complete_unrecorded() == 1

    stored = StoredReport.objects.get(run=run)
    assert files_in(log_store) == sorted(stored.files)
    assert len(stored.files) == 3
    assert lines(caplog) == 1
    make_due()
    assert complete_unrecorded() == 0
    assert lines(caplog) == 1


def test_the_next_run_that_ends_completes_it(log_store: Path, task_that: TaskFactory) -> None:
    killed = ended_run()
    make_due()

    work_here(
        ledger.create_run(task_that(lambda _job: Report("T", "S.")), "", {}, Origin(Trigger.CLI))
    )

    assert len(StoredReport.objects.get(run=killed).files) == 3
    assert len(files_in(log_store)) == 6


def test_a_log_store_that_was_away_has_the_files_later_and_the_line_once(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    in_the_way = tmp_path / "in-the-way"
    in_the_way.write_text("a file where a folder should be")
    keep_in(in_the_way, settings)
    run = ended_run()

    assert not record(run, ledger.stored_document(run))
    assert lines(caplog) == 1
    assert complete_unrecorded() == 0, "it is left alone for a while"
    make_due()
    assert complete_unrecorded() == 0
    assert StoredReport.objects.get(run=run).record_due_at is not None

    keep_in(tmp_path / "back", settings)
    make_due()
    assert complete_unrecorded() == 1
    stored = StoredReport.objects.get(run=run)
    assert files_in(tmp_path / "back") == sorted(stored.files)
    assert stored.record_due_at is None
    assert lines(caplog) == 1, "it was told when it ended"


def test_a_store_that_is_away_is_asked_for_one_of_many(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "in-the-way"
    in_the_way.write_text("a file where a folder should be")
    keep_in(in_the_way, settings)
    for _number in range(3):
        ended_run()
    make_due()

    assert complete_unrecorded() == 0
    assert caplog.text.count("is in the ledger only") == 1


def test_two_processes_complete_no_report_both(
    log_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ended_run()
    make_due()
    counts: list[int] = []

    def complete_in_a_thread() -> None:
        counts.append(complete_unrecorded())
        connection.close()

    complete = recording._complete

    def while_another_looks(stored: StoredReport, document: Any) -> bool:
        monkeypatch.undo()
        other = threading.Thread(target=complete_in_a_thread)
        other.start()
        other.join()
        return complete(stored, document)

    monkeypatch.setattr(recording, "_complete", while_another_looks)

    assert complete_unrecorded() == 1
    assert counts == [0]
    assert lines(caplog) == 1
    assert len(files_in(log_store)) == 3


def test_what_has_a_line_alone_is_not_completed(
    log_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    overdue = queued_run()
    Run.objects.filter(id=overdue.id).update(deadline_at=Now() - timedelta(seconds=5))
    with transaction.atomic():
        [(run, document)] = skip_overdue(ledger_now())
    recording.log(document)
    make_due()

    assert complete_unrecorded() == 0
    assert (run.id, run.state) == (overdue.id, RunState.SKIPPED)
    assert lines(caplog) == 1
    assert files_in(log_store) == []


@pytest.mark.parametrize("what", ["of another release", "deleted"])
def test_a_report_that_cannot_be_read_is_no_matter_of_others(
    what: str, task_that: TaskFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, readable = ended_run(), ended_run()
    stored = StoredReport.objects.filter(run=left)
    if what == "of another release":
        stored.update(schema_version=99)
    make_due()
    claimed = recording._claimed

    def while_it_is_deleted() -> list[StoredReport]:
        found = claimed()
        if what == "deleted":
            stored.delete()
        return found

    monkeypatch.setattr(recording, "_claimed", while_it_is_deleted)
    run = work_here(
        ledger.create_run(task_that(lambda _job: Report("T", "S.")), "", {}, Origin(Trigger.CLI))
    )

    assert run.state == RunState.SUCCEEDED
    assert len(StoredReport.objects.get(run=readable).files) == 3


def test_the_json_line_of_a_late_one_is_that_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = ended_run()
    make_due()
    complete_unrecorded()
    [line] = [each for each in caplog.records if each.getMessage() == "run finished"]
    document = json.loads(json.dumps(line.__dict__["document"], default=str))
    assert str(run.id) in json.dumps(document)
    assert "All is well." in json.dumps(document)
