"""Memory, hit ratios and connections of a real Valkey."""

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

import pytest
import redis

from maintenance.caching.ratios import review_cache_hit_ratios
from maintenance.conf import RedisTarget, StreamFamily, Thresholds
from maintenance.core.findings import Severity
from maintenance.core.job import YEAR_SECONDS, Job, NoHistory, Point
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.redis.memory.options import MemoryCheckOptions
from maintenance.redis.memory.review import check_redis_memory
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.run import reclaim_redis_memory
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from maintenance.redis_client.connection import session

THRESHOLDS = Thresholds(cache_hit_minimum_reads=10)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


def test_memory_is_compared_with_the_limit_of_the_server(
    redis_url: str, client: redis.Redis
) -> None:
    client.set("filler", b"x" * 50_000_000)  # beside it, connection buffers do not count
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", int(used / 0.9))
    try:
        report = check_redis_memory(
            Job("main", RedisTarget(url=redis_url, role="streams"), MemoryCheckOptions()),
            Thresholds(),
        )
    finally:
        client.config_set("maxmemory", 0)
    assert "redis-memory-high" in [finding.code for finding in report.findings]
    (row,) = report.tables[0].rows
    cells = dict(zip(report.tables[0].columns, row, strict=True))
    assert cells["used_ratio"] == pytest.approx(0.9, abs=0.03)
    assert cells["maxmemory_policy"] == "noeviction"


def test_evictions_between_two_checks_are_found(redis_url: str, client: redis.Redis) -> None:
    target = RedisTarget(url=redis_url, role="streams")
    first = check_redis_memory(Job("main", target, MemoryCheckOptions()), Thresholds())
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 500_000)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        for number in range(200):
            client.set(f"filler:{number}", "x" * 10_000)
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
    evicted = client.info("stats")["evicted_keys"]
    second = check_redis_memory(
        Job("main", target, MemoryCheckOptions(), previous_state=first.state), Thresholds()
    )
    found = next(f for f in second.findings if f.code == "redis-evictions")
    assert evicted > 0
    assert found.evidence["evicted_keys"] == evicted
    assert found.severity is Severity.WARNING


def test_the_hit_ratio_covers_the_time_since_the_previous_review(
    redis_url: str, client: redis.Redis
) -> None:
    client.set("there", 1)
    for _ in range(30):
        client.get("missing")
    target = RedisTarget(url=redis_url, role="cache")
    first = review_cache_hit_ratios(Job("main", target, NoOptions()), THRESHOLDS)
    for _ in range(20):
        client.get("there")
    second = review_cache_hit_ratios(
        Job("main", target, NoOptions(), previous_state=first.state), THRESHOLDS
    )
    assert [f.code for f in first.findings] == ["cache-hit-ratio"]
    assert second.findings == ()
    assert [sample.value for sample in second.samples] == [1.0]
    assert second.facts["since"] == "previous review"


class Noted(NoHistory):
    """What runs have stored, each at a moment of its own."""

    def __init__(self, *reports: Report) -> None:
        self.reports = reports

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> dict[str, list[Point]]:
        return {
            subject: [
                Point(float(number), sample.value)
                for number, report in enumerate(self.reports)
                for sample in report.samples
                if (sample.metric, sample.subject) == (metric, subject)
            ]
            for subject in subjects or ()
        }


def test_hits_of_our_own_walks_make_no_ratio_of_the_site(
    redis_url: str, client: redis.Redis
) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(2000):
            pipeline.zadd(f"{number}-home", {"a": 1})
        pipeline.execute()
    target = RedisTarget(url=redis_url, role="cache")
    first = review_cache_hit_ratios(Job("main", target, NoOptions()), THRESHOLDS)
    for key in ("missing", "missing", "0-home"):
        for _ in range(100):
            client.exists(key)
    families = {"home": StreamFamily(redis="main", pattern="*-home", max_length=200)}
    walks = [
        trim_streams(Job("main", target, TrimOptions()), families),
        reclaim_redis_memory(Job("main", target, ReclaimOptions(parts=("encodings", "repack")))),
        check_redis_memory(Job("main", target, MemoryCheckOptions()), THRESHOLDS),
    ]
    report = review_cache_hit_ratios(
        Job("main", target, NoOptions(), previous_state=first.state),
        THRESHOLDS,
        servers=[Noted(*walks[:2]), Noted(*walks[2:])],
    )
    assert [sample.value for sample in report.samples] == [pytest.approx(1 / 3, abs=0.02)]
    assert [finding.code for finding in report.findings] == ["cache-hit-ratio"]
    assert report.facts["lookups_left_out"] >= 4000


def test_a_ratio_of_a_few_lookups_is_withheld(redis_url: str, client: redis.Redis) -> None:
    client.get("missing")
    report = review_cache_hit_ratios(
        Job("main", RedisTarget(url=redis_url), NoOptions()), THRESHOLDS
    )
    assert [finding.measured for finding in report.findings] == [False]
    assert report.samples == ()
    assert "too few for a ratio" in report.summary


def test_our_connections_bear_a_name_that_an_operator_can_find(
    redis_url: str, client: redis.Redis
) -> None:
    with session(RedisTarget(url=redis_url)):
        assert "maintenance" in [entry["name"] for entry in client.client_list()]


def test_a_user_who_may_not_name_the_connection_is_served_all_the_same(
    redis_url: str, client: redis.Redis
) -> None:
    client.execute_command("ACL", "SETUSER", "plain", "on", ">secret", "+ping", "+info")
    parts = urlsplit(redis_url)
    url = f"redis://plain:secret@{parts.hostname}:{parts.port}/0"
    try:
        report = check_redis_memory(
            Job("main", RedisTarget(url=url), MemoryCheckOptions()), Thresholds()
        )
    finally:
        client.acl_deluser("plain")
    withheld = [finding.sentence for finding in report.findings if not finding.measured]
    assert any("+config|get" in sentence for sentence in withheld)
    assert any("+slowlog|get" in sentence for sentence in withheld)
    assert {"+info", "+ping"} < set(report.facts["needs_acl"])
    assert "used_ratio" in report.tables[0].columns
