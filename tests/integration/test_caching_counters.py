"""Counted caches on a real Valkey: what is flushed, and what a review makes of it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.core.cache.backends.base import BaseCache

from maintenance.caching import instrumented, instrumented_django_redis
from maintenance.caching.backend import OpenCache, client_of
from maintenance.caching.counters import KEPT_DAYS, stored_counts, stored_hash
from maintenance.caching.ratios import review_cache_hit_ratios
from maintenance.conf import CacheTarget, RedisTarget, Thresholds
from maintenance.core.job import Job, NoHistory, Point
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report

MakeCache = Callable[[], Any]
BACKENDS = {"django": instrumented.RedisCache, "django-redis": instrumented_django_redis.RedisCache}


@pytest.fixture
def redis_url(each_server: str, each_client: "redis.Redis") -> str:
    """The URL of an emptied Valkey, then of an emptied Redis."""
    return each_server


@pytest.fixture(params=BACKENDS)
def cache(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Any]:
    """An instrumented cache of each of the two backends, with prefix and version of a site."""
    made = BACKENDS[request.param](redis_url, {"KEY_PREFIX": "site", "VERSION": 3})
    made.counts.take()
    yield made
    client = client_of(made)
    assert client is not None
    client.connection_pool.disconnect()


def opened(cache: BaseCache) -> OpenCache:
    return OpenCache("pages", cache, client_of(cache))


def test_counts_go_to_one_hash_a_day_that_expires_and_has_no_key_of_the_site(
    cache: Any, redis_url: str
) -> None:
    cache.set("book-rating-4711", "x" * 100, 600)
    cache.get("book-rating-4711")
    cache.get("book-rating-4712")
    cache.flush_counts()
    cache.get("book-rating-4711")
    cache.flush_counts()
    with redis.Redis.from_url(redis_url) as client:
        (name,) = client.keys("*maintenance-counts*")
        assert name.decode() == f"site:3:maintenance-counts:{datetime.now(UTC):%Y%m%d}"
        assert 0 < client.ttl(name) <= KEPT_DAYS * 86_400
        assert b"4711" not in b"".join(client.hkeys(name))
    (found,) = stored_counts(opened(cache), days=2).prefixes
    assert (found.prefix, found.hits, found.misses, found.sets) == ("book-rating", 2, 1, 1)
    assert found.mean_ttl_seconds == 600


def test_all_methods_work_and_count(cache: Any) -> None:
    assert cache.add("a:1", 1, 60)
    assert not cache.add("a:1", 2, 60)
    assert cache.incr("a:1") == 2
    assert cache.touch("a:1", 60)
    cache.set_many({"b:1": 1, "b:2": [2]}, 60)
    assert cache.get_many(["b:1", "b:2", "b:3"]) == {"b:1": 1, "b:2": [2]}
    assert cache.get_or_set("c:1", lambda: 7, 60) == 7
    assert cache.get_or_set("c:1", lambda: 8, 60) == 7
    assert cache.get("c:1", version=4) is None
    assert cache.delete("c:1")
    cache.delete_many(["b:1", "b:2"])
    found = {one.prefix: one for one in cache.counts.look()}
    assert (found["a"].reads, found["a"].sets) == (0, 1)
    assert (found["b"].hits, found["b"].misses, found["b"].sets, found["b"].deletes) == (2, 1, 2, 2)
    assert (found["c"].hits, found["c"].misses, found["c"].sets, found["c"].deletes) == (1, 2, 1, 1)


def test_what_was_not_there_counts_as_no_deletion(cache: Any) -> None:
    cache.set_many({"a:1": 1, "a:2": 2, "b:1": 3}, 60)
    cache.delete_many(f"a:{number}" for number in range(100))
    cache.delete_many([])
    cache.delete_many(["b:2", "b:3"])
    found = {one.prefix: one.deletes for one in cache.counts.look()}
    assert (found["a"], found["b"]) == (2, 0)
    assert cache.get_many(["a:1", "a:2", "b:1"]) == {"b:1": 3}


def test_counts_are_flushed_at_the_end_of_a_request_when_they_are_due(cache: Any) -> None:
    cache.get("book-1")
    cache.close()
    assert stored_counts(opened(cache), days=1).prefixes == ()
    cache.counts.flushed_at -= 61
    cache.close()
    assert stored_counts(opened(cache), days=1).prefixes[0].misses == 1


def test_a_long_piece_of_work_flushes_as_well(cache: Any) -> None:
    cache.get("book-1")
    cache.counts.flushed_at -= 121
    cache.get("book-1")
    assert stored_counts(opened(cache), days=1).prefixes[0].misses == 2


def test_a_flush_that_the_server_refuses_harms_nobody(
    cache: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(stored_hash(cache, datetime.now(UTC).date()), "of another type")
    cache.get("book-1")
    cache.counts.flushed_at -= 121
    assert cache.get("book-1", "default") == "default"
    assert "Counts of cache lookups were dropped" in caplog.text
    assert cache.counts.look() == ()


def test_a_server_that_is_away_raises_what_it_always_raised() -> None:
    away = instrumented.RedisCache("redis://127.0.0.1:1/0", {})
    away.counts.flushed_at -= 121
    with pytest.raises(redis.ConnectionError):
        away.get("book-1")
    away.close()


def test_django_redis_keeps_its_own_methods(redis_url: str) -> None:
    cache = instrumented_django_redis.RedisCache(redis_url, {})
    cache.set("book-1", 1, timeout=100)
    assert 0 < cache.ttl("book-1") <= 100
    assert cache.set("book-1", 2, nx=True) in (False, None)
    with cache.lock("a-lock", timeout=5):
        assert cache.get("book-1") == 1
    assert cache.delete_pattern("book-*") == 1
    client = client_of(cache)
    assert client is not None
    client.connection_pool.disconnect()


class KnownHistory(NoHistory):
    """What earlier reviews stored, by metric and subject."""

    def __init__(self, values: dict[tuple[str, str], list[float]]) -> None:
        self._values = values

    def series(self, metric: str, subject: str = "", *, since_seconds: float = 0.0) -> list[Point]:
        found = self._values.get((metric, subject), [])
        return [Point(1_700_000_000 + 86_400.0 * n, value) for n, value in enumerate(found)]

    def series_by_subject(
        self, metric: str, subjects: Any = None, *, since_seconds: float = 0.0
    ) -> dict[str, list[Point]]:
        return {name: self.series(metric, name) for name in subjects}


def review(url: str, history: Any = None, **databases: Any) -> Report:
    caches = {
        "pages": CacheTarget(url=url, key_prefix="site", version=3),
        "away": CacheTarget(url="redis://127.0.0.1:1/0"),
    }
    job = Job("main", RedisTarget(url=url), NoOptions(), history=history or NoHistory())
    return review_cache_hit_ratios(
        job, Thresholds(cache_hit_minimum_reads=10), caches, databases=databases
    )


def test_a_review_tells_prefixes_apart_and_says_what_to_change(cache: Any, redis_url: str) -> None:
    for number in range(40):
        cache.get(f"book-rating-{number}")
    cache.set("home:trending", [1, 2], 900)
    for _ in range(19):
        cache.get("home:trending")
    cache.get("home:other")
    cache.flush_counts()
    history = KnownHistory({("cache_prefix_hit_ratio", "pages:home"): [1.0, 0.99, 1.0]})
    databases = KnownHistory({("database_cache_hit_ratio", ""): [0.97, 0.99]})

    report = review(redis_url, history, site=databases)

    by_code = {found.code: found for found in report.findings}
    low = by_code["cache-prefix-hit-ratio"]
    assert low.subject == "pages:book-rating"
    assert "Only 0 % of 40 lookups of book-rating in cache pages" in low.sentence
    assert "what is looked for does not exist" in low.advice
    fell = by_code["cache-prefix-hit-ratio-fell"]
    assert fell.sentence == (
        "95 % of 20 lookups of home in cache pages found a value in 7 days; it used to be 100 %."
    )
    assert by_code["cache-prefix-ratios"].subject == "away"
    tables = {table.title: table for table in report.tables}
    assert [row[0] for row in tables["Key prefixes of cache pages, 7 days"].rows] == [
        "book-rating",
        "home",
    ]
    assert tables["Buffer cache of PostgreSQL beside it"].rows[0][:2] == ("site", 0.99)
    stored = {(one.metric, one.subject): one.value for one in report.samples}
    assert stored["cache_prefix_hit_ratio", "pages:home"] == 0.95


def test_a_cache_that_does_not_count_is_named_with_the_remedy(redis_url: str) -> None:
    found = {finding.subject: finding for finding in review(redis_url).findings}
    assert "a backend that counts" in found["main"].sentence


def test_older_days_are_left_out(cache: Any, redis_url: str) -> None:
    today = datetime.now(UTC).date()
    with redis.Redis.from_url(redis_url) as client:
        for back in (0, 6, 7):
            client.hset(stored_hash(cache, today - timedelta(days=back)), "hits:book", 1)
    found = stored_counts(opened(cache), days=7)
    assert (found.days_found, found.prefixes[0].hits) == (2, 2)
