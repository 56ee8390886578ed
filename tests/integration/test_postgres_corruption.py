"""What amcheck finds, and how a run goes on where the one before stopped."""

from collections.abc import Callable
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.integrity.review import check_data_integrity
from tests.postgres_clients import ODD_NAME, ask, narrow_role

ODD = '"' + ODD_NAME.replace('"', '""') + '"'


def check(url: str, state: dict[str, Any] | None = None, **options: Any) -> Report:
    job = Job(
        "site",
        DatabaseTarget(url=url),
        IntegrityOptions(**options),
        previous_state=state or {},
    )
    return check_data_integrity(job, Thresholds())


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database with amcheck, in a schema of its own."""
    url = make_database()
    ask(url, f"CREATE SCHEMA {ODD}")
    ask(url, f"CREATE EXTENSION amcheck SCHEMA {ODD}")
    return url


def spoil_index(url: str) -> None:
    """Turn the order of an operator class round below an index that was built in the old one."""
    ask(
        url,
        "CREATE FUNCTION ordering(int, int) RETURNS int LANGUAGE sql IMMUTABLE"
        " AS 'SELECT CASE WHEN $1 < $2 THEN -1 WHEN $1 > $2 THEN 1 ELSE 0 END'",
    )
    ask(
        url,
        "CREATE OPERATOR CLASS own_order FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=,"
        " OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 public.ordering(int, int)",
    )
    ask(url, "CREATE TABLE spoilt (n int)")
    ask(url, "INSERT INTO spoilt SELECT generate_series(1, 1000)")
    ask(url, f"CREATE INDEX {ODD} ON spoilt (n own_order)")
    ask(
        url,
        "CREATE OR REPLACE FUNCTION ordering(int, int) RETURNS int LANGUAGE sql IMMUTABLE"
        " AS 'SELECT CASE WHEN $1 < $2 THEN 1 WHEN $1 > $2 THEN -1 ELSE 0 END'",
    )


def test_a_corrupted_index_is_named_with_what_amcheck_says(url: str) -> None:
    spoil_index(url)
    report = check(url)
    (finding,) = report.findings
    assert finding.code == "corruption"
    assert finding.severity is Severity.CRITICAL
    assert finding.subject == f"public.spoilt.{ODD}"
    assert "item order invariant violated" in finding.sentence
    ask(url, finding.commands[0])  # rebuilt in the order of today
    assert check(url).findings == ()


def test_a_sound_database_is_verified_whole(url: str) -> None:
    ask(url, "CREATE TABLE sound (id int PRIMARY KEY)")
    report = check(url, amcheck="heap")
    assert report.findings == ()
    assert report.facts["relations_verified"] == report.facts["relations_to_verify"] > 200
    assert "verified by amcheck" in report.summary
    assert report.state == {}


def test_a_damaged_table_is_named_where_tables_are_asked_for(url: str) -> None:
    ask(url, "CREATE TABLE damaged (id int)")
    ask(url, "INSERT INTO damaged VALUES (1)")
    # Claims that every row is from after transactions that have not begun.
    ask(
        url,
        "UPDATE pg_class SET relfrozenxid ="
        " ((pg_current_xact_id()::text::bigint + 100) % 4294967296)::text::xid"
        " WHERE oid = 'damaged'::regclass",
    )
    assert check(url).findings == ()
    (finding,) = check(url, amcheck="heap").findings
    assert finding.subject == "public.damaged"
    assert finding.commands == ()
    assert "block 0, item 1" in finding.sentence


def test_a_run_without_time_goes_on_where_it_stopped(url: str) -> None:
    whole = check(url).facts["relations_to_verify"]
    ask(url, "CREATE TABLE last (id int PRIMARY KEY)")
    ((last,),) = ask(url, "SELECT 'last_pkey'::regclass::oid::int8")
    ((before,),) = ask(
        url,
        "SELECT max(c.oid::int8) FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam"
        " WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.oid::int8 < %s",
        last,
    )
    assert check(url, reading_seconds=0).facts["relations_verified"] == 0
    report = check(url, {"amcheck_index_after": before})
    assert report.facts["relations_verified"] == whole + 1


def test_what_is_missing_is_said(make_database: Callable[[], str], url: str) -> None:
    without = make_database()
    (finding,) = check(without).findings
    assert finding.sentence == (
        "unavailable: whether btrees are sound needs CREATE EXTENSION amcheck in this database"
    )
    assert check(without, amcheck="off").findings == ()
    with narrow_role(url) as narrow:
        (finding,) = check(narrow).findings
        assert f"needs GRANT USAGE ON SCHEMA {ODD} TO narrow_" in finding.sentence
        role = narrow.split("//")[1].split(":")[0]
        ask(url, f"GRANT USAGE ON SCHEMA {ODD} TO {role}")
        (finding,) = check(narrow).findings
        assert "needs GRANT EXECUTE ON FUNCTION" in finding.sentence
        needs = finding.sentence.partition(" needs ")[2]
        ask(url, needs)
        assert check(narrow).findings == ()
