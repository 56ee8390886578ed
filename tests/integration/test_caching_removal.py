"""Removal by prefix on real servers, Valkey and Redis, that a cache shares with others."""

import multiprocessing
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.caching.backend import opened
from maintenance.caching.invalidation import (
    InvalidateOptions,
    invalidate_caches,
    invalidate_pattern,
    invalidate_prefix,
)
from maintenance.caching.namespaces import Namespace
from maintenance.caching.patterns import (
    KEYS_PER_UNLINK,
    LARGEST_PAGE_KEYS,
    PatternTally,
)
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.errors import Cancelled, MissingRights, TargetUnavailable
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from service.embedded.binaries import locate_valkey
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually

REDIS_PROGRAM = shutil.which("redis-server")
PREFIX = b"site:3:"


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server_url(request: pytest.FixtureRequest, server_root: Path) -> Iterator[str]:
    """The URL of a server of each kind; its database 0 is ours alone."""
    if request.param == "valkey":
        yield request.getfixturevalue("valkey_server").url()
        return
    if REDIS_PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with EmbeddedValkey(
        server_root / "redis-removal",
        secrets.token_hex(8),
        binaries=locate_valkey(REDIS_PROGRAM),
        settings={"appendonly": "no"},
    ) as server:
        yield server.url()


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as connection:
        connection.flushall()
        yield connection


def target(url: str, **rules: Any) -> CacheTarget:
    made = {name: InvalidationRule(**rule) for name, rule in rules.items()}
    return CacheTarget(url=url, key_prefix="site", version=3, invalidate=made)


def fill(client: redis.Redis, prefix: str, count: int) -> None:
    client.mset({PREFIX + f"{prefix}{n}".encode(): n for n in range(count)})


def drop(url: str, pattern: str, **options: Any) -> PatternTally:
    with opened("pages", target(url)) as cache:
        return invalidate_pattern(cache, pattern, **options)


def invalidate(cache: CacheTarget, progress: Any = None, **options: Any) -> Report:
    progress = progress or SilentProgress()
    return invalidate_caches(Job("pages", cache, InvalidateOptions(**options), progress=progress))


def test_every_value_of_a_prefix_goes_and_no_other(server_url: str, client: redis.Redis) -> None:
    fill(client, "book:", 5000)
    fill(client, "shelf:", 3000)
    tally = drop(server_url, "book:*")
    assert (tally.matched_keys, tally.removed_keys, tally.written_again_keys) == (5000, 5000, 0)
    assert client.dbsize() == 3000
    assert tally.chosen_bytes is not None
    assert 5000 * 30 < tally.chosen_bytes < 5000 * 200


@settings(max_examples=40, deadline=None)
@given(
    keys=st.sets(st.binary(min_size=1, max_size=5), max_size=12),
    prefix=st.text(alphabet="ab*?[]^\\-é", min_size=1, max_size=3),
)
def test_a_prefix_is_literal_text_whatever_is_in_it_and_in_the_keys(
    server_url: str, keys: set[bytes], prefix: str
) -> None:
    literal = prefix.encode()
    stored = {PREFIX + key for key in keys} | {PREFIX + literal + key for key in keys}
    with redis.Redis.from_url(server_url) as client, opened("pages", target(server_url)) as cache:
        client.flushall()
        for key in stored:
            client.set(key, "x")
        invalidate_prefix(cache, prefix)
        expected = {key for key in stored if not key.startswith(PREFIX + literal)}
        assert set(client.scan_iter(count=1000)) == expected


def test_exceptions_stay_and_are_counted(server_url: str, client: redis.Redis) -> None:
    fill(client, "book:", 100)
    rule = {"prefixes": ["book:"], "keep": ["book:1?", "book:[5]"]}
    preview = invalidate(target(server_url, books=rule), dry_run=True)
    assert client.dbsize() == 100
    report = invalidate(target(server_url, books=rule))
    assert sorted(client.keys()) == sorted(
        [b"site:3:book:5", *(b"site:3:book:1%d" % n for n in range(10))]
    )
    for one in (preview, report):
        assert "89 of 100 values" in one.findings[0].sentence
        assert one.findings[0].sentence.endswith("11 more are exceptions and stay.")


def test_keys_that_are_no_cached_values_are_counted_named_and_left(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "book:", 10)
    client.zadd("site:3:book:stream", {"a": 1})
    client.lpush("site:3:book:queue", "task")
    client.hset("site:3:book:hash", "a", "1")
    report = invalidate(target(server_url, books={"prefixes": ["book:"]}))
    assert sorted(client.keys()) == [
        b"site:3:book:hash",
        b"site:3:book:queue",
        b"site:3:book:stream",
    ]
    found = next(f for f in report.findings if f.code == "cache-key-of-wrong-type")
    assert found.evidence["keys_by_type"] == {"zset": 1, "list": 1, "hash": 1}
    assert found.sentence.startswith("3 keys under this pattern are no cached value")
    assert report.outcomes[0].verdict is Verdict.WORKED


def test_keys_of_a_megabyte_and_of_any_bytes_are_removed_and_shortly_named(
    server_url: str, client: redis.Redis
) -> None:
    huge = [PREFIX + b"book:" + bytes([65 + n]) * 1024**2 for n in range(4)]
    odd = [PREFIX + b"book:\xff\xfe\x00\r\n", PREFIX + "book:🐘'\"%".encode()]
    for key in (*huge, *odd):
        client.set(key, b"y" * 1000)
    tally = drop(server_url, "book:*")
    assert client.dbsize() == 0
    assert tally.removed_keys == 6
    assert max(map(len, tally.examples)) < 300
    assert any("1,048,588 bytes" in example for example in tally.examples)


class At(SilentProgress):
    """Does something once a number of keys was matched, as another client would."""

    def __init__(self, matched: int, act: Any) -> None:
        self.matched, self.act = matched, act

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        if self.act is not None and done >= self.matched:
            act, self.act = self.act, None
            act()


def test_keys_that_vanish_or_come_again_meanwhile_are_told_apart(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "book:", 20)

    def others() -> None:
        client.delete(*(PREFIX + b"book:%d" % n for n in range(5)))

    tally = drop(server_url, "book:*", progress=At(20, others))
    assert (tally.chosen_keys, tally.removed_keys, tally.vanished_keys) == (20, 15, 5)
    assert client.dbsize() == 0


def test_a_cancelled_removal_stops_between_two_pages(server_url: str, client: redis.Redis) -> None:
    fill(client, "book:", 5000)

    def cancel() -> None:
        raise Cancelled("Somebody asked for this run to stop.")

    with pytest.raises(Cancelled):
        drop(server_url, "book:*", progress=At(1000, cancel))
    assert 0 < client.dbsize() < 5000
    assert drop(server_url, "book:*").written_again_keys == 0
    assert client.dbsize() == 0


def test_the_printed_rights_suffice_and_a_missing_one_is_named(
    server_url: str, client: redis.Redis
) -> None:
    rule = {"prefixes": ["book:"], "older_than_seconds": 1, "keys": ["a"], "tags": ["b"]}
    needs = invalidate(target(server_url, all=rule)).facts["needs_acl"]
    address = server_url.split("@")[1]
    for missing in ("", "+unlink", "+scan", "+del", "+get", "+strlen"):
        fill(client, "book:", 5)
        client.set("site:3:a", "x")
        client.execute_command(
            *("ACL", "SETUSER", "crew", "reset", "on", ">secret", "~*"),
            *(right for right in needs if right != missing),
        )
        limited = target(f"redis://crew:secret@{address}", all={**rule, "older_than_seconds": None})
        if missing:
            with pytest.raises(MissingRights, match=missing.replace("+", r"\+")):
                invalidate(limited)
        else:
            outcomes = invalidate(limited).outcomes
            assert {outcome.verdict for outcome in outcomes} == {Verdict.WORKED}
            assert client.dbsize() == 0
    client.execute_command("ACL", "DELUSER", "crew")


def test_a_server_that_becomes_a_replica_meanwhile_ends_the_run_with_a_reason(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "book:", 3000)

    def failover() -> None:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")

    try:
        with pytest.raises(TargetUnavailable, match="read-only replica"):
            invalidate(target(server_url, books={"prefixes": ["book:"]}), At(500, failover))
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")


def test_groups_are_dropped_on_a_server_that_is_out_of_memory(
    server_url: str, client: redis.Redis
) -> None:
    with opened("pages", target(server_url)) as cache:
        books = Namespace("books").generation(cache.cache)
        books.set("1", "old", ttl_seconds=60)
        fill(client, "page:", 10)
        rules = target(
            server_url,
            groups={"namespaces": ["books"], "tags": ["a"], "keys": ["page:1", "absent"]},
            pages={"prefixes": ["page:"]},
        )
        client.config_set("maxmemory", 1)
        try:
            report = invalidate(rules)
        finally:
            client.config_set("maxmemory", 0)
        assert {outcome.verdict for outcome in report.outcomes} == {Verdict.WORKED}
        assert report.summary == "10 values and 2 groups dropped by 2 rules."
        assert Namespace("books").generation(cache.cache).get("1") is None


def test_a_node_of_a_cluster_is_refused(server_root: Path) -> None:
    with EmbeddedValkey(
        server_root / "cluster-node",
        secrets.token_hex(8),
        settings={"appendonly": "no", "cluster-enabled": "yes"},
    ) as server:
        report = invalidate(target(server.url(), books={"prefixes": ["book:"], "tags": ["t"]}))
    assert "one node of a cluster" in report.summary
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.REFUSED}


def _remove(url: str) -> None:
    with opened("pages", target(url)) as cache:
        invalidate_prefix(cache, "book:")


def test_a_removal_that_was_killed_is_completed_by_the_next_one(
    server_url: str, client: redis.Redis
) -> None:
    for start in range(0, 60_000, 20_000):
        client.mset({PREFIX + b"book:%d" % n: n for n in range(start, start + 20_000)})
    fill(client, "shelf:", 1000)
    process = multiprocessing.get_context("spawn").Process(target=_remove, args=(server_url,))
    process.start()
    eventually(lambda: client.dbsize() < 60_000, seconds=30, what="the removal has begun")
    process.kill()
    process.join()
    assert client.dbsize() >= 1000
    _remove(server_url)
    assert client.dbsize() == 1000


def test_no_command_of_a_removal_is_large_or_forbidden(
    server_url: str, client: redis.Redis
) -> None:
    for start in range(0, 40_000, 20_000):
        client.mset({PREFIX + b"book:%d" % n: n for n in range(start, start + 20_000)})
    client.config_resetstat()
    drop(server_url, "book:*")
    assert client.dbsize() == 0
    used = client.info("commandstats")
    assert used["cmdstat_unlink"]["calls"] >= 40_000 / KEYS_PER_UNLINK
    assert used["cmdstat_scan"]["calls"] >= 2 * 40_000 / LARGEST_PAGE_KEYS
    forbidden = {"keys", "del", "flushdb", "flushall", "eval", "evalsha"}
    assert not {name.removeprefix("cmdstat_") for name in used} & forbidden


def test_a_value_written_again_at_once_is_seen_by_the_second_look(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "book:", 30)

    class Site(SilentProgress):
        def update(
            self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
        ) -> None:
            if done and client.dbsize() == 0:
                RedisCache(server_url, {"KEY_PREFIX": "site", "VERSION": 3}).set("book:7", "new")

    assert drop(server_url, "book:*", progress=Site()).written_again_keys == 1
    assert client.keys() == [PREFIX + b"book:7"]
