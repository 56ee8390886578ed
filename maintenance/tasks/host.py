"""Tasks on the machine that the worker runs on."""

from maintenance.conf import HostTarget, configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.host import disk


@maintenance_task(queue="high", target=TargetKind.HOST)
def check_disk_space(job: Job[HostTarget, NoOptions]) -> Report:
    """Compare used space and inodes of each file system with their limits."""
    return disk.check_disk_space(job, configuration().thresholds)


@maintenance_task(queue="high", target=TargetKind.HOST)
def check_process_memory(job: Job[HostTarget, NoOptions]) -> Report:
    """Measure the memory of Gunicorn and Celery processes, and tell whether it grows."""
    from maintenance.host.memory import review

    return review.check_process_memory(job)
