"""Tasks on media files and on static files, as visitors get them."""

from maintenance.conf import MediaTarget, SiteTarget
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
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


@maintenance_task(queue="low", target=TargetKind.SITE)
def review_static_files(job: Job[SiteTarget, NoOptions]) -> Report:
    """Fetch static files as a visitor does: compressed, cached, fresh, and reachable."""
    from maintenance.web.static import review

    return review.review_static_files(job)
