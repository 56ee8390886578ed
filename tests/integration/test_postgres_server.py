"""The server against planted truth: checkpoints, archiving, slots, a standby, temporary files."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import Skipped
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.postgres.rewrite.options import VacuumFullOptions
from maintenance.postgres.rewrite.run import vacuum_full
from maintenance.postgres.server import review
from maintenance.postgres.server.review import review_database_server
from maintenance.postgres.vacuum.health import review_vacuum_health
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role
from tests.servers import FAST_POSTGRES

MIB = 1024**2
SEGMENT = 16 * MIB

#: A small site notices what a large one may ignore.
IMPATIENT = Thresholds(
    slot_retained_warning_bytes=2 * SEGMENT,
    standby_lag_bytes=2 * MIB,
    temporary_files_bytes_per_day=1024,
)

#: As small as it goes: a checkpoint is requested after each segment.
WATCHED = {
    **FAST_POSTGRES,
    "max_wal_size": "32MB",
    "min_wal_size": "32MB",
    "checkpoint_timeout": "1h",
    "checkpoint_completion_target": "0",
    "archive_mode": "on",
    "wal_keep_size": "0",
}

Report_ = Callable[[Job[DatabaseTarget, NoOptions], Thresholds], Report]


def look(
    url: str, state: dict[str, Any] | None = None, of: Report_ = review_database_server
) -> Report:
    job = Job("site", DatabaseTarget(url=url), NoOptions(), previous_state=state or {})
    return of(job, IMPATIENT)


def of_code(report: Report, code: str) -> dict[str, Finding]:
    return {f.subject: f for f in report.findings if f.code == code}


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture(scope="module")
def pair(server_root: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A primary with a damaged table in the database "damaged", and a standby that follows it."""
    password = secrets.token_hex(16)
    primary = EmbeddedPostgres(server_root / "server-primary", password, settings=WATCHED)
    with primary:
        primary.ensure_database("damaged")
        damaged = primary.url("damaged")
        ask(damaged, "CREATE TABLE broken AS SELECT generate_series(1, 100) AS id")
        ((file,),) = ask(damaged, "SELECT pg_relation_filepath('broken')")
    standby_dir = server_root / "server-standby"
    subprocess.run(["cp", "-a", primary.state_dir, standby_dir], check=True)
    with (primary.data_dir / file).open("r+b") as page:
        page.seek(4000)
        page.write(b"changed by the disk")
    with primary:
        conninfo = f"host=127.0.0.1 port={primary.port} user=postgres password={password}"
        standby = EmbeddedPostgres(
            standby_dir,
            password,
            settings={
                **WATCHED,
                "archive_mode": "off",
                "max_standby_streaming_delay": "0",
                "primary_conninfo": f"{conninfo} application_name=replica",
            },
        )
        (standby.data_dir / "standby.signal").touch()
        with standby:
            eventually(lambda: _streams(primary), 20, "the standby streams")
            yield primary, standby


def _streams(primary: EmbeddedPostgres) -> bool:
    return bool(ask(primary.url(), "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))


@pytest.fixture
def primary(pair: tuple[EmbeddedPostgres, EmbeddedPostgres]) -> str:
    return pair[0].url()


@pytest.fixture
def standby(pair: tuple[EmbeddedPostgres, EmbeddedPostgres]) -> str:
    return pair[1].url()


def requested(url: str) -> int:
    ((version,),) = ask(url, "SELECT current_setting('server_version_num')::int")
    query = (
        "SELECT num_requested FROM pg_stat_checkpointer"
        if version >= 170_000
        else "SELECT checkpoints_req FROM pg_stat_bgwriter"
    )
    ((count,),) = ask(url, query)
    return int(count)


def write_segment(url: str) -> None:
    ask(url, "SELECT pg_logical_emit_message(false, 'test', 'a record for this segment')")
    ask(url, "SELECT pg_switch_wal()")


def test_checkpoints_that_wal_requests_lead_to_a_larger_max_wal_size(primary: str) -> None:
    first = look(primary, of=review.report_checkpoints)
    before = requested(primary)
    while requested(primary) < before + 6:
        write_segment(primary)
    report = look(primary, dict(first.state), of=review.report_checkpoints)

    finding = of_code(report, "checkpoints-requested")["max_wal_size"]
    assert finding.evidence["requested"] >= 6
    # 14 counts late: one that was requested before the first look may be among them.
    assert finding.evidence["requested_by_wal"] in range(5, finding.evidence["requested"] + 1)
    assert finding.commands[0] == "ALTER SYSTEM SET max_wal_size = '1GB';"
    assert finding.undo[0] == "ALTER SYSTEM SET max_wal_size = '32MB';"
    assert "the last look" in finding.sentence


def test_checkpoints_by_command_are_not_blamed_on_wal(primary: str) -> None:
    first = look(primary, of=review.report_checkpoints)
    before = requested(primary)
    for _ in range(7):
        ask(primary, "CHECKPOINT")
    eventually(lambda: requested(primary) >= before + 6, 10, "the checkpoints are counted")
    report = look(primary, dict(first.state), of=review.report_checkpoints)
    assert of_code(report, "checkpoints-requested") == {}
    assert of_code(report, "checkpoints-by-command")["checkpoints"].evidence["requested"] >= 6


def test_an_archive_is_judged_by_its_last_attempt(primary: str) -> None:
    write_segment(primary)
    nowhere = of_code(look(primary), "archiver-without-destination")["archiver"]
    assert nowhere.evidence["waiting_files"] >= 1

    def archives_by(command: str, until: str) -> None:
        ask(primary, f"ALTER SYSTEM SET archive_command = '{command}'")
        ask(primary, "SELECT pg_reload_conf()")
        query = f"SELECT {until} FROM pg_stat_archiver"
        eventually(lambda: ask(primary, query) == [(True,)], 20, f"{command}: {until}")

    try:
        archives_by("false", "failed_count > 0")
        failing = of_code(look(primary), "archiver-failing")["archiver"]
        assert failing.severity is Severity.CRITICAL
        assert "nothing has ever been archived" in failing.sentence
        write_segment(primary)
        archives_by("true", "last_archived_time > last_failed_time")
        eventually(lambda: not waiting_for_archive(primary), 20, "everything is archived")
        report = look(primary, of=review.report_checkpoints)
        assert not [f for f in report.findings if f.subject == "archiver"]
    finally:
        ask(primary, "ALTER SYSTEM RESET archive_command")
        ask(primary, "SELECT pg_reload_conf()")


def waiting_for_archive(primary: str) -> list[str]:
    found = ask(primary, "SELECT name FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")
    return [name for (name,) in found]


def test_an_archive_command_that_hangs_is_behind(primary: str) -> None:
    ((folder,),) = ask(primary, "SHOW data_directory")
    released = Path(folder) / "released"  # commands run in the data directory
    ask(primary, "ALTER SYSTEM SET archive_command = 'until test -e released; do sleep 0.1; done'")
    ask(primary, "SELECT pg_reload_conf()")
    try:
        released.touch()
        eventually(lambda: not waiting_for_archive(primary), 20, "everything is archived")
        released.unlink()
        write_segment(primary)
        assert not [f for f in look(primary).findings if f.subject == "archiver"]
        for name in waiting_for_archive(primary):
            ready = Path(folder) / "pg_wal" / "archive_status" / name
            os.utime(ready, (ready.stat().st_mtime - 7200,) * 2)
        (for_long,) = of_code(look(primary), "archiver-behind").values()
        assert "has done so for 2 hours, without a failure" in for_long.sentence
        for _ in range(2):
            write_segment(primary)
        (much,) = of_code(look(primary, of=review.report_checkpoints), "archiver-behind").values()
        assert much.evidence["waiting_files"] >= 3
        released.touch()
        eventually(lambda: not waiting_for_archive(primary), 20, "everything is archived")
    finally:
        released.touch()
        ask(primary, "ALTER SYSTEM RESET archive_command")
        ask(primary, "SELECT pg_reload_conf()")


def test_an_inactive_slot_is_named_with_what_it_keeps(primary: str) -> None:
    ask(primary, "SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        inactive = of_code(look(primary), "slot-inactive")["forgotten"]
        assert inactive.severity is Severity.INFO
        for _ in range(3):
            write_segment(primary)
        ((kept,),) = ask(
            primary,
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint"
            " FROM pg_replication_slots WHERE slot_name = 'forgotten'",
        )
        report = look(primary, of=review.report_replication)
        finding = of_code(report, "slot-retains-wal")["forgotten"]
        assert 2 * SEGMENT <= kept <= finding.evidence["retained_bytes"] <= kept + SEGMENT
        assert "nothing stops it before the disk is full" in finding.sentence
    finally:
        ask(primary, "SELECT pg_drop_replication_slot('forgotten')")
    assert "forgotten" not in {f.subject for f in look(primary).findings}


def test_a_slot_that_was_left_too_long_is_lost(primary: str) -> None:
    ask(primary, "SELECT pg_create_physical_replication_slot('doomed', true)")
    ask(primary, "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    ask(primary, "SELECT pg_reload_conf()")

    def is_lost() -> bool:
        write_segment(primary)
        ask(primary, "CHECKPOINT")
        return "doomed" in of_code(look(primary, of=review.report_replication), "slot-lost")

    try:
        eventually(is_lost, 20, "the slot is lost")
        finding = of_code(look(primary), "slot-lost")["doomed"]
        assert finding.severity is Severity.WARNING
        ask(primary, finding.commands[0])
    finally:
        ask(primary, "ALTER SYSTEM RESET max_slot_wal_keep_size")
        ask(primary, "SELECT pg_reload_conf()")
    assert "doomed" not in {f.subject for f in look(primary).findings}


def test_a_query_that_a_standby_cancels_is_counted(primary: str, standby: str) -> None:
    ask(primary, "CREATE TABLE seen AS SELECT generate_series(1, 1000) AS id")
    eventually(
        lambda: ask(standby, "SELECT to_regclass('seen') IS NOT NULL") == [(True,)],
        10,
        "the table has arrived",
    )
    first = look(standby, of=review.report_replication)
    with Client(standby) as reader:
        reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM seen")
        ask(primary, "DELETE FROM seen")
        ask(primary, "VACUUM (TRUNCATE FALSE) seen")

        found: list[Finding] = []

        def is_counted() -> bool:
            try:
                report = look(standby, dict(first.state), of=review.report_replication)
            except psycopg2.errors.SerializationFailure:
                return False  # the look itself was in the way, and is counted with the reader
            found[:] = of_code(report, "standby-conflicts").values()
            return bool(found)

        eventually(is_counted, 20, "the conflict is counted")
    (finding,) = found
    assert finding.evidence["snapshot"] >= 1
    assert "hot_standby_feedback" in finding.advice


def test_a_standby_that_reports_what_it_sees_holds_up_no_rewrite(
    primary: str, standby: str
) -> None:
    ask(primary, "CREATE TABLE worth AS SELECT i, repeat('x', 200) FROM generate_series(1, 9000) i")
    ask(primary, "DELETE FROM worth WHERE i % 4 > 0")
    reports = "SELECT 1 FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
    ask(standby, "ALTER SYSTEM SET hot_standby_feedback = on")
    ask(standby, "SELECT pg_reload_conf()")
    try:
        eventually(lambda: ask(primary, reports) == [(1,)], 30, "the standby reports")
        options = VacuumFullOptions(tables=("worth",), dry_run=True, lock_limit_seconds=60)
        report = vacuum_full(Job("site", DatabaseTarget(url=primary), options), Thresholds())
    finally:
        ask(standby, "ALTER SYSTEM RESET hot_standby_feedback")
        ask(standby, "SELECT pg_reload_conf()")
        ask(primary, "DROP TABLE worth")
    assert [one.verdict for one in report.outcomes] == [Verdict.PLANNED]


def test_a_standby_is_named_when_it_falls_behind(primary: str, standby: str) -> None:
    loose = of_code(look(primary), "standby-without-slot")
    assert set(loose) == {"replica"}
    ask(standby, "SELECT pg_wal_replay_pause()")
    try:
        ask(primary, f"SELECT pg_logical_emit_message(false, 'test', repeat('x', {3 * MIB}))")
        eventually(lambda: "replica" in of_code(look(primary), "standby-lag"), 10, "it is behind")
        behind = of_code(look(primary, of=review.report_replication), "standby-lag")["replica"]
        assert behind.evidence["lag_bytes"] >= 2 * MIB
        assert "MB behind" in behind.sentence
        eventually(
            lambda: "replay" in of_code(look(standby), "replay-paused"), 10, "the pause is named"
        )
        with narrow_role(primary) as narrow:
            withheld = of_code(look(narrow), "standby-lag")
            assert [f.measured for f in withheld.values()] == [False]
    finally:
        ask(standby, "SELECT pg_wal_replay_resume()")
    eventually(lambda: not of_code(look(primary), "standby-lag"), 10, "the standby has caught up")
    report = look(standby)
    results = dict(report.tables[0].rows)
    assert results["checkpoints"] == "the checkpoints of a standby follow its primary's"
    assert results["standbys"] == "this server is a standby itself, with no standby behind it"


def test_a_standby_is_not_vacuumed(standby: str) -> None:
    job = Job("site", DatabaseTarget(url=standby), NoOptions())
    with pytest.raises(Skipped, match="standby"):
        review_vacuum_health(job, Thresholds())


def test_a_page_that_the_disk_changed_is_critical(
    pair: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    url = pair[0].url("damaged")
    assert of_code(look(url, of=review.report_checksums), "checksum-failures") == {}
    with pytest.raises(psycopg2.Error, match="invalid page"):
        ask(url, "SELECT count(*) FROM broken")

    def named() -> bool:
        return "damaged" in of_code(look(url, of=review.report_checksums), "checksum-failures")

    eventually(named, 10, "the damaged database is named")
    finding = of_code(look(url), "checksum-failures")["damaged"]
    assert finding.severity is Severity.CRITICAL
    assert finding.evidence["failures"] >= 1


def test_temporary_files_are_those_of_the_period(url: str) -> None:
    with Client(url) as client:
        client.run(
            "SET work_mem = '64kB'; SELECT count(*) FROM"
            " (SELECT i FROM generate_series(1, 200000) AS i ORDER BY -i OFFSET 0) AS s"
        )

    def truth() -> tuple[int, int]:
        ((files, size),) = ask(
            url,
            "SELECT temp_files, temp_bytes FROM pg_stat_database WHERE datname = current_database()",
        )
        return files, size

    eventually(lambda: truth()[0] > 0, 10, "temporary files are counted")
    report = look(url, of=review.report_temporary_files)
    finding = of_code(report, "temporary-files")["work_mem"]
    assert (finding.evidence["files"], finding.evidence["size_bytes"]) == truth()
    again = look(url, dict(report.state), of=review.report_temporary_files)
    assert again.findings == ()
    assert again.summary.startswith("Nothing to do: no temporary file in the ")


def test_the_reset_of_one_table_leaves_temporary_files_to_their_time(url: str) -> None:
    ask(url, "CREATE TABLE lasting AS SELECT 1 AS id")
    ask(url, "CREATE TABLE reset_alone AS SELECT 1 AS id")
    ask(url, "ANALYZE lasting")
    with Client(url) as client:
        client.run(
            "SET work_mem = '64kB'; SELECT count(*) FROM"
            " (SELECT i FROM generate_series(1, 200000) AS i ORDER BY -i OFFSET 0) AS s"
        )
        client.run("SELECT pg_stat_force_next_flush()")

    def first_look() -> Report:
        return look(url, of=review.report_temporary_files)

    eventually(lambda: first_look().findings != (), 10, "temporary files are counted")
    first = first_look()
    ask(url, "SELECT pg_stat_reset_single_table_counters('reset_alone'::regclass)")
    second = look(url, dict(first.state), of=review.report_temporary_files)
    assert second.findings == ()
    assert [sample.value for sample in second.samples] == [0]
    assert second.summary.startswith("Nothing to do: no temporary file in the ")

    ask(url, "SELECT pg_stat_reset()")

    def third_look() -> Report:
        return look(url, dict(second.state), of=review.report_temporary_files)

    eventually(
        lambda: "since the last look" not in third_look().summary, 10, "the reset of all is seen"
    )


def test_a_deadlock_is_counted(url: str) -> None:
    ask(url, "CREATE TABLE account AS SELECT generate_series(1, 2) AS id, 0 AS n")
    with Client(url) as one, Client(url) as two:
        for client, row in ((one, 1), (two, 2)):
            client.run("SET deadlock_timeout = '10ms'")
            client.run(f"BEGIN; UPDATE account SET n = 1 WHERE id = {row}")
        one.start("UPDATE account SET n = 1 WHERE id = 2")
        with suppress(psycopg2.errors.DeadlockDetected):
            two.run("UPDATE account SET n = 1 WHERE id = 1")
    eventually(
        lambda: "deadlocks" in of_code(look(url), "deadlocks"), 10, "the deadlock is counted"
    )
    assert of_code(look(url), "deadlocks")["deadlocks"].evidence["deadlocks"] == 1


def test_an_older_extension_is_updated_by_the_command(url: str) -> None:
    ask(url, "CREATE EXTENSION pg_stat_statements VERSION '1.4'")
    finding = of_code(look(url), "extension-update")["pg_stat_statements"]
    assert finding.evidence["installed_version"] == "1.4"
    assert finding.undo == ()
    assert "no way back" in finding.advice
    ask(url, finding.commands[0])
    assert of_code(look(url, of=review.report_extensions), "extension-update") == {}


def test_an_extension_without_files_is_named(url: str) -> None:
    ask(url, "CREATE EXTENSION pg_stat_statements")
    ask(url, "UPDATE pg_extension SET extname = %s WHERE extname = 'pg_stat_statements'", ODD_NAME)
    assert set(of_code(look(url), "extension-files-missing")) == {ODD_NAME}


def test_a_collation_whose_version_changed_names_the_indexes_in_its_order(url: str) -> None:
    # One with a version, of the server itself or of ICU; without any, C does for all but the cure.
    tracked = ask(url, "SELECT collname FROM pg_collation WHERE collversion IS NOT NULL LIMIT 1")
    odd, original = sql.Identifier(ODD_NAME), sql.Identifier(tracked[0][0] if tracked else "C")
    ask(url, sql.SQL("CREATE COLLATION {} FROM {}").format(odd, original))
    ask(url, sql.SQL("CREATE TABLE t (a text COLLATE {}, b int PRIMARY KEY)").format(odd))
    ask(url, sql.SQL("CREATE INDEX {} ON t (a)").format(odd))
    ask(url, "CREATE INDEX plain ON t (b)")
    ask(url, "CREATE INDEX pattern ON t (a text_pattern_ops)")
    ask(url, "CREATE INDEX hashed ON t USING hash (a)")
    assert of_code(look(url), "collation-version").keys() <= {"the database's own collation"}
    ask(url, "UPDATE pg_collation SET collversion = 'old' WHERE collname = %s", ODD_NAME)

    ((name,),) = ask(url, "SELECT 'public.' || quote_ident(%s)", ODD_NAME)
    finding = of_code(look(url), "collation-version")[name]
    assert finding.severity is Severity.WARNING
    assert finding.evidence["indexes"] == [name]
    assert finding.commands == (
        f"REINDEX INDEX CONCURRENTLY {name};",
        f"ALTER COLLATION {name} REFRESH VERSION;",
    )
    if tracked:
        for command in finding.commands:
            ask(url, command)
        assert name not in of_code(look(url), "collation-version")


def test_the_database_s_own_collation_is_tracked_from_15_on(url: str) -> None:
    ((version, name),) = ask(
        url, "SELECT current_setting('server_version_num')::int, current_database()"
    )
    if version < 150_000:
        withheld = of_code(look(url), "collation-version")["the database's own collation"]
        assert not withheld.measured
        return
    ask(url, "CREATE TABLE t (a text PRIMARY KEY)")
    ask(url, "UPDATE pg_database SET datcollversion = 'old' WHERE datname = current_database()")
    finding = of_code(look(url), "collation-version")[name]
    assert finding.commands[-1] == f"ALTER DATABASE {name} REFRESH COLLATION VERSION;"
    assert "public.t_pkey" in finding.evidence["indexes"]


@pytest.mark.parametrize("membership", [(), ("pg_monitor",)])
def test_without_rights_nothing_fails_and_nothing_is_made_up(
    url: str, membership: tuple[str, ...]
) -> None:
    with narrow_role(url, *membership) as narrow:
        report = look(narrow)
    assert not [result for _, result in report.tables[0].rows if "not be measured" in result]
    assert all(f.measured or f.code == "collation-version" for f in report.findings)
