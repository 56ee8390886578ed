"""A replica of its own reads an index that the primary does not."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg2
import pytest
from psycopg2.extras import PhysicalReplicationConnection

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.indexes.options import UnusedIndexOptions
from maintenance.postgres.indexes.unused import report_unused_indexes
from service.embedded.account import make_passable_directory, server_account
from service.embedded.binaries import locate_postgres
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.servers import FAST_POSTGRES

DATABASE = "replicated"
SCANS = 50
PASSED = UnusedIndexOptions(minimum_bytes=0, window_seconds=0.000_001)


@pytest.fixture(scope="module")
def primary(postgres_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """The session's server with a database that has two indexes nobody has read."""
    postgres_server.ensure_database(DATABASE)
    url = postgres_server.url(DATABASE)
    ask(url, "CREATE TABLE t AS SELECT i AS there, i AS nowhere FROM generate_series(1, 2000) AS i")
    ask(url, "CREATE INDEX on_there ON t (there); CREATE INDEX on_nowhere ON t (nowhere)")
    yield postgres_server
    ask(postgres_server.url(), f"DROP DATABASE {DATABASE} (FORCE)")


@pytest.fixture(scope="module")
def standby(primary: EmbeddedPostgres, server_root: Path) -> Iterator[EmbeddedPostgres]:
    """A streaming replica of the session's server."""
    parts = urlsplit(primary.url())
    folder, account = server_root / "standby", server_account()
    make_passable_directory(folder, account)
    # Of what pg_basebackup writes, a server that is built with another libpq may refuse options.
    settings = {**FAST_POSTGRES, "primary_conninfo": primary.url()}
    server = EmbeddedPostgres(folder, unquote(parts.password or ""), settings=settings)
    program = locate_postgres().program("pg_basebackup")
    subprocess.run(
        [program, "-D", server.data_dir, "-R", "-c", "fast", "-d", primary.url()], check=True
    )
    if account is not None:
        for path in (server.data_dir, *server.data_dir.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    with server:
        yield server


def unused(primary: EmbeddedPostgres, *replicas: str, unqueried: tuple[str, ...] = ()) -> Report:
    """Return the second of two reports: the first one proves that the indexes exist."""
    target = DatabaseTarget(
        url=primary.url(DATABASE), replicas=replicas, unqueried_replication=unqueried
    )
    job = Job("site", target, PASSED)
    state = report_unused_indexes(job, Thresholds()).state
    return report_unused_indexes(replace(job, previous_state=state), Thresholds())


def names(report: Report) -> set[str]:
    return {finding.subject.rpartition(".")[2] for finding in report.findings}


def scans_there(standby: EmbeddedPostgres) -> int:
    ((scans,),) = ask(
        standby.url(DATABASE),
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'on_there'",
    )
    return int(scans)


def test_what_a_replica_reads_is_in_use(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    with psycopg2.connect(standby.url(DATABASE)) as connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        # Often enough for the rows that were written: once a VACUUM has proved how old the indexes
        # are, one that is read too rarely for them is named as well.
        for there in range(SCANS):
            cursor.execute("SELECT * FROM t WHERE there = %s", [there])
    connection.close()
    eventually(lambda: scans_there(standby) == SCANS, seconds=20, what="the scans are counted")
    ask(primary.url(DATABASE), "VACUUM (FREEZE) t")

    report = unused(primary, standby.url(DATABASE))

    assert names(report) == {"on_nowhere"}, report.summary
    (finding,) = report.findings
    assert "here or on 1 replica" in finding.sentence
    assert finding.commands
    assert report.facts["replicas_asked"] == [f"127.0.0.1:{standby.port}/{DATABASE}"]


def test_a_replica_that_nobody_named_withholds_the_verdict(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    clients = "SELECT count(*) FROM pg_stat_replication"
    eventually(
        lambda: ask(primary.url(), clients) == [(1,)], seconds=20, what="the replica is connected"
    )
    assert standby.port
    report = unused(primary)
    assert names(report) == {"on_there", "on_nowhere"}
    assert "has 1 replication client" in report.summary
    assert not any(finding.commands for finding in report.findings)


def test_one_of_two_asked_withholds_the_verdict_until_the_other_is_known_to_read_nothing(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    replica = standby.url(DATABASE)
    ask(primary.url(), "SELECT pg_create_physical_replication_slot('away')")
    try:
        withheld = unused(primary, replica)
        told = unused(primary, replica, unqueried=("away",))
    finally:
        ask(primary.url(), "SELECT pg_drop_replication_slot('away')")
    assert "has 2 replication clients (away, walreceiver), 1 of them asked" in withheld.summary
    assert not any(finding.commands for finding in withheld.findings)
    assert names(told) == {"on_nowhere"}
    assert all(finding.commands for finding in told.findings)


@pytest.mark.parametrize("receiver", ["pg_receivewal", "barman_receive_wal"])
def test_a_receiver_of_wal_reads_no_index(
    receiver: str, primary: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    client = psycopg2.connect(
        primary.url(), connection_factory=PhysicalReplicationConnection, application_name=receiver
    )
    try:
        report = unused(primary, standby.url(DATABASE))
    finally:
        client.close()
    assert report.facts["replication_clients"] == ["walreceiver"]


def test_a_replica_that_is_down_withholds_the_verdict_without_its_password(
    primary: EmbeddedPostgres,
) -> None:
    report = unused(primary, "postgres://u:secret-word@127.0.0.1:9/site")
    assert "the replica 127.0.0.1:9/site could not be asked: " in report.summary
    assert "secret-word" not in str(report.to_json())
    assert not any(finding.commands for finding in report.findings)


@pytest.mark.parametrize(
    ("replica", "words"),
    [
        ("postgres", "it is no physical replica of this database"),
        (DATABASE, "it is the primary or has become one"),
    ],
)
def test_a_server_that_is_no_replica_is_said_to_be_none(
    primary: EmbeddedPostgres, replica: str, words: str
) -> None:
    assert words in unused(primary, primary.url(replica)).summary


def test_a_replica_whose_address_cannot_be_read_or_is_not_set(primary: EmbeddedPostgres) -> None:
    assert "cannot be read" in unused(primary, "postgres://secret-word@[::1:bad/x y").summary
    for url in ("postgres://secret-word@[::1:bad/x y", "postgres://u:100%secret-word@h/d"):
        report = unused(primary, url)
        assert "the replica (unreadable) could not be asked" in report.summary
        assert "secret-word" not in str(report.to_json())
    summary = unused(primary, "env:NO_SUCH_REPLICA_URL").summary
    assert "the replica env:NO_SUCH_REPLICA_URL could not be asked: " in summary
