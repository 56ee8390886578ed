"""Slow statements of a real server: what ran is named, once, without its values."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.queries.review import review_slow_queries
from maintenance.postgres.queries.rules import SlowQueryOptions
from tests.postgres_clients import ODD_NAME, ask, narrow_role

SECRET = "correct-horse-battery"

#: Work that takes at least some milliseconds on any machine.
HEAVY = "SELECT sum(a) AS heavy FROM generate_series(1, 200000) AS a WHERE a % 7 <> {}"

#: Between the cost of HEAVY and of all else that these tests run.
QUICK_MS = 3.0


def review(
    url: str,
    previous_state: Mapping[str, Any] | None = None,
    options: SlowQueryOptions = SlowQueryOptions(minimum_mean_ms=QUICK_MS),  # noqa: B008 - frozen
) -> Report:
    job = Job("site", DatabaseTarget(url=url), options, previous_state=previous_state or {})
    return review_slow_queries(job, Thresholds())


def carried(report: Report) -> Any:
    """Return the state as the ledger hands it on."""
    return json.loads(json.dumps(dict(report.state)))


def about(report: Report, fragment: str) -> list[Finding]:
    return [f for f in report.findings if fragment in f.sentence]


def queries_of(report: Report) -> list[str]:
    table = report.tables[0]
    return [dict(zip(table.columns, row, strict=True))["query"] for row in table.rows]


def unavailable_statistics(report: Report) -> Finding:
    (finding,) = (f for f in report.findings if f.subject == "pg_stat_statements")
    assert not finding.measured
    return finding


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database with the extension and one small table."""
    url = make_database()
    ask(url, "CREATE EXTENSION pg_stat_statements")
    ask(url, "CREATE TABLE shelf AS SELECT 1 AS id, 'a'::text AS name")
    return url


def test_a_slow_statement_is_named_with_its_calls_and_mean(url: str) -> None:
    for remainder in range(3):
        ask(url, HEAVY.format(remainder))
    report = review(url)
    (finding,) = about(report, "AS heavy")
    ((query_id, calls, mean_ms),) = ask(
        url,
        "SELECT queryid::text, calls, mean_exec_time FROM pg_stat_statements"
        " JOIN pg_database AS d ON d.oid = dbid AND d.datname = current_database()"
        " WHERE query LIKE %s",
        "%AS heavy%",
    )
    assert finding.subject == f"query {query_id}"
    assert finding.evidence["calls"] == calls == 3
    assert finding.evidence["mean_ms"] == pytest.approx(mean_ms, abs=0.001)
    assert finding.evidence["query"].startswith("SELECT sum(a) AS heavy FROM generate_series($1")
    assert "since the statistics began" in report.summary


def test_the_next_review_does_not_count_old_work_again(url: str) -> None:
    ask(url, HEAVY.format(1))
    first = review(url)
    quiet = review(url, carried(first))
    assert about(first, "AS heavy")
    assert about(quiet, "AS heavy") == []
    assert "since the previous review" in quiet.summary
    for remainder in (1, 2):
        ask(url, HEAVY.format(remainder))
    (again,) = about(review(url, carried(quiet)), "AS heavy")
    assert again.evidence["calls"] == 2


def test_a_review_resets_nothing(url: str) -> None:
    ask(url, HEAVY.format(1))
    asked = "SELECT stats_reset FROM pg_stat_statements_info"
    before = ask(url, asked)
    review(url)
    assert ask(url, asked) == before
    assert about(review(url), "AS heavy")


def test_a_statement_that_was_reset_alone_counts_from_then_on(url: str) -> None:
    for _ in range(5):
        ask(url, HEAVY.format(1))
    first = review(url)
    ask(
        url,
        "SELECT pg_stat_statements_reset(userid, dbid, queryid) FROM pg_stat_statements"
        " WHERE query LIKE %s",
        "%AS heavy%",
    )
    ask(url, HEAVY.format(1))
    (finding,) = about(review(url, carried(first)), "AS heavy")
    assert finding.evidence["calls"] == 1


def test_no_value_of_a_statement_is_kept_anywhere(url: str) -> None:
    ask(url, f"SELECT count(*) FROM shelf WHERE name = '{SECRET}'")
    ask(url, f"CREATE VIEW v AS SELECT '{SECRET}' AS name")
    ask(url, f"DO $$ BEGIN PERFORM '{SECRET}'; END $$")
    ask(url, f"SET application_name = '{SECRET}'")
    report = review(url, options=SlowQueryOptions(minimum_mean_ms=0.000_001, limit=1000))
    written = json.dumps(report.to_json()) + json.dumps(dict(report.state))
    assert "count(*) FROM shelf WHERE name = $1" in written
    assert SECRET not in written


def test_other_databases_are_left_out(url: str, make_database: Callable[[], str]) -> None:
    ask(make_database(), HEAVY.format(1))
    assert about(review(url), "AS heavy") == []


def test_marked_statements_and_readers_of_the_statistics_are_left_out(url: str) -> None:
    ask(url, "SELECT /* maintenance */ id AS ours FROM shelf")
    ask(url, "SELECT count(*) AS reader FROM pg_stat_statements")
    ask(url, "SELECT name AS theirs FROM shelf")
    review(url)
    shown = queries_of(review(url, options=SlowQueryOptions(limit=1000)))
    assert not [query for query in shown if "pg_settings" in query or "set_config" in query]
    assert "SELECT name AS theirs FROM shelf" in shown
    assert not [query for query in shown if "AS ours" in query or "AS reader" in query]


def test_the_extension_is_found_in_a_schema_of_any_name(make_database: Callable[[], str]) -> None:
    url = make_database()
    schema = '"' + ODD_NAME.replace('"', '""') + '"'
    ask(url, f"CREATE SCHEMA {schema}; CREATE EXTENSION pg_stat_statements SCHEMA {schema}")
    ask(url, HEAVY.format(1))
    assert about(review(url), "AS heavy")


def test_an_older_version_of_the_extension_is_read_by_its_own_columns(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE EXTENSION pg_stat_statements VERSION '1.9'")
    ask(url, HEAVY.format(1))
    first = review(url)
    assert about(first, "AS heavy")
    assert about(review(url, carried(first)), "AS heavy") == []


def test_a_version_that_is_too_old_is_named_with_its_remedy(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE EXTENSION pg_stat_statements VERSION '1.8'")
    finding = unavailable_statistics(review(url))
    assert "ALTER EXTENSION pg_stat_statements UPDATE" in finding.sentence


def test_a_missing_extension_is_named_and_the_state_is_kept(
    make_database: Callable[[], str],
) -> None:
    report = review(make_database(), {"version": 1})
    finding = unavailable_statistics(report)
    assert finding.sentence == (
        "unavailable: which queries are slow needs"
        " CREATE EXTENSION pg_stat_statements in this database"
    )
    assert report.state == {"version": 1, "log": {}}


def test_statements_of_other_roles_are_said_to_be_hidden(url: str) -> None:
    ask(url, HEAVY.format(1))
    with narrow_role(url) as narrow:
        report = review(narrow)
    (finding,) = (f for f in report.findings if f.code == "hidden-queries")
    assert not finding.measured
    assert "GRANT pg_read_all_stats TO" in finding.sentence
    assert about(report, "AS heavy") == []
    assert "insufficient privilege" not in json.dumps(report.to_json())


def test_a_role_that_may_not_use_the_schema_is_told_the_grant(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE SCHEMA closed; CREATE EXTENSION pg_stat_statements SCHEMA closed")
    with narrow_role(url) as narrow:
        finding = unavailable_statistics(review(narrow))
    assert "GRANT USAGE ON SCHEMA closed TO" in finding.sentence


def test_the_report_and_its_state_are_plain_json(url: str) -> None:
    ask(url, HEAVY.format(1))
    report = review(url)
    assert json.loads(json.dumps(report.to_json())) == report.to_json()
    assert carried(report) == report.state
