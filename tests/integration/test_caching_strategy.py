"""The review of a caching strategy, on real servers with a month of planted counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from django.test import override_settings

from maintenance.caching import stored_sample
from maintenance.caching.counters import stored_hash
from maintenance.caching.stored_sample import NEEDS_ACL
from maintenance.caching.strategy_review import review_caching_strategy
from maintenance.conf import CacheTarget, Thresholds
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report

DAYS = 10

#: Fields of one day of each prefix.
BOOK = {"hits": 9000, "misses": 1000, "sets": 1000, "computes": 1000}
BOOK |= {"compute_microseconds": 1000 * 50_000, "ending_sets": 1000, "ttl_seconds": 3_600_000}
SHELF = {"hits": 500, "misses": 500, "sets": 500, "computes": 500}
SHELF |= {"compute_microseconds": 500 * 300_000, "ending_sets": 500, "ttl_seconds": 300_000}
PEEK = {"hits": 1, "misses": 1000, "sets": 1000}


def plant(url: str, days: int = DAYS, **prefixes: dict[str, int]) -> RedisCache:
    """Write the counts of the last days as instrumented processes do, and some keys of each."""
    cache = RedisCache(url, {"KEY_PREFIX": "site", "VERSION": 3})
    with redis.Redis.from_url(url) as client:
        for back in range(days):
            name = stored_hash(cache, datetime.now(UTC).date() - timedelta(days=back))
            for prefix, fields in prefixes.items():
                for field, amount in fields.items():
                    client.hincrby(name, f"{field}:{prefix}", amount)
        for prefix in prefixes:
            count = 20 if prefix == "shelf" else 300
            cache.set_many({f"{prefix}:{n}": "x" * 50 for n in range(count)}, timeout=3600)
        client.mset({f"other:{n}": 1 for n in range(100)})
    return cache


def review(url: str, previous: dict[str, Any] | None = None) -> Report:
    target = CacheTarget(url=url, key_prefix="site", version=3)
    job = Job("pages", target, NoOptions(), previous_state=previous or {})
    return review_caching_strategy(job, Thresholds())


def lines(report: Report) -> dict[str, dict[str, Any]]:
    (table,) = report.tables
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {row["prefix"]: row for row in rows}


def test_each_prefix_has_a_verdict_with_its_evidence(
    each_server: str, each_client: redis.Redis
) -> None:
    plant(each_server, book=BOOK, shelf=SHELF, peek=PEEK)
    report = review(each_server)
    found = lines(report)
    assert {prefix: row["advice"] for prefix, row in found.items()} == {
        "book": "keep",
        "shelf": "warm",
        "peek": "drop",
    }
    assert found["book"]["hit_ratio"] == 0.9
    assert found["book"]["keys"] == 300
    assert 300 * 80 < found["book"]["size_bytes"] < 300 * 250
    assert found["book"]["keys_without_ttl_ratio"] == 0
    assert found["shelf"]["mean_compute_seconds"] == 0.3
    assert found["shelf"]["sets_per_hour"] == round(500 / 24, 1)
    assert report.summary == (
        "pages, by 10 days of counts: drop peek; warm shelf; keep 1 prefix as now."
    )
    assert [(f.code, f.severity) for f in report.findings] == [
        ("cache-strategy-drop", Severity.INFO),
        ("cache-strategy-warm", Severity.INFO),
    ]


def test_a_large_database_is_estimated_from_a_sample(
    each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_sample, "SAMPLE_KEYS", 2000)
    cache = plant(each_server, book=BOOK, shelf=SHELF)
    cache.set_many({f"book:{n}": "x" * 50 for n in range(6000)}, timeout=None)
    report = review(each_server)
    assert report.facts["sample_is_whole"] is False
    assert 5000 < lines(report)["book"]["keys"] < 7000
    assert lines(report)["book"]["keys_without_ttl_ratio"] > 0.9


def test_evictions_count_since_the_previous_review(
    each_server: str, each_client: redis.Redis
) -> None:
    plant(each_server, page=SHELF)
    first = review(each_server)
    assert lines(first)["page"]["advice"] == "warm"
    earlier = {**first.state, "evicted_keys": first.state["evicted_keys"] - 5}
    assert lines(review(each_server, earlier))["page"]["reason"].count("evicted 5 keys") == 1


def test_too_few_days_are_no_ground_for_a_verdict(
    each_server: str, each_client: redis.Redis
) -> None:
    plant(each_server, days=3, book=BOOK)
    report = review(each_server)
    assert lines(report)["book"]["advice"] == "withheld"
    (found,) = report.findings
    assert not found.measured
    assert "counts of 7 days (there are 3)" in found.sentence


def test_a_cache_that_does_not_count_says_what_it_needs(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.set("site:3:book:1", "x")
    (found,) = review(each_server).findings
    assert not found.measured
    assert "maintenance.caching.instrumented.RedisCache" in found.sentence
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={"memory": memory}):
        job = Job("pages", CacheTarget(alias="memory"), NoOptions())
        (found,) = review_caching_strategy(job, Thresholds()).findings
    assert "a cache in Redis or Valkey" in found.sentence


def test_the_printed_rights_suffice_and_memory_may_be_denied(
    each_server: str, each_client: redis.Redis
) -> None:
    plant(each_server, book=BOOK)
    needs = review(each_server).facts["needs_acl"]
    assert set(NEEDS_ACL) <= set(needs)
    address = each_server.split("@")[1]
    for missing in ("", "+memory|usage"):
        rights = [right for right in needs if right != missing]
        each_client.execute_command(
            "ACL", "SETUSER", "crew", "reset", "on", ">secret", "~*", *rights
        )
        report = review(f"redis://crew:secret@{address}")
        assert lines(report)["book"]["advice"] == "keep"
        assert (lines(report)["book"]["size_bytes"] is None) is bool(missing)
        assert bool(report.findings) is bool(missing)
    each_client.execute_command("ACL", "DELUSER", "crew")
