"""How long the ledger and the log store remember."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from maintenance.conf import configuration
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.models import TERMINAL_STATES, Run, RunState, StoredReport
from maintenance.reports.log_store import configured_store

#: Rows deleted in one transaction: short enough that no run waits for the lock.
ROWS_PER_BATCH = 1000


@dataclass(frozen=True, slots=True)
class RetentionOptions:
    """``dry_run`` counts what would go."""

    dry_run: bool = False


def trim_reports(job: Job[None, RetentionOptions]) -> Report:
    """Delete finished runs older than ``reports.retention_days``, with their files.

    The newest report of each task and target and its last success stay, however old: the next run
    compares with them. A run's samples go with it, so that no history reaches further back.
    Work grows with the number of rows deleted.
    """
    days = configuration().reports.retention_days
    oldest = timezone.now() - timedelta(days=days)
    finished = Run.objects.filter(state__in=TERMINAL_STATES)
    old_runs = (
        finished.filter(finished_at__lt=oldest)
        .exclude(id__in=_newest(finished))
        .exclude(id__in=_newest(Run.objects.filter(state=RunState.SUCCEEDED)))
    )
    total = old_runs.count()
    action = Action(
        kind="delete",
        subject="ledger and log store",
        statement=f"delete {total} runs that finished before {oldest:%Y-%m-%d}",
        reason=f"reports.retention_days is {days}",
        predicted={"runs": total},
    )
    title = "Retention of runs and reports"
    if total == 0:
        return Report(title, f"Nothing to delete: no run is older than {days} days.")
    if job.options.dry_run:
        outcome = Outcome(action, Verdict.PLANNED)
        return Report(title, f"{total} runs would be deleted.", outcomes=(outcome,))

    deleted = 0
    while ids := list(old_runs.values_list("id", flat=True)[:ROWS_PER_BATCH]):
        job.progress.update(deleted, total, phase="deleting", unit="runs")
        for files in StoredReport.objects.filter(run__in=ids).values_list("files", flat=True):
            configured_store().delete(files)
        job.progress.check()
        Run.objects.filter(id__in=ids).delete()
        deleted += len(ids)
    outcome = Outcome(action, Verdict.WORKED, before={"runs": total}, after={"runs": 0})
    return Report(
        title,
        f"{deleted} runs older than {days} days were deleted with their reports.",
        outcomes=(outcome,),
    )


def _newest(runs: QuerySet[Run]) -> QuerySet[Run, Any]:
    """Return the id of the run of each task and target that finished last."""
    latest = runs.order_by("task", "target", "-finished_at").distinct("task", "target")
    return latest.values("id")
