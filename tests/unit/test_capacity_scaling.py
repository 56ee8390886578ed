"""Advice on scaling: what makes a part short, what lets it shrink, what is not enough to say."""

import pytest

from maintenance.capacity.scaling import Part, assess_scaling
from maintenance.conf import Configuration, parse_configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from tests.capacity_series import NOW, Readings, read_from

CONNECTIONS = ("main", "connections_used_ratio", "")
QUEUE = ("jobs", "queue_depth_messages", "imports")
LATENCY = ("site", "response_p95_seconds", "")


def site() -> Configuration:
    return parse_configuration(
        {
            "databases": {"main": {"url": "postgres://h/d"}},
            "redis": {"cache": {"url": "redis://h/0"}},
            "brokers": {"jobs": {"url": "redis://h/1", "queues": ["imports"], "max_pending": 500}},
            "logs": {"site": {"path": "/var/log/access.log"}},
        }
    )


def assess(readings: Readings) -> tuple[Report, dict[str, str]]:
    report = assess_scaling(Job("", None, NoOptions()), site(), read_from(readings), NOW)
    parts = report.tables[0]
    place = parts.columns.index("advice")
    return report, {row[0]: row[place] for row in parts.rows}


def test_one_number_that_is_often_short_makes_its_part_short() -> None:
    values = [0.9 if day % 5 == 0 else 0.5 for day in range(90)]
    report, advice = assess({CONNECTIONS: values, LATENCY: [0.2] * 90})
    assert advice["database"] == "scale up"
    assert advice["web"] == "enough"
    (finding,) = [f for f in report.findings if f.code == "scaling-short"]
    assert "used connections of main reached 80 % on 18 of 90 measured days" in finding.sentence
    assert "PgBouncer" in finding.advice


def test_a_single_bad_day_makes_nothing_short() -> None:
    _, advice = assess({LATENCY: [0.2] * 89 + [3.0]})
    assert advice["web"] == "enough"


def test_the_limit_of_a_queue_is_that_of_its_broker() -> None:
    report, advice = assess({QUEUE: [600.0] * 30})
    assert advice["workers"] == "scale up"
    assert "reached 500 messages on 30 of 30" in str([f.sentence for f in report.findings])


def test_what_was_never_nearly_used_could_be_smaller_unless_something_else_is_used() -> None:
    _, advice = assess({CONNECTIONS: [0.02] * 60, QUEUE: [1.0] * 60})
    assert advice["database"] == advice["workers"] == "could be smaller"
    hits = ("main", "database_cache_hit_ratio", "")
    _, advice = assess({CONNECTIONS: [0.02] * 60, hits: [0.99] * 60})
    assert advice["database"] == "enough"


def test_a_ratio_of_hits_is_short_below_its_target() -> None:
    report, advice = assess({("cache", "cache_hit_ratio", ""): [0.5] * 30})
    assert advice["cache"] == "scale up"
    assert "fell below 80 %" in str([f.sentence for f in report.findings])


@pytest.mark.parametrize("days", [0, 3, 10])
def test_too_little_is_no_advice_but_a_reason(days: int) -> None:
    report, advice = assess({LATENCY: [3.0] * days} if days else {})
    assert advice["web"] == "withheld"
    (finding,) = [f for f in report.findings if f.subject == Part.WEB.value]
    assert not finding.measured
    wanted = "needs 4 measured days over 14 days" if days else "no samples of response time, p95"
    assert wanted in finding.sentence


def test_one_load_test_is_one_measurement_and_enough() -> None:
    configuration = site().model_copy(
        update={
            "load_test": parse_configuration(
                {"load_test": {"copy": {"url": "http://h/", "pages": {"/": 1}}}}
            ).load_test
        }
    )
    read = read_from({("copy", "load_test_p95_seconds", ""): [0.9]})
    report = assess_scaling(Job("", None, NoOptions()), configuration, read, NOW)
    assert "response time under the load test, p95 of copy reached 500 ms on 1 of 1" in str(
        [f.sentence for f in report.findings]
    )
