"""A task that writes to Redis says what others felt of it, and pauses where they do."""

import sys
import time
from typing import Any

import pytest
import redis

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job, SilentProgress
from maintenance.core.latency import LatencyChange
from maintenance.core.reports import Report
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from maintenance.redis_client.probe import (
    RECENT_PROBES,
    SWITCH_SECONDS,
    LatencyProbe,
    PacedProgress,
    probing,
)
from tests.polling import eventually


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def test_a_stall_of_the_server_is_felt_and_forgotten(client: redis.Redis) -> None:
    with probing(client) as probe:
        eventually(lambda: probe.change is not None, seconds=10, what="a first PING")
        assert probe.added_ms < 200
        client.client_pause(300)
        eventually(
            lambda: probe.change is not None and probe.change.slowest_ms > 100,
            seconds=10,
            what="the stall is felt",
        )
    assert probe.change is not None
    assert probe.change.during_ms < probe.change.slowest_ms


def test_a_server_that_goes_away_ends_the_probe_and_not_the_work(client: redis.Redis) -> None:
    with probing(client) as probe:
        eventually(lambda: probe.change is not None, seconds=10, what="a first PING")
        client.connection_pool.disconnect()
        client.connection_pool.connection_kwargs["port"] = 1
    assert probe.change is not None


def test_probes_that_overlap_leave_the_interpreter_as_it_was(client: redis.Redis) -> None:
    before = sys.getswitchinterval()
    first, second = probing(client), probing(client)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == before


class Felt(LatencyProbe):
    """A probe that feels what it is told to."""

    def __init__(self, added_ms: float) -> None:
        self._felt_ms = added_ms

    @property
    def added_ms(self) -> float:
        return self._felt_ms


def test_work_that_others_feel_pauses_between_two_batches() -> None:
    progress = PacedProgress(SilentProgress(), Felt(6.0), limit_ms=5.0)
    worked_until = time.monotonic() + 0.02
    while time.monotonic() < worked_until:
        pass
    progress.update(1, 2)
    assert 0.02 <= progress.stood_still_seconds < 0.5


def test_work_that_nobody_feels_does_not_pause() -> None:
    progress = PacedProgress(SilentProgress(), Felt(4.9), limit_ms=5.0)
    progress.update(1, 2)
    assert progress.stood_still_seconds == 0.0


def trim(redis_url: str, added_latency_ms: float, progress: Any = None) -> Report:
    target = RedisTarget(url=redis_url, role="streams", added_latency_ms=added_latency_ms)
    families = {"home": StreamFamily(redis="main", pattern="*-home", max_length=10)}
    job = Job("main", target, TrimOptions(), progress=progress or SilentProgress())
    return trim_streams(job, families)


def test_a_trim_states_what_others_felt(client: redis.Redis, redis_url: str) -> None:
    with client.pipeline() as pipeline:
        for user in range(20_000):
            pipeline.zadd(f"{user}-home", {str(n): n for n in range(12)})
        pipeline.execute()

    report = trim(redis_url, added_latency_ms=1000)

    assert report.facts["latency_before_ms"] > 0
    assert report.facts["latency_probes"] >= 1
    assert report.facts["stood_still_seconds"] == 0
    assert "added-latency" not in {finding.code for finding in report.findings}
    assert client.zcard("7-home") == 10


STALL_MS = 400


class Stalling(SilentProgress):
    """Has the server answer nobody for a while, once, in the middle of the work."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: redis.Redis | None = client

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.client_pause(STALL_MS)


def test_a_stall_beside_a_trim_is_the_slowest_answer_that_its_report_states(
    client: redis.Redis, redis_url: str
) -> None:
    for user in range(500):
        client.zadd(f"{user}-home", {str(n): n for n in range(12)})
    report = trim(redis_url, added_latency_ms=1000, progress=Stalling(client))
    assert client.zcard("7-home") == 10
    assert report.facts["latency_probes"] >= 1
    # A PING leaves every 50 ms, so that one has waited for nearly all of it.
    assert report.facts["latency_slowest_ms"] > STALL_MS / 2
    assert report.facts["latency_slowest_ms"] >= report.facts["latency_during_ms"]
    assert report.facts["latency_before_ms"] < STALL_MS / 2


def test_a_probe_needs_some_answers_before_it_says_anything(client: redis.Redis) -> None:
    probe = LatencyProbe(client)
    assert probe.change is None
    assert probe.added_ms == 0.0
    assert RECENT_PROBES > 1


def test_the_added_latency_is_never_negative() -> None:
    assert LatencyChange(2.0, 1.0, 3.0, 9).added_ms == 0.0
