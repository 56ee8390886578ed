"""Bloat estimates against what VACUUM FULL and REINDEX then really give back."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import UnknownName
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.bloat.indexes import report_index_bloat
from maintenance.postgres.bloat.options import IndexBloatOptions, TableBloatOptions
from maintenance.postgres.bloat.tables import report_table_bloat
from service.embedded.postgres import EmbeddedPostgres
from tests.postgres_clients import ODD_NAME, alone, narrow_role
from tests.servers import FAST_POSTGRES

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

        def run(statement: str | sql.Composable, *parameters: Any) -> list[tuple[Any, ...]]:
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
    with narrow_role(url, "pg_monitor") as narrow:
        tables, indexes = table_report(narrow), index_report(narrow)
        with session(url) as run:
            # Pages are chosen by ctid, which single columns do not include.
            run(f"GRANT SELECT (i, m) ON secret TO {urlsplit(narrow).username}")
        columns_alone = table_report(narrow)

    for report in (tables, columns_alone):
        assert report.summary.startswith("unavailable")
        assert "GRANT SELECT ON public.secret" in report.findings[0].sentence
        assert not report.findings[0].measured
    assert indexes.summary.startswith("unavailable")
    assert "GRANT SELECT ON public.secret" in indexes.findings[0].sentence
    assert all(not finding.measured for finding in indexes.findings)


def test_rows_that_a_policy_hides_are_not_counted_as_bloat(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE guarded AS SELECT i, md5(i::text) m FROM generate_series(1, 30000) i")
        run("CREATE INDEX ON guarded (m)")
        run("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY")
        run("CREATE POLICY few ON guarded USING (i < 10)")
    with narrow_role(url, "pg_read_all_data") as narrow:
        findings = [*table_report(narrow).findings, *index_report(narrow).findings]

    assert [finding.measured for finding in findings] == [False, False]
    assert all("BYPASSRLS" in finding.sentence for finding in findings)


def test_a_locked_table_is_left_out_and_nothing_waits(make_database: Callable[[], str]) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE free AS SELECT i FROM generate_series(1, 30000) i")
        run("CREATE TABLE locked AS SELECT i FROM generate_series(1, 30000) i")
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        report = table_report(url, lock_timeout_seconds=0.1)

    assert set(ratios(report, "bloat_ratio")) == {"public.free"}


def truth_of(run: Callable[..., list[tuple[Any, ...]]], relation: str, table: str) -> float:
    """Return the share of ``relation`` that rewriting ``table`` gives back."""
    size = "SELECT pg_relation_size(%s::regclass)"
    before: int = run(size, relation)[0][0]
    run(f"VACUUM FULL {table}")
    after: int = run(size, relation)[0][0]
    return 1 - after / before


def test_columns_that_a_rewrite_changes_are_counted_as_it_writes_them(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE altered (id int, gone text, kept text, spare bigint)")
        run("ALTER TABLE altered SET (autovacuum_enabled = off)")
        run(
            "INSERT INTO altered SELECT i, repeat('g', 100), md5(i::text), i"
            " FROM generate_series(1, 30000) i"
        )
        run("ALTER TABLE altered DROP COLUMN gone, DROP COLUMN spare")
        run("ALTER TABLE altered ADD added text DEFAULT 'fifteen letters'")
        if run("SELECT current_setting('server_version_num')::int >= 180000")[0][0]:
            run("ALTER TABLE altered ADD seen int GENERATED ALWAYS AS (1 / (id - id)) VIRTUAL")
        run("CREATE UNLOGGED TABLE scratch AS SELECT i FROM generate_series(1, 30000) i")
        run("CREATE MATERIALIZED VIEW seen_before AS SELECT i FROM generate_series(1, 30000) i")
        report = table_report(url)
        estimated = ratios(report, "bloat_ratio")["public.altered"]

        assert estimated == pytest.approx(truth_of(run, "altered", "altered"), abs=0.02)
    assert {"public.scratch", "public.seen_before"} <= set(ratios(report, "bloat_ratio"))


def test_toast_tables_and_partitions_are_measured_and_summed_up(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE letters (id int, body text) WITH (autovacuum_enabled = off)")
        run("ALTER TABLE letters ALTER body SET STORAGE EXTERNAL")
        run("INSERT INTO letters SELECT i, repeat('x', 5000) FROM generate_series(1, 2000) i")
        run("DELETE FROM letters WHERE id % 2 = 0")
        run("VACUUM letters")
        run("CREATE TABLE logs (id int, day int) PARTITION BY LIST (day)")
        for day in (1, 2):
            run(f"CREATE TABLE logs_{day} PARTITION OF logs FOR VALUES IN ({day})")
        run("INSERT INTO logs SELECT i, 1 + i % 2 FROM generate_series(1, 60000) i")
        run("DELETE FROM logs WHERE day = 1 AND id % 10 <> 0")
        report = table_report(url)
        toast = run("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'letters'")
        finding = next(f for f in report.findings if f.subject.startswith("TOAST"))
        truth = truth_of(run, toast[0][0], "letters")
    assert finding.subject == "TOAST table of public.letters"
    assert finding.evidence["bloat_ratio"] == pytest.approx(truth, abs=0.03)
    assert finding.commands == (f"VACUUM (FULL, ANALYZE) {alone(url)}public.letters",)

    whole = report.tables[1]
    assert whole.title == "Partitioned tables"
    row = dict(zip(whole.columns, whole.rows[0], strict=True))
    assert (row["table"], row["partitions_sampled"]) == ("public.logs", 2)
    assert row["low_ratio"] <= row["bloat_ratio"] <= row["high_ratio"]
    assert row["bloat_ratio"] == pytest.approx(0.40, abs=0.03)


@pytest.mark.parametrize(
    ("name", "columns", "rows", "lost"),
    [
        ("a stretch", "i, repeat('x', 60)", 110_000, "i BETWEEN 40000 AND 70000"),
        ("a few survivors", "i, repeat('x', 60)", 160_000, "i % 997 <> 0"),
        ("long rows of all sizes", "i, repeat('x', i % 1800)", 20_000, "i % 3 = 0"),
    ],
)
def test_the_interval_covers_the_truth_for_twenty_seeds(
    make_database: Callable[[], str], name: str, columns: str, rows: int, lost: str
) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE sampled (i int, body text) WITH (autovacuum_enabled = off)")
        run("ALTER TABLE sampled ALTER body SET STORAGE PLAIN")
        run(f"INSERT INTO sampled SELECT {columns} FROM generate_series(1, {rows}) i")
        run(f"DELETE FROM sampled WHERE {lost}")
        target = DatabaseTarget(url=url)
        found = []
        for seed in range(20):
            options = TableBloatOptions(sample_pages=100, seed=seed, tables=("sampled",))
            report = report_table_bloat(Job("site", target, options), SMALL)
            found.append(dict(zip(report.tables[0].columns, report.tables[0].rows[0], strict=True)))
        truth = truth_of(run, "sampled", "sampled")

    assert sum(row["low_ratio"] <= truth <= row["high_ratio"] for row in found) >= 18, name
    assert max(abs(row["bloat_ratio"] - truth) for row in found) < 0.06, name
    assert any(row["sampled_pages"] < row["size_bytes"] // 8192 for row in found), name


def test_the_exact_mode_counts_rows_or_says_what_it_needs(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    options = TableBloatOptions(seed=1, exact=True)
    with session(url) as run:
        run("CREATE TABLE hollow (i int, m text) WITH (autovacuum_enabled = off)")
        run("INSERT INTO hollow SELECT i, md5(i::text) FROM generate_series(1, 100000) i")
        run("DELETE FROM hollow WHERE i % 4 <> 0")
        job = Job("site", DatabaseTarget(url=url), options)
        without = report_table_bloat(job, SMALL)
        run("CREATE EXTENSION pgstattuple")
        exact = report_table_bloat(job, SMALL)
        late = report_table_bloat(
            Job("site", DatabaseTarget(url=url), replace(options, exact_time_limit_seconds=0)),
            SMALL,
        )
        with narrow_role(url, "pg_stat_scan_tables") as narrow:
            unread = report_table_bloat(Job("site", DatabaseTarget(url=narrow), options), SMALL)
        truth = truth_of(run, "hollow", "hollow")

    assert any("CREATE EXTENSION pgstattuple" in finding.sentence for finding in without.findings)
    assert ratios(without, "read_whole") == {"public.hollow": False}
    assert ratios(exact, "read_whole") == {"public.hollow": True}
    assert ratios(exact, "bloat_ratio")["public.hollow"] == pytest.approx(truth, abs=0.003)
    assert "its rows were counted" in exact.findings[0].sentence
    assert any("more time" in finding.sentence for finding in late.findings)
    # The extension needs no right to read the rows themselves.
    assert ratios(unread, "bloat_ratio")["public.hollow"] == pytest.approx(truth, abs=0.01)


@pytest.fixture(scope="module")
def spoilt(server_root: Path) -> Iterator[str]:
    """A database with a table whose every third page the disk has changed, and a sound one."""
    server = EmbeddedPostgres(server_root / "spoilt", secrets.token_hex(16), settings=FAST_POSTGRES)
    with server, session(server.url()) as run:
        for name in ("spoilt", "sound"):
            run(f"CREATE TABLE {name} (id int, body text)")
            run(f"INSERT INTO {name} SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i")
            run(f"CREATE INDEX {name}_id ON {name} (id)")
        run("VACUUM ANALYZE")
        [(file,)] = run("SELECT pg_relation_filepath('spoilt')")
    with (server.data_dir / file).open("r+b") as pages:
        for block in range(0, 140, 3):
            pages.seek(block * 8192 + 4000)
            pages.write(b"changed by the disk")
    with server:
        yield server.url()


def test_a_table_with_damaged_pages_is_named_and_the_others_are_measured(spoilt: str) -> None:
    report = table_report(spoilt)
    assert list(ratios(report, "bloat_ratio")) == ["public.sound"]
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("corruption", Severity.CRITICAL)
    assert finding.subject == "public.spoilt"
    assert "invalid page in block" in finding.sentence
    assert "1 table with damaged pages" in report.summary


def test_indexes_of_a_damaged_table_are_named_and_the_others_are_measured(spoilt: str) -> None:
    report = index_report(spoilt)
    assert list(ratios(report, "bloat_ratio")) == ["public.sound.sound_id"]
    (finding,) = report.findings
    assert finding.severity is Severity.CRITICAL
    assert finding.subject == "public.spoilt"
    assert "public.spoilt.spoilt_id cannot be read: invalid page in block" in finding.sentence


def test_an_unknown_table_is_answered_with_the_nearest_name(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with session(url) as run:
        run(sql.SQL("CREATE TABLE {} AS SELECT 1 AS i").format(sql.Identifier(ODD_NAME)))
        run("CREATE TABLE books (i int)")
        run("INSERT INTO books VALUES (1)")
    target = DatabaseTarget(url=url)
    with pytest.raises(UnknownName, match=r"public\.books"):
        report_table_bloat(Job("site", target, TableBloatOptions(tables=("bokks",))), SMALL)

    odd = report_table_bloat(Job("site", target, TableBloatOptions(tables=(ODD_NAME,))), SMALL)
    assert set(ratios(odd, "bloat_ratio")) == {f"public.{ODD_NAME}"}


def test_an_empty_database_has_nothing_worth_measuring(make_database: Callable[[], str]) -> None:
    url = make_database()
    assert "no bloat worth measuring" in table_report(url).summary
    assert "no bloat worth measuring" in index_report(url).summary
