"""Prepared transactions and slots of a real server: named where they block or hold back VACUUM."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.postgres.activity import review as activity
from maintenance.postgres.activity.sessions import xmin_holders
from maintenance.postgres.connection import connect
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.run import reindex_bloated_indexes
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import Client, ask
from tests.servers import FAST_POSTGRES

#: Everything that lasts at all is long.
IMPATIENT = Thresholds(long_running_seconds=1e-6)

SETTINGS = {**FAST_POSTGRES, "wal_level": "logical", "max_prepared_transactions": "5"}


@pytest.fixture(scope="module")
def server(server_root: Path) -> Iterator[EmbeddedPostgres]:
    """A server that takes prepared transactions and logical slots."""
    with EmbeddedPostgres(
        server_root / "prepared", secrets.token_hex(16), settings=SETTINGS
    ) as server:
        yield server


@pytest.fixture
def url(server: EmbeddedPostgres) -> Iterator[str]:
    """A database with one table of three rows."""
    name = f"test_{secrets.token_hex(6)}"
    server.ensure_database(name)
    url = server.url(name)
    ask(url, "CREATE TABLE shelf AS SELECT id, 'a' AS name FROM generate_series(1, 3) AS id")
    yield url
    ask(server.url(), f"DROP DATABASE {name} (FORCE)")


def job(url: str) -> Job[DatabaseTarget, NoOptions]:
    return Job("site", DatabaseTarget(url=url), NoOptions())


def of_code(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def test_a_prepared_transaction_is_named_as_blocker_and_as_holder(url: str) -> None:
    gid = 'it\'s "forgotten"'
    with Client(url) as client, Client(url) as waiter:
        client.run("BEGIN; UPDATE shelf SET name = 'b' WHERE id = 1")
        client.run("PREPARE TRANSACTION 'it''s \"forgotten\"'")
        try:
            waiter.start("UPDATE shelf SET name = 'c' WHERE id = 1")

            def blocked() -> list[Finding]:
                return of_code(activity.blocking(job(url), IMPATIENT), "blocking")

            eventually(lambda: len(blocked()) == 1, 10, "the session waits")
            (finding,) = blocked()
            assert finding.sentence.startswith(f'The prepared transaction "{gid}" keeps 1 session')
            assert "'it''s \"forgotten\"'" in finding.advice
            assert finding.commands == ()
            held = of_code(activity.xmin(job(url), IMPATIENT), "xmin-held")
            assert f"prepared transaction {gid}" in {f.subject for f in held}
        finally:
            ask(url, "ROLLBACK PREPARED 'it''s \"forgotten\"'")


def test_a_logical_slot_holds_rows_of_catalogs_alone(url: str) -> None:
    ask(url, "SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
    try:
        report = activity.xmin(job(url), IMPATIENT)
        (table,) = report.tables
        (row,) = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
        assert (row["kind"], row["name"]) == ("replication slot", "forgotten")
        assert (row["holds"], row["state"]) == ("system catalogs", "inactive")
        assert row["kept_wal_bytes"] >= 0
        # What VACUUM of a table looks for is not among it.
        with connect(DatabaseTarget(url=url)) as conn:
            assert xmin_holders(conn) == []
    finally:
        ask(url, "SELECT pg_drop_replication_slot('forgotten')")


def test_a_prepared_transaction_that_a_rebuild_would_wait_for_is_named(url: str) -> None:
    ask(url, "CREATE INDEX shelf_id ON shelf (id)")

    def rebuild(**options: Any) -> Report:
        given = ReindexOptions(indexes=("shelf_id",), **options)
        return reindex_bloated_indexes(Job("site", DatabaseTarget(url=url), given), IMPATIENT)

    with Client(url) as client:
        client.run("BEGIN; DELETE FROM shelf WHERE id = 1; PREPARE TRANSACTION 'forgotten'")
    try:
        before = rebuild(oldest_transaction_seconds=1e-6)
        during = rebuild(locker_patience_seconds=0.5)
    finally:
        ask(url, "ROLLBACK PREPARED 'forgotten'")
    (refused,) = (o for o in before.outcomes if o.verdict is Verdict.REFUSED)
    assert 'the prepared transaction "forgotten"' in refused.sentence
    (blocked,) = (o for o in during.outcomes if o.action.kind == "reindex")
    assert blocked.verdict is Verdict.BLOCKED
    assert "for a prepared transaction" in blocked.sentence
    (leftover,) = of_code(during, "reindex-leftover")
    assert 'the prepared transaction "forgotten"' in leftover.sentence

    after = rebuild()

    assert [o.action.kind for o in after.outcomes] == ["drop leftover", "reindex"]
    assert ask(url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
