"""What the ledger forgets, and what it keeps however old."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from maintenance.core.job import Job
from maintenance.core.runs.retention import RetentionOptions, trim_reports
from maintenance.models import Run, RunState
from tests.ledger_rows import finished_run

pytestmark = pytest.mark.django_db(transaction=True)


def ended(days_ago: int, state: RunState = RunState.SUCCEEDED, target: str = "local") -> Run:
    run = finished_run(target=target, state=state)
    then = timezone.now() - timedelta(days=days_ago)
    Run.objects.filter(id=run.id).update(queued_at=then, finished_at=then + timedelta(seconds=9))
    return run


def test_old_runs_go_but_the_newest_and_the_last_success_of_each_target_stay(
    settings: Any, tmp_path: Path
) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    store = {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}
    ended(600)
    last_success = ended(550)
    ended(520, RunState.FAILED)
    newest = ended(500, RunState.FAILED)
    ended(700, target="other")
    young = ended(1, target="other")

    report = trim_reports(Job("", None, RetentionOptions()))

    assert set(Run.objects.values_list("id", flat=True)) == {last_success.id, newest.id, young.id}
    assert report.summary.startswith("3 runs older than 400 days")
