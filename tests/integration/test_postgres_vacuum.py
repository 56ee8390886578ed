"""VACUUM and ANALYZE where they are needed, with proof: planned, done, verified, or blocked by whom."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import UnknownName
from maintenance.core.job import Job
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.postgres.vacuum import trade
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.output import VacuumOutput, parse_vacuum_output
from maintenance.postgres.vacuum.run import vacuum_analyze
from maintenance.postgres.vacuum.statements import DATABASE_STATISTICS
from tests.postgres_clients import narrow_role

Run = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def session(url: str) -> Iterator[Run]:
    """Give a function that runs a statement in autocommit and returns its rows."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True

        def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

        yield run


def dirty_table(run: Run, name: str) -> None:
    """Create a table with 10,000 dead rows of 20,000, above autovacuum's trigger, and analyzed."""
    run(f'CREATE TABLE "{name}" (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off)')
    run(f'INSERT INTO "{name}" SELECT i, i FROM generate_series(1, 20000) i')
    run("SELECT pg_stat_force_next_flush()")
    run(f'VACUUM ANALYZE "{name}"')
    run(f'DELETE FROM "{name}" WHERE id % 2 = 0')
    run("SELECT pg_stat_force_next_flush()")


def vacuum(url: str, **options: Any) -> Report:
    # The server's own catalogs change with every test: they are not what is looked at here.
    target = DatabaseTarget(url=url, lock_timeout_seconds=0.2, exclude_schemas=("pg_catalog",))
    return vacuum_analyze(Job("site", target, VacuumOptions(**options)), Thresholds())


def outcomes(report: Report) -> dict[str, Outcome]:
    """The outcomes by the name of their table."""
    return {
        o.action.subject: o for o in report.outcomes if o.action.statement != DATABASE_STATISTICS
    }


def vacuum_count(run: Run, name: str) -> int:
    query = "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = %s"
    return int(run(query, name)[0][0])


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database with one table in need and one that is clean."""
    address = make_database()
    with session(address) as run:
        dirty_table(run, 'Dirty "one" 🐘'.replace('"', '""'))
        run("CREATE TABLE clean AS SELECT i FROM generate_series(1, 1000) i")
        run("SELECT pg_stat_force_next_flush()")  # or the insert counts after the VACUUM
        run("VACUUM ANALYZE clean")
        run("SELECT pg_stat_force_next_flush()")
    return address


DIRTY = 'public."Dirty ""one"" 🐘"'


def test_only_what_needs_it_is_vacuumed_and_the_proof_is_in_the_report(url: str) -> None:
    report = vacuum(url)

    done = outcomes(report)
    assert set(done) == {DIRTY}
    outcome = done[DIRTY]
    assert outcome.verdict == Verdict.WORKED
    assert outcome.after["removed_rows"] == 10_000
    assert outcome.after["vacuum_count"] == outcome.before["vacuum_count"] + 1
    with session(url) as run:
        assert vacuum_count(run, 'Dirty "one" 🐘') == 2
        assert vacuum_count(run, "clean") == 1
    assert outcomes(vacuum(url)) == {}


def test_a_dry_run_plans_the_same_and_changes_nothing(url: str) -> None:
    planned = outcomes(vacuum(url, dry_run=True))
    with session(url) as run:
        assert vacuum_count(run, 'Dirty "one" 🐘') == 1

    done = outcomes(vacuum(url))

    assert all(o.verdict == Verdict.PLANNED for o in planned.values())
    assert [o.action.statement for o in planned.values()] == [
        o.action.statement for o in done.values()
    ]
    assert all(
        "TRUNCATE FALSE" in o.action.statement
        for o in planned.values()
        if "VACUUM" in o.action.statement
    )


def test_an_old_transaction_blocks_it_and_is_named(url: str) -> None:
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("SET application_name = 'forgotten shell'")
        holder.commit()
        holder.set_session(isolation_level="REPEATABLE READ")
        cursor.execute("SELECT pg_current_xact_id(), count(*) FROM clean")
        with session(url) as run:
            dirty_table(run, "late")
            run("DELETE FROM late")
            run("SELECT pg_stat_force_next_flush()")
        outcome = next(o for s, o in outcomes(vacuum(url)).items() if s.endswith("late"))

    assert outcome.verdict == Verdict.BLOCKED
    assert "forgotten shell" in outcome.sentence
    assert outcome.after["unremovable_rows"] >= 10_000
    again = next(o for s, o in outcomes(vacuum(url)).items() if s.endswith("late"))
    assert again.verdict == Verdict.WORKED
    assert again.after["removed_rows"] == 20_000


def test_an_old_transaction_blocks_it_and_is_named_where_the_messages_are_translated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another_language(messages: Iterable[str]) -> VacuumOutput:
        return parse_vacuum_output(message.replace("dead", "tot") for message in messages)

    monkeypatch.setattr(trade, "parse_vacuum_output", of_another_language)
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        holder.set_session(isolation_level="REPEATABLE READ")
        cursor.execute("SELECT pg_current_xact_id(), count(*) FROM clean")
        with session(url) as run:
            dirty_table(run, "late")
        outcome = next(o for s, o in outcomes(vacuum(url)).items() if s.endswith("late"))
        pid = holder.info.backend_pid

    assert outcome.after["unremovable_rows"] is None
    assert outcome.verdict == Verdict.BLOCKED
    assert f"10,000 dead rows are still counted after it: process {pid}" in outcome.sentence
    again = next(o for s, o in outcomes(vacuum(url)).items() if s.endswith("late"))
    assert again.verdict == Verdict.WORKED


def test_a_locked_table_is_left_and_the_others_are_done(url: str) -> None:
    with session(url) as run:
        dirty_table(run, "locked")
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE locked IN SHARE MODE")
        done = outcomes(vacuum(url))

    locked = next(o for s, o in done.items() if s.endswith("locked"))
    dirty = next(o for s, o in done.items() if "Dirty" in s)
    assert locked.verdict == Verdict.BLOCKED
    assert dirty.verdict == Verdict.WORKED
    [again] = outcomes(vacuum(url)).values()
    assert again.action.subject == "public.locked"
    assert again.verdict == Verdict.WORKED


def test_without_the_right_nothing_is_claimed(url: str) -> None:
    with session(url) as run:
        run("DROP ROLE IF EXISTS vacuum_guest")
        run("CREATE ROLE vacuum_guest LOGIN PASSWORD 'narrow' IN ROLE pg_monitor")
    narrow = url.replace(url.split("//")[1].split("@", maxsplit=1)[0], "vacuum_guest:narrow")
    try:
        report = vacuum(narrow)
    finally:
        with session(url) as run:
            run("DROP ROLE vacuum_guest")

    assert not any(o.verdict == Verdict.WORKED for o in outcomes(report).values())
    assert any("needs" in f.sentence and "Dirty" in f.sentence + f.subject for f in report.findings)
    with session(url) as run:
        assert vacuum_count(run, 'Dirty "one" 🐘') == 1


def test_mode_all_does_every_table_as_the_guide_prints_it(url: str) -> None:
    subjects = outcomes(vacuum(url, mode="all"))

    assert {"clean", "Dirty"} <= {
        word for word in ("clean", "Dirty") for subject in subjects if word in subject
    }
    with session(url) as run:
        run("SELECT pg_stat_force_next_flush()")
        assert vacuum_count(run, "clean") == 2


Counts = dict[str, tuple[int, int]]


def counts_of_all(run: Run) -> Counts:
    """Return how often each table of the database was vacuumed and analyzed, TOAST tables as well."""
    run("SELECT pg_stat_force_next_flush()")
    rows = run(
        "SELECT relid::regclass::text, vacuum_count, analyze_count FROM pg_stat_all_tables"
        " WHERE relid IN (SELECT oid FROM pg_class WHERE relpersistence <> 't')"
    )
    return {name: (vacuumed, analyzed) for name, vacuumed, analyzed in rows}


def changed(before: Counts, after: Counts) -> Counts:
    return {
        name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after
    }


def test_mode_all_does_what_the_guide_s_statement_does_to_every_table_catalogs_included(
    url: str,
) -> None:
    with session(url) as run:
        run("CREATE TABLE wide (id int, body text)")
        run("CREATE MATERIALIZED VIEW seen AS SELECT i FROM clean")
        before = counts_of_all(run)
        run("VACUUM ANALYZE")
        by_statement = changed(before, counts_of_all(run))
        before = counts_of_all(run)

        target = DatabaseTarget(url=url)
        report = vacuum_analyze(Job("site", target, VacuumOptions(mode="all")), Thresholds())

        by_us = changed(before, counts_of_all(run))
    assert {o.verdict for o in report.outcomes} <= {Verdict.WORKED, Verdict.NO_GAIN}
    assert by_statement["pg_class"] == (1, 1)
    assert by_statement["wide"] == by_statement["seen"] == (1, 1)
    assert by_us == by_statement


def test_a_toast_table_is_vacuumed_where_it_needs_it_and_left_alone_where_not(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with session(url) as run:
        for name in ("short", "long"):
            run(
                f"CREATE TABLE {name} (id int, n int, body text)"
                " WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)"
            )
            run(f"ALTER TABLE {name} ALTER body SET STORAGE EXTERNAL")
            body = "repeat('x', 2500)"  # a row of each beside the table
            run(f"INSERT INTO {name} SELECT i, i, {body} FROM generate_series(1, 2000) i")
            run("SELECT pg_stat_force_next_flush()")
            run(f"VACUUM ANALYZE {name}")
        run("UPDATE short SET n = n + 1")  # new versions share the value that stands beside
        run("DELETE FROM long")
        run("SELECT pg_stat_force_next_flush()")
        before = counts_of_all(run)

        done = outcomes(vacuum(url))

        after = counts_of_all(run)
        toast = "SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = %s"
        [(of_short,)], [(of_long,)] = run(toast, "short"), run(toast, "long")
    assert {o.verdict for o in done.values()} == {Verdict.WORKED}
    assert "PROCESS_TOAST FALSE" in done["public.short"].action.statement
    assert "PROCESS_TOAST" not in done["public.long"].action.statement
    vacuumed = {name: count for name, (count, _) in changed(before, after).items() if count}
    assert vacuumed == {"short": 1, "long": 1, of_long: 1}
    assert of_short not in vacuumed


def test_the_owner_of_a_table_has_its_toast_table_vacuumed_without_a_right_to_name_it(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with narrow_role(url) as owner_url, session(url) as run:
        owner = urlsplit(owner_url).username
        run("CREATE TABLE held (id int, body text) WITH (toast.autovacuum_enabled = off)")
        run("ALTER TABLE held ALTER body SET STORAGE EXTERNAL")
        run("INSERT INTO held SELECT i, repeat('x', 9000) FROM generate_series(1, 600) i")
        run("SELECT pg_stat_force_next_flush()")
        run("VACUUM ANALYZE held")
        run("ALTER TABLE held SET (autovacuum_vacuum_threshold = 100000)")
        run(f'ALTER TABLE held OWNER TO "{owner}"')
        run("DELETE FROM held WHERE id % 2 = 0")
        run("SELECT pg_stat_force_next_flush()")
        # Its statistics are due as well, which the TOAST table has nothing to do with.
        run("ANALYZE held")

        done = outcomes(vacuum(owner_url))

        toast = "SELECT reltoastrelid FROM pg_class WHERE relname = 'held'"
        count = f"SELECT pg_stat_get_vacuum_count(({toast}))"
        assert {o.verdict for o in done.values()} == {Verdict.WORKED}, done
        assert run(count) == [(2,)]


def test_a_partitioned_parent_is_analyzed(make_database: Callable[[], str]) -> None:
    url = make_database()
    with session(url) as run:
        run("CREATE TABLE log (day int, n int) PARTITION BY LIST (day)")
        run("CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1)")
        run("INSERT INTO log SELECT 1, i FROM generate_series(1, 5000) i")
        run("SELECT pg_stat_force_next_flush()")
    vacuum(url)
    with session(url) as run:
        inherited = run("SELECT count(*) FROM pg_stats WHERE tablename = 'log' AND inherited")
    assert inherited[0][0] == 2


def test_an_unknown_table_gets_a_suggestion(url: str) -> None:
    with pytest.raises(UnknownName, match="Did you mean"):
        vacuum(url, tables=("public.claen",))


def test_nothing_to_do_is_said(make_database: Callable[[], str]) -> None:
    url = make_database()
    vacuum(url, mode="all")
    assert vacuum(url).summary.startswith("Nothing to do")


def test_a_table_that_may_not_be_read_is_not_called_unanalyzed(url: str) -> None:
    with session(url) as run:
        run("SELECT pg_stat_reset()")  # only pg_stats still knows of the ANALYZE
    with narrow_role(url, "pg_monitor") as narrow:
        report = vacuum(narrow)
    assert not [f for f in report.findings if "clean" in f.sentence]
    assert "never analyzed" not in str(report.to_json())
