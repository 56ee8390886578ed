"""Foreign keys without an index on a real server: the statements that are printed are run."""

from collections.abc import Callable

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.indexes.missing import report_missing_indexes
from maintenance.postgres.indexes.options import MissingIndexOptions
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role

ALL = MissingIndexOptions(minimum_bytes=0)


def missing(url: str, options: MissingIndexOptions = ALL) -> Report:
    return report_missing_indexes(Job("site", DatabaseTarget(url=url), options), Thresholds())


def subjects(report: Report) -> set[str]:
    return {finding.subject for finding in report.findings}


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """Foreign keys with and without an index, from a table of 2,000 rows."""
    url = make_database()
    ask(url, "CREATE TABLE p (id int PRIMARY KEY, a int, b int, UNIQUE (a, b))")
    ask(url, "INSERT INTO p SELECT i, i, i FROM generate_series(1, 100) AS i")
    ask(
        url,
        "CREATE TABLE t (bare int REFERENCES p, led int REFERENCES p, part int REFERENCES p,"
        " partial int REFERENCES p, a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b))",
    )
    ask(url, "CREATE INDEX ON t (led, bare); CREATE INDEX ON t (b, a)")
    ask(url, "CREATE INDEX ON t (part) WHERE part IS NOT NULL")
    ask(url, "CREATE INDEX ON t (partial) WHERE led > 5")
    ask(url, "INSERT INTO t SELECT 1 + i % 50 FROM generate_series(1, 2000) AS i")
    return url


def test_only_keys_that_no_lookup_can_use_an_index_for_are_named(url: str) -> None:
    assert subjects(missing(url)) == {"public.t.bare", "public.t.partial"}


def test_after_the_printed_statements_nothing_is_missing_and_undo_brings_it_back(url: str) -> None:
    before = missing(url)
    for finding in before.findings:
        ask(url, *finding.commands)
    assert missing(url).findings == ()
    for finding in before.findings:
        ask(url, *finding.undo)
    assert subjects(missing(url)) == subjects(before)


def test_deleted_rows_of_the_referenced_table_make_it_a_warning(url: str) -> None:
    assert {f.severity for f in missing(url).findings} == {Severity.INFO}
    with Client(url) as client:
        client.run("DELETE FROM p WHERE id > 90")
        client.run("SELECT pg_stat_clear_snapshot(); SELECT pg_stat_force_next_flush()")
        client.run("SELECT 1")
    report = missing(url)
    assert {f.severity for f in report.findings} == {Severity.WARNING}
    assert {f.evidence["referenced_deleted_rows"] for f in report.findings} == {10}


def test_a_small_table_is_left_out(url: str) -> None:
    assert missing(url, MissingIndexOptions()).findings == ()


def test_a_partitioned_table_gets_its_index_partition_by_partition(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE TABLE p (id int PRIMARY KEY)")
    ask(url, "CREATE TABLE t (id int, ref int REFERENCES p) PARTITION BY RANGE (id)")
    ask(url, "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (9)")
    ask(url, "CREATE TABLE high PARTITION OF t FOR VALUES FROM (9) TO (99) PARTITION BY LIST (id)")
    ask(url, "CREATE TABLE high_10 PARTITION OF high FOR VALUES IN (10)")
    (finding,) = missing(url).findings
    assert finding.subject == "public.t.ref"
    assert "2 of 2 partitions" in finding.sentence
    for statement in finding.commands:
        ask(url, statement)
    assert missing(url).findings == ()
    assert ask(url, "SELECT bool_and(indisvalid) FROM pg_index") == [(True,)]
    ask(url, *finding.undo)
    assert subjects(missing(url)) == {"public.t.ref"}


def test_a_foreign_key_to_a_partitioned_table_is_named_once(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    ask(url, "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9)")
    ask(url, "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (9) TO (99)")
    ask(url, "CREATE TABLE t (ref int REFERENCES p)")
    (finding,) = missing(url).findings
    assert finding.subject == "public.t.ref"


def test_odd_names_come_out_right_in_sentence_and_statements(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quoted = '"' + ODD_NAME.replace('"', '""') + '"'
    ask(url, f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.p (id int PRIMARY KEY)")
    ask(url, f"CREATE TABLE {quoted}.{quoted} ({quoted} int REFERENCES {quoted}.p)")
    (finding,) = missing(url).findings
    assert finding.subject == f"{quoted}.{quoted}.{quoted}"
    ask(url, *finding.commands)
    assert missing(url).findings == ()
    ask(url, *finding.undo)


def test_a_role_without_rights_sees_the_same_and_a_locked_table_is_not_waited_for(
    url: str,
) -> None:
    with narrow_role(url) as narrow, Client(url) as client:
        client.run("BEGIN; LOCK TABLE t")
        assert subjects(missing(narrow)) == {"public.t.bare", "public.t.partial"}
