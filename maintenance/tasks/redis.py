"""Tasks on Redis and Valkey servers."""

from maintenance.conf import RedisTarget, configuration
from maintenance.core.job import Job
from maintenance.core.registry import TargetKind
from maintenance.core.reports import Report
from maintenance.core.task import maintenance_task
from maintenance.redis import streams
from maintenance.redis.memory import review as memory
from maintenance.redis.stream_classes import families_on


@maintenance_task(
    queue="medium",
    target=TargetKind.REDIS,
    options=streams.TrimOptions,
    writes=True,
    rate_limit="6/m",
)
def trim_streams(job: Job[RedisTarget, streams.TrimOptions]) -> Report:
    """Cut every stream that has grown past its limit."""
    return streams.trim_streams(job, families_on(configuration(), job.target_name))


@maintenance_task(queue="high", target=TargetKind.REDIS, options=memory.MemoryCheckOptions)
def check_redis_memory(job: Job[RedisTarget, memory.MemoryCheckOptions]) -> Report:
    """Look at memory, policy, evictions, large keys, slowness, persistence and growth."""
    settings = configuration()
    around = memory.neighbourhood(settings, job.target_name)
    return memory.check_redis_memory(job, settings.thresholds, around)
