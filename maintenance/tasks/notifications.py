"""Tasks that tell people what the others found."""

from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.notifications.periods import DigestOptions


@maintenance_task(queue="high", target=TargetKind.NONE, soft_time_limit_seconds=600)
def send_notifications(job: Job[None, NoOptions]) -> Report:
    """Send alarms, digests and tests that wait; what cannot be sent is tried again."""
    from maintenance.notifications import delivery

    return delivery.send_notifications(job)


@maintenance_task(queue="high", target=TargetKind.NONE, options=DigestOptions)
def send_digest(job: Job[None, DigestOptions]) -> Report:
    """Write the digest of a day or a week: what changed, and what needs a person."""
    from maintenance.notifications import digest_task

    return digest_task.send_digest(job)
