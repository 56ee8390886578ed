"""Tasks on a site's Celery queues, seen as a thing to look after."""

from maintenance.conf import BrokerTarget
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task


@maintenance_task(queue="high", target=TargetKind.BROKER)
def check_queue_depths(job: Job[BrokerTarget, NoOptions]) -> Report:
    """Count what waits in each queue, without running a worker on the site's broker."""
    from dataclasses import replace

    from maintenance.core.runs.accepted_targets import configuration_in_force
    from maintenance.queues import depth

    target = configuration_in_force().brokers.get(job.target_name, job.target)
    return depth.check_queue_depths(replace(job, target=target))
