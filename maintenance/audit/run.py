"""``run_performance_audit``: the guide's monthly script in one report.

Of the script's four commands, ``analyze_db_performance`` and ``check_data_integrity`` and most of
``health_check`` are measured by scheduled tasks with the same functions: their newest reports are
joined. What no task says is measured here: whether scheduler, workers and log store are well, and
``profile_queries --min-duration 100`` with lines of code and plans.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from django.utils import timezone

from maintenance.audit.report import audit_report
from maintenance.audit.subjects import read_subjects, still_at_work
from maintenance.audit.targets import read_courses
from maintenance.commands.health.registry import run_checks
from maintenance.commands.health.scope import Scope
from maintenance.commands.measuring import contained
from maintenance.commands.query_origins import profile_statements
from maintenance.conf import Configuration
from maintenance.core.errors import Postponed
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.history import LedgerHistory, LedgerRuns
from maintenance.core.scheduling.leadership import has_ever_led
from maintenance.postgres.queries.rules import SlowQueryOptions

#: Health checks that no scheduled task takes.
LIVE_CHECKS = ("celery", "schedule", "reports")

#: The guide: profile_queries --min-duration 100.
MINIMUM_MEAN_MS = 100.0

#: Runs that were asked for in this time are waited for, a few seconds at a time, so that an audit
#: among the monthly checklist has that checklist's own reports.
PATIENCE = timedelta(minutes=30)
LOOK_AGAIN_SECONDS = 5.0


def run_performance_audit(job: Job[None, NoOptions], configuration: Configuration) -> Report:
    """Join every subject's newest report with the change since a month ago.

    Raises :class:`Postponed` while runs that belong into it are at work or about to be.
    """
    now = timezone.now()
    if job.run_id and (others := list(still_at_work(now, PATIENCE))):
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise Postponed(f"waits for {named}", time.time() + LOOK_AGAIN_SECONDS)
    subjects = read_subjects(configuration, now)
    job.progress.update(1, 3, phase="joined", unit="parts")
    live = list(_measured_now(configuration))
    job.progress.update(2, 3, phase="measured", unit="parts")
    courses = read_courses(configuration, LedgerHistory)
    return audit_report(subjects, live, courses, configuration, now)


def _measured_now(configuration: Configuration) -> Iterator[Report]:
    earlier = LedgerRuns()
    scope = Scope(configuration, configuration.databases, earlier)
    is_scheduled = has_ever_led()
    for name, reports in run_checks(LIVE_CHECKS, scope).items():
        yield from reports if is_scheduled or name != "schedule" else map(_for_information, reports)
    for name, target in configuration.databases.items():
        job = Job(
            name,
            target,
            SlowQueryOptions(minimum_mean_ms=MINIMUM_MEAN_MS),
            previous_state={},
            history=earlier.history(name),
        )
        yield from contained(
            f"Slow statements of {name}",
            name,
            profile_statements,
            job,
            configuration.thresholds,
            configuration.performance_log,
        )


def _for_information(report: Report) -> Report:
    """Return what a check says of schedules where no scheduler ever led: who runs by hand misses none."""
    noted = tuple(replace(each, severity=Severity.INFO) for each in report.findings)
    return replace(report, findings=noted)
