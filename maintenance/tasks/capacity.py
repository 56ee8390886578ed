"""Tasks that look a quarter ahead, on what earlier runs stored."""

from collections.abc import Iterable, Sequence

from maintenance.core.daily import DailySeries
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task


def _series(targets: Sequence[str], metric: str) -> Iterable[DailySeries]:
    from maintenance.core.runs.daily_history import daily_series

    return daily_series(targets, metric)


@maintenance_task(queue="low", target=TargetKind.NONE)
def run_performance_audit(job: Job[None, NoOptions]) -> Report:
    """Join every analysis into one report with the change since last month."""
    from maintenance.audit import run
    from maintenance.core.runs.accepted_targets import configuration_in_force

    return run.run_performance_audit(job, configuration_in_force())


@maintenance_task(queue="low", target=TargetKind.NONE)
def review_capacity(job: Job[None, NoOptions]) -> Report:
    """Foretell when disks, memory, connections and IDs reach their limits."""
    import time

    from maintenance.capacity import review
    from maintenance.core.runs.accepted_targets import configuration_in_force

    return review.review_capacity(job, configuration_in_force(), _series, time.time())


@maintenance_task(queue="low", target=TargetKind.NONE)
def assess_scaling(job: Job[None, NoOptions]) -> Report:
    """Say which of database, cache, workers and web to scale, and by which evidence."""
    import time

    from maintenance.capacity import scaling
    from maintenance.core.runs.accepted_targets import configuration_in_force

    return scaling.assess_scaling(job, configuration_in_force(), _series, time.time())


@maintenance_task(queue="low", target=TargetKind.NONE)
def review_performance_targets(job: Job[None, NoOptions]) -> Report:
    """Compare the targets with a quarter's reality, and propose others where they do not fit."""
    import time

    from maintenance.capacity import targets
    from maintenance.core.runs.accepted_targets import configuration_in_force

    return targets.review_targets(job, configuration_in_force(), _series, time.time())
