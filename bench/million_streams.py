"""Trimming a million streams, a tenth over length: ours beside redis-benchmark and redis-py's pipeline.

All write to the same keys of the same server, in turns, on Valkey and on Redis where it is installed.
redis-benchmark sends the very command of a trim, 100 at a time, and reads nothing of the replies: from
its 50 connections it is the ceiling of the server, from one that of a client. Ours runs in a process of
its own, whose memory is read at its end. Another process pings beside each of them, ours and peers alike,
and between the runs, when nobody trims.

Size and number of runs can be set by the environment: ``MILLION_STREAMS``, ``MILLION_MEMBERS`` (of
the one large set), ``MILLION_RUNS``, ``MILLION_PEER_RUNS``.
"""

import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from bench.redis_server import redis_servers
from bench.stream_trimming import p999_ms, slowest_us, with_pings
from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from maintenance.redis_client.packed import pack
from service.niceness import step_back

STREAMS = int(os.environ.get("MILLION_STREAMS", "1000000"))
MEMBERS = int(os.environ.get("MILLION_MEMBERS", "1000000"))
RUNS = int(os.environ.get("MILLION_RUNS", "10"))
PEER_RUNS = int(os.environ.get("MILLION_PEER_RUNS", "3"))

LIMIT = 20
LONG_MEMBERS = 25
SHORT_MEMBERS = 10
#: One stream in so many is over length.
LONG_EVERY = 10
PIPELINE_COMMANDS = 1000
FILL_COMMANDS = 2000

CEILING_LIMIT = 0.6
PIPELINE_LIMIT = 2.5
SLOWEST_LIMIT_MS = 10.0
DELAY_LIMIT_MS = 3.0
MEMORY_LIMIT_MB = 80.0

#: 12 digits, as redis-benchmark writes its random numbers.
_KEY = "{:012d}-home"


@dataclass(slots=True)
class Trial:
    """Seconds, pings in seconds, slowest commands and memory of our runs, and pings between them."""

    seconds: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    idle_pings: list[float] = field(default_factory=list)
    slowest_us: list[int] = field(default_factory=list)
    memory_before_mb: list[float] = field(default_factory=list)
    peak_memory_mb: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Peers:
    """Commands a second of redis-benchmark, by its number of clients, and seconds of redis-py's pipeline.

    Pings beside them are in seconds.
    """

    ceilings: dict[int, list[float]] = field(default_factory=lambda: {50: [], 1: []})
    ceiling_pings: dict[int, list[float]] = field(default_factory=lambda: {50: [], 1: []})
    pipeline_seconds: list[float] = field(default_factory=list)


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    return [row for kind, url in redis_servers() for row in _measure(kind, url)]


def _measure(kind: str, url: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(url) as client:
        client.config_set("slowlog-log-slower-than", 100)
        client.config_set("slowlog-max-len", 10_000)
        _send(client, (_filled(number) for number in range(STREAMS)))
        many, peers = Trial(), Peers()
        for number in range(RUNS):
            _run(url, client, many, lambda: _check(client))
            if number < PEER_RUNS:
                for clients in peers.ceilings:
                    _lengthen(client)
                    _run_ceiling(url, peers, clients)
                _lengthen(client)
                seconds, _pings = with_pings(url, lambda: _pipeline(url))
                peers.pipeline_seconds.append(seconds)
                _check(client)
            _lengthen(client)
        client.flushall()
        single = Trial()
        for _ in range(RUNS):
            _send(client, _one_large_set())
            _run(url, client, single, lambda: _check_large(client))
            client.flushall()
    found = [*_speed_rows(many, peers), *_felt_rows(many, single)]
    return [row | {"name": f"{row['name']}, {kind}"} for row in found]


def _speed_rows(many: Trial, peers: Peers) -> list[dict[str, Any]]:
    rate = STREAMS / statistics.median(many.seconds)
    raw = {
        "ours_seconds": many.seconds,
        "redis_benchmark_commands_per_second": peers.ceilings,
        "pipeline_seconds": peers.pipeline_seconds,
    }
    pipeline = STREAMS / statistics.median(peers.pipeline_seconds)
    return [
        *(_ceiling_row(rate, peers, clients) | {"raw": raw} for clients in peers.ceilings),
        _row(
            "speed of it against redis-py's pipeline",
            rate / pipeline,
            "times",
            f"pipeline of {PIPELINE_COMMANDS:,} {pipeline:,.0f} keys/s",
            at_least=PIPELINE_LIMIT,
        ),
        _row(
            "peak memory of the process that trims them",
            max(many.peak_memory_mb),
            "MB",
            f"{max(many.memory_before_mb):.1f} MB before it begins, without Django and Celery",
            under=MEMORY_LIMIT_MB,
        ),
    ]


def _ceiling_row(rate: float, peers: Peers, clients: int) -> dict[str, Any]:
    ceiling = statistics.median(peers.ceilings[clients])
    return _row(
        f"speed of a trim of {STREAMS:,} streams against redis-benchmark -c {clients} -P 100",
        rate / ceiling,
        "times",
        f"ours {rate:,.0f} keys/s, redis-benchmark {ceiling:,.0f} commands/s,"
        f" with a p99.9 of {p999_ms(peers.ceiling_pings[clients]):.2f} ms for another client",
        at_least=CEILING_LIMIT,
    )


def _felt_rows(many: Trial, single: Trial) -> list[dict[str, Any]]:
    found = []
    for what, trial in (
        (f"{STREAMS:,} streams", many),
        (f"one set of {MEMBERS:,} members", single),
    ):
        slowest_ms = statistics.median(trial.slowest_us) / 1000
        felt, idle = p999_ms(trial.pings), p999_ms(trial.idle_pings)
        found += [
            _row(
                f"slowest command of a trim of {what} (SLOWLOG), median of {RUNS} runs",
                slowest_ms,
                "ms",
                f"longest of all {max(trial.slowest_us) / 1000:.2f} ms,"
                f" a run takes {statistics.median(trial.seconds):.2f} s",
                under=SLOWEST_LIMIT_MS,
            ),
            _row(
                f"another client's p99.9 above idle during it, pooled over {RUNS} runs",
                felt - idle,
                "ms",
                f"idle {idle:.2f} ms, {len(trial.pings):,} pings",
                at_most=DELAY_LIMIT_MS,
            ),
        ]
    return found


def _row(
    name: str,
    value: float,
    unit: str,
    peer: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    under: float | None = None,
) -> dict[str, Any]:
    if at_least is not None:
        limit, met = f"at least {at_least:g}", value >= at_least
    elif at_most is not None:
        limit, met = f"at most {at_most:g}", value <= at_most
    else:
        limit, met = f"under {under:g}", under is not None and value < under
    return {"name": name, "value": value, "unit": unit, "peer": peer, "limit": limit, "met": met}


def _run(url: str, client: "redis.Redis", trial: Trial, check: Callable[[], None]) -> None:
    """Trim once in a process of its own, check the work, then ping as long when nobody trims."""
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_trim, args=(url, theirs))
    worker.start()
    ours.recv()  # everything is imported
    client.slowlog_reset()

    def work() -> None:
        ours.send("go")
        seconds, memory_before_mb, peak_memory_mb = ours.recv()
        trial.seconds.append(seconds)
        trial.memory_before_mb.append(memory_before_mb)
        trial.peak_memory_mb.append(peak_memory_mb)

    _seconds, pings = with_pings(url, work)
    worker.join()
    trial.pings += pings
    trial.slowest_us.append(slowest_us(client))
    check()
    _seconds, idle_pings = with_pings(url, lambda: time.sleep(trial.seconds[-1]))
    trial.idle_pings += idle_pings


def _trim(url: str, line: Connection) -> None:
    target = RedisTarget(url=url, role="streams")
    family = StreamFamily(redis="bench", pattern="*-home", max_length=LIMIT)
    step_back()  # as the service's workers do
    line.send("ready")
    line.recv()
    memory_before_mb = _peak_memory_mb()
    started = time.perf_counter()
    trim_streams(Job("bench", target, TrimOptions()), {"home": family})
    line.send((time.perf_counter() - started, memory_before_mb, _peak_memory_mb()))


def _peak_memory_mb() -> float:
    """The most memory that this process has had resident (proc(5): VmHWM, in kB)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("This system does not say how much memory a process has used.")
    return int(found[1]) * 1024 / 1e6


def _run_ceiling(url: str, peers: Peers, clients: int) -> None:
    """Run redis-benchmark once beside the same pings as ours."""
    rates = peers.ceilings[clients]
    _seconds, pings = with_pings(url, lambda: rates.append(_ceiling(url, clients)))
    peers.ceiling_pings[clients] += pings


def _ceiling(url: str, clients: int) -> float:
    """Return the commands a second of redis-benchmark with the command of a trim."""
    program = shutil.which("redis-benchmark")
    if program is None:
        raise RuntimeError("redis-benchmark is not installed (Debian: redis-tools).")
    server = urlsplit(url)
    done = subprocess.run(
        [
            program,
            *("-h", str(server.hostname), "-p", str(server.port), "-a", str(server.password)),
            *("-c", str(clients), "-P", "100", "-n", str(STREAMS), "-r", str(STREAMS), "--csv"),
            *("ZREMRANGEBYRANK", "__rand_int__-home", "0", str(-LIMIT - 1)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    # "test","rps",... and below it the command with its figures.
    return float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))


def _pipeline(url: str) -> None:
    """Trim every key that SCAN names, as the usual careful script does."""
    with redis.Redis.from_url(url) as client:
        pipeline = client.pipeline(transaction=False)
        for key in client.scan_iter("*-home", count=PIPELINE_COMMANDS):
            pipeline.zremrangebyrank(key, 0, -LIMIT - 1)
            if len(pipeline) == PIPELINE_COMMANDS:
                pipeline.execute()
        pipeline.execute()


def _filled(number: int) -> bytes:
    members = LONG_MEMBERS if number % LONG_EVERY == 0 else SHORT_MEMBERS
    return _added(number, range(members))


def _added(number: int, scores: Sequence[int]) -> bytes:
    words = [word for score in scores for word in (b"%d" % score, b"%d" % (10**6 + score))]
    return pack(b"ZADD", _KEY.format(number).encode(), *words)


def _lengthen(client: "redis.Redis") -> None:
    """Add again what a trim removed."""
    removed = range(LONG_MEMBERS - LIMIT)
    _send(client, (_added(number, removed) for number in range(0, STREAMS, LONG_EVERY)))


def _one_large_set() -> Iterator[bytes]:
    for first in range(0, MEMBERS, 1000):
        scores = range(first, min(MEMBERS, first + 1000))
        words = [word for score in scores for word in (b"%d" % score, b"member%d" % score)]
        yield pack(b"ZADD", b"large-home", *words)


def _send(client: "redis.Redis", commands: Iterator[bytes]) -> None:
    connection = client.connection_pool.get_connection()
    try:
        while batch := list(islice(commands, FILL_COMMANDS)):
            connection.send_packed_command([b"".join(batch)])  # type: ignore[no-untyped-call]
            for _ in batch:
                connection.read_response()
    finally:
        client.connection_pool.release(connection)


def _check(client: "redis.Redis") -> None:
    """No long stream is longer than the limit, and no other has lost a member."""
    pipeline = client.pipeline(transaction=False)
    for number in range(min(STREAMS, 100_000)):
        pipeline.zcard(_KEY.format(number))
    lengths = pipeline.execute()
    if max(lengths) != LIMIT or min(lengths) != SHORT_MEMBERS:
        raise RuntimeError(f"lengths are {min(lengths)} to {max(lengths)} after the trim")


def _check_large(client: "redis.Redis") -> None:
    if client.zcard("large-home") != LIMIT:
        raise RuntimeError(f"{client.zcard('large-home')} members remain after the trim")
