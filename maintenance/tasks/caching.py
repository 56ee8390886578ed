"""Tasks on caches; what each needs is imported by its run."""

from collections.abc import Callable, Sequence
from functools import partial

from maintenance.caching.options import InvalidateOptions, WarmOptions
from maintenance.caching.warm_after import start_with
from maintenance.conf import CacheTarget, RedisTarget, configuration
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption, NoOptions
from maintenance.core.rates import RateLimit
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind, task_named
from maintenance.core.runs.task import maintenance_task


@maintenance_task(
    queue="high",
    target=TargetKind.CACHE,
    options=WarmOptions,
    writes=True,
    rate_limit="12/m",
)
def warm_caches(job: Job[CacheTarget, WarmOptions]) -> Report:
    """Compute the registered values before a visitor has to wait for them."""
    from maintenance.caching import warming
    from maintenance.core.runs.limits import wait_for_start

    limit = RateLimit.parse(job.target.warming_limit)
    return warming.warm_caches(job, partial(wait_for_start, f"warming {job.target_name}", limit))


def _warm_soon(target: str, warmers: Sequence[str]) -> None:
    """Start a run for values that were invalidated."""
    from maintenance.core.runs.dispatch import start_run
    from maintenance.core.runs.ledger import Origin
    from maintenance.models import Trigger

    spec = task_named("warm_caches")
    start_run(spec, target, {"only": list(warmers)}, Origin(Trigger.API, actor="invalidation"))


def _when_it_stays(ask: Callable[[], None]) -> None:
    """Put it off while a transaction could still take the run away again."""
    from maintenance.core.runs.ledger_database import ledger_connection

    connection = ledger_connection()
    if connection.in_atomic_block:
        connection.on_commit(ask)
    else:
        ask()


start_with(_warm_soon, _when_it_stays)


@maintenance_task(
    queue="medium",
    target=TargetKind.CACHE,
    options=InvalidateOptions,
    writes=True,
    rate_limit="12/m",
)
def invalidate_caches(job: Job[CacheTarget, InvalidateOptions]) -> Report:
    """Drop cached values that the configured rules call stale."""
    from maintenance.caching import invalidation

    return invalidation.invalidate_caches(job)


@maintenance_task(
    queue="medium",
    target=TargetKind.CACHE,
    options=DryRunOption,
    writes=True,
    dangerous="flush_cache",
)
def flush_cache(job: Job[CacheTarget, DryRunOption]) -> Report:
    """Remove every value of a cache, and nothing else of its database."""
    from maintenance.caching import flush

    return flush.flush_cache(job)


@maintenance_task(queue="medium", target=TargetKind.REDIS)
def review_cache_hit_ratios(job: Job[RedisTarget, NoOptions]) -> Report:
    """Compare the hit ratios of a server and its key prefixes with their target."""
    from maintenance.caching import ratios
    from maintenance.core.runs.accepted_targets import configuration_in_force
    from maintenance.core.runs.history import LedgerHistory

    configured = configuration_in_force()
    return ratios.review_cache_hit_ratios(
        job,
        configured.thresholds,
        configured.caches,
        {name: LedgerHistory(name) for name in configured.databases},
        [LedgerHistory(name) for name in configured.redis],
    )


@maintenance_task(queue="low", target=TargetKind.CACHE)
def review_caching_strategy(job: Job[CacheTarget, NoOptions]) -> Report:
    """Say per key prefix whether to keep, lengthen, shorten, warm or drop it, and why."""
    from maintenance.caching import strategy_review

    return strategy_review.review_caching_strategy(job, configuration().thresholds)
