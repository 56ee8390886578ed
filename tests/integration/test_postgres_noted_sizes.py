"""Sizes that the last ANALYZE noted stand for those of small relations, and only while they may."""

from collections.abc import Callable

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.postgres.bloat.options import TableBloatOptions
from maintenance.postgres.bloat.tables import report_table_bloat
from maintenance.postgres.connection import connect
from maintenance.postgres.indexes.catalog import indexes_of_table, measure_indexes
from maintenance.postgres.indexes.table_reads import measure_tables
from tests.polling import eventually
from tests.postgres_clients import ask

#: What no relation here has, so that a size tells where it comes from.
NOTED_PAGES = 3
NOTED_BYTES = NOTED_PAGES * 8192


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A small table and its index, analyzed, with a false note of their sizes."""
    url = make_database()
    ask(url, "CREATE TABLE t (id int PRIMARY KEY) WITH (autovacuum_enabled = off)")
    ask(url, "INSERT INTO t SELECT generate_series(1, 200)")
    ask(url, "ANALYZE t")
    analyzed = "SELECT analyze_count = 1 FROM pg_stat_user_tables WHERE relname = 't'"
    eventually(lambda: ask(url, analyzed)[0][0], 10, "the ANALYZE is counted")
    ask(url, f"UPDATE pg_class SET relpages = {NOTED_PAGES} WHERE relname IN ('t', 't_pkey')")
    return url


def sizes(url: str) -> tuple[int, int]:
    """Return what is measured of the table and of its index."""
    target = DatabaseTarget(url=url)
    with connect(target) as conn:
        (index,) = measure_indexes(conn, target).indexes
        (table,) = measure_tables(conn, target).by_oid.values()
    return table.size_bytes, index.size_bytes


def present_sizes(url: str) -> tuple[int, int]:
    ((table, index),) = ask(url, "SELECT pg_relation_size('t'), pg_relation_size('t_pkey')")
    return table, index


def test_a_small_relation_is_not_opened_for_its_size(url: str) -> None:
    assert sizes(url) == (NOTED_BYTES, NOTED_BYTES)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT generate_series(201, 300)",
        "DELETE FROM t WHERE id > 100",
        "BEGIN; INSERT INTO t SELECT generate_series(201, 300); ROLLBACK",
        "SELECT pg_stat_reset()",
        "UPDATE pg_class SET relpages = 0 WHERE relname IN ('t', 't_pkey')",
        "UPDATE pg_class SET relpages = 5000 WHERE relname IN ('t', 't_pkey')",
    ],
)
def test_a_note_that_may_be_old_missing_or_large_is_not_believed(url: str, statement: str) -> None:
    ask(url, statement)

    eventually(lambda: sizes(url) == present_sizes(url), 10, "the present sizes")


def test_an_index_that_vacuum_passed_over_is_measured(url: str) -> None:
    ask(url, "UPDATE pg_class SET reltuples = 20 WHERE relname = 't_pkey'")

    assert sizes(url) == (NOTED_BYTES, present_sizes(url)[1])


def test_who_asks_for_one_table_is_told_its_present_sizes(url: str) -> None:
    with connect(DatabaseTarget(url=url)) as conn:
        (index,) = indexes_of_table(conn, ask(url, "SELECT 't'::regclass::oid::bigint")[0][0])
    assert index.size_bytes == present_sizes(url)[1]

    options = TableBloatOptions(tables=("t",))
    report = report_table_bloat(Job("site", DatabaseTarget(url=url), options), Thresholds())
    (table,) = report.tables
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["size_bytes"] == present_sizes(url)[0]
