"""Warming on a real Valkey, through Django's cache API."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django.test import override_settings

from maintenance.caching.options import WarmOptions
from maintenance.caching.warmers import warmer
from maintenance.caching.warming import warm_caches
from maintenance.conf import CacheTarget
from maintenance.core.errors import Cancelled, TargetUnavailable, UnknownName
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from tests.redis_servers import Cluster
from tests.warmed_caches import CACHE, forget_warmers

__all__ = ["forget_warmers"]


@pytest.fixture
def site_cache(redis_url: str) -> Iterator[RedisCache]:
    """The cache as the site opens it: prefix "site", version 3."""
    cache = RedisCache(redis_url, {"KEY_PREFIX": "site", "VERSION": 3})
    yield cache
    cache._cache.get_client(None, write=True).connection_pool.disconnect()


def register(name: str, function: Callable[[], Any], **settings: Any) -> None:
    given = {"ttl_seconds": 600, "cache": CACHE, "name": name, **settings}
    if "many" not in given:
        given.setdefault("key", name)
    warmer(**given)(function)


def warm(url: str, progress: Any = None, **options: Any) -> Report:
    target = CacheTarget(url=url, key_prefix="site", version=3)
    job = Job(CACHE, target, WarmOptions(**options), progress=progress or SilentProgress())
    return warm_caches(job)


def rows(report: Report) -> dict[str, dict[str, Any]]:
    table = report.tables[0]
    found = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {row["warmer"]: row for row in found}


def test_a_cold_value_is_written_where_the_site_reads_it_with_its_time_out(
    redis_url: str, site_cache: RedisCache
) -> None:
    register("trending", lambda: [1, 2, 3])
    report = warm(redis_url)
    assert site_cache.get("trending") == [1, 2, 3]
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.ttl("site:3:trending") <= 600
        assert rows(report)["trending"]["stored_bytes"] == client.strlen("site:3:trending")
    assert rows(report)["trending"]["was"] == "cold"
    assert report.summary == "1 value written by 1 warmer."
    assert report.outcomes[0].verdict is Verdict.WORKED


def test_a_warm_value_is_refreshed_or_left_with_cold_only(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set("trending", "old")
    register("trending", lambda: "new")
    left = warm(redis_url, cold_only=True)
    assert site_cache.get("trending") == "old"
    assert left.summary == "Nothing to do: every value of 1 warmer is there."
    refreshed = warm(redis_url)
    assert site_cache.get("trending") == "new"
    assert rows(refreshed)["trending"]["was"] == "warm"


def test_a_warmer_of_many_keys_writes_them_in_batches(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set("book:3", "old")
    register("books", lambda: {f"book:{n}": n for n in range(1200)}, many=True)
    report = warm(redis_url, cold_only=True)
    assert site_cache.get_many(["book:0", "book:3", "book:1199"]) == {
        "book:0": 0,
        "book:3": "old",
        "book:1199": 1199,
    }
    assert rows(report)["books"]["keys_written"] == 1199
    assert report.outcomes[0].sentence == "1,199 values written, 1,199 of them cold."


def raises() -> None:
    raise RuntimeError("no such shelf, password=hunter2")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (raises, "it raised RuntimeError: no such shelf"),
        (lambda: None, "it returned None"),
        (lambda: lambda: 1, "could not be stored"),
    ],
)
def test_a_warmer_that_fails_keeps_the_old_value_and_the_others_go_on(
    redis_url: str, site_cache: RedisCache, function: Callable[[], Any], says: str
) -> None:
    site_cache.set("bad", "old")
    register("bad", function)
    register("good", lambda: "fresh")
    report = warm(redis_url)
    assert (site_cache.get("bad"), site_cache.get("good")) == ("old", "fresh")
    (found,) = report.findings
    assert (found.code, found.subject) == ("warmer-failed", "bad")
    assert says in found.sentence
    assert "hunter2" not in str(report.to_json())
    assert "failed, with the old value kept: bad" in report.summary


def test_a_warmer_of_many_keys_that_returns_no_mapping_is_named(redis_url: str) -> None:
    register("books", lambda: [1, 2], many=True)
    assert "returned list where many=True needs a mapping" in warm(redis_url).findings[0].sentence


def test_a_dry_run_computes_and_writes_nothing(redis_url: str, site_cache: RedisCache) -> None:
    register("trending", raises)
    report = warm(redis_url, dry_run=True)
    assert report.findings == ()
    assert report.outcomes[0].verdict is Verdict.PLANNED
    assert report.summary == "1 warmer would run, 1 on a cold key (dry run)."
    assert site_cache.get("trending") is None


def test_a_cache_without_warmers_has_nothing_to_do(redis_url: str) -> None:
    assert warm(redis_url).summary == ('Nothing to do: no warmer is registered for cache "pages".')


def test_a_misspelt_warmer_is_corrected(redis_url: str) -> None:
    register("trending", lambda: 1)
    with pytest.raises(UnknownName, match='Did you mean "trending"'):
        warm(redis_url, only=("trendnig",))


def test_a_cancelled_run_stops_before_the_next_warmer(
    redis_url: str, site_cache: RedisCache
) -> None:
    class CancelAtSecond(SilentProgress):
        def update(
            self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
        ) -> None:
            if phase == "warming second":
                raise Cancelled("Somebody asked for this run to stop.")

    register("first", lambda: 1)
    register("second", lambda: 2)
    with pytest.raises(Cancelled):
        warm(redis_url, progress=CancelAtSecond())
    assert (site_cache.get("first"), site_cache.get("second")) == (1, None)


def test_a_cache_whose_server_is_down_is_unavailable(redis_url: str) -> None:
    register("trending", lambda: 1)
    with pytest.raises(TargetUnavailable, match=r"127\.0\.0\.1:1"):
        warm("redis://:hunter2@127.0.0.1:1/0")


def test_an_alias_is_opened_with_its_own_settings_whatever_its_backend(redis_url: str) -> None:
    caches = {
        "redis": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": redis_url,
            "OPTIONS": {"db": 5},
        },
        "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    register("trending", lambda: "value")
    with override_settings(CACHES=caches):
        stored: dict[str, Any] = {}
        for alias in caches:
            job = Job(CACHE, CacheTarget(alias=alias), WarmOptions())
            report = warm_caches(job)
            stored[alias] = rows(report)["trending"]["stored_bytes"]
            assert report.outcomes[0].verdict is Verdict.WORKED
        with redis.Redis.from_url(redis_url, db=5) as client:
            assert client.exists(":1:trending") == 1
        assert stored["redis"] > 0
        assert stored["memory"] is None
        with pytest.raises(UnknownName, match='Did you mean "memory"'):
            warm_caches(Job(CACHE, CacheTarget(alias="memroy"), WarmOptions()))


@pytest.mark.django_db(transaction=True)
def test_a_warmer_may_use_the_database_and_leaves_no_connection_behind(
    redis_url: str, site_cache: RedisCache
) -> None:
    def backend_pid() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    register("pid", backend_pid)
    warm(redis_url)
    pid = site_cache.get("pid")
    assert pid != backend_pid()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        assert cursor.fetchone()[0] == 0


def test_a_replica_is_refused_before_anything_is_computed(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set("trending", "old")
    computed: list[int] = []
    register("trending", lambda: computed.append(1) or "new")
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            report = warm(redis_url)
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")
    assert (site_cache.get("trending"), computed) == ("old", [])
    assert report.summary == (
        "Nothing was warmed: the cache's server is a replica; point the target at its primary."
    )
    assert report.outcomes[0].verdict is Verdict.REFUSED
    assert [found.code for found in report.findings] == ["warming-refused"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_node_of_a_cluster_is_refused(cluster: Cluster, dry_run: bool) -> None:
    register("trending", raises)
    register("books", raises, many=True)
    report = warm(cluster.urls[0], dry_run=dry_run)
    assert "one node of a cluster" in report.summary
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.REFUSED}
    (found,) = report.findings
    assert "trending and books" in found.sentence or "2 warmers" in found.sentence
