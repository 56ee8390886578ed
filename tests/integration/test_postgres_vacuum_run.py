"""A vacuum run beside others: what it runs, whom it gives way to, how it ends and goes on."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Pacing, Thresholds
from maintenance.core.errors import Cancelled, Postponed
from maintenance.core.job import Job, OpenWindow, SilentProgress
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.postgres.connection import connect
from maintenance.postgres.repair.table_lock import occupy
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.output import parse_vacuum_output
from maintenance.postgres.vacuum.plan import Learned
from maintenance.postgres.vacuum.run import measure, plan_of, steps_of, vacuum_analyze
from maintenance.postgres.vacuum.statements import DATABASE_STATISTICS
from maintenance.postgres.vacuum.trade import COLLECTOR_PATIENCE_SECONDS, Performed, VacuumTrade
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, major_of, narrow_role
from tests.statement_log import log_every_statement, logged_changes

SERVER_S_OWN = ("pg_catalog", "information_schema")
RUN_ID = "4be2a6a2-9f0c-4d0e-8a53-0c5a8f4f2c11"
FLUSH = "SELECT pg_stat_force_next_flush()"
AT_WORK = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'large'::regclass"


class Noted:
    """Steps that are kept in memory, as the ledger keeps them."""

    def __init__(self) -> None:
        self.kept: dict[str, Outcome] = {}

    def done(self) -> dict[str, Outcome]:
        return dict(self.kept)

    def record(self, key: str, outcome: Outcome) -> None:
        assert key not in self.kept
        self.kept[key] = outcome


def vacuum(url: str, *, pacing: Pacing | None = None, jobs: int = 2, **more: Any) -> Report:
    job = {name: more.pop(name) for name in JOB_FIELDS & more.keys()}
    target = DatabaseTarget(
        url=url, jobs=jobs, pacing=pacing or Pacing(), exclude_schemas=SERVER_S_OWN
    )
    options = VacuumOptions(**more)
    return vacuum_analyze(Job("site", target, options, run_id=RUN_ID, **job), Thresholds())


JOB_FIELDS = {"progress", "steps", "by_hand", "window", "previous_state"}


def dirty(url: str, *names: str) -> None:
    """Create tables of 2,000 rows, half of them dead."""
    for name in names:
        table = sql.Identifier(name)
        for statement in (
            "CREATE TABLE {} (id int PRIMARY KEY) WITH (autovacuum_enabled = off)",
            "INSERT INTO {} SELECT i FROM generate_series(1, 2000) i",
            "ANALYZE {}",
            "DELETE FROM {} WHERE id %% 2 = 0",
        ):
            ask(url, sql.SQL(statement.replace("%%", "%")).format(table))
    ask(url, FLUSH)


def large(url: str) -> None:
    """Create a table whose VACUUM takes seconds beside a site at work: 120 MB, half of it dead."""
    ask(url, "CREATE TABLE large (id int, body text) WITH (autovacuum_enabled = off)")
    ask(url, "ALTER TABLE large ALTER body SET STORAGE PLAIN")
    ask(url, "INSERT INTO large SELECT i, repeat('x', 3900) FROM generate_series(1, 30000) i")
    ask(url, "DELETE FROM large WHERE id % 2 = 0")
    ask(url, FLUSH)
    ask(url, "CHECKPOINT")  # or its pages are dirty already, and cost nothing more


@contextmanager
def a_site_at_work(url: str) -> Iterator[None]:
    """Have one statement of somebody else at work: we go gently then."""
    with Client(url) as client:
        client.start("SELECT pg_sleep(60)")
        yield


def counts(url: str) -> dict[str, int]:
    rows = ask(url, "SELECT relname, vacuum_count FROM pg_stat_user_tables")
    return dict(rows)


def of_tables(report: Report) -> list[Outcome]:
    return [o for o in report.outcomes if o.action.statement != DATABASE_STATISTICS]


def our_sessions(url: str) -> list[tuple[Any, ...]]:
    return ask(url, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'")


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


def test_children_of_a_table_have_their_own_turn_and_no_other(url: str) -> None:
    dirty(url, "parent", "child")
    ask(url, "ALTER TABLE child INHERIT parent")

    report = vacuum(url, jobs=2, mode="all", tables=("parent", "child"))

    assert {one.verdict for one in of_tables(report)} == {Verdict.WORKED}
    assert counts(url) == {"parent": 1, "child": 1}
    whole = "SELECT count(*) FROM pg_stats WHERE tablename = 'parent' AND inherited"
    assert ask(url, whole) == [(1,)], "statistics of the whole are made with the parent's"


def test_the_server_runs_exactly_what_the_dry_run_said(
    url: str, postgres_server: EmbeddedPostgres
) -> None:
    dirty(url, ODD_NAME, "plain", 'with "quotes"')
    ask(url, "CREATE TABLE log (day int, n int) PARTITION BY LIST (day)")
    ask(url, "CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1)")
    ask(url, "INSERT INTO log SELECT 1, i FROM generate_series(1, 5000) i")
    ask(url, FLUSH)
    planned = [o.action.statement for o in vacuum(url, dry_run=True).outcomes]
    assert len(planned) >= 4
    log_every_statement(url)

    vacuum(url)

    assert sorted(logged_changes(postgres_server, url)) == sorted(planned)


def test_the_plan_says_what_to_expect_of_each_table(url: str) -> None:
    dirty(url, "plain")
    [outcome] = of_tables(vacuum(url, dry_run=True))
    predicted = outcome.action.predicted
    assert predicted["dead_rows"] == 1_000
    assert predicted["reusable_bytes"] == pytest.approx(8192 * predicted["pages"] / 2, rel=0.01)
    assert "blocks DDL and other maintenance of it, not reads and writes" in predicted["lock"]
    assert "duration_seconds" not in predicted  # nothing was timed yet


def test_an_interrupted_run_goes_on_and_repeats_nothing(url: str) -> None:
    names = [f"t{n}" for n in range(12)]
    dirty(url, *names)
    steps = Noted()

    class Impatient(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            if done >= 2:
                raise Cancelled("Cancelled on request.")

    large(url)  # gives the first attempt the time to be interrupted in
    with a_site_at_work(url), pytest.raises(Cancelled):
        vacuum(url, steps=steps, progress=Impatient())
    assert len(steps.kept) >= 2
    assert "public.large" not in steps.kept
    eventually(lambda: our_sessions(url) == [], seconds=10, what="the end of our sessions")

    report = vacuum(url, steps=steps)

    subjects = [o.action.subject for o in of_tables(report)]
    assert sorted(subjects) == sorted([*(f"public.{name}" for name in names), "public.large"])
    # Where the statement was ended, some of the rows were removed already.
    verdicts = {o.action.subject: o.verdict for o in of_tables(report)}
    assert verdicts.pop("public.large") in {Verdict.WORKED, Verdict.NO_GAIN}
    assert set(verdicts.values()) == {Verdict.WORKED}
    ask(url, FLUSH)
    assert {name: count for name, count in counts(url).items() if name != "large"} == dict.fromkeys(
        names, 1
    )


def test_the_site_s_alter_table_waits_no_longer_than_the_limit(url: str) -> None:
    large(url)
    waited: list[float] = []

    def alter() -> None:
        eventually(lambda: ask(url, AT_WORK) != [], seconds=30, what="our VACUUM at work")
        begin = time.monotonic()
        ask(url, "ALTER TABLE large ADD COLUMN note text")
        waited.append(time.monotonic() - begin)

    application = threading.Thread(target=alter)
    with a_site_at_work(url):
        application.start()
        report = vacuum(url, pacing=Pacing(blocked_limit_seconds=1))
        application.join()

    [outcome] = of_tables(report)
    assert outcome.verdict is Verdict.WORKED
    assert report.facts["gave_way_count"] >= 1
    assert waited[0] < 1
    assert "repair-gave-way" in {f.code for f in report.findings}


def test_a_cancelled_run_leaves_no_session_at_work(url: str) -> None:
    large(url)

    class Impatient(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            if ask(url, AT_WORK):
                raise Cancelled("Cancelled on request.")

    with a_site_at_work(url):
        begin = time.monotonic()
        with pytest.raises(Cancelled):
            vacuum(url, progress=Impatient())
        eventually(lambda: our_sessions(url) == [], seconds=5, what="the end of our sessions")
    assert time.monotonic() - begin < 10
    assert counts(url)["large"] == 0


def test_progress_says_what_is_at_work_and_how_far_it_is(url: str) -> None:
    large(url)
    said: list[str] = []

    class Listening(SilentProgress):
        def update(self, *_: Any, phase: str = "", **__: Any) -> None:
            said.append(phase)

    with a_site_at_work(url):
        vacuum(url, progress=Listening())
    assert [s for s in said if re.search(r"public\.large \(vacuum: .*\d+% of [\d,]+ pages", s)]


def test_a_timeout_of_the_role_does_not_end_our_work(url: str) -> None:
    large(url)
    with narrow_role(url, "pg_monitor") as narrow, a_site_at_work(url):
        role = sql.Identifier(narrow.split("//")[1].split(":")[0])
        ask(url, sql.SQL("ALTER TABLE large OWNER TO {}").format(role))
        ask(url, sql.SQL("ALTER ROLE {} SET statement_timeout = '500ms'").format(role))
        [outcome] = of_tables(vacuum(narrow))
    assert outcome.verdict is Verdict.WORKED
    assert outcome.after["removed_rows"] == 15_000
    assert outcome.duration_seconds > 0.5


def test_a_table_that_another_run_is_at_work_on_is_left_alone(url: str) -> None:
    dirty(url, "busy", "free")
    oid = ask(url, "SELECT 'busy'::regclass::oid::bigint")[0][0]
    with connect(DatabaseTarget(url=url)) as other:
        assert occupy(other, oid) is None
        report = vacuum(url)
    done = {o.action.subject: o for o in of_tables(report)}
    assert done["public.busy"].verdict is Verdict.REFUSED
    assert "another maintenance run (process " in done["public.busy"].sentence
    assert done["public.free"].verdict is Verdict.WORKED
    assert counts(url)["busy"] == 0
    [again] = of_tables(vacuum(url))
    assert (again.action.subject, again.verdict) == ("public.busy", Verdict.WORKED)


def test_what_the_time_budget_leaves_is_listed_with_the_reason(url: str) -> None:
    dirty(url, "one", "two")
    report = vacuum(url, time_budget_seconds=1e-9)
    assert {o.verdict for o in of_tables(report)} == {Verdict.REFUSED}
    (finding,) = (f for f in report.findings if f.code == "vacuum-left-for-later")
    assert "2 tables had no turn, because the time budget of" in finding.sentence
    assert "public.one" in finding.sentence
    assert counts(url) == {"one": 0, "two": 0}

    assert {o.verdict for o in of_tables(vacuum(url))} == {Verdict.WORKED}
    assert counts(url) == {"one": 1, "two": 1}


def test_a_vacuum_ends_at_the_limit_of_one_statement_and_the_next_run_does_the_work(
    url: str,
) -> None:
    large(url)
    with a_site_at_work(url):
        [ended] = of_tables(vacuum(url, table_time_limit_seconds=0.3))
    assert ended.verdict is Verdict.FAILED
    assert ended.sentence.endswith("(option table_time_limit_seconds)")
    assert 0.3 <= ended.duration_seconds < 5
    assert counts(url)["large"] == 0

    [done] = of_tables(vacuum(url))

    assert done.verdict in {Verdict.WORKED, Verdict.NO_GAIN}  # rows may be gone by the first one
    assert counts(url)["large"] == 1


@contextmanager
def once_analyzing(url: str, stop: str) -> Iterator[None]:
    """Run ``stop``, which may name a ``pid``, beside the body as soon as an ANALYZE is at work."""
    analyzing = "pg_stat_progress_analyze WHERE datname = current_database()"

    def wait_and_stop() -> None:
        eventually(lambda: ask(url, f"SELECT 1 FROM {analyzing}") != [], 30, "an ANALYZE at work")
        ask(url, stop.format(of=f"FROM {analyzing}"))

    beside = threading.Thread(target=wait_and_stop)
    beside.start()
    try:
        yield
    finally:
        beside.join()


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        ("SELECT pg_cancel_backend(pid) {of}", "somebody cancelled it (pg_cancel_backend)"),
        ("ALTER TABLE plain ADD COLUMN more int", "gave way to process"),
    ],
)
def test_a_table_is_vacuumed_though_its_analyze_was_ended(url: str, stop: str, why: str) -> None:
    dirty(url, "plain")
    body = "$$ BEGIN PERFORM pg_sleep(0.01); RETURN $1; END $$"
    ask(url, f"CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS {body}")
    ask(url, "CREATE STATISTICS slow_to_gather ON (slow(id)) FROM plain")

    with once_analyzing(url, stop):
        report = vacuum(url, pacing=Pacing(blocked_limit_seconds=1))

    [outcome] = of_tables(report)
    assert outcome.verdict is Verdict.WORKED
    [finding] = [each for each in report.findings if each.code == "vacuum-without-analyze"]
    assert finding.subject == "public.plain"
    assert why in finding.sentence
    assert "1,000 dead rows removed; its statistics are not new: " in outcome.sentence
    assert why in outcome.sentence
    assert "statistics are fresh" not in outcome.sentence
    assert outcome.after["dead_rows"] == 0
    assert counts(url)["plain"] == 1


def test_a_window_that_closed_puts_the_rest_off_but_not_for_a_person(url: str) -> None:
    dirty(url, "plain")
    now = time.time()
    window = OpenWindow(closes_epoch_seconds=now - 1, next_opens_epoch_seconds=now + 3600)
    with pytest.raises(Postponed, match=r"window closed with \d statements? left") as put_off:
        vacuum(url, window=window)
    assert put_off.value.until_epoch_seconds == now + 3600
    assert counts(url) == {"plain": 0}

    [outcome] = of_tables(vacuum(url, window=window, by_hand=True))
    assert outcome.verdict is Verdict.WORKED


def test_dead_item_pointers_that_a_vacuum_leaves_are_taken_away_by_the_next(url: str) -> None:
    ask(url, "CREATE TABLE few (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off)")
    ask(url, "INSERT INTO few SELECT i, repeat('x', 100) FROM generate_series(1, 50000) i")
    ask(url, "DELETE FROM few WHERE id <= 50")  # on one of 800 pages
    first = vacuum(url, mode="all")
    assert first.state == {"bypassed": ["public.few"]}
    [outcome] = of_tables(first)
    assert outcome.after["bypassed_identifiers"] == 50

    second = vacuum(url, mode="all", previous_state=first.state)

    [outcome] = of_tables(second)
    assert "INDEX_CLEANUP ON" in outcome.action.statement
    assert second.state == {"bypassed": []}


def test_the_server_s_age_follows_once_after_all_tables(url: str) -> None:
    dirty(url, "one", "two")
    report = vacuum(url)
    last = report.outcomes[-1]
    assert (last.action.statement == DATABASE_STATISTICS) is (major_of(url) >= 16)


def test_counters_that_do_not_arrive_hold_up_nothing_and_are_judged_in_the_end(url: str) -> None:
    dirty(url, "skipped")
    target = DatabaseTarget(url=url, exclude_schemas=("pg_catalog",))
    job = Job("site", target, VacuumOptions(), run_id=RUN_ID)
    with connect(target) as conn:
        measurement = measure(conn)
        [step, *_] = steps_of(plan_of(measurement, job, Learned()), measurement, job, conn)
        trade = VacuumTrade(conn)
        skipped_now = Performed(parse_vacuum_output([]), 0.0, ended_at=time.monotonic())

        [at_once] = trade.settle([(step, skipped_now)])
        seconds = time.monotonic() - skipped_now.ended_at
        long_ago = replace(skipped_now, ended_at=skipped_now.ended_at - COLLECTOR_PATIENCE_SECONDS)
        [in_the_end] = trade.settle([(step, long_ago)])

    assert seconds < COLLECTOR_PATIENCE_SECONDS / 3
    assert (at_once is None) is (major_of(url) < 15)
    assert in_the_end is not None
    assert in_the_end.verdict is not Verdict.WORKED
