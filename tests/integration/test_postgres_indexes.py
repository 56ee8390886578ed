"""Unused and invalid indexes of a real server: what is planted is named, what serves is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds, parse_configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.indexes.options import UnusedIndexOptions
from maintenance.postgres.indexes.unused import report_unused_indexes
from maintenance.postgres.indexes.usage import report_index_usage
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, major_of, narrow_role

#: A window that has passed by the time of the measurement, so that a verdict is given.
PASSED = UnusedIndexOptions(minimum_bytes=0, window_seconds=0.000_001)


def unused(url: str, options: UnusedIndexOptions = PASSED, **settings: Any) -> Report:
    """Return the second of two reports: the first one proves that the indexes exist."""
    job = Job("site", DatabaseTarget(url=url, **settings), options)
    first = report_unused_indexes(job, Thresholds())
    return report_unused_indexes(replace(job, previous_state=first.state), Thresholds())


def usage(url: str) -> Report:
    return report_index_usage(Job("site", DatabaseTarget(url=url), NoOptions()), Thresholds())


def subjects(report: Report) -> set[str]:
    return {finding.subject for finding in report.findings}


def kept(report: Report) -> dict[str, str]:
    """Return the reason for each unread index that must stay."""
    (table,) = report.tables
    rows = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    return {r["index"]: r["verdict"] for r in rows if r["verdict"].startswith("kept: ")}


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A table whose index on ``used`` is read, and the one on ``idle`` is not."""
    url = make_database()
    ask(url, "CREATE TABLE t AS SELECT i AS used, i AS idle FROM generate_series(1, 2000) AS i")
    ask(url, "CREATE INDEX t_used_idx ON t (used)")
    ask(url, "CREATE INDEX t_idle_idx ON t (idle) WITH (fillfactor = 70) WHERE idle > 0")
    read(url, "SELECT * FROM t WHERE used = 5")
    return url


def read(url: str, statement: str) -> None:
    """Run a statement that must use an index, and bring the counters up to date."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(statement)
        cursor.execute("SELECT pg_stat_force_next_flush()")
    connection.close()


def test_the_unread_index_is_named_and_the_read_one_is_not(url: str) -> None:
    (finding,) = unused(url).findings
    assert finding.subject == "public.t.t_idle_idx"
    assert finding.severity is Severity.WARNING
    assert finding.evidence["table"] == "public.t"
    assert finding.evidence["size_bytes"] == ask(url, "SELECT pg_relation_size('t_idle_idx')")[0][0]
    assert finding.evidence["writes"] == 2000
    assert finding.evidence["scans"] == 0


def test_a_short_window_makes_it_a_candidate_without_a_statement_to_run(url: str) -> None:
    report = unused(url, UnusedIndexOptions(minimum_bytes=0))
    (finding,) = report.findings
    assert finding.severity is Severity.INFO
    assert "is a candidate" in finding.sentence
    assert "the counters must cover 30 days first" in finding.sentence
    assert finding.commands == ()
    assert "verdict is withheld" in report.summary


def test_the_statements_drop_the_index_and_make_the_same_again(url: str) -> None:
    definition = "SELECT pg_get_indexdef('t_idle_idx'::regclass)"
    before = ask(url, definition)
    (finding,) = unused(url).findings
    ask(url, *finding.commands)
    assert ask(url, "SELECT to_regclass('t_idle_idx')") == [(None,)]
    ask(url, *finding.undo)
    assert ask(url, definition) == before
    assert "CONCURRENTLY" in finding.commands[0]
    assert "CONCURRENTLY" in finding.undo[0]


def test_a_small_index_is_left_out(url: str) -> None:
    assert unused(url, UnusedIndexOptions(minimum_bytes=10**9)).findings == ()


def test_an_excluded_schema_is_left_out(url: str) -> None:
    target = DatabaseTarget(url=url, exclude_schemas=("public",))
    assert report_unused_indexes(Job("site", target, PASSED), Thresholds()).findings == ()


def test_after_a_reset_of_the_counters_the_window_begins_anew(url: str) -> None:
    ask(url, "SELECT pg_stat_reset()")
    report = unused(url, UnusedIndexOptions(minimum_bytes=0, window_seconds=60))
    assert report.facts["counters_cover_seconds"] < 60
    assert {f.severity for f in report.findings} == {Severity.INFO}


GUARDS = {
    "primary key": ("CREATE TABLE g (id int PRIMARY KEY)", "g_pkey"),
    "enforces a unique constraint": ("CREATE TABLE g (id int UNIQUE)", "g_id_key"),
    "keeps its values unique": ("CREATE TABLE g (id int); CREATE UNIQUE INDEX gi ON g (id)", "gi"),
    "exclusion constraint": (
        "CREATE TABLE g (r int4range, CONSTRAINT gi EXCLUDE USING gist (r WITH &&))",
        "gi",
    ),
    "replica identity": (
        (
            "CREATE TABLE g (id int NOT NULL); CREATE UNIQUE INDEX gi ON g (id);"
            " ALTER TABLE g REPLICA IDENTITY USING INDEX gi"
        ),
        "gi",
    ),
    'foreign key "g_id_fkey"': (
        (
            "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE g (id int REFERENCES p);"
            " CREATE INDEX gi ON g (id)"
        ),
        "gi",
    ),
    "statistics of its expression": (
        "CREATE TABLE g (a text); CREATE INDEX gi ON g (lower(a))",
        "gi",
    ),
    "its table is clustered on it": (
        "CREATE TABLE g (a int); CREATE INDEX gi ON g (a); ALTER TABLE g CLUSTER ON gi",
        "gi",
    ),
}


@pytest.mark.parametrize("reason", GUARDS)
def test_an_unread_index_that_serves_otherwise_is_kept_with_its_reason(
    make_database: Callable[[], str], reason: str
) -> None:
    url = make_database()
    script, name = GUARDS[reason]
    ask(url, script)
    report = unused(url)
    assert f"public.g.{name}" not in subjects(report)
    assert reason in kept(report)[f"public.g.{name}"]


def test_an_index_on_column_23_does_not_stand_for_a_foreign_key_on_column_2(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    columns = ", ".join(f"c{n} int" for n in range(1, 24))
    ask(url, f"CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE g ({columns})")
    ask(url, "ALTER TABLE g ADD CONSTRAINT fk FOREIGN KEY (c2) REFERENCES p")
    ask(url, "CREATE INDEX on_2 ON g (c2); CREATE INDEX on_23 ON g (c23, c5)")
    report = unused(url)
    assert subjects(report) == {"public.g.on_23"}
    assert "foreign key" in kept(report)["public.g.on_2"]


@pytest.fixture
def partitioned(make_database: Callable[[], str]) -> str:
    """A table of two partitions with an index on each of two columns."""
    url = make_database()
    ask(url, "CREATE TABLE part (id int, other int) PARTITION BY RANGE (id)")
    ask(url, "CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)")
    ask(url, "CREATE TABLE high PARTITION OF part FOR VALUES FROM (100) TO (200)")
    ask(url, "CREATE INDEX part_id ON part (id); CREATE INDEX part_other ON part (other)")
    ask(url, "INSERT INTO part SELECT i, i FROM generate_series(0, 199) AS i")
    return url


def test_partitions_of_a_used_index_stay_and_an_unread_one_goes_as_a_whole(
    partitioned: str,
) -> None:
    read(partitioned, "SELECT * FROM part WHERE id = 7")
    report = unused(partitioned)
    assert subjects(report) == {"public.part.part_other"}
    (finding,) = report.findings
    assert finding.evidence["writes"] == 200
    reasons = kept(report)
    assert "used on other partitions" in reasons["public.high.high_id_idx"]
    assert "goes or stays with it" in reasons["public.high.high_other_idx"]


def test_an_unread_partitioned_index_is_dropped_and_made_again_with_its_partitions(
    partitioned: str,
) -> None:
    definitions = (
        "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index"
        " WHERE indexrelid IN (SELECT relid FROM pg_partition_tree('part_other')) ORDER BY 1"
    )
    before = ask(partitioned, definitions)
    (finding,) = (f for f in unused(partitioned).findings if f.subject.endswith("part_other"))
    for statement in (*finding.commands, *finding.undo):
        ask(partitioned, statement)
    assert len(before) == 3
    assert ask(partitioned, definitions) == before


def test_names_with_quotes_capitals_and_pictures_come_out_right(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quoted = '"' + ODD_NAME.replace('"', '""') + '"'
    ask(url, f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} (a int)")
    # An index shares the name space of tables, so that one letter must differ.
    other = '"' + ("X" + ODD_NAME[1:]).replace('"', '""') + '"'
    ask(url, f"CREATE INDEX {other} ON {quoted}.{quoted} (a)")
    (finding,) = unused(url).findings
    assert finding.subject == f"{quoted}.{quoted}.{other}"
    for statement in (*finding.commands, *finding.undo):
        ask(url, statement)
    assert subjects(unused(url)) == {finding.subject}


def test_a_role_without_rights_on_the_tables_sees_the_same(url: str) -> None:
    with narrow_role(url) as narrow:
        assert subjects(unused(narrow)) == {"public.t.t_idle_idx"}


def test_a_locked_table_is_measured_without_waiting(url: str) -> None:
    with psycopg2.connect(url) as connection:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE t; REINDEX TABLE t")
        (finding,) = unused(url).findings
    assert finding.subject == "public.t.t_idle_idx"
    assert finding.commands == ()
    connection.close()


def invalid(report: Report) -> Finding:
    (finding,) = report.findings
    assert finding.code == "invalid-index"
    return finding


def test_an_index_that_failed_to_build_is_named_with_its_cause_and_drop(url: str) -> None:
    ask(url, "INSERT INTO t VALUES (1, 1)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        ask(url, "CREATE UNIQUE INDEX CONCURRENTLY t_broken ON t (used)")
    finding = invalid(usage(url))
    assert finding.subject == "public.t.t_broken"
    assert "CREATE INDEX CONCURRENTLY failed" in finding.sentence
    ask(url, *finding.commands)
    assert usage(url).findings == ()
    assert "public.t.t_broken" not in subjects(unused(url))


def interrupt(url: str, statement: str, *, holding: str) -> None:
    """Let a statement run into a lock timeout behind a transaction that reads a table."""
    with Client(url) as reader:
        reader.run(f"BEGIN; SELECT * FROM {holding} LIMIT 1")
        with Client(url) as client:
            client.run("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                client.run(statement)


def test_a_leftover_of_a_rebuild_is_known_however_long_its_name_is(url: str) -> None:
    name = "n" * 63
    ask(url, f"CREATE INDEX {name} ON t (abs(used)) WHERE idle > 3")
    interrupt(url, f"REINDEX INDEX CONCURRENTLY {name}", holding="t")
    finding = invalid(usage(url))
    assert f"left over from rebuilding public.t.{name}" in finding.sentence
    assert "REINDEX" not in str(finding.commands)
    ask(url, *finding.commands)
    assert usage(url).findings == ()
    assert ask(url, f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass") == [
        (True,)
    ]


def test_a_leftover_on_a_toast_table_is_dropped_and_not_made_again(url: str) -> None:
    ask(url, "CREATE TABLE long (a text); INSERT INTO long VALUES ('a')")
    interrupt(url, "REINDEX TABLE CONCURRENTLY long", holding="long")
    findings = usage(url).findings
    (finding,) = (f for f in findings if f.subject.startswith("pg_toast."))
    assert "left over from rebuilding the index of this TOAST table" in finding.sentence
    assert finding.undo == ()
    for found in findings:
        ask(url, *found.commands)
    assert usage(url).findings == ()


def test_an_interrupted_drop_of_an_index_in_use_says_that_the_index_is_complete(url: str) -> None:
    interrupt(url, "DROP INDEX CONCURRENTLY t_used_idx", holding="t")
    finding = invalid(usage(url))
    assert finding.subject == "public.t.t_used_idx"
    assert "the index is complete" in finding.sentence
    assert "REINDEX INDEX CONCURRENTLY" in finding.advice
    ask(url, *finding.commands)
    ask(url, *finding.undo)
    assert usage(url).findings == ()


def test_an_index_that_is_being_dropped_or_built_is_no_fault(url: str) -> None:
    with Client(url) as writer:
        writer.run("BEGIN; INSERT INTO t VALUES (1, 1)")
        with Client(url) as dropper, Client(url) as builder:
            builder.start("CREATE INDEX CONCURRENTLY t_new ON t (used, idle)")
            wait_for(url, "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('t_new')")
            assert usage(url).findings == ()
            ask(url, "SELECT pg_cancel_backend(%s)", builder.pid)
            wait_for(url, "SELECT 1 + count(*) FROM pg_stat_progress_create_index")
            dropper.start("DROP INDEX CONCURRENTLY t_idle_idx")
            wait_for(
                url,
                "SELECT count(*) FROM pg_index"
                " WHERE indexrelid = 't_idle_idx'::regclass AND NOT indisvalid",
            )
            assert [f.subject for f in usage(url).findings] == ["public.t.t_new"]


def wait_for(url: str, count: str) -> None:
    eventually(lambda: ask(url, count) == [(1,)], seconds=20, what=count)


def test_every_index_is_listed_with_its_scans(url: str) -> None:
    report = usage(url)
    (table,) = report.tables
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["public.t.t_used_idx"]["scans"] == 1
    if major_of(url) >= 16:
        assert rows["public.t.t_used_idx"]["last_scan"].endswith("UTC")
    else:
        assert rows["public.t.t_used_idx"]["last_scan"] is None
    assert rows["public.t.t_idle_idx"]["scans"] == 0
    assert rows["public.t.t_idle_idx"]["state"] == "valid"
    assert json.loads(json.dumps(report.to_json())) == report.to_json()


def test_a_server_that_counts_nothing_is_said_to_be_unavailable(url: str) -> None:
    name = url.rsplit("/", 1)[1]
    ask(url, f"ALTER DATABASE {name} SET track_counts = off")
    (finding,) = unused(url).findings
    assert not finding.measured
    assert "track_counts = on" in finding.sentence
    assert parse_configuration({}).thresholds.unused_index_window_seconds == 30 * 86_400
