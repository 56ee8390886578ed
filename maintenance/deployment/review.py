"""The configuration of all that serves one site, read and judged together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
import redis

from maintenance.conf import Configuration, DatabaseTarget, DeploymentTarget
from maintenance.core.errors import MaintenanceError
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.machine import MachineFacts
from maintenance.core.options import NoOptions
from maintenance.core.redaction import redact
from maintenance.core.reports import Report, Sample, Table, joined
from maintenance.core.wording import counted
from maintenance.deployment.look import (
    Programs,
    celery_of,
    demand_of,
    gunicorn_of,
    known_to_nginx,
    machine_of,
    server_side_cursors,
)
from maintenance.postgres.pgbouncer.review import review_pgbouncer
from maintenance.postgres.settings.configuration_file import guide_rows
from maintenance.postgres.settings.model import Server
from maintenance.postgres.settings.review import look_at_settings, settings_report
from maintenance.queues.worker_review import review_workers
from maintenance.redis.configuration import review_redis
from maintenance.web.server_configuration.gunicorn_review import review_gunicorn
from maintenance.web.server_configuration.nginx_review import review_nginx

#: One part that cannot be looked at must not hide the others.
_EXPECTED = (MaintenanceError, psycopg2.Error, redis.RedisError, OSError)


@dataclass
class _Parts:
    """Reports of the parts that were looked at, and what kept the others from it."""

    progress: Any
    reports: list[Report]
    errors: list[Exception]

    def add(self, title: str, look: Callable[[], Report]) -> None:
        """Look at one part; say why where it cannot be done."""
        self.progress.update(len(self.reports), phase=title)
        try:
            self.reports.append(look())
        except _EXPECTED as error:
            self.errors.append(error)
            self.reports.append(_not_read(title, error))


def _not_read(title: str, error: Exception) -> Report:
    words = (
        str(error) if isinstance(error, MaintenanceError) else f"{type(error).__name__}: {error}"
    )
    reason = redact(" ".join(words.split())).rstrip(".")
    finding = Finding(
        code="configuration-unread",
        severity=Severity.INFO,
        subject=title,
        sentence=f"unavailable: {title} could not be looked at: {reason}.",
        measured=False,
    )
    return Report(title=title, summary=f"{title} could not be looked at.", findings=(finding,))


def review_server_configuration(
    job: Job[DeploymentTarget, NoOptions], configuration: Configuration
) -> Report:
    """Review PostgreSQL, PgBouncer, Redis, Nginx, Gunicorn and Celery of one deployment.

    Nothing is changed. A part that cannot be looked at is named; where none can be, its error is
    raised.
    """
    parts = _Parts(job.progress, [], [])
    programs = _programs(job, parts)
    state = _servers(job, configuration, parts, programs)
    if parts.errors and len(parts.errors) == len(parts.reports):
        raise parts.errors[0]
    report = joined(f"Server configuration of {job.target_name}", parts.reports)
    serious = sum(f.severity.rank >= Severity.WARNING.rank for f in report.findings)
    looked_at = len(parts.reports) - len(parts.errors)
    parts_table = Table.of(
        "Parts", [{"part": each.title, "what_was_seen": each.summary} for each in parts.reports]
    )
    return replace(
        report,
        summary=(
            f"{looked_at} of {counted(len(parts.reports), 'part')} of {job.target_name} looked at:"
            f" {counted(serious, 'finding')} of weight."
        ),
        tables=(parts_table, *report.tables),
        samples=(Sample("server_configuration_warnings_count", serious),),
        state=state,
    )


def _programs(job: Job[DeploymentTarget, NoOptions], parts: _Parts) -> Programs:
    """Look at what is told by files and processes: Gunicorn, Nginx before it, and Celery."""
    name, target, machine = job.target_name, job.target, machine_of(job.target)
    read: dict[str, Any] = {}

    def gunicorn() -> Report:
        read["gunicorn"] = gunicorn_of(target, machine)
        return review_gunicorn(name, read["gunicorn"], machine)

    def celery() -> Report:
        read["celery"] = celery_of(target, machine)
        return review_workers(name, read["celery"], machine)

    if target.gunicorn or target.gunicorn_process:
        parts.add(f"Gunicorn of {name}", gunicorn)
    if target.celery or target.celery_process:
        parts.add(f"Celery workers of {name}", celery)
    if target.nginx:
        parts.add(f"Nginx of {name}", lambda: _nginx(target, machine, read.get("gunicorn")))
    return Programs(**read)


def _nginx(target: DeploymentTarget, machine: MachineFacts, gunicorn: Any) -> Report:
    return review_nginx(
        target.file("nginx"),
        cpu_count=machine.cpu_count,
        gunicorn=known_to_nginx(gunicorn),
        session_cookie=target.session_cookie,
    )


def _servers(
    job: Job[DeploymentTarget, NoOptions],
    configuration: Configuration,
    parts: _Parts,
    programs: Programs,
) -> dict[str, Any]:
    """Look at the servers; return what the next run compares with."""
    previous = job.previous_state
    state: dict[str, Any] = {}
    if job.target.database:
        name, database = job.target.database, configuration.databases[job.target.database]
        found: list[Server] = []
        parts.add(
            f"PostgreSQL {name}",
            lambda: _postgresql(name, database, previous.get("checkpoints", {}), found),
        )
        if database.pgbouncer:
            demand = demand_of(programs, machine_of(job.target).cpu_count)
            parts.add(
                f"PgBouncer before {name}",
                lambda: review_pgbouncer(
                    name,
                    database,
                    found[0] if found else None,
                    demand=demand,
                    server_side_cursors=server_side_cursors(database),
                    previous_state=previous.get("pgbouncer", {}),
                ),
            )
            state["pgbouncer"] = dict(parts.reports[-1].state) or previous.get("pgbouncer", {})
    for server, target in _redis_targets(job.target, configuration):
        parts.add(
            f"Redis {server}",
            lambda server=server, target=target: review_redis(  # type: ignore[misc]
                server, target, configuration.roles_on(server), configuration.thresholds
            ),
        )
    checkpoints = next(
        (r.state["checkpoints"] for r in parts.reports if "checkpoints" in r.state), None
    )
    if checkpoints is None:
        checkpoints = previous.get("checkpoints", {})
    return {**state, "checkpoints": checkpoints}


def _redis_targets(
    target: DeploymentTarget, configuration: Configuration
) -> Iterator[tuple[str, Any]]:
    for name in target.redis:
        yield name, configuration.redis[name]


def _postgresql(name: str, target: DatabaseTarget, checkpoints: Any, found: list[Server]) -> Report:
    look = look_at_settings(target, checkpoints)
    found.append(look.server)
    report = settings_report(look.server, role=look.role, measured_at=look.measured_at)
    table = Table.of(f"The guide's settings of PostgreSQL {name}", list(guide_rows(look.server)))
    state = {} if look.checkpoints is None else {"checkpoints": look.checkpoints.now.to_state()}
    return replace(
        report,
        summary=f"PostgreSQL {name}: {report.summary}",
        tables=(*report.tables, table),
        state=state,
    )
