"""Tasks on media files and on static files, as visitors get them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from maintenance.conf import MediaTarget, SiteTarget, configuration
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption, NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.web.images.options import OptimizeOptions

if TYPE_CHECKING:
    from maintenance.web.images.references import NameSource

TargetT = TypeVar("TargetT", MediaTarget, SiteTarget)
OptionsT = TypeVar("OptionsT")


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

    return run.optimize_images(_resolved(job))


@maintenance_task(queue="low", target=TargetKind.MEDIA)
def report_orphaned_media(job: Job[MediaTarget, NoOptions]) -> Report:
    """Name media files that no row names, and rows whose file is not there."""
    from maintenance.web.images import orphans

    job = _resolved(job)
    return orphans.report_orphaned_media(job, _sources_of(job.target))


@maintenance_task(
    queue="low",
    target=TargetKind.MEDIA,
    options=DryRunOption,
    writes=True,
    dangerous="remove_media",
    soft_time_limit_seconds=3 * 3600,
)
def remove_orphaned_media(job: Job[MediaTarget, DryRunOption]) -> Report:
    """Delete media files that no row names; cannot be undone."""
    from maintenance.web.images import orphans

    job = _resolved(job)
    return orphans.remove_orphaned_media(job, _sources_of(job.target))


def _resolved(job: Job[TargetT, OptionsT]) -> Job[TargetT, OptionsT]:
    """Return the job with the address that its target refers to."""
    return replace(job, target=job.target.resolved())


def _sources_of(target: MediaTarget) -> "Callable[[], Iterator[NameSource]]":
    """Return what asks models and databases for the names of files; each call asks anew."""
    if not target.models and not target.references:
        raise Skipped(
            "not configured: nothing says which files are in use; set models = true, or references"
        )

    def ask() -> "Iterator[NameSource]":
        from maintenance.postgres.answers import first_column
        from maintenance.web.images.references import NameSource, names_in_models

        if target.models:
            yield NameSource("models = true", names_in_models(target))
        for reference in target.references:
            names = first_column(configuration().database(reference.database), reference.sql)
            yield NameSource(" ".join(reference.sql.split()), names)

    return ask


@maintenance_task(queue="low", target=TargetKind.SITE)
def review_static_files(job: Job[SiteTarget, NoOptions]) -> Report:
    """Fetch static files as a visitor does: compressed, cached, fresh, and reachable."""
    from maintenance.web.static import review

    return review.review_static_files(_resolved(job))
