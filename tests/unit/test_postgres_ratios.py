"""The cache hit ratio as a difference of counters, withheld where they do not support it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Thresholds
from maintenance.core.findings import Severity
from maintenance.postgres.capacity.cache_hit_ratio import (
    BufferCounters,
    BufferReads,
    diagnose,
    reads_between,
)
from maintenance.postgres.counters import CounterWindow

THRESHOLDS = Thresholds()
BEFORE = BufferCounters(1000, 100, "7/5", CounterWindow(1_000_000.0, 2_000_000.0))
NOW = replace(
    BEFORE, blocks_hit=10_900, blocks_read=200, window=CounterWindow(1_000_000.0, 2_003_600.0)
)


def test_reads_are_counted_since_the_last_look() -> None:
    reads = reads_between(BEFORE, NOW)
    assert (reads.hit, reads.read, reads.seconds) == (9900, 100, 3600.0)
    assert reads.ratio == 0.99
    assert reads.period_in_words == "the 1 hour since the last look"
    assert reads.interruption == ""


def test_the_first_look_covers_the_time_since_the_counters_began() -> None:
    reads = reads_between(None, NOW)
    assert (reads.hit, reads.read) == (10_900, 200)
    assert reads.period_in_words.startswith("11.6 days (since 1970-01-12")
    assert reads.interruption == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"window": CounterWindow(1_500_000.0, 2_003_600.0)},  # a reset, or a crash on 15 and later
        {"window": CounterWindow(None, 2_003_600.0)},
        {"blocks_hit": 999},
        {"blocks_read": 99},
    ],
)
def test_after_a_reset_or_crash_the_period_begins_there_and_says_so(
    changed: dict[str, Any],
) -> None:
    now = replace(NOW, **changed)
    reads = reads_between(BEFORE, now)
    assert (reads.hit, reads.read) == (now.blocks_hit, now.blocks_read)
    assert (
        reads.interruption == "the counters were reset, or the server crashed, since the last look"
    )


def test_the_reset_of_one_table_is_no_interruption() -> None:
    window = CounterWindow(2_002_000.0, 2_003_600.0, remembered_at=1_200_000.0)
    reads = reads_between(BEFORE, replace(NOW, window=window))
    assert (reads.hit, reads.read, reads.seconds) == (9900, 100, 3600.0)
    assert reads.interruption == ""


def test_another_database_behind_the_same_name_is_not_compared() -> None:
    reads = reads_between(BEFORE, replace(NOW, identity="8/5"))
    assert reads.hit == 10_900
    assert "another database" in reads.interruption


def test_the_state_survives_json() -> None:
    window = CounterWindow(1_732_345_678.123456, 1_732_349_999.654321)
    counters = replace(BEFORE, window=window)
    assert BufferCounters.from_state(json.loads(json.dumps(counters.to_state()))) == counters


@pytest.mark.parametrize("state", [{}, {"blocks_hit": "x"}, {"blocks_hit": 1, "blocks_read": None}])
def test_a_state_of_another_form_is_as_none(state: dict[str, Any]) -> None:
    assert BufferCounters.from_state(state) is None


def reads_of(hit: int, read: int) -> BufferReads:
    return BufferReads(hit, read, "the 1 hour since the last look", 3600.0)


def test_a_ratio_above_the_target_is_nothing_to_report() -> None:
    assert diagnose(reads_of(9501, 499), THRESHOLDS, 1) == ()


def test_a_ratio_below_the_target_is_a_warning_that_does_not_round_up_to_it() -> None:
    (finding,) = diagnose(reads_of(94_999, 5_001), THRESHOLDS, 128 * 1024**2)
    assert finding.severity is Severity.WARNING
    assert finding.sentence == (
        "94.9 % of the blocks that queries read lay in shared buffers; the target is more than"
        " 95 % (over the 1 hour since the last look)."
    )
    assert "shared_buffers (128 MB)" in finding.advice
    assert finding.evidence["hit_ratio"] == 0.94999


@pytest.mark.parametrize(("hit", "read"), [(0, 0), (0, 999), (999, 0)])
def test_few_reads_withhold_the_ratio(hit: int, read: int) -> None:
    (finding,) = diagnose(reads_of(hit, read), THRESHOLDS, 1)
    assert not finding.measured
    assert f"of which there were {hit + read:,}" in finding.sentence


def test_no_read_at_all_is_no_ratio_even_without_a_minimum() -> None:
    (finding,) = diagnose(reads_of(0, 0), Thresholds(cache_hit_minimum_reads=0), 1)
    assert not finding.measured


COUNTS = st.integers(0, 10**15)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_period_never_holds_less_than_nothing_nor_a_ratio_beyond_one(
    hit_before: int, read_before: int, hit: int, read: int
) -> None:
    before = replace(BEFORE, blocks_hit=hit_before, blocks_read=read_before)
    reads = reads_between(before, replace(NOW, blocks_hit=hit, blocks_read=read))
    assert reads.hit >= 0
    assert reads.read >= 0
    assert reads.ratio is None or 0 <= reads.ratio <= 1
