"""Repacking streams just over the limit of a listpack, as the first client's are.

6,000 sorted sets of 199 and 200 ids by their time, with ``zset-max-listpack-entries`` raised from 128
to 256, on Valkey and on Redis where it is installed. Beside it a loop of redis-py that guards each key
likewise (WATCH, DUMP, MULTI, RESTORE, EXEC), on half of them. Another process pings throughout.
"""

import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

import redis

from bench.redis_server import redis_servers
from bench.stream_trimming import p999_ms, with_pings
from maintenance.conf import RedisTarget
from maintenance.core.job import Job
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.run import reclaim_redis_memory

STREAMS = 6_000
PAIR_STREAMS = 3_000
PAIRS = 3

#: 282 MB became 81 MB at the first client; Valkey's skiplists are smaller to begin with.
LARGEST_RATIO = 0.5
#: Most of the time is the server's own, whoever asks for it.
SPEED_LIMIT = 1.0
DELAY_LIMIT_MS = 5.0


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    found: list[dict[str, Any]] = []
    for kind, url in redis_servers():
        with redis.Redis.from_url(url) as client:
            found += _measure(kind, url, client)
    return found


def _measure(kind: str, url: str, client: "redis.Redis") -> Iterator[dict[str, Any]]:
    _fill(client, STREAMS)
    before = _used_bytes(client)
    seconds, pings = with_pings(url, lambda: _ours(url))
    after = _used_bytes(client)
    _verify(client, STREAMS)
    _idle, idle_pings = with_pings(url, lambda: time.sleep(seconds))
    yield {
        "name": f"memory of {STREAMS:,} streams after a repack, of that before, {kind}",
        "value": after / before,
        "unit": "ratio",
        "peer": f"{before / 1e6:,.0f} MB became {after / 1e6:,.0f} MB in {seconds:.1f} s",
        "limit": f"at most {LARGEST_RATIO:g}",
        "met": after / before <= LARGEST_RATIO,
        "raw": {"before_bytes": before, "after_bytes": after, "seconds": seconds},
    }
    felt, idle = p999_ms(pings), p999_ms(idle_pings)
    yield {
        "name": f"another client's p99.9 above idle beside a repack, {kind}",
        "value": felt - idle,
        "unit": "ms",
        "peer": f"idle {idle:.2f} ms, {len(pings):,} pings",
        "limit": f"at most {DELAY_LIMIT_MS:g}",
        "met": felt - idle <= DELAY_LIMIT_MS,
        "raw": {"repack_ms": felt, "idle_ms": idle},
    }
    yield _beside_a_loop(url, client, kind)


def _beside_a_loop(url: str, client: "redis.Redis", kind: str) -> dict[str, Any]:
    times: dict[str, list[float]] = {"ours": [], "loop": []}
    for number in range(PAIRS):
        for way in ("ours", "loop") if number % 2 else ("loop", "ours"):
            _fill(client, PAIR_STREAMS)
            began = time.perf_counter()
            if way == "ours":
                _ours(url)
            else:
                _loop(client)
            times[way].append(time.perf_counter() - began)
            _verify(client, PAIR_STREAMS)
    ratio = statistics.median(
        loop / ours for ours, loop in zip(times["ours"], times["loop"], strict=True)
    )
    rates = {way: PAIR_STREAMS / statistics.median(seconds) for way, seconds in times.items()}
    return {
        "name": f"speed of a guarded repack against a guarded loop of redis-py, {kind}",
        "value": ratio,
        "unit": "times",
        "peer": f"ours {rates['ours']:,.0f} keys/s, loop {rates['loop']:,.0f} keys/s",
        "limit": f"at least {SPEED_LIMIT:g}",
        "met": ratio >= SPEED_LIMIT,
        "raw": {f"{way}_seconds": seconds for way, seconds in times.items()},
    }


def _fill(client: "redis.Redis", streams: int) -> None:
    """Make the streams anew, under the default limit, then raise it."""
    client.flushall()
    client.config_set("zset-max-listpack-entries", 128)
    chance = random.Random(1)
    pipeline = client.pipeline(transaction=False)
    for user in range(streams):
        ids = chance.sample(range(10**7), 199 + user % 2)
        pipeline.zadd(f"{user}-home", {str(n): 1.7e9 + n + chance.random() for n in ids})
        if user % 500 == 499:
            pipeline.execute()
    pipeline.execute()
    client.config_set("zset-max-listpack-entries", 256)


def _ours(url: str) -> None:
    target = RedisTarget(url=url, role="streams", added_latency_ms=1000)
    reclaim_redis_memory(Job("bench", target, ReclaimOptions(parts=("repack",))))


def _loop(client: "redis.Redis") -> None:
    """Rewrite every key that SCAN names, as a careful script does."""
    for key in client.scan_iter("*-home", count=1000):
        with client.pipeline() as pipeline:
            pipeline.watch(key)  # type: ignore[no-untyped-call]
            left_ms, payload = pipeline.pttl(key), pipeline.dump(key)
            pipeline.multi()
            pipeline.restore(key, max(0, left_ms), payload or b"", replace=True)
            pipeline.execute()


def _used_bytes(client: "redis.Redis") -> int:
    return int(client.info("memory")["used_memory"])


def _verify(client: "redis.Redis", streams: int) -> None:
    """Every stream must be compact and as long as it was."""
    pipeline = client.pipeline(transaction=False)
    for user in range(streams):
        pipeline.zcard(f"{user}-home")
        pipeline.object("encoding", f"{user}-home")
    replies = pipeline.execute()
    if replies[::2] != [199 + user % 2 for user in range(streams)]:
        raise RuntimeError("a stream has another length after the repack")
    if set(replies[1::2]) != {b"listpack"}:
        raise RuntimeError(f"encodings are {set(replies[1::2])} after the repack")
