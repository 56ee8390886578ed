"""Vacuum health against planted truth: what autovacuum misses, whom it waits for, and wraparound."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.server.review import review_database_server
from maintenance.postgres.vacuum.health import report_wraparound, review_vacuum_health
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role
from tests.postgres_standby import primary_and_standby
from tests.servers import FAST_POSTGRES

QUOTED = '"' + ODD_NAME.replace('"', '""') + '"'

#: A table of ten thousand rows is large here.
SMALL_SITE = Thresholds(autovacuum_large_trigger_rows=1_000)

#: Its smallest value, so that a second of transactions makes a database old.
FREEZE_MAX_AGE = 100_000
MULTIXACT_FREEZE_MAX_AGE = 10_000


@contextmanager
def session(url: str) -> Iterator[Callable[..., None]]:
    """Give a function that runs a statement in autocommit."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor.execute


def job(url: str, state: dict[str, Any] | None = None) -> Job[DatabaseTarget, NoOptions]:
    # The server's own catalogs change with every test: they are not what is looked at here.
    target = DatabaseTarget(url=url, exclude_schemas=("pg_catalog",))
    return Job("site", target, NoOptions(), previous_state=state or {})


def review(url: str, state: dict[str, Any] | None = None) -> Report:
    return review_vacuum_health(job(url, state), SMALL_SITE)


def of_code(report: Report, code: str) -> dict[str, Finding]:
    return {f.subject: f for f in report.findings if f.code == code}


def counted(url: str, table: str, column: str, rows: int) -> None:
    """Wait until a counter has arrived: 14 sends it through a collector, later ones at once."""

    def arrived() -> bool:
        query = f"SELECT {column} FROM pg_stat_all_tables WHERE relid = %s::regclass"
        return ask(url, query, table) == [(rows,)]

    eventually(arrived, 10, f"{column} of {table} is {rows}")


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


def test_a_database_in_order_is_healthy_in_one_sentence(url: str) -> None:
    with session(url) as run:
        run("CREATE TABLE static AS SELECT i FROM generate_series(1, 20) AS i")
        run("CREATE TABLE tidy (id int PRIMARY KEY, note text)")
        run("INSERT INTO tidy SELECT i, 'n' FROM generate_series(1, 500) AS i")
        run("CREATE TABLE empty (id int)")
        run("CREATE TABLE parts (day int) PARTITION BY LIST (day)")
        run("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)")
        run("CREATE MATERIALIZED VIEW few AS SELECT i FROM generate_series(1, 10) AS i")
    counted(url, "tidy", "n_tup_ins", 500)
    with session(url) as run:
        run("VACUUM ANALYZE tidy")
    counted(url, "tidy", "analyze_count", 1)
    report = review(url)

    assert [f for f in report.findings if f.measured] == []
    assert report.summary.startswith("Vacuuming is healthy: 6 tables, the oldest row at 0.0 %")
    # The test's server is young, which is said rather than passed over.
    (withheld,) = of_code(report, "vacuum-history").values()
    assert "counters of at least 1 day" in withheld.sentence


def test_an_overdue_table_becomes_a_warning_only_when_it_stays_so(url: str) -> None:
    with session(url) as run:
        run(f"CREATE TABLE {QUOTED} (id int) WITH (autovacuum_vacuum_threshold = 30000)")
        run(f"INSERT INTO {QUOTED} SELECT generate_series(1, 90000)")
        run(f"DELETE FROM {QUOTED}")
    counted(url, QUOTED, "n_dead_tup", 90_000)

    first = review(url)
    finding = of_code(first, "vacuum-overdue")[f"public.{QUOTED}"]
    assert finding.severity is Severity.INFO
    assert (
        "90,000 dead rows, 3.0 times the 30,000 that make VACUUM due"
        " (autovacuum_vacuum_threshold = 30000, set for this table)" in finding.sentence
    )
    second = review(url, dict(first.state))
    again = of_code(second, "vacuum-overdue")[f"public.{QUOTED}"]
    assert again.severity is Severity.WARNING
    assert "the last look found it overdue as well" in again.sentence

    with session(url) as run:
        for command in again.commands:
            run(command)
    counted(url, QUOTED, "n_dead_tup", 0)
    assert of_code(review(url, dict(second.state)), "vacuum-overdue") == {}


def test_tables_that_keep_autovacuum_away_are_named_with_ddl_that_works(url: str) -> None:
    with session(url) as run:
        run(f"CREATE TABLE {QUOTED} (id int, t text) WITH (autovacuum_enabled = no)")
        run("CREATE TABLE twice (t text) WITH (autovacuum_enabled=0, toast.autovacuum_enabled=off)")
        run("CREATE TABLE behind (t text) WITH (toast.autovacuum_enabled = false)")
        run("CREATE TABLE normal (t text) WITH (autovacuum_enabled = on)")
    off = of_code(review(url), "autovacuum-disabled")

    assert set(off) == {f"public.{QUOTED}", "public.twice", "public.behind (TOAST)"}
    assert {f.severity for f in off.values()} == {Severity.WARNING}
    with session(url) as run:
        for finding in off.values():
            for command in finding.commands:
                run(command)
        assert of_code(review(url), "autovacuum-disabled") == {}
        for finding in off.values():
            for command in finding.undo:
                run(command)
    assert set(of_code(review(url), "autovacuum-disabled")) == set(off)


def test_large_tables_get_settings_of_their_own_and_the_undo_restores_them(url: str) -> None:
    with session(url) as run:
        run("CREATE TABLE large (id int) WITH (autovacuum_analyze_scale_factor = 0.5)")
        run("INSERT INTO large SELECT generate_series(1, 10000)")
        run("DELETE FROM large WHERE id = 1")
        run("CREATE TABLE inserted AS SELECT generate_series(1, 10000) AS id")
    counted(url, "large", "n_tup_del", 1)
    with session(url) as run:
        run("VACUUM ANALYZE large, inserted")
    counted(url, "inserted", "analyze_count", 1)
    advised = of_code(review(url), "autovacuum-table-settings")
    # That a table is only inserted into takes a week to tell; its statistics can be judged now.
    assert advised["public.inserted"].commands == (
        "ALTER TABLE public.inserted SET (autovacuum_analyze_scale_factor = 0.05);",
    )
    finding = advised["public.large"]
    settings = "autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05"
    assert finding.commands == (f"ALTER TABLE public.large SET ({settings});",)

    def options() -> list[str]:
        ((found,),) = ask(url, "SELECT reloptions FROM pg_class WHERE relname = 'large'")
        return sorted(found)

    before = options()
    with session(url) as run:
        for command in finding.commands:
            run(command)
        assert set(of_code(review(url), "autovacuum-table-settings")) == {"public.inserted"}
        for command in finding.undo:
            run(command)
    assert options() == before


def test_columns_without_statistics_are_named_where_the_role_would_see_them(url: str) -> None:
    with session(url) as run:
        run("CREATE TABLE grown AS SELECT generate_series(1, 1000) AS id")
        run("CREATE TABLE few AS SELECT generate_series(1, 40) AS id")
    counted(url, "grown", "n_tup_ins", 1000)
    with session(url) as run:
        run("ANALYZE grown")
        run(f"ALTER TABLE grown ADD COLUMN {QUOTED} int DEFAULT 1")
        run("ALTER TABLE grown ADD COLUMN plain int")
        run("ALTER TABLE grown ALTER COLUMN plain SET STATISTICS 0")
    counted(url, "grown", "analyze_count", 1)

    missing = of_code(review(url), "statistics-missing")
    assert set(missing) == {"public.grown"}
    assert missing["public.grown"].evidence["columns"] == [ODD_NAME]
    assert "1,000 rows" in missing["public.grown"].sentence

    with narrow_role(url, "pg_monitor") as narrow:
        hidden = of_code(review(narrow), "statistics-missing")
    assert set(hidden) == {"tables that may not be read"}
    assert "2 tables" in hidden["tables that may not be read"].sentence
    with session(url) as run:
        run("ANALYZE grown")
    assert of_code(review(url), "statistics-missing") == {}


def test_a_partitioned_table_is_named_once_it_has_rows(url: str) -> None:
    with session(url) as run:
        run("CREATE TABLE log (day int, n int) PARTITION BY LIST (day)")
        run("CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1)")
        run("INSERT INTO log SELECT 1, i FROM generate_series(1, 5000) AS i")
    counted(url, "log_1", "n_tup_ins", 5000)
    (finding,) = of_code(review(url), "partitioned-table-statistics").values()
    assert finding.subject == "public.log"
    with session(url) as run:
        run(finding.commands[0])
    counted(url, "log_1", "n_mod_since_analyze", 0)
    counted(url, "log", "analyze_count", 1)
    assert of_code(review(url), "partitioned-table-statistics") == {}


def test_nothing_waits_for_a_lock(url: str) -> None:
    with session(url) as run:
        run("CREATE TABLE locked AS SELECT generate_series(1, 1000) AS id")
    with Client(url) as holder:
        holder.run("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        # Waiting would end in an error after a tenth of a second.
        target = DatabaseTarget(url=url, lock_timeout_seconds=0.1)
        impatient = Job("site", target, NoOptions())
        assert "tables_examined" in review_vacuum_health(impatient, SMALL_SITE).facts
        findings = review_database_server(impatient, SMALL_SITE).findings
        assert not [f for f in findings if f.code.endswith("-failed")]


@pytest.fixture(scope="module")
def aging_server(server_root: Path) -> Iterator[EmbeddedPostgres]:
    """A server on which transactions grow old fast, and autovacuum is asleep."""
    settings = {
        **FAST_POSTGRES,
        "autovacuum_freeze_max_age": str(FREEZE_MAX_AGE),
        "autovacuum_multixact_freeze_max_age": str(MULTIXACT_FREEZE_MAX_AGE),
        "autovacuum_naptime": "1h",
        "max_prepared_transactions": "5",
        "wal_level": "logical",
    }
    with EmbeddedPostgres(
        server_root / "aging", secrets.token_hex(16), settings=settings
    ) as server:
        yield server


def burn_transactions(url: str, count: int) -> None:
    with session(url) as run:
        run(
            f"DO $$ BEGIN FOR i IN 1..{count} LOOP"
            " PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        )


def test_wraparound_names_the_age_and_who_holds_it_back(aging_server: EmbeddedPostgres) -> None:
    url = aging_server.url()
    with session(url) as run:
        run("CREATE TABLE held (id int) WITH (autovacuum_enabled = off)")
        run("INSERT INTO held SELECT generate_series(1, 10000)")
        run("BEGIN; INSERT INTO held VALUES (0); PREPARE TRANSACTION 'forgotten {x} 100%'")
        run("DELETE FROM held")
    counted(url, "held", "n_dead_tup", 10_000)
    with session(url) as run:
        run("VACUUM held")
    counted(url, "held", "vacuum_count", 1)
    burn_transactions(url, int(FREEZE_MAX_AGE * 1.25))
    ((age,),) = ask(url, "SELECT age(datfrozenxid) FROM pg_database WHERE datname = 'postgres'")

    report = review(url)
    in_vain = of_code(report, "vacuum-removes-nothing")
    finding = in_vain["prepared transaction forgotten {x} 100%"]
    assert "left 10,000 dead rows in public.held, held back by" in finding.sentence
    old = of_code(report, "xid-wraparound")["postgres"]
    assert f"{age:,} transactions old" in old.sentence
    assert 'held back by the prepared transaction "forgotten {x} 100%"' in old.sentence
    assert old.severity is Severity.WARNING
    assert old.commands == ()
    assert "xid-wraparound-forecast" in {f.code for f in report.findings}

    ask(url, "ROLLBACK PREPARED 'forgotten {x} 100%'")
    free = of_code(report_wraparound(job(url), SMALL_SITE), "xid-wraparound")["postgres"]
    assert "Nothing is seen to hold it back" in free.sentence
    with session(url) as run:
        run("VACUUM (FREEZE)")
    report = report_wraparound(job(url), SMALL_SITE)
    assert "postgres" not in of_code(report, "xid-wraparound")


def test_a_transaction_in_another_database_is_found_as_the_cause(
    aging_server: EmbeddedPostgres,
) -> None:
    url = aging_server.url()
    aging_server.ensure_database("neighbour")
    with session(url) as run, Client(aging_server.url("neighbour"), "forgetful") as other:
        run("CREATE TABLE own (id int)")
        other.run("BEGIN; SELECT pg_current_xact_id()")
        burn_transactions(url, int(FREEZE_MAX_AGE * 1.25))
        run("VACUUM (FREEZE)")
        finding = of_code(report_wraparound(job(url), SMALL_SITE), "xid-wraparound")["postgres"]
        assert "held back by process" in finding.sentence
        assert "forgetful" in finding.sentence
        assert 'in database "neighbour"' in finding.sentence
        assert finding.commands == ()
        # Rows of tables are kept by the transactions of their own database alone.
        with session(url) as writer:  # 14 sends the last counters of a session with its end
            writer("INSERT INTO own SELECT generate_series(1, 10000)")
            writer("DELETE FROM own")
        counted(url, "own", "n_dead_tup", 10_000)
        assert "vacuum-removes-nothing" not in {f.code for f in review(url).findings}
        tables = VacuumOptions(tables=("pg_catalog.pg_authid", "own"))
        done = vacuum_analyze(Job("site", DatabaseTarget(url=url), tables), SMALL_SITE)
        said = {outcome.action.subject: outcome.sentence for outcome in done.outcomes}
        assert 'in database "neighbour"' in said["pg_catalog.pg_authid"]
        assert "10,000 dead rows removed" in said["public.own"]
        other.run("COMMIT")
        run("VACUUM (FREEZE)")
    assert "postgres" not in of_code(report_wraparound(job(url), SMALL_SITE), "xid-wraparound")


@pytest.mark.since_postgres(16)
def test_an_invalidated_slot_is_not_the_cause(aging_server: EmbeddedPostgres) -> None:
    url = aging_server.url()
    with session(url) as run:
        run("VACUUM (FREEZE)")
        run("SELECT pg_create_logical_replication_slot('gone', 'pgoutput')")
        run("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        run("SELECT pg_reload_conf()")
        try:
            for _ in range(3):
                run("SELECT pg_logical_emit_message(false, 'x', 'y')")
                run("SELECT pg_switch_wal()")
            run("CHECKPOINT")
            assert ask(url, "SELECT wal_status FROM pg_replication_slots") == [("lost",)]
            burn_transactions(url, int(FREEZE_MAX_AGE * 1.25))
            report = report_wraparound(job(url), SMALL_SITE)
        finally:
            run("SELECT pg_drop_replication_slot('gone')")
            run("ALTER SYSTEM RESET max_slot_wal_keep_size")
            run("SELECT pg_reload_conf()")
        finding = of_code(report, "xid-wraparound")["postgres"]
        assert "Nothing is seen to hold it back" in finding.sentence
        run("VACUUM (FREEZE)")


def test_an_idle_standby_with_feedback_is_not_blamed(server_root: Path) -> None:
    def fill(server: EmbeddedPostgres) -> None:
        with session(server.url()) as run:
            run("ALTER SYSTEM SET hot_standby_feedback = on")
            run("ALTER SYSTEM SET wal_receiver_status_interval = '1s'")
            run("ALTER SYSTEM SET autovacuum_naptime = '1h'")
            run("CREATE TABLE held AS SELECT generate_series(1, 20000) AS id")

    with primary_and_standby(server_root / "feedback", fill) as (primary, _):
        url = primary.url()
        holds = "SELECT count(backend_xmin) FROM pg_stat_activity WHERE backend_type = 'walsender'"
        eventually(lambda: ask(url, holds) == [(1,)], 30, "the standby's feedback")
        with session(url) as run:
            run("VACUUM ANALYZE held")
            run("DELETE FROM held WHERE id < 15000")
        counted(url, "held", "n_dead_tup", 14_999)
        with narrow_role(url) as without_rights, Client(url) as other:
            other.start("SELECT pg_sleep(60)")
            for look in (url, without_rights):
                report = review(look)
                assert not of_code(report, "vacuum-removes-nothing")
                assert "public.held" in of_code(report, "vacuum-overdue")


def test_a_logical_slot_and_a_temporary_table_are_found_as_the_cause(
    aging_server: EmbeddedPostgres,
) -> None:
    url = aging_server.url()
    with session(url) as run, session(url) as owner:
        owner("CREATE TEMP TABLE lasting (id int)")
        burn_transactions(url, int(FREEZE_MAX_AGE * 1.25))
        run("VACUUM (FREEZE)")
        finding = of_code(report_wraparound(job(url), SMALL_SITE), "xid-wraparound")["postgres"]
        assert "held back by the temporary table pg_temp" in finding.sentence
        owner("DROP TABLE lasting")
        run("VACUUM (FREEZE)")
        assert "postgres" not in of_code(report_wraparound(job(url), SMALL_SITE), "xid-wraparound")

        owner("SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
        burn_transactions(url, int(FREEZE_MAX_AGE * 1.25))
        run("VACUUM (FREEZE)")
        finding = of_code(report_wraparound(job(url), SMALL_SITE), "xid-wraparound")["postgres"]
        assert 'held back by the replication slot "forgotten"' in finding.sentence
        owner("SELECT pg_drop_replication_slot('forgotten')")
        run("VACUUM (FREEZE)")


def test_multixacts_grow_old_by_themselves(aging_server: EmbeddedPostgres) -> None:
    url = aging_server.url()
    with session(url) as run, session(url) as other:
        run("CREATE TABLE shared AS SELECT 1 AS id")
        other("BEGIN; SELECT FROM shared FOR SHARE")
        run(
            f"DO $$ BEGIN FOR i IN 1..{int(MULTIXACT_FREEZE_MAX_AGE * 1.25)} LOOP"
            " PERFORM FROM shared FOR SHARE; COMMIT; END LOOP; END $$"
        )
        other("COMMIT")
        ((age,),) = ask(
            url, "SELECT mxid_age(datminmxid) FROM pg_database WHERE datname = 'postgres'"
        )
        old = of_code(report_wraparound(job(url), SMALL_SITE), "multixact-wraparound")["postgres"]
        assert f"{age:,} multixacts old" in old.sentence
        assert age > MULTIXACT_FREEZE_MAX_AGE
        run("VACUUM (FREEZE)")
    report = report_wraparound(job(url), SMALL_SITE)
    assert "postgres" not in of_code(report, "multixact-wraparound")


def test_the_forecast_follows_from_the_looks_of_earlier_runs(url: str) -> None:
    first = report_wraparound(job(url), SMALL_SITE)
    state = dict(first.state["wraparound"])
    ((taken_at, xid, multixact),) = state["looks"]
    # As if the server had been looked at a day and two days ago, 1,000 and 4,000 IDs earlier.
    state["looks"] = [
        [taken_at - 2 * 86_400, xid - 4_000, multixact],
        [taken_at - 86_400, xid - 1_000, multixact],
    ]
    report = report_wraparound(job(url, {"wraparound": state}), SMALL_SITE)
    assert report.facts["transaction_ids_per_day"] == pytest.approx(2_000, rel=0.2)
    assert len(report.state["wraparound"]["looks"]) == 3
    elsewhere = {**state, "system_identifier": "another server"}
    report = report_wraparound(job(url, {"wraparound": elsewhere}), SMALL_SITE)
    assert str(report.facts["transaction_ids_per_day"]).startswith("withheld")
