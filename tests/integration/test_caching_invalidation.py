"""Invalidation on a real Valkey that a cache shares with streams and sessions."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from django.test import override_settings

from maintenance.caching import warm_after
from maintenance.caching.backend import opened
from maintenance.caching.flush import flush_cache
from maintenance.caching.invalidation import invalidate_caches, invalidate_keys, invalidate_pattern
from maintenance.caching.namespaces import Namespace
from maintenance.caching.options import InvalidateOptions
from maintenance.caching.tags import (
    invalidate_tag,
    tagged_get,
    tagged_get_or_set,
    tagged_set,
)
from maintenance.caching.warmers import unregister, warmer
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.errors import InvalidOptions, UnknownName
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.redis_client.idle_times import IDLE_TIMES_SINCE


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
def site_cache(redis_url: str) -> Iterator[RedisCache]:
    cache = RedisCache(redis_url, {"KEY_PREFIX": "site", "VERSION": 3})
    yield cache
    cache._cache.get_client(None, write=True).connection_pool.disconnect()


def target(url: str, **rules: Any) -> CacheTarget:
    made = {name: InvalidationRule(**rule) for name, rule in rules.items()}
    return CacheTarget(url=url, key_prefix="site", version=3, invalidate=made)


def invalidate(
    cache: CacheTarget, previous_state: Mapping[str, Any] | None = None, **options: Any
) -> Report:
    asked = InvalidateOptions(**options)
    return invalidate_caches(Job("pages", cache, asked, previous_state=previous_state or {}))


def test_a_pattern_drops_the_values_of_its_prefix_and_version_alone(
    redis_url: str, client: redis.Redis, site_cache: RedisCache
) -> None:
    site_cache.set_many({f"book:{n}": n for n in range(2500)})
    site_cache.set("shelf:1", "stays")
    others = {
        "book:1": "no prefix",
        "site:4:book:1": "other version",
        "prod:3:book:1": "other site",
    }
    client.mset(others)
    client.zadd("site:3:book:stream", {"a": 1})
    report = invalidate(target(redis_url, books={"patterns": ["book:*"]}))
    assert report.summary == "2,500 values dropped by 1 rule."
    assert site_cache.get("shelf:1") == "stays"
    assert client.mget(list(others)) == [value.encode() for value in others.values()]
    assert client.zcard("site:3:book:stream") == 1
    assert client.dbsize() == 1 + len(others) + 1
    (outcome,) = report.outcomes
    assert (outcome.verdict, outcome.after["keys"]) == (Verdict.WORKED, 0)
    assert outcome.after["freed_bytes"] > 0


def test_a_dry_run_counts_and_names_what_would_go(
    redis_url: str, client: redis.Redis, site_cache: RedisCache
) -> None:
    site_cache.set_many({f"book:{n}": n for n in range(20)})
    report = invalidate(
        target(redis_url, books={"patterns": ["book:*"], "tags": ["t"]}), dry_run=True
    )
    assert client.dbsize() == 20
    assert report.summary == "20 values and 1 group would be dropped by 1 rule (dry run)."
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.PLANNED}
    assert len(report.findings[0].evidence["examples"]) == 10


def test_values_that_were_read_lately_are_spared_by_their_age(
    redis_url: str, client: redis.Redis
) -> None:
    client.execute_command("RESTORE", "site:3:book:old", 0, dump(client), "IDLETIME", 5000)
    client.execute_command("RESTORE", "site:3:book:new", 0, dump(client), "IDLETIME", 10)
    rules = target(redis_url, books={"patterns": ["book:*"], "older_than_seconds": 3600})
    first = invalidate(rules)
    assert not first.findings[0].measured
    assert client.dbsize() == 2
    report = invalidate(rules, seen_an_hour_before(first))
    assert client.keys() == [b"site:3:book:new"]
    assert "1 of 2 values" in report.findings[0].sentence


def seen_an_hour_before(report: Report) -> dict[str, Any]:
    """Return the state of a run, as if the server had been known for an hour more by then."""
    (reign,) = report.state[IDLE_TIMES_SINCE]
    return {IDLE_TIMES_SINCE: {reign: report.state[IDLE_TIMES_SINCE][reign] - 3600}}


def dump(client: redis.Redis) -> bytes:
    client.set("site:3:template", "x")
    body: bytes = client.dump("site:3:template")
    client.delete("site:3:template")
    return body


def test_under_an_lfu_policy_age_is_unknown_so_nothing_is_dropped(
    redis_url: str, client: redis.Redis, site_cache: RedisCache
) -> None:
    policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
    rules = target(redis_url, books={"patterns": ["book:*"], "older_than_seconds": 3600})
    state = seen_an_hour_before(invalidate(rules))
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        site_cache.set("book:1", "x")
        report = invalidate(rules, state)
    finally:
        client.config_set("maxmemory-policy", policy)
    after = invalidate(rules, report.state)  # what LFU has counted reads as an idle time now
    assert site_cache.get("book:1") == "x"
    assert report.summary == "Nothing was dropped: 1 rule could not be judged."
    assert not report.findings[0].measured
    assert "LFU" in report.findings[0].sentence
    assert not after.findings[0].measured


def test_a_tag_makes_its_values_a_miss_whatever_their_number(
    redis_url: str, site_cache: RedisCache
) -> None:
    for number in range(50):
        tagged_set(site_cache, f"page:{number}", number, tags=["book:1"], ttl_seconds=60)
    tagged_set(site_cache, "other", "stays", tags=["book:2"], ttl_seconds=60)
    report = invalidate(target(redis_url, one={"tags": ["book:1"]}))
    assert [tagged_get(site_cache, f"page:{number}") for number in range(50)] == [None] * 50
    assert tagged_get(site_cache, "other") == "stays"
    assert report.outcomes[0].verdict is Verdict.WORKED


def test_rules_can_be_chosen_and_a_misspelt_one_is_corrected(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set_many({"book:1": 1, "shelf:1": 1})
    cache = target(redis_url, books={"patterns": ["book:*"]}, shelves={"patterns": ["shelf:*"]})
    invalidate(cache, rules=("shelves",))
    assert site_cache.get_many(["book:1", "shelf:1"]) == {"book:1": 1}
    with pytest.raises(UnknownName, match='Did you mean "shelves"'):
        invalidate(cache, rules=("shelfs",))


def test_without_rules_and_without_matches_there_is_nothing_to_do(redis_url: str) -> None:
    assert "no invalidation rule is configured" in invalidate(target(redis_url)).summary
    empty = invalidate(target(redis_url, books={"patterns": ["book:*"]}))
    assert empty.summary == "Nothing to drop: no value matches 1 rule."


def test_a_pattern_that_matches_everything_is_refused(
    redis_url: str, client: redis.Redis, site_cache: RedisCache
) -> None:
    site_cache.set("book:1", 1)
    with opened("pages", target(redis_url)) as cache:
        for pattern in ("*", "**", "?*", "", "[^_]*", "*[!-~]*"):
            with pytest.raises(InvalidOptions, match="is a flush, which is refused"):
                invalidate_pattern(cache, pattern)
    assert client.dbsize() == 1


def test_sessions_stay_unless_a_pattern_begins_as_their_keys_do(
    redis_url: str, client: redis.Redis, site_cache: RedisCache
) -> None:
    names = [
        f"django.contrib.sessions.cache{kind}{number}" for kind in ("", "d_db") for number in "12"
    ]
    site_cache.set_many(dict.fromkeys(names, "x") | {"contributors": 1})
    report = invalidate(target(redis_url, some={"patterns": ["*contrib*"], "prefixes": ["django"]}))
    assert set(site_cache.get_many([*names, "contributors"])) == set(names)
    sessions = [one for one in report.findings if one.code == "cache-sessions-kept"]
    assert [one.evidence["session_keys"] for one in sessions] == [4, 4]
    with opened("pages", target(redis_url)) as cache:
        invalidate_pattern(cache, "django.contrib.sessions.cache*")
    assert client.dbsize() == 0


def test_glob_characters_in_a_key_prefix_are_literal_text(
    redis_url: str, client: redis.Redis
) -> None:
    client.mset({"s[ab]*:1:book:1": "ours", "sa:1:book:1": "another site's"})
    cache = CacheTarget(
        url=redis_url,
        key_prefix="s[ab]*",
        invalidate={"books": InvalidationRule(patterns=("book:*",))},
    )
    invalidate(cache)
    assert client.keys() == [b"sa:1:book:1"]


def test_keys_are_dropped_by_name_and_counted(redis_url: str, site_cache: RedisCache) -> None:
    site_cache.set_many({"a": 1, "b": 2, "c": 3})
    with opened("pages", target(redis_url)) as cache:
        assert invalidate_keys(cache, ["a", "b", "absent", "a"]) == 2
    assert site_cache.get_many(["a", "b", "c"]) == {"c": 3}


def test_a_replica_is_refused(redis_url: str, client: redis.Redis, site_cache: RedisCache) -> None:
    site_cache.set("book:1", 1)
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        report = invalidate(target(redis_url, books={"patterns": ["book:*"], "tags": ["t"]}))
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.REFUSED}
    assert "replica" in report.summary
    assert site_cache.get("book:1") == 1


@pytest.mark.parametrize(
    ("setting", "needs"),
    [
        ({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "a cache in Redis"),
        (
            {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "KEY_FUNCTION": "tests.integration.test_caching_invalidation.hashing_key",
            },
            "a KEY_FUNCTION that keeps the key's text",
        ),
    ],
)
def test_a_cache_whose_keys_cannot_be_matched_says_what_it_needs(
    redis_url: str, setting: dict[str, str], needs: str
) -> None:
    rules = {"books": InvalidationRule(patterns=("book:*",))}
    with override_settings(CACHES={"site": {"LOCATION": redis_url, **setting}}):
        report = invalidate(CacheTarget(alias="site", invalidate=rules))
    (found,) = report.findings
    assert not found.measured
    assert needs in found.sentence


def hashing_key(key: str, prefix: str, version: int) -> str:
    return f"{prefix}:{version}:{hash(key):x}"


def test_what_was_dropped_is_asked_to_be_warmed(
    redis_url: str, site_cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(warm_after, "_starts", [])
    warm_after.start_with(lambda name, names: asked.append((name, [*names])))
    for key in ("front", "book:1", "shelf[1]:1", "other"):
        warmer(ttl_seconds=60, key=key, cache="pages", name=key)(lambda: 1)
    try:
        rules = target(
            redis_url,
            books={"patterns": ["book:*"], "keys": ["front"], "tags": ["t"]},
            shelves={"prefixes": ["shelf[1]:"]},
        )
        site_cache.set_many({"front": 1, "book:1": 1, "shelf[1]:1": 1, "other": 1})
        assert invalidate(rules, dry_run=True).facts["warmers_asked_for"] == []
        report = invalidate(rules)
        assert report.summary.endswith("3 warmers will compute anew: front, book:1, shelf[1]:1.")
        assert asked == [("pages", ["front", "book:1", "shelf[1]:1"])]
        assert invalidate(rules).facts["warmers_asked_for"] == []
    finally:
        for key in ("front", "book:1", "shelf[1]:1", "other"):
            unregister("pages", key)


def test_a_cache_of_django_redis_is_invalidated_like_djangos_own(
    redis_url: str, client: redis.Redis
) -> None:
    pytest.importorskip("django_redis")
    setting = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": redis_url,
        "KEY_PREFIX": "theirs",
        "VERSION": 2,
    }
    rules = {
        "books": InvalidationRule(prefixes=("book:",), keep=("book:1",), tags=("a",)),
        "front": InvalidationRule(keys=("front",), namespaces=("n",)),
    }
    with override_settings(CACHES={"theirs": setting}):
        cache = caches["theirs"]
        cache.set_many({"book:1": 1, "book:2": 2, "front": 3, "other": 4})
        tagged_set(cache, "page", "html", tags=["a"], ttl_seconds=60)
        Namespace("n").generation(cache).set("1", "html", ttl_seconds=60)
        report = invalidate(CacheTarget(alias="theirs", invalidate=rules))
        assert {outcome.verdict for outcome in report.outcomes} == {Verdict.WORKED}
        assert cache.get_many(["book:1", "book:2", "front", "other"]) == {"book:1": 1, "other": 4}
        assert tagged_get(cache, "page") is None
        assert Namespace("n").generation(cache).get("1") is None
        flush = CacheTarget(alias="theirs", allow=("flush_cache",))
        flush_cache(Job("theirs", flush, DryRunOption()))
        assert client.dbsize() == 0
        cache.client.close()


@pytest.mark.parametrize("group", ["tag", "namespace"])
def test_the_version_of_a_group_in_use_does_not_end(
    client: redis.Redis, site_cache: RedisCache, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        if group == "tag":
            tagged_set(site_cache, "book:1", "x", tags=["books"], ttl_seconds=60)
        else:
            Namespace("books").get_or_set(site_cache, "1", lambda: "x", ttl_seconds=60)

    key = f"site:3:maintenance-{group}:books"
    write()
    version = client.get(key)
    client.expire(key, 60)
    monkeypatch.setattr("maintenance.caching.tags.RENEWED_ONE_IN", 1)
    write()
    assert client.ttl(key) > 29 * 86_400
    assert client.get(key) == version


def test_a_hit_keeps_the_version_of_its_tag_now_and_then_and_a_computation_always(
    client: redis.Redis, site_cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "site:3:maintenance-tag:books"

    def read(name: str) -> int:
        client.expire(key, 60)
        tagged_get_or_set(site_cache, name, lambda: "x", tags=["books"], ttl_seconds=60)
        return int(client.ttl(key))

    tagged_set(site_cache, "book:1", "x", tags=["books"], ttl_seconds=60)
    monkeypatch.setattr("maintenance.caching.tags.random.random", lambda: 0.99)
    assert read("book:1") <= 60
    assert read("book:2") > 29 * 86_400
    monkeypatch.setattr("maintenance.caching.tags.random.random", lambda: 0.0)
    assert read("book:1") > 29 * 86_400


@pytest.mark.parametrize("group", ["tag", "namespace"])
def test_who_reads_needs_no_server_that_takes_writes(
    client: redis.Redis, site_cache: RedisCache, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> object:
        if group == "tag":
            return tagged_get(site_cache, "book:1")
        return Namespace("books").get_or_set(site_cache, "1", lambda: "y", ttl_seconds=60)

    tagged_set(site_cache, "book:1", "x", tags=["books"], ttl_seconds=60)
    Namespace("books").get_or_set(site_cache, "1", lambda: "x", ttl_seconds=60)
    monkeypatch.setattr("maintenance.caching.tags.RENEWED_ONE_IN", 1)
    client.config_set("min-replicas-to-write", 1)
    try:
        assert read() == "x"
    finally:
        client.config_set("min-replicas-to-write", 0)


@pytest.mark.filterwarnings(
    "ignore:.* on sharded client should not:UserWarning"
)  # django-redis's own call
def test_a_group_whose_keys_are_spread_over_servers_is_dropped(redis_url: str) -> None:
    urls = [urlsplit(redis_url)._replace(path=f"/{number}").geturl() for number in (1, 2)]
    backend = "django_redis.cache.RedisCache"
    sharded = {
        "BACKEND": backend,
        "LOCATION": urls,
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.sharded.ShardClient"},
    }
    with override_settings(CACHES={"sharded": sharded}):
        cache: Any = caches["sharded"]
        try:
            tagged_set(cache, "book:1", "x", tags=["books"], ttl_seconds=60)
            assert tagged_get(cache, "book:1") == "x"
            assert invalidate_tag(cache, "books")
            assert tagged_get(cache, "book:1") is None
        finally:
            cache.clear()
            for shard in cache.client._serverdict.values():
                shard.connection_pool.disconnect()


def test_a_look_that_fails_has_seen_no_group_go(
    site_cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged_set(site_cache, "book:1", "x", tags=["books"], ttl_seconds=60)
    nobody = redis.Redis(port=1, socket_connect_timeout=1)
    monkeypatch.setattr("maintenance.caching.tags.client_of", lambda _cache: nobody)
    assert not invalidate_tag(site_cache, "books")


def test_a_group_is_gone_though_a_replica_does_not_know_it_yet(
    redis_url: str, client: redis.Redis
) -> None:
    replica_url = urlsplit(redis_url)._replace(path="/1").geturl()
    cache = RedisCache([redis_url, replica_url], {"KEY_PREFIX": "site", "VERSION": 3})
    tagged_set(cache, "book:1", "x", tags=["books"], ttl_seconds=60)
    client.copy("site:3:maintenance-tag:books", "site:3:maintenance-tag:books", destination_db=1)
    assert invalidate_tag(cache, "books")
    with redis.Redis.from_url(replica_url) as replica:
        assert replica.dbsize() == 1
        replica.flushdb()
    for pool in cache._cache._pools.values():
        pool.disconnect()
