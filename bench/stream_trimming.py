"""Trimming 20,000 streams, a tenth over length: ours beside redis-py's pipeline of 1,000.

Both do the same work on the same keys of the same server, in alternating runs; what a run removed is
added again. Another process pings throughout; what it feels is compared with what it feels when
nobody trims. Ours has stepped back for others, as the service's workers have. A run is over after a
tenth of a second and some eighty pings: it takes many for the slowest ping of a thousand.

The tenth is over its limit by what a day brings (20 of 200 members), as a daily trim meets it. A
second row shows the first trim after the limit was lowered (100 members too many), where both
spend most of their time waiting for the server to remove members; it has no limit.
"""

import multiprocessing
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import redis

from bench.worker_process import in_a_worker
from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from service.embedded.valkey import EmbeddedValkey

STREAMS = 20_000
LIMIT = 200
A_DAY_TOO_LONG = 220
LOWERED_TOO_LONG = 300
SHORT_MEMBERS = 40
LONG_EVERY = 10
RUNS = 25
PIPELINE_COMMANDS = 1000
#: Time between two pings: short enough that no stall of a millisecond goes unfelt.
PING_PAUSE_SECONDS = 0.0002

SPEED_LIMIT = 2.0
SLOWEST_LIMIT_MS = 5.0
DELAY_LIMIT_MS = 5.0


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    with tempfile.TemporaryDirectory(prefix="bench-streams-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedValkey(Path(folder) / "valkey", secrets.token_hex(16)) as server:
            return _measure(server.url())


@dataclass(slots=True)
class Trial:
    """Seconds of each run, the pings during each and between them, and the slowest commands."""

    ours: list[float] = field(default_factory=list)
    pipeline: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    pipeline_pings: list[float] = field(default_factory=list)
    idle_pings: list[float] = field(default_factory=list)
    slowest_us: list[int] = field(default_factory=list)
    pipeline_slowest_us: list[int] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times faster ours is, at the median of the pairs."""
        return statistics.median(p / o for p, o in zip(self.pipeline, self.ours, strict=True))

    @property
    def rates(self) -> str:
        """Both in keys a second."""
        ours, pipeline = (STREAMS / statistics.median(s) for s in (self.ours, self.pipeline))
        return f"ours {ours:,.0f} keys/s, pipeline of {PIPELINE_COMMANDS:,} {pipeline:,.0f} keys/s"


def _measure(url: str) -> list[dict[str, Any]]:
    day = _trial(url, A_DAY_TOO_LONG)
    lowered = _trial(url, LOWERED_TOO_LONG)
    felt = p999_ms(day.pings + lowered.pings)
    peers_felt = p999_ms(day.pipeline_pings + lowered.pipeline_pings)
    idle = p999_ms(day.idle_pings + lowered.idle_pings)
    slowest = day.slowest_us + lowered.slowest_us
    slowest_ms = statistics.median(slowest) / 1000
    peers_slowest_ms = (
        statistics.median(day.pipeline_slowest_us + lowered.pipeline_slowest_us) / 1000
    )
    return [
        {
            "name": f"speed of the daily trim of {STREAMS:,} streams against redis-py's pipeline",
            "value": day.ratio,
            "unit": "times",
            "peer": day.rates,
            "limit": f"at least {SPEED_LIMIT:g}",
            "met": day.ratio >= SPEED_LIMIT,
            "raw": {"ours_seconds": day.ours, "pipeline_seconds": day.pipeline},
        },
        {
            "name": "speed of the first trim after the limit was lowered, likewise",
            "value": lowered.ratio,
            "unit": "times",
            "peer": lowered.rates,
            "limit": "none",
            "met": True,
            "raw": {"ours_seconds": lowered.ours, "pipeline_seconds": lowered.pipeline},
        },
        {
            # The longest of all is whenever the machine took the processor from the server.
            "name": f"slowest command of a trim on the server (SLOWLOG), median of {2 * RUNS} runs",
            "value": slowest_ms,
            "unit": "ms",
            "peer": f"pipeline {peers_slowest_ms:.2f} ms, longest of ours {max(slowest) / 1000:.2f} ms",
            "limit": f"under {SLOWEST_LIMIT_MS:g}",
            "met": slowest_ms < SLOWEST_LIMIT_MS,
            "raw": {"slowest_us": slowest},
        },
        {
            "name": f"another client's p99.9 above idle, pooled over {2 * RUNS} runs",
            "value": felt - idle,
            "unit": "ms",
            "peer": f"pipeline {peers_felt - idle:.2f} ms; idle {idle:.2f} ms, {len(day.pings + lowered.pings):,} pings",
            "limit": f"at most {DELAY_LIMIT_MS:g}",
            "met": felt - idle <= DELAY_LIMIT_MS,
            "raw": {"ours_ms": felt, "pipeline_ms": peers_felt, "idle_ms": idle},
        },
    ]


def _trial(url: str, long_members: int) -> Trial:
    trial = Trial()
    client = redis.Redis.from_url(url)
    client.config_set("slowlog-log-slower-than", 100)
    client.config_set("slowlog-max-len", 10_000)
    client.flushall()
    _add(client, range(STREAMS), range(SHORT_MEMBERS))
    _add(client, range(0, STREAMS, LONG_EVERY), range(long_members))
    with in_a_worker(partial(_ours, url)) as ours:
        _pairs(url, client, trial, ours, long_members)
    return trial


def _pairs(
    url: str, client: "redis.Redis", trial: Trial, ours: Callable[[], None], long_members: int
) -> None:
    for number in range(RUNS):
        # What comes first in a pair meets a server that was just idle: they take turns.
        for is_ours in (True, False) if number % 2 else (False, True):
            _add(client, range(0, STREAMS, LONG_EVERY), range(long_members - LIMIT))
            client.slowlog_reset()
            if is_ours:
                seconds, pings = with_pings(url, ours)
                trial.ours.append(seconds)
                trial.pings += pings
                trial.slowest_us.append(slowest_us(client))
            else:
                seconds, pings = with_pings(url, lambda: _pipeline(url))
                trial.pipeline.append(seconds)
                trial.pipeline_pings += pings
                trial.pipeline_slowest_us.append(slowest_us(client))
            _verify(client)
        # The speed of a machine drifts: idle is measured between the runs.
        _seconds, pings = with_pings(url, lambda: time.sleep(trial.ours[-1]))
        trial.idle_pings += pings


def slowest_us(client: "redis.Redis") -> int:
    """Return the duration of the slowest command since SLOWLOG RESET, in microseconds."""
    return max((entry["duration"] for entry in client.slowlog_get(10_000)), default=0)


def _add(client: "redis.Redis", streams: Sequence[int], scores: Sequence[int]) -> None:
    """Add a member with each of these scores to each of these streams."""
    members = {str(score): score for score in scores}
    pipeline = client.pipeline(transaction=False)
    for number in streams:
        pipeline.zadd(f"{number}-home", members)
        if len(pipeline) == 500:
            pipeline.execute()
    pipeline.execute()


def _ours(url: str) -> None:
    target = RedisTarget(url=url, role="streams")
    family = StreamFamily(redis="bench", pattern="*-home", max_length=LIMIT)
    trim_streams(Job("bench", target, TrimOptions()), {"home": family})


def _pipeline(url: str) -> None:
    """Trim every key that SCAN names, as the usual careful script does."""
    with redis.Redis.from_url(url) as client:
        pipeline = client.pipeline(transaction=False)
        waiting = 0
        for key in client.scan_iter("*-home", count=PIPELINE_COMMANDS):
            pipeline.zremrangebyrank(key, 0, -LIMIT - 1)
            waiting += 1
            if waiting == PIPELINE_COMMANDS:
                pipeline.execute()
                waiting = 0
        pipeline.execute()


def _verify(client: "redis.Redis") -> None:
    """Both must have done the work: no key is longer than the limit, none is gone."""
    pipeline = client.pipeline(transaction=False)
    for number in range(STREAMS):
        pipeline.zcard(f"{number}-home")
    lengths = pipeline.execute()
    if max(lengths) != LIMIT or min(lengths) != SHORT_MEMBERS:
        raise RuntimeError(f"lengths are {min(lengths)} to {max(lengths)} after the trim")


def with_pings(url: str, work: Callable[[], object]) -> tuple[float, list[float]]:
    """Do the work while another process pings; return its seconds and the pings' seconds."""
    ours, theirs = multiprocessing.Pipe()
    pinger = multiprocessing.get_context("spawn").Process(target=_ping, args=(url, theirs))
    pinger.start()
    ours.recv()  # it is connected
    ours.send("go")
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    ours.send("stop")
    pings: list[float] = ours.recv()
    pinger.join()
    return seconds, pings


def _ping(url: str, line: Connection) -> None:
    with redis.Redis.from_url(url) as client:
        client.ping()
        line.send("connected")
        line.recv()
        delays: list[float] = []
        while not line.poll():
            started = time.perf_counter()
            client.ping()
            delays.append(time.perf_counter() - started)
            time.sleep(PING_PAUSE_SECONDS)
        line.recv()
        line.send(delays)


def p999_ms(delays_seconds: list[float]) -> float:
    """Return the 99.9th percentile in milliseconds."""
    return sorted(delays_seconds)[int(len(delays_seconds) * 0.999)] * 1000
