"""Tasks on the site's requests. Each says plainly what it would need to run."""

from maintenance.conf import DeploymentTarget, LoadTestTarget, LogTarget, configuration
from maintenance.core.backoff import RetryPolicy
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.web.load_test.options import LoadTestOptions


@maintenance_task(queue="high", target=TargetKind.LOG)
def review_error_rates(job: Job[LogTarget, NoOptions]) -> Report:
    """Compare response times and error rates in the access log with their targets."""
    from maintenance.core.runs.accepted_targets import configuration_in_force
    from maintenance.web import access_log

    settings = configuration_in_force()
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


@maintenance_task(
    queue="low",
    target=TargetKind.LOAD_TEST,
    options=LoadTestOptions,
    writes=True,
    dangerous="load_test",
    max_concurrent=1,
    retry=RetryPolicy(max_attempts=1),  # a site that has just failed is not asked again
    soft_time_limit_seconds=2400.0,
)
def run_load_test(job: Job[LoadTestTarget, LoadTestOptions]) -> Report:
    """Put a bounded load on an allowed host and compare it with the targets and the last time."""
    from maintenance.core.runs.accepted_targets import configuration_in_force
    from maintenance.core.runs.history import LedgerHistory
    from maintenance.web.access_log import ROUTE_REQUESTS_METRIC
    from maintenance.web.load_test import run

    routes = (
        LedgerHistory(job.target.log).series_by_subject(
            ROUTE_REQUESTS_METRIC, since_seconds=90 * 86_400
        )
        if job.target.log
        else {}
    )
    requests = {route: sum(point.value for point in points) for route, points in routes.items()}
    return run.run_load_test(job, configuration_in_force().thresholds, requests)
