"""What the ledger forgets, and what it keeps however old."""

from collections.abc import Mapping
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from maintenance.core.evidence.proving import Wanted, prove_time
from maintenance.core.job import Job, NoSteps
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.runs import ledger, retention
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.registry import task_named
from maintenance.core.runs.retention import RetentionOptions, trim_reports, trimmed_until
from maintenance.core.scheduling.definitions import Definition
from maintenance.models import Run, RunState, ScheduleVersion, Trigger
from tests.ledger_rows import finished_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def log_store(settings: Any, tmp_path: Path) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    store = {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}


def keep_days(settings: Any, days: int) -> None:
    settings.MAINTENANCE = {**settings.MAINTENANCE, "reports": {"retention_days": days}}


def trim(**options: bool) -> Run:
    """Carry out the retention as a worker would."""
    origin = ledger.Origin(Trigger.CLI, actor="tests")
    run = work_here(ledger.create_run(task_named("trim_reports"), "", options, origin))
    assert run.state == RunState.SUCCEEDED, run.reason
    return run


def ended(days_ago: int, state: RunState = RunState.SUCCEEDED, target: str = "local") -> Run:
    run = finished_run(target=target, state=state)
    then = timezone.now() - timedelta(days=days_ago)
    Run.objects.filter(id=run.id).update(queued_at=then, finished_at=then + timedelta(seconds=9))
    return run


def test_old_runs_go_but_the_newest_and_the_last_success_of_each_target_stay() -> None:
    ended(600)
    last_success = ended(550)
    ended(520, RunState.FAILED)
    newest = ended(500, RunState.FAILED)
    ended(700, target="other")
    young = ended(1, target="other")

    report = trim_reports(Job("", None, RetentionOptions()))

    assert set(Run.objects.values_list("id", flat=True)) == {last_success.id, newest.id, young.id}
    assert report.summary.startswith("3 runs older than 400 days")


def test_the_clock_of_the_worker_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(3)
    ended(2)
    ahead = timezone.now() + timedelta(days=1000)
    monkeypatch.setattr("django.utils.timezone.now", lambda: ahead)

    report = trim_reports(Job("", None, RetentionOptions()))

    assert report.summary.startswith("Nothing to delete")
    assert Run.objects.count() == 2


def test_what_a_shorter_retention_deleted_is_not_called_lost(settings: Any) -> None:
    """A proof begins where the ledger does, whatever the retention has become since."""
    name, now = "hourly", ledger_now().astimezone(UTC)
    task = "maintenance.check_disk_space"
    hourly = Definition(task, "local", crontab="0 * * * *", timezone="UTC")
    since = now - timedelta(days=20)
    ScheduleVersion.objects.create(schedule=name, since=since, definition=hourly.to_json())
    first = since.replace(minute=0, second=0, microsecond=0)
    slots = [first + timedelta(hours=hour) for hour in range(1, 20 * 24 + 1)]
    Run.objects.bulk_create(
        Run(
            task=task,
            target="local",
            queue="low",
            trigger=Trigger.BEAT,
            state=RunState.SUCCEEDED,
            schedule=name,
            scheduled_for=at,
            queued_at=at,
            started_at=at,
            finished_at=at,
        )
        for at in slots
        if at < now
    )
    assert prove_time(Wanted()).missing == 0

    keep_days(settings, 14)
    trim()
    trimmed = trimmed_until()
    keep_days(settings, 400)
    trim()
    trim(dry_run=True)

    assert trimmed is not None
    assert trimmed_until() == trimmed
    proof = prove_time(Wanted())
    assert proof.missing == 0
    assert proof.report.facts["on_time"] == pytest.approx(14 * 24, abs=2)
    assert "slots-unproved" in {finding.code for finding in proof.report.findings}


def test_what_takes_too_long_is_left_to_a_run_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "DELETING_SECONDS", 0.0)
    monkeypatch.setattr(retention, "ROWS_PER_BATCH", 2)
    for days_ago in range(700, 705):
        ended(days_ago)
    ended(1)

    first = trim()
    (second,) = Run.objects.filter(state=RunState.QUEUED)

    assert first.summary == (
        "2 runs older than 400 days were deleted with their reports."
        " 3 old runs are left after 0 minutes; another run goes on from there."
    )
    assert first.severity == "info"
    assert trimmed_until() is not None
    assert (second.task, second.trigger) == (first.task, Trigger.FOLLOW_UP)

    assert "1 old run is left" in trim().summary
    last = trim()
    assert last.summary == "1 runs older than 400 days were deleted with their reports."
    assert Run.objects.filter(task=ended(1).task).count() == 2


def test_what_a_lost_attempt_deleted_is_not_called_lost() -> None:
    ended(700)
    ended(1)

    class Done(NoSteps):
        def done(self) -> Mapping[str, Outcome]:
            return {"deleted": Outcome(Action("delete", "ledger", "", ""), Verdict.WORKED)}

    trim_reports(Job("", None, RetentionOptions()))
    report = trim_reports(Job("", None, RetentionOptions(), steps=Done()))

    assert report.summary.startswith("Nothing to delete")
    assert report.state["trimmed_until"]
