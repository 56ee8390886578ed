"""Plans without values, what they cost the site's counters, and which line of code sent what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from maintenance.commands.query_origins import profile_statements
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.connection import connect
from maintenance.postgres.queries.generic_plans import OLDEST_MAJOR, generic_plans
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.sql_files import query, server_major
from tests.integration.test_query_profiler import line, log, shelf
from tests.postgres_clients import ask, narrow_role
from tests.testapp import views

__all__ = ["log", "shelf"]

TABLES = """
CREATE TABLE author (id serial PRIMARY KEY, born int);
CREATE TABLE book (id serial PRIMARY KEY, author_id int, pages int);
INSERT INTO author (born) SELECT n FROM generate_series(1, 20000) n;
INSERT INTO book (author_id, pages) SELECT n, n FROM generate_series(1, 20000) n;
CREATE INDEX ON book (author_id);
CREATE INDEX ON author (born);
ANALYZE author; ANALYZE book;
"""
JOIN = "SELECT * FROM author JOIN book ON book.author_id = author.id WHERE book.pages = $1"


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database whose two tables could be joined by merging two indexes."""
    made = make_database()
    ask(made, TABLES)
    return made


def scans_of(url: str) -> int:
    ask(url, "SELECT pg_stat_force_next_flush()")
    return int(ask(url, "SELECT sum(idx_scan) FROM pg_stat_user_indexes")[0][0])


def test_planning_looks_into_indexes_and_that_is_counted_exactly(url: str) -> None:
    """The measurement on which the report's words rest, on each version."""
    with narrow_role(url, "pg_read_all_data") as narrow:
        before = scans_of(url)
        with connect(DatabaseTarget(url=narrow)) as conn, conn.cursor() as cursor:
            cursor.execute("RESET search_path")
            cursor.execute("BEGIN READ ONLY")
            cursor.execute("EXPLAIN SELECT * FROM author WHERE born = 5")
            assert query(conn, "own_index_scans") == [{"scans": 0}]
            cursor.execute("EXPLAIN SELECT * FROM author WHERE born > 5")
            assert query(conn, "own_index_scans") == [{"scans": 1}]
            cursor.execute("EXPLAIN SELECT * FROM author JOIN book ON book.author_id = author.id")
            assert query(conn, "own_index_scans") == [{"scans": 5}]
            cursor.execute("COMMIT")
            cursor.execute("SELECT pg_stat_force_next_flush()")
        assert scans_of(url) - before == 5


@pytest.mark.since_postgres(16)
def test_a_plan_is_told_with_what_it_cost_where_the_role_cannot_turn_counting_off(
    url: str,
) -> None:
    texts = {
        "1": JOIN,
        "2": "SELECT * FROM nowhere WHERE a = $1",
        "3": "UPDATE book SET pages = pages + $1 WHERE pages = $2",
        "4": "SELECT 1; DROP TABLE book",
        "5": "VACUUM book",
    }
    with (
        narrow_role(url, "pg_read_all_data", "pg_write_all_data") as narrow,
        connect(DatabaseTarget(url=narrow)) as conn,
    ):
        found = generic_plans(conn, texts)
    assert found.plans.keys() == {"1", "3"}
    assert found.own_scans == 4
    assert found.plans["1"].reads_whole == ("book",)
    assert found.plans["3"].steps == "ModifyTable on book > Seq Scan on book"
    assert ask(url, "SELECT count(*), sum(pages) FROM book") == [(20_000, 200_010_000)]


@pytest.mark.since_postgres(16)
def test_a_role_that_may_is_not_counted(url: str) -> None:
    before = scans_of(url)
    with connect(DatabaseTarget(url=url)) as conn:
        found = generic_plans(conn, {"1": JOIN})
    assert (found.own_scans, len(found.plans)) == (0, 1)
    assert scans_of(url) == before


def test_before_16_plans_are_withheld_with_the_reason(url: str) -> None:
    with connect(DatabaseTarget(url=url)) as conn:
        found = generic_plans(conn, {})
        is_older = server_major(conn) < OLDEST_MAJOR
    assert bool(found.withheld) == is_older


@pytest.mark.django_db(transaction=True)
@pytest.mark.since_postgres(16)
@pytest.mark.usefixtures("shelf")
def test_a_statement_is_joined_with_its_line_and_its_plan(log: Any, tmp_path: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        cursor.execute("SELECT pg_stat_statements_reset()")
    Client().get("/books/")
    Client().get("/groups/")

    report = profiled(str(tmp_path / "performance.log"))

    authors = next(
        finding
        for finding in report.findings
        if 'FROM "testapp_author"' in str(finding.evidence.get("query"))
        and "LIMIT" in str(finding.evidence["query"])
    )
    expected = line("book.author.name", views.book_list)
    assert authors.evidence["lines_of_code"] == [expected]
    assert f"It is sent from {expected} (GET books/)." in authors.advice
    assert "testapp_author" in authors.evidence["generic_plan"]
    assert report.facts["generic_plans"] == "read"
    titles = [table.title for table in report.tables]
    assert "Lines of code that send them" in titles
    assert "Generic plans, without values" in titles

    assert profiled("").facts["lines_of_code"].startswith("from")  # the handler of this process
    gone = profiled(str(tmp_path / "gone" / "performance.log"))
    assert gone.facts["lines_of_code"].startswith("not known: ")
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_stat_statements")


def profiled(log_path: str) -> Report:
    job = Job("default", DatabaseTarget(alias="default"), SlowQueryOptions(1e-6, 1000))
    return profile_statements(job, Thresholds(), log_path)
