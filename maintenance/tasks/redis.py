"""Tasks on Redis and Valkey servers."""

from maintenance.conf import RedisTarget, configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.registry import TargetKind
from maintenance.core.reports import Report
from maintenance.core.task import maintenance_task
from maintenance.redis import memory, streams


@maintenance_task(
    queue="medium",
    target=TargetKind.REDIS,
    options=streams.TrimOptions,
    writes=True,
    rate_limit="6/m",
)
def trim_streams(job: Job[RedisTarget, streams.TrimOptions]) -> Report:
    """Cut every stream that has grown past its limit."""
    return streams.trim_streams(job, configuration().families_on(job.target_name))


@maintenance_task(queue="high", target=TargetKind.REDIS)
def check_redis_memory(job: Job[RedisTarget, NoOptions]) -> Report:
    """Compare memory, policy and evictions with what the server's role allows."""
    return memory.check_redis_memory(job, configuration().thresholds)
