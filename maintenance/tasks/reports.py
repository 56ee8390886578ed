"""Tasks on the product's own records."""

from maintenance.core import retention
from maintenance.core.job import Job
from maintenance.core.registry import TargetKind
from maintenance.core.reports import Report
from maintenance.core.task import maintenance_task


@maintenance_task(
    queue="low", target=TargetKind.NONE, options=retention.RetentionOptions, writes=True
)
def trim_reports(job: Job[None, retention.RetentionOptions]) -> Report:
    """Delete runs and reports that are older than the retention."""
    return retention.trim_reports(job)
