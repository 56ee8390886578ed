"""Removing 100,000 of 300,000 cached values by prefix: ours beside django-redis's delete_pattern.

Both remove the same keys of the same server, in alternating runs, and both leave the other 200,000.
Ours has stepped back for others, as the service's workers have. Another process pings throughout;
what it feels is compared with what it feels when nobody works.
Then groups: how long it takes to drop a tag and a namespace that cover one value, and 100,000.

``BENCH_INVALIDATION_KEYS`` and ``BENCH_INVALIDATION_RUNS`` make it smaller.
"""

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.cache.backends.redis import RedisCache

from bench.stream_trimming import p999_ms, slowest_us, with_pings
from bench.worker_process import in_a_worker
from maintenance.caching.invalidation import invalidate_caches
from maintenance.caching.namespaces import Namespace
from maintenance.caching.options import InvalidateOptions
from maintenance.caching.tags import Tag, invalidate_tag, tag_versions, tagged_get
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.job import Job
from service.embedded.valkey import EmbeddedValkey

KEYS = int(os.environ.get("BENCH_INVALIDATION_KEYS", "300000"))
REMOVED = KEYS // 3
RUNS = int(os.environ.get("BENCH_INVALIDATION_RUNS", "10"))
GROUP_DROPS = 200
VALUE = b"x" * 200
KEYS_PER_WRITE = 1000

SPEED_LIMIT = 8.0
SLOWEST_LIMIT_MS = 10.0
DELAY_LIMIT_MS = 3.0
GROUP_LIMIT_MS = 2.0


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    if not settings.configured:
        settings.configure()  # django-redis reads its options from there
    with tempfile.TemporaryDirectory(prefix="bench-invalidation-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedValkey(
            Path(folder) / "valkey", secrets.token_hex(16), settings={"appendonly": "no"}
        ) as server:
            return [*_removal_rows(_trial(server.url())), *_group_rows(server.url())]


@dataclass(slots=True)
class Trial:
    """Seconds of each run, the pings during each and between them, and the slowest commands."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    peer_pings: list[float] = field(default_factory=list)
    idle_pings: list[float] = field(default_factory=list)
    slowest_us: list[int] = field(default_factory=list)
    peer_slowest_us: list[int] = field(default_factory=list)


def _removal_rows(trial: Trial) -> list[dict[str, Any]]:
    ratio = statistics.median(p / o for p, o in zip(trial.peer, trial.ours, strict=True))
    slowest_ms = statistics.median(trial.slowest_us) / 1000
    peer_slowest_ms = statistics.median(trial.peer_slowest_us) / 1000
    felt, idle = p999_ms(trial.pings), p999_ms(trial.idle_pings)
    ours, peer = statistics.median(trial.ours), statistics.median(trial.peer)
    return [
        {
            "name": (
                f"speed of removing {REMOVED:,} of {KEYS:,} keys by prefix against"
                " django-redis's delete_pattern"
            ),
            "value": ratio,
            "unit": "times",
            "peer": f"ours {ours:.2f} s, delete_pattern {peer:.2f} s",
            "limit": f"at least {SPEED_LIMIT:g}",
            "met": ratio >= SPEED_LIMIT,
            "raw": {"ours_seconds": trial.ours, "peer_seconds": trial.peer},
        },
        {
            # The longest of all is whenever the machine took the processor from the server.
            "name": f"slowest command of a removal (SLOWLOG), median of {RUNS} runs",
            "value": slowest_ms,
            "unit": "ms",
            "peer": (
                f"delete_pattern {peer_slowest_ms:.2f} ms,"
                f" longest of ours {max(trial.slowest_us) / 1000:.2f} ms"
            ),
            "limit": f"under {SLOWEST_LIMIT_MS:g}",
            "met": slowest_ms < SLOWEST_LIMIT_MS,
            "raw": {"slowest_us": trial.slowest_us},
        },
        {
            "name": f"another client's p99.9 above idle, pooled over {RUNS} runs",
            "value": felt - idle,
            "unit": "ms",
            "peer": (
                f"delete_pattern {p999_ms(trial.peer_pings) - idle:.2f} ms; idle {idle:.2f} ms,"
                f" {len(trial.pings):,} pings"
            ),
            "limit": f"at most {DELAY_LIMIT_MS:g}",
            "met": felt - idle <= DELAY_LIMIT_MS,
            "raw": {"ours_ms": felt, "idle_ms": idle},
        },
    ]


def _trial(url: str) -> Trial:
    trial = Trial()
    with (
        redis.Redis.from_url(url) as client,
        in_a_worker(partial(_remove, url)) as ours,
    ):
        for number in range(RUNS):
            # What comes first in a pair meets a server that was just idle: they take turns.
            for is_ours in (True, False) if number % 2 else (False, True):
                _fill(client)
                client.config_set("slowlog-log-slower-than", 100)
                client.config_set("slowlog-max-len", 10_000)
                client.slowlog_reset()
                work = ours if is_ours else partial(_remove_as_the_peer, url)
                seconds, pings = with_pings(url, work)
                slowest = slowest_us(client)
                if client.dbsize() != KEYS - REMOVED:
                    raise RuntimeError(f"{client.dbsize():,} keys are left")
                if is_ours:
                    trial.ours.append(seconds)
                    trial.pings += pings
                    trial.slowest_us.append(slowest)
                else:
                    trial.peer.append(seconds)
                    trial.peer_pings += pings
                    trial.peer_slowest_us.append(slowest)
            # The speed of a machine drifts: idle is measured between the runs.
            _seconds, pings = with_pings(url, lambda: time.sleep(trial.ours[-1]))
            trial.idle_pings += pings
    return trial


def _fill(client: "redis.Redis") -> None:
    client.flushall()
    for start in range(0, KEYS, KEYS_PER_WRITE):
        names = (f":1:{'book' if n < REMOVED else 'user'}:{n}" for n in range(start, KEYS))
        client.mset({name: VALUE for name, _ in zip(names, range(KEYS_PER_WRITE), strict=False)})


def _remove(url: str) -> None:
    rule = InvalidationRule(prefixes=("book:",))
    target = CacheTarget(url=url, invalidate={"books": rule})
    invalidate_caches(Job("bench", target, InvalidateOptions()))


def _remove_as_the_peer(url: str) -> None:
    from django_redis.cache import RedisCache as TheirCache  # noqa: PLC0415 - a peer of the bench

    cache = TheirCache(url, {})
    cache.delete_pattern("book:*")
    cache.client.close()


def _group_rows(url: str) -> list[dict[str, Any]]:
    cache = RedisCache(url, {})
    cache.clear()
    books = Namespace("books")
    return [
        _group_row(
            cache,
            "tag",
            Tag("books").version_key,
            fill=lambda count: _fill_tag(cache, count),
            last=lambda count: tagged_get(cache, f"tagged:{count - 1}"),
            drop=lambda: invalidate_tag(cache, "books"),
        ),
        _group_row(
            cache,
            "namespace",
            books.version_key,
            fill=lambda count: _fill_namespace(cache, books, count),
            last=lambda count: books.generation(cache).get(str(count - 1)),
            drop=lambda: books.invalidate(cache),
        ),
    ]


def _group_row(
    cache: RedisCache,
    kind: str,
    version_key: str,
    *,
    fill: Callable[[int], None],
    last: Callable[[int], object],
    drop: Callable[[], bool],
) -> dict[str, Any]:
    one, many = (
        _drops_ms(cache, version_key, count, fill=fill, last=last, drop=drop)
        for count in (1, REMOVED)
    )
    value = _quantile(many, 0.95)
    return {
        "name": f"dropping a {kind} that covers {REMOVED:,} values, p95 of {GROUP_DROPS}",
        "value": value,
        "unit": "ms",
        "peer": (
            f"median {_quantile(many, 0.5):.2f} ms, p99 {_quantile(many, 0.99):.2f} ms;"
            f" p95 {_quantile(one, 0.95):.2f} ms where it covers 1"
        ),
        "limit": f"under {GROUP_LIMIT_MS:g}",
        "met": value < GROUP_LIMIT_MS,
        "raw": {"milliseconds": many},
    }


def _drops_ms(
    cache: RedisCache,
    version_key: str,
    count: int,
    *,
    fill: Callable[[int], None],
    last: Callable[[int], object],
    drop: Callable[[], bool],
) -> list[float]:
    """Return what many drops of ``count`` values took, sorted.

    After each its version is put back, as no site ever does, so that the next one drops them again.
    """
    fill(count)
    version = cache.get(version_key)
    taken: list[float] = []
    for _ in range(GROUP_DROPS):
        cache.set(version_key, version, timeout=600)
        if last(count) is None:
            raise RuntimeError("a value was gone before it was dropped")
        started = time.perf_counter()
        verified = drop()
        taken.append((time.perf_counter() - started) * 1000)
        if not verified or last(count) is not None:
            raise RuntimeError("a value is still there")
    return sorted(taken)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


def _fill_tag(cache: RedisCache, count: int) -> None:
    versions = tag_versions(cache, ["books"])
    for start in range(0, count, KEYS_PER_WRITE):
        part = range(start, min(count, start + KEYS_PER_WRITE))
        # What tagged_set stores, many at a time.
        cache.set_many({f"tagged:{n}": (versions, n) for n in part}, timeout=600)


def _fill_namespace(cache: RedisCache, books: Namespace, count: int) -> None:
    generation = books.generation(cache)
    for start in range(0, count, KEYS_PER_WRITE):
        part = range(start, min(count, start + KEYS_PER_WRITE))
        generation.set_many({str(n): n for n in part}, ttl_seconds=600)
