"""Every health check by name."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from maintenance.commands.health import crew, servers
from maintenance.commands.health.scope import HealthCheck, Scope
from maintenance.core.reports import Report

CHECKS: Mapping[str, HealthCheck] = MappingProxyType(
    {
        check.name: check
        for check in (
            HealthCheck(
                "database",
                "each database answers, with connections to spare and its data in memory",
                servers.database,
            ),
            HealthCheck(
                "redis_activity",
                "each Redis answers, within its memory and with the right eviction policy",
                servers.redis_activity,
            ),
            HealthCheck(
                "cache", "each cache answers, and most reads find their key", servers.cache
            ),
            HealthCheck(
                "celery", "queues are short, and every queue of ours has a worker", crew.celery
            ),
            HealthCheck(
                "schedule",
                "a scheduler leads, every due slot has its row, and workers take runs",
                crew.schedule,
            ),
            HealthCheck(
                "reports", "the log store can be written, and reports keep coming", crew.reports
            ),
            HealthCheck(
                "access_log",
                "requests since the last review were answered in time and without errors",
                servers.access_log,
            ),
            HealthCheck("disk", "file systems have space and inodes left", servers.disk),
        )
    }
)


def run_checks(names: Sequence[str], scope: Scope) -> dict[str, tuple[Report, ...]]:
    """Run the named checks one after the other; return their reports by name."""
    return {name: tuple(CHECKS[name].measure(scope)) for name in names}
