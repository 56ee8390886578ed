"""Removal by prefix on real servers, Valkey and Redis, that a cache shares with others."""

import multiprocessing
import secrets
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.caching.backend import opened
from maintenance.caching.invalidation import (
    invalidate_caches,
    invalidate_pattern,
    invalidate_prefix,
)
from maintenance.caching.namespaces import Namespace
from maintenance.caching.options import InvalidateOptions
from maintenance.caching.patterns import (
    KEYS_PER_COMMAND,
    LARGEST_PAGE_KEYS,
    PatternTally,
)
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.errors import Cancelled, MissingRights, TargetUnavailable
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually
from tests.redis_servers import port_with_a_bus

PREFIX = b"site:3:"


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


def test_every_value_of_a_prefix_goes_and_no_other(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, "book:", 5000)
    fill(each_client, "shelf:", 3000)
    tally = drop(each_server, "book:*")
    assert (tally.matched_keys, tally.removed_keys, tally.written_again_keys) == (5000, 5000, 0)
    assert each_client.dbsize() == 3000
    assert tally.chosen_bytes is not None
    assert 5000 * 30 < tally.chosen_bytes < 5000 * 200


@settings(max_examples=40, deadline=None)
@given(
    keys=st.sets(st.binary(min_size=1, max_size=5), max_size=12),
    prefix=st.text(alphabet="ab*?[]^\\-é", min_size=1, max_size=3),
)
def test_a_prefix_is_literal_text_whatever_is_in_it_and_in_the_keys(
    each_server: str, keys: set[bytes], prefix: str
) -> None:
    literal = prefix.encode()
    stored = {PREFIX + key for key in keys} | {PREFIX + literal + key for key in keys}
    with redis.Redis.from_url(each_server) as client, opened("pages", target(each_server)) as cache:
        client.flushall()
        for key in stored:
            client.set(key, "x")
        invalidate_prefix(cache, prefix)
        expected = {key for key in stored if not key.startswith(PREFIX + literal)}
        assert set(client.scan_iter(count=1000)) == expected


def test_exceptions_stay_and_are_counted(each_server: str, each_client: redis.Redis) -> None:
    fill(each_client, "book:", 100)
    rule = {"prefixes": ["book:"], "keep": ["book:1?", "book:[5]"]}
    preview = invalidate(target(each_server, books=rule), dry_run=True)
    assert each_client.dbsize() == 100
    report = invalidate(target(each_server, books=rule))
    assert sorted(each_client.keys()) == sorted(
        [b"site:3:book:5", *(b"site:3:book:1%d" % n for n in range(10))]
    )
    for one in (preview, report):
        assert "89 of 100 values" in one.findings[0].sentence
        assert one.findings[0].sentence.endswith("11 more are exceptions and stay.")


def test_keys_that_are_no_cached_values_are_counted_named_and_left(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, "book:", 10)
    each_client.zadd("site:3:book:stream", {"a": 1})
    each_client.lpush("site:3:book:queue", "task")
    each_client.hset("site:3:book:hash", "a", "1")
    report = invalidate(target(each_server, books={"prefixes": ["book:"]}))
    assert sorted(each_client.keys()) == [
        b"site:3:book:hash",
        b"site:3:book:queue",
        b"site:3:book:stream",
    ]
    found = next(f for f in report.findings if f.code == "cache-key-of-wrong-type")
    assert found.evidence["keys_by_type"] == {"zset": 1, "list": 1, "hash": 1}
    assert found.sentence.startswith("3 keys under this pattern are no cached value")
    assert report.outcomes[0].verdict is Verdict.WORKED


def test_keys_of_a_megabyte_and_of_any_bytes_are_removed_and_shortly_named(
    each_server: str, each_client: redis.Redis
) -> None:
    huge = [PREFIX + b"book:" + bytes([65 + n]) * 1024**2 for n in range(4)]
    odd = [PREFIX + b"book:\xff\xfe\x00\r\n", PREFIX + "book:🐘'\"%".encode()]
    for key in (*huge, *odd):
        each_client.set(key, b"y" * 1000)
    tally = drop(each_server, "book:*")
    assert each_client.dbsize() == 0
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
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, "book:", 20)

    def others() -> None:
        each_client.delete(*(PREFIX + b"book:%d" % n for n in range(5)))

    tally = drop(each_server, "book:*", progress=At(0, others))
    assert (tally.chosen_keys, tally.removed_keys, tally.vanished_keys) == (20, 15, 5)
    assert each_client.dbsize() == 0


def test_a_cancelled_removal_stops_between_two_pages(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, "book:", 5000)

    def cancel() -> None:
        raise Cancelled("Somebody asked for this run to stop.")

    with pytest.raises(Cancelled):
        drop(each_server, "book:*", progress=At(1000, cancel))
    assert 0 < each_client.dbsize() < 5000
    assert drop(each_server, "book:*").written_again_keys == 0
    assert each_client.dbsize() == 0


def test_the_printed_rights_suffice_and_a_missing_one_is_named(
    each_server: str, each_client: redis.Redis
) -> None:
    rule = {"prefixes": ["book:"], "older_than_seconds": 1, "keys": ["a"], "tags": ["b"]}
    needs = invalidate(target(each_server, all=rule)).facts["needs_acl"]
    address = each_server.split("@")[1]
    for missing in ("", "+unlink", "+scan", "+del", "+get", "+strlen"):
        fill(each_client, "book:", 5)
        each_client.set("site:3:a", "x")
        each_client.execute_command(
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
            assert each_client.dbsize() == 0
    each_client.execute_command("ACL", "DELUSER", "crew")


def test_a_server_that_becomes_a_replica_meanwhile_ends_the_run_with_a_reason(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, "book:", 3000)

    def failover() -> None:
        each_client.execute_command("REPLICAOF", "127.0.0.1", "1")

    try:
        with pytest.raises(TargetUnavailable, match="read-only replica"):
            invalidate(target(each_server, books={"prefixes": ["book:"]}), At(500, failover))
    finally:
        each_client.execute_command("REPLICAOF", "NO", "ONE")


def test_groups_are_dropped_on_a_server_that_is_out_of_memory(
    each_server: str, each_client: redis.Redis
) -> None:
    with opened("pages", target(each_server)) as cache:
        books = Namespace("books").generation(cache.cache)
        books.set("1", "old", ttl_seconds=60)
        fill(each_client, "page:", 10)
        rules = target(
            each_server,
            groups={"namespaces": ["books"], "tags": ["a"], "keys": ["page:1", "absent"]},
            pages={"prefixes": ["page:"]},
        )
        each_client.config_set("maxmemory", 1)
        try:
            report = invalidate(rules)
        finally:
            each_client.config_set("maxmemory", 0)
        assert {outcome.verdict for outcome in report.outcomes} == {Verdict.WORKED}
        assert report.summary == "10 values and 2 groups dropped by 2 rules."
        assert Namespace("books").generation(cache.cache).get("1") is None


def test_a_node_of_a_cluster_is_refused(server_root: Path) -> None:
    with EmbeddedValkey(
        server_root / "cluster-node",
        secrets.token_hex(8),
        settings={"appendonly": "no", "cluster-enabled": "yes"},
        pick_port=port_with_a_bus,
    ) as server:
        report = invalidate(target(server.url(), books={"prefixes": ["book:"], "tags": ["t"]}))
    assert "one node of a cluster" in report.summary
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.REFUSED}


def _remove(url: str) -> None:
    with opened("pages", target(url)) as cache:
        invalidate_prefix(cache, "book:")


def test_a_removal_that_was_killed_is_completed_by_the_next_one(
    each_server: str, each_client: redis.Redis
) -> None:
    for start in range(0, 60_000, 20_000):
        each_client.mset({PREFIX + b"book:%d" % n: n for n in range(start, start + 20_000)})
    fill(each_client, "shelf:", 1000)
    process = multiprocessing.get_context("spawn").Process(target=_remove, args=(each_server,))
    process.start()
    eventually(lambda: each_client.dbsize() < 60_000, seconds=30, what="the removal has begun")
    process.kill()
    process.join()
    assert each_client.dbsize() >= 1000
    _remove(each_server)
    assert each_client.dbsize() == 1000


def test_no_command_of_a_removal_is_large_or_forbidden(
    each_server: str, each_client: redis.Redis
) -> None:
    for start in range(0, 40_000, 20_000):
        each_client.mset({PREFIX + b"book:%d" % n: n for n in range(start, start + 20_000)})
    each_client.config_resetstat()
    drop(each_server, "book:*")
    assert each_client.dbsize() == 0
    used = each_client.info("commandstats")
    assert used["cmdstat_unlink"]["calls"] >= 40_000 / KEYS_PER_COMMAND
    assert used["cmdstat_scan"]["calls"] >= 2 * 40_000 / LARGEST_PAGE_KEYS
    forbidden = {"keys", "del", "flushdb", "flushall", "eval", "evalsha"}
    assert not {name.removeprefix("cmdstat_") for name in used} & forbidden


def test_a_value_written_again_at_once_is_seen_by_the_second_look(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, "book:", 30)

    class Site(SilentProgress):
        def update(
            self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
        ) -> None:
            if done and each_client.dbsize() == 0:
                RedisCache(each_server, {"KEY_PREFIX": "site", "VERSION": 3}).set("book:7", "new")

    assert drop(each_server, "book:*", progress=Site()).written_again_keys == 1
    assert each_client.keys() == [PREFIX + b"book:7"]
