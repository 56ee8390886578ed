"""The capacity review: dates of limits in sentences, and what it withholds."""

from maintenance.capacity.review import review_capacity
from maintenance.conf import Configuration, parse_configuration
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from tests.capacity_series import NOW, Readings, read_from

DISK = ("local", "disk_used_ratio", "/srv")


def site() -> Configuration:
    return parse_configuration(
        {
            "databases": {"main": {"url": "postgres://h/d"}},
            "redis": {"cache": {"url": "redis://h/0"}},
        }
    )


def review(readings: Readings) -> Report:
    return review_capacity(Job("", None, NoOptions()), site(), read_from(readings), NOW)


def growing(
    days_left: float, days: int = 200, limit: float = 1.0, daily: float = 0.001
) -> list[float]:
    return [limit - daily * (days_left + days - 1 - day) for day in range(days)]


def test_a_limit_before_the_next_review_is_a_warning_with_its_date_and_error() -> None:
    report = review({DISK: growing(60)})
    (finding,) = [f for f in report.findings if f.code == "capacity-limit"]
    assert finding.severity is Severity.WARNING
    assert finding.subject == "/srv of local"
    assert finding.sentence.startswith("The disk /srv of local is full about 2027-01-25")
    assert "growing by 0.7 points a week" in finding.sentence
    assert "Foretold 28 days ahead, its past was off by 0 points" in finding.sentence
    assert finding.evidence["limit_about"] == "2027-01-25"
    assert "disk /srv of local: about 2027-01-25" in report.summary


def test_within_a_fortnight_it_is_critical() -> None:
    report = review({("main", "connections_used_ratio", ""): growing(10)})
    (finding,) = [f for f in report.findings if f.code == "capacity-limit"]
    assert finding.severity is Severity.CRITICAL
    assert finding.sentence.startswith("The connections of database main run out about 2026-12-06")
    assert "PgBouncer" in finding.advice


def test_a_limit_that_is_far_away_has_its_date_in_the_table_only() -> None:
    report = review({DISK: growing(200)})
    assert not [f for f in report.findings if f.code == "capacity-limit"]
    assert "2027-06-14" in str(report.tables[0].rows)


def test_what_stands_still_has_no_date_and_says_why() -> None:
    report = review({DISK: [0.5] * 100})
    row = dict(zip(report.tables[0].columns, report.tables[0].rows[0], strict=True))
    assert row["limit_about"] is None
    assert row["withheld"] == "no growth that holds"


def test_transaction_ids_that_are_frozen_in_time_have_a_forecast() -> None:
    ages = [50e6 + 12e6 * day % 150e6 for day in range(360)]
    report = review({("main", "oldest_transaction_age", ""): ages})
    assert report.facts["foretold"] == 1
    assert not [f for f in report.findings if f.code in {"capacity-limit", "capacity-too-short"}]


def test_what_nobody_measured_is_named_once_a_task() -> None:
    report = review({DISK: [0.5] * 100})
    told = {f.subject: f.sentence for f in report.findings if f.code == "capacity-unmeasured"}
    assert "memory of Redis cache" in told["check_redis_memory"]
    assert "connections of database main" in told["sample_database_load"]
    assert "transaction IDs of database main" in told["sample_database_load"]
    # Without size_limit_bytes there is no limit to foretell.
    assert "size of database" not in str(told)


def test_what_is_not_measured_any_more_is_not_foretold() -> None:
    old = review_capacity(
        Job("", None, NoOptions()), site(), read_from({DISK: growing(10)}), NOW + 30 * 86_400
    )
    codes = {f.code for f in old.findings}
    assert "capacity-stale" in codes
    assert "capacity-limit" not in codes


def test_a_short_history_is_withheld_with_its_length() -> None:
    report = review({DISK: growing(60, days=10)})
    assert "unavailable" in str(
        [f.sentence for f in report.findings if f.code == "capacity-too-short"]
    )
    assert "4 weeks with measurements (so far 2)" in str(report.tables[0].rows)


def test_an_empty_ledger_is_said_to_be_empty() -> None:
    assert review({}).summary == "Nothing was measured yet that a forecast could rest on."
