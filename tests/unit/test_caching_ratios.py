"""Hit ratios, from counters alone."""

from dataclasses import replace
from typing import Any

from maintenance.caching import prefix_ratios
from maintenance.caching.counters import PrefixCounts
from maintenance.caching.prefix_ratios import PrefixLine, what_to_change
from maintenance.caching.ratios import HitWindow, diagnose, hit_window
from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.redis_client.own_walks import OwnWalks
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


def test_what_was_counted_beside_our_own_walks_is_left_out_once() -> None:
    walks = OwnWalks(
        # Two that overlap, one of before the window, one that the window cuts.
        hits=[(500, 700), (600, 800), (20, 90), (50, 150)],
        misses=[(550, 560)],
    )
    window = hit_window(facts(), PREVIOUS, walks)
    assert (window.hits, window.misses) == (800 - 300 - 50, 100 - 10)
    assert window.left_out == 360
    whole = hit_window(facts(), {}, walks)
    assert (whole.hits, whole.misses) == (900 - 300 - 130, 600 - 10)
    set_back = hit_window(facts(keyspace_hits=60), PREVIOUS, walks)
    assert (set_back.hits, set_back.left_out) == (60, 0)


def test_the_first_review_looks_at_the_whole_life_of_the_server() -> None:
    assert hit_window(facts(evicted_keys=4), {}) == HitWindow(
        900, 600, 7200, since_start=True, evicted_keys=4
    )


def test_evictions_are_those_since_a_review_that_noted_them() -> None:
    assert hit_window(facts(evicted_keys=9), PREVIOUS).evicted_keys is None
    noted = {**PREVIOUS, "evicted_keys": 5}
    window = hit_window(facts(evicted_keys=9), noted)
    assert window.evicted_keys == 4
    (found,) = diagnose("main", "cache", replace(window, misses=9000), Thresholds())
    assert "4 keys were evicted in this time" in found.advice


def test_a_ratio_that_fell_is_said_even_above_the_target() -> None:
    window = HitWindow(900, 100, 60.0, since_start=False)
    thresholds = Thresholds(cache_hit_minimum_reads=100)
    (found,) = diagnose("main", "cache", window, thresholds, earlier=0.97)
    assert (found.code, found.severity) == ("cache-hit-ratio-fell", Severity.INFO)
    assert "it used to be 97 %" in found.sentence
    assert list(diagnose("main", "cache", window, thresholds, earlier=0.93)) == []


def test_a_restart_or_a_reset_of_the_counters_begins_a_new_window() -> None:
    assert hit_window(facts(run_id="new"), PREVIOUS).since_start
    assert hit_window(facts(keyspace_hits=40), PREVIOUS).since_start
    assert hit_window(facts(keyspace_misses=40), PREVIOUS).since_start


def test_a_ratio_below_the_target_is_a_warning() -> None:
    (found,) = judge(hits=700, misses=300)
    assert (found.code, found.severity) == ("cache-hit-ratio", Severity.WARNING)
    assert "Only 70 % of 1,000 lookups" in found.sentence
    assert judge(hits=801, misses=199) == []


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


def test_what_to_change_follows_from_the_counts() -> None:
    absent = PrefixCounts("a", hits=100, misses=900, sets=10)
    assert "Only 10 values were stored for 900 misses" in what_to_change(absent, 0)
    churned = PrefixCounts("a", hits=100, misses=900, sets=900, deletes=700)
    assert "invalidated before they are read again" in what_to_change(churned, 5)
    evicted = PrefixCounts("a", hits=100, misses=900, sets=900)
    assert "evicted 5 keys" in what_to_change(evicted, 5)
    unread = PrefixCounts("a", hits=100, misses=900, sets=900, ending_sets=2, ttl_seconds=120)
    assert "(1 minute on average)" in what_to_change(unread, None)
    assert "never read again" in what_to_change(unread, None)
    short = PrefixCounts("a", hits=700, misses=300, sets=300)
    assert "expire between two reads" in what_to_change(short, 0)


def test_prefixes_whose_misses_cost_most_come_first() -> None:
    cheap = PrefixCounts("cheap", hits=10, misses=990, sets=990)
    dear = PrefixCounts("dear", 10, 490, 490, computes=10, compute_microseconds=20_000_000)
    lines = [PrefixLine("pages", counts, None) for counts in (cheap, dear)]
    found = list(
        prefix_ratios.diagnose("main", [], lines, Thresholds(cache_hit_minimum_reads=9), 0)
    )
    assert [finding.subject for finding in found] == ["pages:dear", "pages:cheap"]
    assert "A miss takes 2 seconds to compute, 16.3 minutes in all." in found[0].sentence
