"""Tasks on media files and on static files, as visitors get them."""

from maintenance.conf import MediaTarget
from maintenance.core.job import Job
from maintenance.core.registry import TargetKind
from maintenance.core.reports import Report
from maintenance.core.task import maintenance_task
from maintenance.web.images.options import OptimizeOptions


@maintenance_task(
    queue="low",
    target=TargetKind.MEDIA,
    options=OptimizeOptions,
    writes=True,
    dangerous="rewrite_images",
    soft_time_limit_seconds=3 * 3600,
)
def optimize_images(job: Job[MediaTarget, OptimizeOptions]) -> Report:
    """Make images smaller that can be, and name those that are damaged or dangerous to decode."""
    from maintenance.web.images import run

    return run.optimize_images(job)
