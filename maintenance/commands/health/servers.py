"""Checks of the site's servers, by the same measurements that the scheduled tasks take."""

from collections.abc import Iterable, Iterator

from maintenance.caching.backend import opened
from maintenance.caching.ratios import review_cache_hit_ratios
from maintenance.commands.earlier import job_after
from maintenance.commands.health.scope import Scope
from maintenance.commands.measuring import contained, not_measured
from maintenance.conf import CacheTarget
from maintenance.core.errors import (
    ConfigurationError,
    MissingRights,
    NotConfigured,
    TargetUnavailable,
)
from maintenance.core.options import NoOptions
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.host.disk import check_disk_space
from maintenance.postgres.checks import run_analyses
from maintenance.redis.memory.options import MemoryCheckOptions
from maintenance.redis.memory.review import (
    check_redis_memory,
    neighbourhood,
)

#: The analyses that say whether a database is well at this moment; the others look for waste.
DATABASE_ANALYSES = ("connections", "cache-hit")

#: Nobody writes this key: reading it asks the cache to answer, and leaves nothing behind.
PROBE_KEY = "maintenance-health-check"


def database(scope: Scope) -> Iterator[Report]:
    """Connect to each database; measure connections and the buffer cache."""
    thresholds = scope.configuration.thresholds
    for name, target in scope.databases.items():
        yield from contained(
            f"Database {name}",
            name,
            run_analyses,
            name,
            target,
            DATABASE_ANALYSES,
            thresholds,
            scope.earlier,
        )


def redis_activity(scope: Scope) -> Iterator[Report]:
    """Measure memory, policy, keys, slowness, persistence and growth of each Redis server."""
    configuration = scope.configuration
    if not configuration.redis:
        yield _not_configured("Redis", "redis")
    for name, target in configuration.redis.items():
        job = job_after(scope.earlier, "check_redis_memory", name, target, MemoryCheckOptions())
        around = neighbourhood(configuration, name)
        thresholds = configuration.thresholds
        yield from contained(f"Redis {name}", name, check_redis_memory, job, thresholds, around)


def cache(scope: Scope) -> Iterator[Report]:
    """Measure the hit ratio of each Redis that a cache lives on; ask each configured cache."""
    configuration = scope.configuration
    servers = {n: t for n, t in configuration.redis.items() if "cache" in configuration.roles_on(n)}
    if not servers and not configuration.caches:
        yield _not_configured("cache", "redis (with the role cache) or caches")
    for name, server in servers.items():
        job = job_after(scope.earlier, "review_cache_hit_ratios", name, server, NoOptions())
        yield from contained(
            f"Cache hit ratio of {name}",
            name,
            review_cache_hit_ratios,
            job,
            configuration.thresholds,
            configuration.caches,
            {database: scope.earlier.history(database) for database in scope.databases},
            [scope.earlier.history(target) for target in configuration.redis],
        )
    for name, target in configuration.caches.items():
        yield from contained(f"Cache {name}", name, _ask, name, target)


def _ask(name: str, target: CacheTarget) -> Report:
    """Ask the cache's server for a sign of life; read a key that is not there through an alias."""
    try:
        with opened(name, target) as cache:
            if target.alias:
                cache.cache.get(PROBE_KEY, version=target.version)
    except (ConfigurationError, MissingRights, TargetUnavailable):
        raise
    except Exception as error:  # any backend with any client may stand behind the alias
        raise TargetUnavailable(
            f'The cache "{target.alias or name}" does not answer: {redact(str(error))}.'
            f" Check its server, and {'LOCATION in CACHES' if target.alias else 'its url'}."
        ) from error
    return Report(
        title=f"Cache {name}",
        summary=f'The cache "{target.alias or name}" answers.',
        facts={"alias": target.alias} if target.alias else {},
    )


def access_log(scope: Scope) -> Iterator[Report]:
    """Review what was written to each access log since its last scheduled review."""
    from maintenance.web.access_log import review_error_rates  # noqa: PLC0415 - only where asked for

    configuration = scope.configuration
    if not configuration.logs:
        yield _not_configured("access log", "logs")
    for name, target in configuration.logs.items():
        job = job_after(scope.earlier, "review_error_rates", name, target, NoOptions())
        title = f"Access log {name}"
        zone = configuration.timezone
        yield from contained(title, name, review_error_rates, job, configuration.thresholds, zone)


def disk(scope: Scope) -> Iterable[Report]:
    """Measure space and inodes of each configured path."""
    thresholds = scope.configuration.thresholds
    for name, target in scope.configuration.hosts.items():
        job = job_after(scope.earlier, "check_disk_space", name, target, NoOptions())
        yield from contained(f"Disk space of {name}", name, check_disk_space, job, thresholds)


def _not_configured(what: str, section: str) -> Report:
    reason = NotConfigured(f"no {what} is configured; add one to MAINTENANCE under {section}.")
    return not_measured(what[:1].upper() + what[1:], "", reason)
