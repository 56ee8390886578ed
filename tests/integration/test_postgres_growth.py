"""Sizes, sequences and integer keys of a real database, and what is foretold of them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.history import LedgerRuns
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import RunState, StoredSample, Trigger
from maintenance.postgres.capacity.growth import report_growth
from maintenance.postgres.capacity.review import report_sequences, review_database_growth
from maintenance.postgres.checks import run_analyses
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role

MEGABYTE = 1024**2


def run_all(url: str, *statements: str | sql.Composable) -> None:
    for statement in statements:
        ask(url, statement)


def job(url: str, **settings: Any) -> Job[DatabaseTarget, NoOptions]:
    return Job("site", DatabaseTarget(url=url, **settings), NoOptions())


def growth(url: str, **settings: Any) -> Report:
    return report_growth(job(url, **settings), Thresholds())


def numbers(url: str) -> Report:
    return report_sequences(job(url), Thresholds())


def sizes(report: Report) -> dict[str, float]:
    return {s.subject: s.value for s in report.samples if s.metric == "relation_bytes"}


def bytes_of(url: str, *tables: str) -> float:
    """The sizes of tables with their TOAST, as the file system has them."""
    return float(
        sum(
            ask(
                url,
                "SELECT pg_relation_size(c.oid) + pg_relation_size(c.reltoastrelid)"
                " + pg_relation_size(i.indexrelid)"
                " FROM pg_class AS c JOIN pg_index AS i ON i.indrelid = c.reltoastrelid"
                " WHERE c.oid = %s::regclass",
                table,
            )[0][0]
            for table in tables
        )
    )


def by_subject(report: Report) -> dict[str, Finding]:
    return {finding.subject: finding for finding in report.findings}


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


# --- Sizes ---


def test_sizes_are_those_of_the_file_system(url: str) -> None:
    odd = sql.Identifier(ODD_NAME)
    run_all(
        url,
        sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, body text)").format(odd),
        sql.SQL("ALTER TABLE {} ALTER body SET STORAGE EXTERNAL").format(odd),
        sql.SQL(
            "INSERT INTO {} SELECT i, repeat('x', 4000) FROM generate_series(1, 3000) AS i"
        ).format(odd),
        "CREATE TABLE small (id int)",
        "INSERT INTO small VALUES (1)",
        "CREATE TABLE wide (id int, note text)",
        "INSERT INTO wide SELECT i, repeat('y', 100) FROM generate_series(1, 100000) AS i",
        "CREATE INDEX ON wide (id)",
        "VACUUM ANALYZE",
    )
    (quoted,) = ask(url, "SELECT 'public.' || quote_ident(%s)", ODD_NAME)[0]

    report = growth(url)

    index_bytes = ask(url, "SELECT pg_relation_size('wide_id_idx')")[0][0]
    # The odd table's own index and the small table stay below a megabyte.
    assert sizes(report) == {
        "public.wide": bytes_of(url, "wide"),
        quoted: bytes_of(url, quoted),
        "public.wide.wide_id_idx": float(index_bytes),
    }
    total = ask(url, "SELECT pg_database_size(current_database())")[0][0]
    assert report.facts["database_bytes"] == pytest.approx(total, abs=MEGABYTE)
    assert [f.code for f in report.findings] == ["database-growth"]
    assert "growth is withheld" in report.summary


def test_what_was_never_vacuumed_and_what_has_grown_since_is_measured_anew(url: str) -> None:
    run_all(
        url,
        "CREATE TABLE fresh (id int, note text) WITH (autovacuum_enabled = off)",
        "CREATE TABLE grown (id int, note text) WITH (autovacuum_enabled = off)",
        "INSERT INTO grown SELECT i, repeat('y', 100) FROM generate_series(1, 1000) AS i",
        "VACUUM ANALYZE grown",
    )
    fill = "SELECT i, repeat('y', 100) FROM generate_series(1, 30000) AS i"
    with Client(url) as client:
        client.run(f"INSERT INTO fresh {fill}")
        client.run(f"INSERT INTO grown {fill}")
    expected = {f"public.{name}": bytes_of(url, name) for name in ("fresh", "grown")}

    # The server counts rows when the session that wrote them is at rest.
    eventually(lambda: sizes(growth(url)) == expected, 20, "both tables are measured")


def test_the_partitions_of_a_table_are_one_table_and_its_indexes_one_index(url: str) -> None:
    run_all(url, "CREATE TABLE event (day int, n int, note text) PARTITION BY RANGE (day)")
    for day in range(4):
        run_all(
            url,
            f"CREATE TABLE event_{day} PARTITION OF event FOR VALUES FROM ({day}) TO ({day + 1})",
            f"INSERT INTO event SELECT {day}, i, repeat('z', 50) FROM generate_series(1, 30000) i",
        )
    run_all(url, "CREATE INDEX event_n ON event (n)", "VACUUM ANALYZE event")

    found = sizes(growth(url))

    leaves = "SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('event_n') WHERE isleaf"
    assert found == {
        "public.event": bytes_of(url, *(f"event_{day}" for day in range(4))),
        "public.event.event_n": float(ask(url, leaves)[0][0]),
    }


def test_a_locked_table_is_neither_waited_for_nor_stored(url: str) -> None:
    run_all(
        url,
        "CREATE TABLE busy AS SELECT i, repeat('y', 100) FROM generate_series(1, 30000) AS i",
        "CREATE TABLE free AS SELECT i, repeat('y', 100) FROM generate_series(1, 30000) AS i",
        "VACUUM ANALYZE",
    )
    with Client(url) as client:
        client.run("BEGIN; LOCK TABLE busy")
        report = growth(url, lock_timeout_seconds=60)

    assert set(sizes(report)) == {"public.free"}
    locked = by_subject(report)["sizes"]
    assert locked.measured is False
    assert "public.busy" in locked.sentence


def test_connect_is_the_only_right_that_sizes_need(url: str) -> None:
    run_all(
        url,
        "CREATE TABLE t AS SELECT i, repeat('y', 100) FROM generate_series(1, 30000) AS i",
        "VACUUM ANALYZE",
    )
    with narrow_role(url) as narrow:
        assert sizes(growth(narrow)) == sizes(growth(url))


# --- Numbers ---


@pytest.fixture
def numbered(url: str) -> str:
    """Keys of every kind, some near their end."""
    odd = sql.Identifier(ODD_NAME)
    run_all(
        url,
        "CREATE TABLE book (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY)",
        "SELECT setval('book_id_seq', 1700000000)",
        "CREATE TABLE loan (id serial PRIMARY KEY, book_id int REFERENCES book)",
        "CREATE TABLE by_hand (id int PRIMARY KEY)",
        "INSERT INTO by_hand VALUES (-5), (2000000000)",
        "CREATE TABLE empty_by_hand (id int PRIMARY KEY)",
        "CREATE TABLE profile (id int PRIMARY KEY REFERENCES loan)",  # its numbers are loan's
        "CREATE TABLE code (id bigint PRIMARY KEY)",
        "INSERT INTO code VALUES (32767)",
        "CREATE TABLE use_of_code (code_id smallint REFERENCES code)",
        # A bigint sequence on an int4 column: the column ends first.
        "CREATE SEQUENCE wide_seq",
        "CREATE TABLE narrow (id int PRIMARY KEY DEFAULT nextval('wide_seq'))",
        "SELECT setval('wide_seq', 2100000000)",
        sql.SQL("CREATE TABLE {} (id smallint PRIMARY KEY)").format(odd),
        sql.SQL("INSERT INTO {} VALUES (32000)").format(odd),
    )
    return url


def test_each_key_that_fills_up_is_named_with_its_numbers(numbered: str) -> None:
    report = numbers(numbered)

    found = by_subject(report)
    (odd,) = (subject for subject in found if "BOOKS" in subject or "\N{BOOKS}" in subject)
    assert {subject: (f.code, f.severity) for subject, f in found.items()} == {
        "public.wide_seq": ("sequence-near-end", Severity.CRITICAL),
        "public.by_hand.id": ("key-near-end", Severity.CRITICAL),
        odd: ("key-near-end", Severity.CRITICAL),
        "public.loan.book_id": ("narrow-foreign-key", Severity.WARNING),
        "public.use_of_code.code_id": ("narrow-foreign-key", Severity.CRITICAL),
    }
    assert found["public.wide_seq"].evidence["end"] == 2**31 - 1
    assert found["public.by_hand.id"].evidence["highest"] == 2_000_000_000
    assert found["public.loan.book_id"].evidence["highest"] == 1_700_000_000
    assert found["public.use_of_code.code_id"].evidence["highest"] == 32_767
    assert report.summary.startswith("5 sequences or keys near their end (")


def test_without_rights_numbers_are_withheld_and_not_zero(numbered: str) -> None:
    with narrow_role(numbered) as narrow:
        report = numbers(narrow)

    assert report.findings
    assert not [f for f in report.findings if f.severity.rank > Severity.INFO.rank]
    unavailable = {f.code for f in report.findings if not f.measured}
    assert unavailable == {"sequence-value", "key-value"}
    assert report.samples == ()


def test_a_locked_key_is_not_waited_for(numbered: str) -> None:
    with Client(numbered) as client:
        client.run("BEGIN; LOCK TABLE by_hand")
        report = numbers(numbered)

    withheld = by_subject(report)["integer keys"]
    assert withheld.sentence.endswith(
        "needs a lock that somebody else holds or awaits: public.by_hand.id"
    )
    assert "public.by_hand.id" not in by_subject(report)


def test_numbers_that_cannot_be_measured_leave_the_sizes_standing(url: str) -> None:
    with Client(url) as client:
        client.run("BEGIN; LOCK TABLE pg_catalog.pg_sequence")
        report = review_database_growth(job(url), Thresholds())

    assert by_subject(report)["sequences and keys"].sentence == (
        "unavailable: the check of sequences and keys needs another attempt: PostgreSQL ended it"
        " (canceling statement due to lock timeout)"
    )
    assert report.facts["database_bytes"] > 0
    assert [s.metric for s in report.samples] == ["database_bytes"]


# --- With the history of a real ledger ---


@pytest.mark.django_db(transaction=True)
def test_what_earlier_runs_stored_gives_dates_at_the_terminal(numbered: str) -> None:
    first = review_database_growth(job(numbered), Thresholds())
    task = task_named("review_database_growth")
    run = claims.claim(
        ledger.create_run(task, "site", {}, Origin(Trigger.CLI)).id, task, "site", {}, "worker@crew"
    )
    ledger.finish(run, RunState.SUCCEEDED, first)
    for sample in list(StoredSample.objects.all()):
        for weeks in range(1, 9):  # eight weeks of steady use
            share = 1 - 0.01 * weeks
            StoredSample.objects.create(
                run=run,
                target="site",
                metric=sample.metric,
                subject=sample.subject,
                value=sample.value * share,
                measured_at=timezone.now() - timedelta(weeks=weeks),
            )
    target = DatabaseTarget(url=numbered, size_limit_bytes=1024**4)

    sizes_report, numbers_report = run_analyses(
        "site", target, ["growth", "sequences"], Thresholds(), LedgerRuns()
    )

    assert "a week" in sizes_report.summary
    assert sizes_report.facts["measurements"] == 9
    finding = by_subject(numbers_report)["public.wide_seq"]
    # 2 % are missing, 1 % of what is used is drawn in a week.
    about = timezone.now() + timedelta(weeks=(2**31 / 2_100_000_000 - 1) / 0.01)
    assert f"that is about {about:%Y-%m-%d}" in finding.sentence
    assert finding.evidence["measurements"] == 9
