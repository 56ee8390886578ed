"""Tasks on the product's own records."""

from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs import retention
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task


@maintenance_task(
    queue="low", target=TargetKind.NONE, options=retention.RetentionOptions, writes=True
)
def trim_reports(job: Job[None, retention.RetentionOptions]) -> Report:
    """Delete runs and reports that are older than the retention."""
    return retention.trim_reports(job)


@maintenance_task(queue="low", target=TargetKind.NONE)
def prove_slots(job: Job[None, NoOptions]) -> Report:
    """Prove that every slot since the last proof ran, was skipped for a reason, or waits."""
    from maintenance.core.evidence import proving

    return proving.prove_slots(job)
