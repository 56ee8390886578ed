"""Tasks that look a quarter ahead. Each says plainly what it would need to run."""

from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.registry import TargetKind
from maintenance.core.reports import Report
from maintenance.core.task import maintenance_task


@maintenance_task(queue="low", target=TargetKind.NONE)
def run_performance_audit(job: Job[None, NoOptions]) -> Report:
    """Join every analysis into one report with the change since last month."""
    from maintenance.audit import run
    from maintenance.conf import configuration

    return run.run_performance_audit(job, configuration())


@maintenance_task(queue="low", target=TargetKind.NONE)
def review_capacity(job: Job[None, NoOptions]) -> Report:  # noqa: ARG001
    """Forecast when disk, memory and connections reach their limits."""
    raise Skipped(
        "not configured: forecasts are not built yet; the samples they need are being recorded"
    )


@maintenance_task(queue="low", target=TargetKind.NONE)
def assess_scaling(job: Job[None, NoOptions]) -> Report:  # noqa: ARG001
    """Advise on scaling database, cache, workers and web with the evidence."""
    raise Skipped(
        "not configured: scaling advice is not built yet; the samples it needs are being recorded"
    )


@maintenance_task(queue="low", target=TargetKind.NONE)
def review_performance_targets(job: Job[None, NoOptions]) -> Report:  # noqa: ARG001
    """Compare the targets with a quarter's reality and propose new ones."""
    raise Skipped(
        "not configured: the comparison is not built yet; change targets under `thresholds` by hand"
    )
