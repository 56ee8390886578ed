"""Tasks on Redis and Valkey servers; what each needs is imported by its run."""

from collections.abc import Iterator

from maintenance.conf import RedisTarget, StreamOwners, configuration
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.memory.options import MemoryCheckOptions
from maintenance.redis.providers import provided_owners
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.stream_classes import all_families
from maintenance.redis.stream_options import TrimOptions

#: What walks over the keys of a server and writes has them to itself.
KEYS = "keys"


@maintenance_task(
    queue="medium",
    target=TargetKind.REDIS,
    options=TrimOptions,
    writes=True,
    resource=KEYS,
    rate_limit="6/m",
)
def trim_streams(job: Job[RedisTarget, TrimOptions]) -> Report:
    """Cut every stream that has grown past its limit."""
    from maintenance.redis import streams

    settings = configuration()
    return streams.trim_streams(job, all_families(settings), servers=settings.redis)


@maintenance_task(queue="high", target=TargetKind.REDIS, options=MemoryCheckOptions)
def check_redis_memory(job: Job[RedisTarget, MemoryCheckOptions]) -> Report:
    """Look at memory, policy, evictions, large keys, slowness, persistence and growth."""
    from maintenance.redis.memory import review as memory

    settings = configuration()
    around = memory.neighbourhood(settings, job.target_name)
    return memory.check_redis_memory(job, settings.thresholds, around)


@maintenance_task(
    queue="low",
    target=TargetKind.REDIS,
    options=RemoveStreamsOptions,
    writes=True,
    resource=KEYS,
    dangerous="remove_streams",
)
def remove_abandoned_streams(job: Job[RedisTarget, RemoveStreamsOptions]) -> Report:
    """Remove the streams of owners who are gone, with what belongs to them; cannot be undone."""
    from maintenance.redis import abandoned

    settings = configuration()
    return abandoned.remove_abandoned_streams(
        job, all_families(settings), settings.stream_owners, _owner_ids, settings.redis
    )


def _owner_ids(owners: StreamOwners) -> Iterator[str]:
    """Ask the registered function or the database that ``owners`` names."""
    if owners.provider:
        return provided_owners(owners.provider)
    from maintenance.postgres.answers import first_column

    return first_column(configuration().database(owners.database), owners.sql)


@maintenance_task(
    queue="low",
    target=TargetKind.REDIS,
    options=ReclaimOptions,
    writes=True,
    resource=KEYS,
    dangerous="reclaim_memory",
    soft_time_limit_seconds=3 * 3600,
)
def reclaim_redis_memory(job: Job[RedisTarget, ReclaimOptions]) -> Report:
    """Find memory that compact encodings and left-over keys take, and win it back where asked."""
    from maintenance.redis.reclaim import run as reclaim

    settings = configuration()
    return reclaim.reclaim_redis_memory(job, all_families(settings), settings.redis)
