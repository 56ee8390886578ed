"""Rows that a unique index should have kept apart, against planted ones."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.integrity.review import check_data_integrity
from tests.postgres_clients import ODD_NAME, ask, narrow_role

ODD = '"' + ODD_NAME.replace('"', '""') + '"'


def duplicates(url: str) -> dict[str, Finding]:
    job = Job("site", DatabaseTarget(url=url), IntegrityOptions(amcheck="off"))
    findings = check_data_integrity(job, Thresholds()).findings
    return {f.subject: f for f in findings if f.code == "duplicate-rows"}


def fail_to_build(url: str, definition: str) -> None:
    """Leave an invalid unique index behind."""
    with suppress(psycopg2.errors.UniqueViolation):
        ask(url, f"CREATE UNIQUE INDEX CONCURRENTLY {definition}")
        raise AssertionError("nothing is duplicated")


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        ("i ON t (lower(name))", 2),  # ada and ADA; bo and Bo
        ("i ON t (name) WHERE NOT gone", 1),  # eve; the other eve is gone
        ("i ON t (grade, name)", 1),
        ('i ON t ("100% {x}")', 1),
    ],
)
def test_keys_are_compared_as_the_index_does(
    make_database: Callable[[], str], definition: str, keys: int
) -> None:
    url = make_database()
    ask(url, 'CREATE TABLE t (name text, grade int, gone bool, "100% {x}" text)')
    rows: list[tuple[Any, ...]] = [
        ("ada", 1, True, "%s"),
        ("ADA", 2, True, "%s"),
        ("bo", 3, True, "{}"),
        ("Bo", 4, True, None),
        (None, 5, False, None),
        (None, 5, False, None),
        ("eve", 6, False, "a"),
        ("eve", 6, False, "b"),
    ]
    for row in rows:
        ask(url, "INSERT INTO t VALUES (%s, %s, %s, %s)", *row)
    fail_to_build(url, definition)
    (finding,) = duplicates(url).values()
    assert finding.evidence["duplicate_keys"] == keys + ("lower" in definition)
    assert finding.severity is Severity.WARNING
    assert len(ask(url, finding.commands[0])) == finding.evidence["duplicate_keys"]


def test_nulls_are_equal_where_the_index_says_so(make_database: Callable[[], str]) -> None:
    url = make_database()
    ((version,),) = ask(url, "SELECT current_setting('server_version_num')::int")
    ask(url, "CREATE TABLE t (n int)")
    ask(url, "INSERT INTO t VALUES (NULL), (NULL), (1), (1)")
    distinct = " NULLS NOT DISTINCT" if version >= 150_000 else ""
    fail_to_build(url, f"i ON t (n){distinct}")
    (finding,) = duplicates(url).values()
    assert finding.evidence["duplicate_keys"] == (2 if distinct else 1)


# Before 17 only the machine's own locales have versions, and a machine may have none but C.
@pytest.mark.since_postgres(17)
def test_a_changed_collation_puts_a_valid_index_in_doubt(make_database: Callable[[], str]) -> None:
    url = make_database()
    ((versioned,),) = ask(
        url,
        "SELECT (SELECT quote_ident(collname) FROM pg_collation"
        " WHERE pg_collation_actual_version(oid) IS NOT NULL AND collisdeterministic"
        " AND collname <> 'default' LIMIT 1)",
    )
    assert versioned, "no collation of this server has a version"
    ask(url, f"CREATE COLLATION {ODD} FROM {versioned}")
    ask(url, f"CREATE TABLE {ODD} (name text COLLATE {ODD})")
    ask(url, f"CREATE UNIQUE INDEX names ON {ODD} (name)")
    ask(url, f"INSERT INTO {ODD} VALUES ('a'), ('b')")
    assert duplicates(url) == {}
    ask(url, "UPDATE pg_collation SET collversion = 'old' WHERE collname = %s", ODD_NAME)
    # Rows that a broken order let in: the index is not asked while they are written.
    ask(
        url,
        "UPDATE pg_index SET indislive = indislive, indisready = false WHERE indexrelid = 'names'::regclass",
    )
    ask(url, f"INSERT INTO {ODD} VALUES ('a')")
    ask(url, "UPDATE pg_index SET indisready = true WHERE indexrelid = 'names'::regclass")
    (finding,) = duplicates(url).values()
    assert finding.severity is Severity.CRITICAL
    assert finding.evidence["duplicate_keys"] == 1
    assert "its collation has changed" in finding.sentence


def test_without_rights_the_count_is_withheld(make_database: Callable[[], str]) -> None:
    url = make_database()
    ask(url, "CREATE TABLE t (n int)")
    ask(url, "INSERT INTO t VALUES (1), (1)")
    fail_to_build(url, "i ON t (n)")
    with narrow_role(url) as narrow:
        (finding,) = duplicates(narrow).values()
    assert not finding.measured
    assert "GRANT SELECT ON public.t" in finding.sentence
