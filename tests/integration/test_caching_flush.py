"""A flush removes one cache, on servers that hold nothing else; on all others it is refused."""

from collections.abc import Iterator

import pytest
import redis
from django.core.cache.backends.redis import RedisCache

from maintenance.caching.flush import flush_cache
from maintenance.caching.tags import tagged_get, tagged_set
from maintenance.conf import CacheTarget
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.conditions import require_leave
from maintenance.core.runs.registry import task_named


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
def site_cache(redis_url: str) -> Iterator[RedisCache]:
    cache = RedisCache(redis_url, {"KEY_PREFIX": "s[1]", "VERSION": 3})
    yield cache
    cache._cache.get_client(None, write=True).connection_pool.disconnect()


def flush(url: str, *, dry_run: bool = False) -> Report:
    target = CacheTarget(url=url, key_prefix="s[1]", version=3, allow=("flush_cache",))
    return flush_cache(Job("pages", target, DryRunOption(dry_run=dry_run)))


def test_every_value_goes_after_a_dry_run_that_removes_none(
    redis_url: str, client: redis.Redis, site_cache: RedisCache
) -> None:
    site_cache.set_many({f"book:{n}": n for n in range(3000)})
    tagged_set(site_cache, "page", "html", tags=["a"], ttl_seconds=60)
    client.hincrby("s[1]:3:maintenance-counts:20260101", "hits:book")
    client.zadd("s[1]:3:maintenance-warm-asked", {"front": 1})
    preview = flush(redis_url, dry_run=True)
    assert preview.outcomes[0].verdict is Verdict.PLANNED
    assert preview.summary == "3,002 values would be removed (dry run)."
    report = flush(redis_url)
    assert report.summary == "3,002 values removed and verified gone."
    assert report.outcomes[0].verdict is Verdict.WORKED
    assert sorted(client.keys()) == [
        b"s[1]:3:maintenance-counts:20260101",
        b"s[1]:3:maintenance-warm-asked",
    ]
    assert tagged_get(site_cache, "page") is None
    assert flush(redis_url).outcomes[0].verdict is Verdict.NO_GAIN


@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [
        ("s[1]:4:book", "string", "1 key of its database is not the cache's: s (1)"),
        ("s1:3:book", "string", "1 key of its database is not the cache's"),
        ("17-home", "zset", "1 key of its database is not the cache's: (other) (1)"),
        ("_kombu.binding.celery", "set", "queues of Celery (1)"),
        ("s[1]:3:book:stream", "zset", "1 key of its database is not the cache's: book (1)"),
        (
            "s[1]:3:django.contrib.sessions.cached_dbabc",
            "string",
            "1 session would go, and log their users out",
        ),
    ],
)
def test_a_database_that_holds_anything_else_is_not_flushed(
    redis_url: str,
    client: redis.Redis,
    site_cache: RedisCache,
    *,
    key: str,
    kind: str,
    says: str,
) -> None:
    site_cache.set_many({f"book:{n}": n for n in range(1500)})
    match kind:
        case "string":
            client.set(key, "x")
        case "zset":
            client.zadd(key, {"a": 1})
        case _:
            client.sadd(key, "a")
    report = flush(redis_url)
    assert client.dbsize() == 1501
    (outcome,) = report.outcomes
    assert outcome.verdict is Verdict.REFUSED
    assert says in outcome.sentence
    (found,) = report.findings
    assert (found.code, found.evidence["own_keys"]) == (
        "cache-flush-refused",
        1501 if "session" in says else 1500,
    )


def test_a_replica_is_refused(redis_url: str, client: redis.Redis, site_cache: RedisCache) -> None:
    site_cache.set("book", 1)
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        report = flush(redis_url)
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert "replica" in report.summary
    assert site_cache.get("book") == 1


def test_a_flush_needs_the_leave_of_its_target() -> None:
    spec = task_named("flush_cache")
    with pytest.raises(Skipped, match=r'add allow = \["flush_cache"\] to it'):
        require_leave(spec, "pages", CacheTarget(url="redis://h"))
    require_leave(spec, "pages", CacheTarget(url="redis://h", allow=("flush_cache",)))
