"""Warming 100,000 keys beside a loop of ``cache.set`` and a pipeline; a stampede; counted lookups.

All write the same values with the same time-out to the same fresh server through Django's own
Redis backend, in alternating runs. The pipeline is the ceiling of the client: redis-py's own, a
thousand SETs at a time whose values are bytes already, without a look before or after. Ours is the
whole run of warm_caches with its looks, its function, its report.
"""

import os
import pickle
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import redis
from django.conf import settings
from django.core.cache.backends.redis import RedisCache

from bench.stampede import Stampede, stampede
from maintenance.caching import instrumented
from maintenance.conf import CacheTarget
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from service.embedded.valkey import EmbeddedValkey

KEYS = int(os.environ.get("WARMING_KEYS", "100000"))
RUNS = int(os.environ.get("WARMING_RUNS", "5"))
PIPELINE_COMMANDS = 1000
TTL_SECONDS = 600
PROCESSES, THREADS = 8, 25
STAMPEDES = 5
#: Short pairs: a machine changes its pace within a second.
LOOKUPS, LOOKUP_PAIRS = 50, 400

LOOP_LIMIT = 5.0
CEILING_LIMIT = 0.5
COUNTING_LIMIT_US = 10.0


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    if not settings.configured:
        settings.configure(DATABASES={}, CACHES={}, USE_TZ=True)
        django.setup()
    with tempfile.TemporaryDirectory(prefix="bench-warming-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedValkey(
            Path(folder) / "valkey", secrets.token_hex(16), settings={"appendonly": "no"}
        ) as server:
            url = server.url()
            return [*_warming(url), *_stampedes(url), _counting(url)]


def _values() -> dict[str, Any]:
    return {f"book-rating-{n}": {"id": n, "title": f"Book {n}", "rating": 4.5} for n in range(KEYS)}


@contextmanager
def _cache(url: str) -> Iterator[RedisCache]:
    cache = RedisCache(url, {})
    yield cache
    cache._cache.get_client(None, write=True).connection_pool.disconnect()


def _ours(url: str, values: dict[str, Any]) -> None:
    # Imported late: what registers warmers needs Django to be set up.
    from maintenance.caching.warming import WarmOptions, warm_caches, warmer  # noqa: PLC0415

    warmer(ttl_seconds=TTL_SECONDS, many=True, cache="bench", name="books")(lambda: values)
    report = warm_caches(Job("bench", CacheTarget(url=url), WarmOptions()))
    if report.outcomes[0].verdict is not Verdict.WORKED:
        raise RuntimeError(report.outcomes[0].sentence)


def _loop(url: str, values: dict[str, Any]) -> None:
    with _cache(url) as cache:
        for key, value in values.items():
            cache.set(key, value, TTL_SECONDS)


def _pipeline(url: str, values: dict[bytes, bytes]) -> None:
    with redis.Redis.from_url(url) as client:
        pipeline = client.pipeline(transaction=False)
        for number, (key, value) in enumerate(values.items(), 1):
            pipeline.set(key, value, ex=TTL_SECONDS)
            if number % PIPELINE_COMMANDS == 0:
                pipeline.execute()
        pipeline.execute()


def _warming(url: str) -> list[dict[str, Any]]:
    values = _values()
    stored = {f":1:{key}".encode(): pickle.dumps(value, 5) for key, value in values.items()}
    ways: dict[str, Callable[[], None]] = {
        "ours": lambda: _ours(url, values),
        "loop": lambda: _loop(url, values),
        "pipeline": lambda: _pipeline(url, stored),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(RUNS):
        order = list(ways)
        for name in order[number % 3 :] + order[: number % 3]:  # each comes first in its turn
            taken[name].append(_timed(url, ways[name]))
    to_loop, to_pipeline = (
        statistics.median(p / o for p, o in zip(taken[peer], taken["ours"], strict=True))
        for peer in ("loop", "pipeline")
    )
    rates = {name: KEYS / statistics.median(seconds) for name, seconds in taken.items()}
    peer = ", ".join(f"{name} {rate:,.0f} keys/s" for name, rate in rates.items())
    return [
        {
            "name": f"speed of warming {KEYS:,} keys against a loop of cache.set",
            "value": to_loop,
            "unit": "times",
            "peer": peer,
            "limit": f"at least {LOOP_LIMIT:g}",
            "met": to_loop >= LOOP_LIMIT,
            "raw": taken,
        },
        {
            "name": f"speed of warming {KEYS:,} keys against redis-py's pipeline, its ceiling",
            "value": to_pipeline,
            "unit": "times",
            "peer": peer,
            "limit": f"at least {CEILING_LIMIT:g}",
            "met": to_pipeline >= CEILING_LIMIT,
        },
    ]


def _timed(url: str, work: Callable[[], None]) -> float:
    """Return the seconds of the work, which must have written every key, each with a time-out."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        facts = client.info("keyspace")["db0"]
        written = facts["keys"] if not client.exists(*_notes(client)) else facts["keys"] - 1
        if written != KEYS or facts["expires"] != facts["keys"]:
            raise RuntimeError(f"{facts} after writing {KEYS} keys")
        return seconds


def _notes(client: "redis.Redis") -> list[bytes]:
    """Return the keys that a warming run keeps for itself, beside those of the site."""
    return list(client.scan_iter("*maintenance-*", count=KEYS)) or [b"none"]


def _stampedes(url: str) -> list[dict[str, Any]]:
    done: list[Stampede] = []
    for _ in range(STAMPEDES):
        with _cache(url) as cache:
            done.append(stampede(url, cache, processes=PROCESSES, threads=THREADS))
    readers = PROCESSES * THREADS
    most = max(one.computations for one in done)
    fewest = min(one.computations for one in done)
    waited = max(sum(value != "old value" for value in one.values) for one in done)
    slowest_ms = max(max(one.seconds) for one in done) * 1000
    crowd = f"{PROCESSES} processes of {THREADS} threads, {STAMPEDES} times"
    return [
        {
            "name": f"computations for {readers} readers of one expired key, the most of all runs",
            "value": most,
            "unit": "computations",
            "peer": crowd,
            "limit": "exactly 1",
            "met": most == fewest == 1,
        },
        {
            # The computation is held back until the last reader has his answer.
            "name": f"of {readers} readers those who waited for it while the old value lived",
            "value": waited,
            "unit": "readers",
            "peer": f"slowest reader {slowest_ms:.0f} ms",
            "limit": "exactly 0",
            "met": waited == 0,
        },
    ]


def _counting(url: str) -> dict[str, Any]:
    """Compare processor times: what the network takes is the same for both, and noise."""
    plain, counted = RedisCache(url, {}), instrumented.RedisCache(url, {})
    plain.set("book-rating-1", 4.5, TTL_SECONDS)
    plain_us: list[float] = []
    added_us: list[float] = []
    for _ in range(LOOKUP_PAIRS):
        one, other = _lookup_us(plain), _lookup_us(counted)
        plain_us.append(one)
        added_us.append(other - one)
    for cache in (plain, counted):
        cache._cache.get_client(None, write=True).connection_pool.disconnect()
    added = statistics.median(added_us)
    return {
        "name": "processor time that counting adds to a lookup, median of pairs",
        "value": added,
        "unit": "us",
        "peer": f"a plain lookup {statistics.median(plain_us):.0f} us",
        "limit": f"at most {COUNTING_LIMIT_US:g}",
        "met": added <= COUNTING_LIMIT_US,
    }


def _lookup_us(cache: RedisCache) -> float:
    started = time.thread_time()
    for _ in range(LOOKUPS):
        cache.get("book-rating-1")
    return (time.thread_time() - started) / LOOKUPS * 1e6
