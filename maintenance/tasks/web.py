"""Tasks on the site's requests. Each says plainly what it would need to run."""

from maintenance.conf import DeploymentTarget, LogTarget, configuration
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.registry import TargetKind
from maintenance.core.reports import Report
from maintenance.core.task import maintenance_task


@maintenance_task(queue="high", target=TargetKind.LOG)
def review_error_rates(job: Job[LogTarget, NoOptions]) -> Report:
    """Compare response times and error rates in the access log with their targets."""
    from maintenance.web import access_log

    settings = configuration()
    return access_log.review_error_rates(job, settings.thresholds, settings.timezone)


@maintenance_task(queue="low", target=TargetKind.NONE)
def review_n_plus_one(job: Job[None, NoOptions]) -> Report:
    """Turn the performance log's repeated queries into findings."""
    from maintenance.web import n_plus_one
    from maintenance.web.logger_names import REQUEST_LOGGER, TASK_LOGGER
    from maintenance.web.performance_log import path_of_log

    path = path_of_log(configuration().performance_log, (REQUEST_LOGGER, TASK_LOGGER))
    return n_plus_one.review_n_plus_one(job, path)


@maintenance_task(queue="low", target=TargetKind.DEPLOYMENT)
def review_server_configuration(job: Job[DeploymentTarget, NoOptions]) -> Report:
    """Compare the configuration of database, pools, Redis, Nginx, Gunicorn and workers with what fits."""
    from maintenance.deployment import review

    return review.review_server_configuration(job, configuration())


@maintenance_task(queue="low", target=TargetKind.NONE)
def run_load_test(job: Job[None, NoOptions]) -> Report:  # noqa: ARG001
    """Put a bounded load on an allowed host and compare it with the targets."""
    raise Skipped(
        "not configured: no host is on the load test's allow list; this release has no load test yet"
    )
