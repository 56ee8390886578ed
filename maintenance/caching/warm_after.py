"""Warming after invalidation: values that were dropped are computed again by a worker.

Which warmers are waited for stands in a small sorted set on the cache's server, so that a thousand
changes of one second start one run and not a thousand. A run takes its names from the set before it
computes: what is dropped after that is noted anew, and no change is missed.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import redis
from django.core.cache.backends.base import BaseCache

from maintenance.caching.backend import client_of
from maintenance.caching.groups import Stale, keys_of
from maintenance.caching.instrumented import Instrumented
from maintenance.caching.key_prefixes import prefix_of
from maintenance.caching.warmers import Warmer, warmers_of
from maintenance.core.redaction import redact

logger = logging.getLogger("maintenance.caching")

#: A name that no run has taken so long after it was noted is asked for again: its run was lost.
NOTED_SECONDS = 600

_NOTED = "maintenance-warm-asked"

#: What noting it takes, wherever something is dropped for which a warmer may be registered.
NEEDS_ACL = ("+multi", "+exec", "+zremrangebyscore", "+zadd", "+expire", "+zrem")

#: Starts a run of ``warm_caches`` on a cache target for the warmers that are named.
Start = Callable[[str, Sequence[str]], None]
#: Calls a function once a run that it starts would stay.
WhenCommitted = Callable[[Callable[[], None]], None]


def _at_once(ask: Callable[[], None]) -> None:
    ask()


_starts: list[tuple[Start, WhenCommitted]] = []


def start_with(start: Start, when_committed: WhenCommitted = _at_once) -> None:
    """Have ``start`` called for warmers that are to run: the tasks know how, this module does not.

    ``when_committed`` puts that off to the end of a transaction with which the run would be undone.
    """
    _starts[:] = [(start, when_committed)]


def warm_after(
    cache: BaseCache,
    target_name: str,
    keys: Stale | Iterable[Stale] = (),
    prefixes: Iterable[str] = (),
) -> tuple[str, ...]:
    """Ask for the warmers of what was dropped by key, group or prefix; return all of their names.

    Call it after the transaction that made the values stale has committed; within one, the run is
    asked for when it commits. Three small commands and, for warmers that nobody waits for yet, one
    run that a worker takes up; nothing is computed here. Of a cache outside of Redis nothing can be
    warmed for another process. Never raises: a site's own change does not fail because a cache stays
    cold.
    """
    client = client_of(cache)
    names = tuple(one.name for one in warmers_for(target_name, keys, prefixes, cache))
    if client is None or not names:
        return ()
    for start, when_committed in _starts:
        when_committed(partial(_ask, client, cache, names, partial(start, target_name)))
    return names


def _ask(
    client: redis.Redis,
    cache: BaseCache,
    names: Sequence[str],
    start: Callable[[Sequence[str]], None],
) -> None:
    """Start one run for those of the names that nobody waits for yet."""
    fresh: list[str] = []
    try:
        fresh = _note(client, cache, names)
        if fresh:
            start(fresh)
    except Exception as error:  # noqa: BLE001 - the ledger or the broker of another crew
        logger.warning("Warming after invalidation was not asked for: %s", redact(str(error)))
        _forget(client, cache, fresh)


def _forget(client: redis.Redis, cache: BaseCache, names: Sequence[str]) -> None:
    """Take back what was noted for a run that was not started: the next change asks again."""
    try:
        take(client, cache, names)
    except redis.RedisError as error:
        logger.warning("It is asked for again in ten minutes at most: %s", redact(str(error)))


def warmers_for(
    target_name: str,
    keys: Stale | Iterable[Stale],
    prefixes: Iterable[str] = (),
    cache: BaseCache | None = None,
) -> list[Warmer]:
    """Return the warmers whose values or groups are among ``keys``, or begin with one of ``prefixes``.

    A group may be named by the key of its version.
    """
    dropped = set(keys_of(keys))
    rule = cache.counts.prefix_of if isinstance(cache, Instrumented) else prefix_of
    kinds = {rule(key) for key in dropped}
    beginnings = tuple(prefixes)
    return [
        one
        for one in warmers_of(target_name).values()
        if (one.key in dropped and not one.namespace)
        or (one.key is None and one.prefix in kinds)
        or not dropped.isdisjoint(keys_of(one.groups))
        or any(_may_begin_with(one, beginning) for beginning in beginnings)
    ]


def _may_begin_with(one: Warmer, beginning: str) -> bool:
    """Return whether a value of the warmer may have been dropped with all keys that begin so."""
    known = one.beginning
    if one.key is not None and not one.namespace:
        return known.startswith(beginning)
    return bool(known) and (known.startswith(beginning) or beginning.startswith(known))


def _note(client: redis.Redis, cache: BaseCache, names: Sequence[str]) -> list[str]:
    """Note ``names`` and return those that were not noted, or so long ago that their run was lost."""
    noted, now = cache.make_key(_NOTED), time.time()
    pipeline = client.pipeline(transaction=True)
    pipeline.zremrangebyscore(noted, "-inf", now - NOTED_SECONDS)
    for name in names:
        pipeline.zadd(noted, {name: now}, nx=True)
    pipeline.expire(noted, NOTED_SECONDS)
    _lost, *answers, _expires = pipeline.execute()
    return [name for name, is_new in zip(names, answers, strict=True) if is_new]


def take(client: redis.Redis, cache: BaseCache, names: Sequence[str]) -> None:
    """Take the names of warmers that are about to run. Raises redis-py's errors."""
    if names:
        client.zrem(cache.make_key(_NOTED), *names)


def noted(client: redis.Redis, cache: BaseCache) -> list[str]:
    """Return the names that no run has taken. Raises redis-py's errors."""
    return sorted(
        name.decode() if isinstance(name, bytes) else str(name)
        for name in client.zrange(cache.make_key(_NOTED), 0, -1)
    )
