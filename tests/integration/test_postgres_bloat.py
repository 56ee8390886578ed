"""Bloat estimates against what VACUUM FULL and REINDEX then really give back."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.bloat.indexes import IndexBloatOptions, report_index_bloat
from maintenance.postgres.bloat.tables import TableBloatOptions, report_table_bloat

SMALL = Thresholds(minimum_bloat_bytes=64 * 1024)

SHAPES = {
    "narrow": "id int, n int",
    "mixed": "id int, a smallint, b text, c bigint, d boolean, e timestamptz",
    'Wide "one" 🐘': "id int, body text",
    "nulls": "id int, a int, b text, c int",
}
FILL = {
    "narrow": "SELECT i, i % 100 FROM generate_series(1, 60000) i",
    "mixed": (
        "SELECT i, (i % 7)::smallint, repeat('x', i % 50), i, i % 2 = 0, now()"
        " FROM generate_series(1, 30000) i"
    ),
    'Wide "one" 🐘': "SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 8000) i",
    "nulls": (
        "SELECT i, nullif(i % 2, 0), CASE WHEN i % 3 = 0 THEN 'word' END, NULL"
        " FROM generate_series(1, 30000) i"
    ),
}


@contextmanager
def session(url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Give a function that runs a statement in autocommit and returns its rows."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True

        def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

        yield run


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def table_report(url: str, **target: Any) -> Report:
    job = Job("site", DatabaseTarget(url=url, **target), TableBloatOptions(seed=7))
    return report_table_bloat(job, SMALL)


def index_report(url: str) -> Report:
    return report_index_bloat(Job("site", DatabaseTarget(url=url), IndexBloatOptions()), SMALL)


def ratios(report: Report, column: str) -> dict[str, float]:
    table = report.tables[0]
    at = table.columns.index(column)
    return {row[0]: row[at] for row in table.rows}


@pytest.fixture(scope="module")
def churned(postgres_server: Any) -> str:
    """Tables of several shapes: three quarters deleted at random, vacuumed or not."""
    name = "bloat_shapes"
    postgres_server.ensure_database(name)
    url = postgres_server.url(name)
    with session(url) as run:
        run("SELECT setseed(0.42)")
        for shape, columns in SHAPES.items():
            run(f"CREATE TABLE {quoted(shape)} ({columns}) WITH (autovacuum_enabled = off)")
            run(f"INSERT INTO {quoted(shape)} {FILL[shape]}")
            run(f"CREATE INDEX ON {quoted(shape)} (id)")
            run(f"DELETE FROM {quoted(shape)} WHERE random() < 0.75")
            run("SELECT pg_stat_force_next_flush()")  # or VACUUM's count comes before DELETE's
            if shape != "mixed":  # this one keeps its dead rows
                run(f"VACUUM ANALYZE {quoted(shape)}")
        run("ANALYZE mixed")
        run("CREATE TABLE dense AS SELECT i, md5(i::text) FROM generate_series(1, 30000) i")
        run("VACUUM FULL dense")  # from 16 on, what fills a new table leaves spare pages
        run("CREATE TABLE loose (id int) WITH (fillfactor = 50)")
        run("INSERT INTO loose SELECT generate_series(1, 30000)")
    return url


def test_estimates_are_within_three_points_of_a_rewrite(churned: str) -> None:
    estimated = ratios(table_report(churned), "bloat_ratio")
    with session(churned) as run:
        for shape in SHAPES:
            run(f"CREATE TABLE copy AS TABLE {quoted(shape)}")
            run("VACUUM FULL copy")  # what fills a new table leaves spare pages at its end
            size, fresh = run(
                "SELECT pg_relation_size(%s::regclass), pg_relation_size('copy')", quoted(shape)
            )[0]
            run("DROP TABLE copy")
            truth = 1 - fresh / size
            assert estimated[f"public.{shape}"] == pytest.approx(truth, abs=0.03), shape


def test_a_dense_table_and_a_low_fillfactor_are_not_bloated(churned: str) -> None:
    report = table_report(churned)

    named = {finding.subject for finding in report.findings}
    assert named == {f"public.{shape}" for shape in SHAPES}
    assert ratios(report, "bloat_ratio")["public.dense"] < 0.05
    assert ratios(report, "bloat_ratio")["public.loose"] < 0.05
    assert report.summary.startswith("4 of 6 tables are bloated")


def test_index_estimates_are_within_five_points_of_a_rebuild(churned: str) -> None:
    report = index_report(churned)
    estimated = ratios(report, "bloat_ratio")
    with session(churned) as run:
        for shape in SHAPES:
            index = run(
                "SELECT indexrelid::regclass::text, relname, pg_relation_size(indexrelid)"
                " FROM pg_index JOIN pg_class ON oid = indexrelid"
                " WHERE indrelid = %s::regclass",
                quoted(shape),
            )[0]
            definition = run("SELECT pg_get_indexdef(%s::regclass)", index[0])[0][0]
            run(definition.replace(index[0], quoted("rebuilt"), 1))
            fresh = run("SELECT pg_relation_size('rebuilt')")[0][0]
            run("DROP INDEX rebuilt")
            truth = 1 - fresh / index[2]
            assert estimated[f"public.{shape}.{index[1]}"] == pytest.approx(truth, abs=0.05), shape


def test_a_bloated_index_comes_with_the_command_that_rebuilds_it(churned: str) -> None:
    report = index_report(churned)
    wide = next(f for f in report.findings if "Wide" in f.subject)

    assert wide.commands[0].startswith('REINDEX INDEX CONCURRENTLY "public"."Wide ""one""')


def test_without_rights_a_number_is_withheld_and_the_grant_is_named(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE secret AS SELECT i, md5(i::text) m FROM generate_series(1, 30000) i")
        run("CREATE INDEX ON secret (m)")
        run("ANALYZE secret")
        run("DROP ROLE IF EXISTS bloat_reader")
        run("CREATE ROLE bloat_reader LOGIN PASSWORD 'narrow' IN ROLE pg_monitor")
    narrow = url.replace(url.split("//")[1].split("@")[0], "bloat_reader:narrow")
    try:
        tables, indexes = table_report(narrow), index_report(narrow)
    finally:
        with session(url) as run:
            run("DROP ROLE bloat_reader")

    assert tables.summary.startswith("unavailable")
    assert "GRANT SELECT ON public.secret" in tables.findings[0].sentence
    assert not tables.findings[0].measured
    assert indexes.summary.startswith("unavailable")
    assert all(not finding.measured for finding in indexes.findings)


def test_a_locked_table_is_left_out_and_nothing_waits(make_database: Callable[[], str]) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE free AS SELECT i FROM generate_series(1, 30000) i")
        run("CREATE TABLE locked AS SELECT i FROM generate_series(1, 30000) i")
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        report = table_report(url, lock_timeout_seconds=0.1)

    assert set(ratios(report, "bloat_ratio")) == {"public.free"}


def test_an_empty_database_has_nothing_worth_measuring(make_database: Callable[[], str]) -> None:
    url = make_database()
    assert "no bloat worth measuring" in table_report(url).summary
    assert "no bloat worth measuring" in index_report(url).summary
