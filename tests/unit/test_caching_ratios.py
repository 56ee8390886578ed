"""Hit ratios, from counters alone."""

from dataclasses import replace
from typing import Any

from maintenance.caching.ratios import HitWindow, diagnose, hit_window
from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.redis_client.server import ServerFacts, parse_facts

INFO: dict[str, Any] = {
    "redis_version": "7.0.15",
    "role": "master",
    "uptime_in_seconds": 7200,
    "used_memory": 1,
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "expired_keys": 0,
    "keyspace_hits": 900,
    "keyspace_misses": 600,
    "run_id": "abc",
}
PREVIOUS = {
    "run_id": "abc",
    "keyspace_hits": 100,
    "keyspace_misses": 500,
    "uptime_seconds": 3600,
}


def facts(**changes: Any) -> ServerFacts:
    return replace(parse_facts(INFO), **changes)


def judge(hits: int, misses: int, role: str = "cache") -> list[Finding]:
    window = HitWindow(hits, misses, 60.0, since_start=False)
    return list(diagnose("main", role, window, Thresholds(cache_hit_minimum_reads=100)))


def test_the_window_is_the_time_since_the_previous_review() -> None:
    window = hit_window(facts(), PREVIOUS)
    assert (window.hits, window.misses, window.window_seconds) == (800, 100, 3600)
    assert not window.since_start


def test_the_first_review_looks_at_the_whole_life_of_the_server() -> None:
    assert hit_window(facts(), {}) == HitWindow(900, 600, 7200, since_start=True)


def test_a_restart_or_a_reset_of_the_counters_begins_a_new_window() -> None:
    assert hit_window(facts(run_id="new"), PREVIOUS).since_start
    assert hit_window(facts(keyspace_hits=40), PREVIOUS).since_start
    assert hit_window(facts(keyspace_misses=40), PREVIOUS).since_start


def test_a_ratio_below_the_target_is_a_warning() -> None:
    (found,) = judge(hits=700, misses=300)
    assert (found.code, found.severity) == ("cache-hit-ratio", Severity.WARNING)
    assert "Only 70 % of 1,000 lookups" in found.sentence
    assert judge(hits=800, misses=200) == []


def test_too_few_lookups_withhold_the_ratio() -> None:
    (found,) = judge(hits=1, misses=98)
    assert not found.measured
    assert found.sentence == ("unavailable: the hit ratio needs at least 100 lookups (99 so far)")


def test_no_lookup_at_all_is_no_ratio_of_zero_even_without_a_minimum() -> None:
    window = HitWindow(0, 0, 60.0, since_start=True)
    (found,) = diagnose("main", "cache", window, Thresholds(cache_hit_minimum_reads=0))
    assert not found.measured


def test_a_broker_is_not_judged_for_its_workers_poll_empty_lists() -> None:
    assert judge(hits=1, misses=999, role="broker") == []
