"""The benches of cost and of what production feels: their arithmetic, and the month they make up."""

import os
import time

import pytest

from bench.analysis_cost import Cost, timed
from bench.earlier_rounds import DAY_SECONDS, DAYS, EarlierRounds
from bench.production_impact import (
    Latencies,
    Pair,
    change_percent,
    cpu_seconds_of,
    latencies,
    transactions_per_second,
)
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample
from maintenance.postgres.analyses import Analysis, Part


def test_the_whole_analysis_is_the_median_round_and_the_slowest_are_named() -> None:
    cost = Cost(
        [5.0, 3.5, 4.0],
        [{"bloat": 4, "vacuum": 1}, {"bloat": 2, "vacuum": 1.5}, {"bloat": 3, "vacuum": 1}],
    )

    assert cost.seconds == 4.0
    assert cost.slowest(1) == "bloat 3 s"
    assert cost.slowest() == "bloat 3 s, vacuum 1 s"


def test_the_parts_of_an_analysis_are_timed_under_its_name() -> None:
    def slow(*_: object) -> Report:
        time.sleep(0.01)
        return Report(title="t", summary="s")

    seconds = {"bloat": 0.0, "other": 0.0}
    analyses = {"bloat": Analysis("Bloat", (Part("task", slow), Part("task", slow)))}
    job = Job("site", DatabaseTarget(url="postgres://x"), NoOptions())
    for part in timed(analyses, seconds)["bloat"].parts:
        assert part.measure(job, Thresholds()).summary == "s"

    assert seconds["bloat"] >= 0.02
    assert seconds["other"] == 0.0


def test_a_round_is_remembered_as_state_and_as_a_month_of_samples() -> None:
    earlier = EarlierRounds()
    assert earlier.previous_state("review_slow_queries", "site") == {}
    assert earlier.history("site").series("size", "orders") == ()

    report = Report(
        title="", summary="", state={"seen": 1}, samples=(Sample("size", 5.0, "orders"),)
    )
    earlier.note({"queries": report})

    assert earlier.previous_state("review_slow_queries", "site") == {"seen": 1}
    history = earlier.history("site")
    points = history.series("size", "orders")
    assert [point.value for point in points] == [5.0] * DAYS
    assert points[1].at_epoch_seconds - points[0].at_epoch_seconds == pytest.approx(DAY_SECONDS)
    assert points[-1].at_epoch_seconds < time.time()
    assert len(history.series("size", "orders", since_seconds=2 * DAY_SECONDS)) == 2
    assert set(history.series_by_subject("size")) == {"orders"}
    assert history.series_by_subject("size", {"others"}) == {}
    highest = history.highest("size", "orders")
    assert highest is not None
    assert highest.value == 5.0


def test_latencies_are_the_third_column_of_the_log() -> None:
    lines = [f"0 {number} {number * 1000} 0 1 2 3" for number in range(1, 201)]
    found = latencies(lines)
    assert found == Latencies(median_ms=100.5, p99_ms=199.0)


def test_the_change_is_the_median_over_the_pairs() -> None:
    pairs = [
        Pair(Latencies(2.0, 4.0), Latencies(2.2, 8.0)),
        Pair(Latencies(2.0, 4.0), Latencies(2.0, 4.0)),
        Pair(Latencies(2.0, 4.0), Latencies(9.0, 5.0)),
    ]
    assert change_percent(pairs, "median_ms") == pytest.approx(10.0)
    assert change_percent(pairs, "p99_ms") == pytest.approx(25.0)


def test_the_speed_is_read_from_the_summary_or_its_absence_is_said() -> None:
    text = "latency average = 1.2 ms\ntps = 3011.5 (without initial connection time)\n"
    assert transactions_per_second(text) == 3011.5
    with pytest.raises(RuntimeError, match="did not say"):
        transactions_per_second("nothing")


def test_a_process_has_used_the_processor() -> None:
    before = cpu_seconds_of(os.getpid())
    while cpu_seconds_of(os.getpid()) == before:
        sum(range(10_000))
    assert before > 0
