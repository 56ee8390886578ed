"""Verdicts about a server's memory, from facts alone."""

from dataclasses import replace
from typing import Any

import pytest

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.redis.memory import diagnose
from maintenance.redis_client.server import ServerFacts, parse_facts

INFO: dict[str, Any] = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "role": "master",
    "uptime_in_seconds": 3600,
    "used_memory": 200_000_000,
    "maxmemory": 1_000_000_000,
    "maxmemory_policy": "noeviction",
    "mem_fragmentation_ratio": 1.05,
    "mem_fragmentation_bytes": 10_000_000,
    "evicted_keys": 0,
    "expired_keys": 5,
    "keyspace_hits": 10,
    "keyspace_misses": 2,
    "run_id": "abc",
    "db0": {"keys": 12},
}


def facts(**changes: Any) -> ServerFacts:
    return replace(parse_facts(INFO), **changes)


def findings(role: str, previous: dict[str, Any] | None = None, **changes: Any) -> list[Finding]:
    return list(diagnose("main", role, facts(**changes), Thresholds(), previous or {}))


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


def test_valkey_is_named_by_its_own_version_and_not_by_the_one_it_imitates() -> None:
    assert parse_facts(INFO).name == "Valkey 9.1.2"
    assert parse_facts({k: v for k, v in INFO.items() if k != "valkey_version"}).name == (
        "Redis 7.2.4"
    )


def test_keys_are_those_of_the_database_of_the_url() -> None:
    assert (parse_facts(INFO).keys, parse_facts(INFO, 3).keys) == (12, 0)


def test_a_healthy_server_has_no_finding() -> None:
    assert findings("streams") == []


def test_memory_above_the_share_is_a_warning_and_at_the_limit_critical() -> None:
    (high,) = findings("streams", used_memory_bytes=810_000_000)
    assert (high.code, high.severity) == ("redis-memory-high", Severity.WARNING)
    assert "81 %" in high.sentence
    (full,) = findings("streams", used_memory_bytes=1_000_000_000)
    assert full.severity is Severity.CRITICAL
    assert "it refuses writes" in full.sentence


def test_a_server_without_limit_is_a_warning_for_a_cache_and_a_remark_for_others() -> None:
    (cache,) = findings("cache", maxmemory_bytes=0)
    (streams,) = findings("streams", maxmemory_bytes=0)
    assert (cache.severity, streams.severity) == (Severity.WARNING, Severity.INFO)
    assert cache.code == streams.code == "redis-memory-unlimited"


@pytest.mark.parametrize(
    ("role", "policy", "expected"),
    [
        ("broker", "allkeys-lru", Severity.CRITICAL),
        ("broker", "volatile-ttl", Severity.CRITICAL),
        ("sessions", "volatile-lru", Severity.WARNING),
        ("streams", "allkeys-lfu", Severity.WARNING),
        ("cache", "noeviction", Severity.WARNING),
    ],
)
def test_each_role_forbids_the_policies_that_harm_it(
    role: str, policy: str, expected: Severity
) -> None:
    (found,) = findings(role, maxmemory_policy=policy)
    assert (found.code, found.severity) == ("redis-policy", expected)
    assert found.undo == (f"CONFIG SET maxmemory-policy {policy}",)


@pytest.mark.parametrize(
    ("role", "policy"), [("streams", "volatile-lru"), ("cache", "allkeys-lru")]
)
def test_policies_that_suit_a_role_are_no_finding(role: str, policy: str) -> None:
    assert findings(role, maxmemory_policy=policy) == []


def test_evictions_are_counted_since_the_previous_check_of_the_same_server_life() -> None:
    (found,) = findings("streams", {"run_id": "abc", "evicted_keys": 40}, evicted_keys=42)
    assert found.evidence["evicted_keys"] == 2
    assert "since the previous check" in found.sentence
    assert findings("streams", {"run_id": "abc", "evicted_keys": 42}, evicted_keys=42) == []


def test_after_a_restart_evictions_are_counted_since_the_start() -> None:
    (found,) = findings("broker", {"run_id": "old", "evicted_keys": 40}, evicted_keys=42)
    assert (found.evidence["evicted_keys"], found.severity) == (42, Severity.CRITICAL)


def test_fragmentation_of_a_small_data_set_is_not_judged() -> None:
    assert findings("streams", fragmentation_ratio=8.0, used_memory_bytes=2_000_000) == []
    assert codes(findings("streams", fragmentation_ratio=1.8)) == ["redis-fragmentation"]


def test_memory_that_was_swapped_out_is_a_warning() -> None:
    assert codes(findings("streams", fragmentation_ratio=0.6)) == ["redis-swapped"]
