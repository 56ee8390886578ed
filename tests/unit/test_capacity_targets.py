"""Targets beside a quarter: what held, what was missed, and what is proposed."""

import pytest

from maintenance.capacity.targets import KEY_METRICS, review_targets
from maintenance.conf import Configuration, parse_configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from tests.capacity_series import NOW, Readings, read_from

P95 = ("site", "response_p95_seconds", "")


def site() -> Configuration:
    return parse_configuration(
        {
            "databases": {"main": {"url": "postgres://h/d"}},
            "redis": {"cache": {"url": "redis://h/0"}},
            "brokers": {"jobs": {"url": "redis://h/1", "queues": ["imports"]}},
            "logs": {"site": {"path": "/var/log/access.log"}, "api": {"path": "/var/log/api.log"}},
        }
    )


def review(readings: Readings) -> Report:
    return review_targets(Job("", None, NoOptions()), site(), read_from(readings), NOW)


def proposals(report: Report) -> dict[str, tuple[str, float]]:
    return {p["setting"]: (p["kind"], p["value"]) for p in report.state["proposals"]}


def test_every_key_metric_of_the_guide_has_its_line_and_target() -> None:
    targets = [row[:2] for row in review({}).tables[0].rows]
    assert targets == [
        ("response time, p95", "< 500 ms"),
        ("response time, p99", "< 1,000 ms"),
        ("active connections", "< 100"),
        ("database cache hit ratio", "> 95 %"),
        ("cache hit ratio", "> 80 %"),
        ("queue depth on jobs", "< 1,000 messages"),
        ("5xx errors", "< 1.0 %"),
    ]
    assert len(targets) == len(KEY_METRICS)


def test_a_target_that_reality_left_far_behind_is_tightened_with_room() -> None:
    report = review({P95: [0.16] * 90})
    assert proposals(report) == {"response_p95_ms": ("tighter", 200)}
    (finding,) = [f for f in report.findings if f.code == "target-tighter"]
    assert "could be 200 ms: it held on all 90 measured days" in finding.sentence


def test_a_target_that_held_narrowly_stays() -> None:
    assert not proposals(review({P95: [0.40] * 90}))


def test_one_day_over_it_keeps_a_target_from_being_tightened() -> None:
    assert not proposals(review({P95: [0.16] * 89 + [0.6]}))


def test_a_target_that_is_always_missed_gets_one_for_the_meantime() -> None:
    report = review({P95: [0.9] * 90})
    assert proposals(report) == {"response_p95_ms": ("interim", 990)}
    assert {f.code for f in report.findings if f.measured} == {"target-missed", "target-interim"}


def test_the_worst_of_several_sites_counts() -> None:
    report = review({P95: [0.16] * 90, ("api", "response_p95_seconds", ""): [0.45] * 90})
    assert not proposals(report)
    assert "450 ms" in str(report.tables[0].rows[0])


def test_a_ratio_of_hits_is_tightened_by_its_misses() -> None:
    found = proposals(review({("main", "database_cache_hit_ratio", ""): [0.992] * 90}))
    assert found == {"database_cache_hit_ratio": ("tighter", pytest.approx(0.99))}


def test_the_target_of_a_queue_belongs_to_its_broker() -> None:
    report = review({("jobs", "queue_depth_messages", "imports"): [200.0] * 90})
    (proposal,) = report.state["proposals"]
    assert (proposal["setting"], proposal["target"], proposal["value"]) == (
        "max_pending",
        "jobs",
        250,
    )


def test_two_months_are_the_least_that_stands_for_a_quarter() -> None:
    report = review({P95: [0.16] * 50})
    assert not proposals(report)
    assert "so far 50 over 49" in str([f.sentence for f in report.findings])
