"""Warming after invalidation: values that were dropped are computed again by a worker.

Which warmers are waited for stands in a small set on the cache's server, so that a thousand changes
of one second start one run and not a thousand. A run takes its names from the set before it
computes: what is dropped after that is noted anew, and no change is missed.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

import redis
from django.core.cache.backends.base import BaseCache

from maintenance.caching.backend import client_of
from maintenance.caching.groups import Stale, keys_of
from maintenance.caching.instrumented import Instrumented
from maintenance.caching.key_prefixes import prefix_of
from maintenance.caching.warmers import Warmer, warmers_of
from maintenance.core.redaction import redact

logger = logging.getLogger("maintenance.caching")

#: A name that no run has taken by now is noted and asked for again: its run was lost.
NOTED_SECONDS = 600

_NOTED = "maintenance-warm-due"

#: Starts a run of ``warm_caches`` on a cache target for the warmers that are named.
Start = Callable[[str, Sequence[str]], None]
_starts: list[Start] = []


def start_with(start: Start) -> None:
    """Have ``start`` called for warmers that are to run: the tasks know how, this module does not."""
    _starts[:] = [start]


def warm_after(
    cache: BaseCache,
    target_name: str,
    keys: Stale | Iterable[Stale] = (),
    prefixes: Iterable[str] = (),
) -> tuple[str, ...]:
    """Ask for the warmers of what was dropped by key, group or prefix; return all of their names.

    Call it after the transaction that made the values stale has committed. Two small commands and,
    for warmers that nobody waits for yet, one run that a worker takes up; nothing is computed here.
    Of a cache outside of Redis nothing can be warmed for another process. Never raises: a site's
    own change does not fail because a cache stays cold.
    """
    client = client_of(cache)
    names = tuple(one.name for one in warmers_for(target_name, keys, prefixes, cache))
    if client is None or not names:
        return ()
    try:
        fresh = _note(client, cache, names)
        for start in _starts if fresh else ():
            start(target_name, fresh)
    except Exception as error:  # noqa: BLE001 - the ledger or the broker of another crew
        logger.warning("Warming after invalidation was not asked for: %s", redact(str(error)))
    return names


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
    """Note ``names`` and return those that were not noted yet."""
    noted = cache.make_key(_NOTED)
    pipeline = client.pipeline(transaction=True)
    for name in names:
        pipeline.sadd(noted, name)
    pipeline.expire(noted, NOTED_SECONDS)
    answers = pipeline.execute()
    return [name for name, is_new in zip(names, answers, strict=False) if is_new]


def take(client: redis.Redis, cache: BaseCache, names: Sequence[str]) -> None:
    """Take the names of warmers that are about to run. Raises redis-py's errors."""
    if names:
        client.srem(cache.make_key(_NOTED), *names)


def noted(client: redis.Redis, cache: BaseCache) -> list[str]:
    """Return the names that no run has taken. Raises redis-py's errors."""
    return sorted(
        name.decode() if isinstance(name, bytes) else str(name)
        for name in client.smembers(cache.make_key(_NOTED))
    )
