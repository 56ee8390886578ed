"""VACUUM FULL: refused with reasons, planned with its price, agreed to, done in a window, verified."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Pacing, Thresholds
from maintenance.core.errors import Skipped, TargetUnavailable, UnknownName
from maintenance.core.job import History, Job, NoHistory, NoSteps, OpenWindow, Point, Steps
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.postgres.rewrite.options import VacuumFullOptions
from maintenance.postgres.rewrite.run import vacuum_full
from service.embedded.postgres import EmbeddedPostgres
from tests.earlier_attempts import OfEarlierAttempt
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, alone, ask, narrow_role
from tests.repair_crews import Noted
from tests.statement_log import log_every_statement, logged_changes

ROWS = 40_000


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    bloated_table(url, "big")
    return url


def bloated_table(url: str, name: str) -> None:
    """A table with an index, three quarters of whose rows are gone."""
    quoted = '"' + name.replace('"', '""') + '"'
    off = "WITH (autovacuum_enabled = off)"
    ask(url, f"CREATE TABLE {quoted} (id int PRIMARY KEY, body text) {off}")
    fill = "SELECT i, repeat('x', 200) FROM generate_series(1, %s) i"
    ask(url, f"INSERT INTO {quoted} {fill.replace('%s', str(ROWS))}")
    ask(url, f"DELETE FROM {quoted} WHERE id > {ROWS // 4}")
    ask(url, f"VACUUM (ANALYZE, TRUNCATE false) {quoted}")


def rewrite(
    url: str,
    *tables: str,
    window: bool = True,
    history: History | None = None,
    steps: Steps | None = None,
    size_limit_bytes: int | None = None,
    lock_timeout_seconds: float = 0.3,
    **options: Any,
) -> Report:
    target = DatabaseTarget(
        url=url,
        lock_timeout_seconds=lock_timeout_seconds,
        pacing=Pacing(longest_wait_seconds=2),
        size_limit_bytes=size_limit_bytes,
    )
    now = time.time()
    return vacuum_full(
        Job(
            "site",
            target,
            VacuumFullOptions(tables=tables or ("big",), **options),
            window=OpenWindow(now + 3600, now + 86_400) if window else None,
            history=history or NoHistory(),
            steps=steps or NoSteps(),
        ),
        Thresholds(),
    )


def only(report: Report) -> Outcome:
    [outcome] = report.outcomes
    return outcome


def size(url: str, name: str) -> int:
    return int(ask(url, "SELECT pg_total_relation_size(%s::regclass)", name)[0][0])


def test_a_bloated_table_gives_its_space_back_as_predicted(url: str) -> None:
    before = size(url, "big")

    outcome = only(report := rewrite(url, lock_limit_seconds=60))

    assert outcome.verdict is Verdict.WORKED
    gained = before - size(url, "big")
    assert outcome.before["total_bytes"] - outcome.after["total_bytes"] == gained
    # The prediction is about the heap alone; the index was rebuilt as well.
    assert outcome.action.predicted["gain_bytes"] == pytest.approx(gained, rel=0.1)
    assert "given back" in outcome.sentence
    assert report.summary.startswith("1 table rewritten; ")
    assert [sample.metric for sample in report.samples] == ["rewrite_bytes_per_second"]


def test_a_dry_run_says_what_it_costs_and_changes_nothing(url: str) -> None:
    before = size(url, "big")

    outcome = only(report := rewrite(url, window=False, dry_run=True, lock_limit_seconds=60))

    assert outcome.verdict is Verdict.PLANNED
    assert outcome.action.statement == f'VACUUM (FULL, ANALYZE, VERBOSE) {alone(url)}"public"."big"'
    assert outcome.action.predicted["lock_seconds"] > 0
    assert "a guess: none was rewritten here before" in outcome.action.predicted["lock_in_words"]
    assert before / 4 < outcome.action.predicted["disk_bytes"] < before
    assert size(url, "big") == before
    [better] = [f for f in report.findings if f.code == "rewrite-without-lock"]
    assert "pg_repack or pg_squeeze, neither of which is installed" in better.sentence


def test_a_plan_is_what_is_done(url: str) -> None:
    planned = only(rewrite(url, dry_run=True, lock_limit_seconds=60)).action
    done = only(rewrite(url, lock_limit_seconds=60)).action
    assert (done.statement, done.subject, done.kind) == (
        planned.statement,
        planned.subject,
        planned.kind,
    )
    assert done.predicted["lock_seconds"] == planned.predicted["lock_seconds"]


def test_the_server_runs_exactly_what_the_dry_run_chose(
    url: str, postgres_server: EmbeddedPostgres
) -> None:
    tables = ("one", "two", "three", "four")
    for more, name in enumerate(tables):
        ask(url, f"CREATE TABLE {name} (id int, body text) WITH (autovacuum_enabled = off)")
        # Rows of many lengths: other pages of the table are another estimate.
        uneven = "repeat(md5(i::text), 1 + (i * 7919) % 23)"
        ask(url, f"INSERT INTO {name} SELECT i, {uneven} FROM generate_series(1, 20000) i")
        # Nearly alike, but no two the same: the limit below must part them.
        ask(url, f"DELETE FROM {name} WHERE (id * 131) % 5 < 2 OR id <= {more * 40}")
        ask(url, f"VACUUM (ANALYZE, TRUNCATE false) {name}")

    def dry_run(minimum_gain_ratio: float) -> Report:
        return rewrite(
            url,
            *tables,
            dry_run=True,
            lock_limit_seconds=60,
            minimum_gain_ratio=minimum_gain_ratio,
        )

    first = dry_run(0.0)
    ratios = sorted(
        row[first.tables[0].columns.index("bloat_ratio")] for row in first.tables[0].rows
    )
    assert dry_run(0.0).tables == first.tables
    # Pages are chosen by oid: two of the four may look alike.
    below, above = next(pair for pair in pairwise(ratios) if pair[0] < pair[1])
    limit = (below + above) / 2  # where one page more or less decides
    plan = [o for o in dry_run(limit).outcomes if o.verdict is Verdict.PLANNED]
    planned = [outcome.action.statement for outcome in plan]
    assert len(planned) == sum(ratio >= above for ratio in ratios)
    log_every_statement(url)

    rewrite(url, *tables, lock_limit_seconds=60, minimum_gain_ratio=limit)

    assert logged_changes(postgres_server, url) == planned


def test_a_dry_run_names_who_holds_the_lock_that_the_run_would_wait_for(url: str) -> None:
    with Client(url, "reader") as reader:
        reader.run("BEGIN; SELECT count(*) FROM big")
        report = rewrite(url, dry_run=True, lock_limit_seconds=60)
    [finding] = [f for f in report.findings if f.code == "rewrite-would-wait"]
    assert finding.subject == "public.big"
    assert f"process {reader.pid}" in finding.sentence
    assert "application reader" in finding.sentence


def test_outside_of_a_window_nothing_is_done(url: str) -> None:
    with pytest.raises(Skipped, match="in a maintenance window only"):
        rewrite(url, window=False, lock_limit_seconds=60)


def test_without_a_table_there_is_nothing_to_do(url: str) -> None:
    with pytest.raises(Skipped, match="No table is named"):
        vacuum_full(Job("site", DatabaseTarget(url=url), VacuumFullOptions()), Thresholds())


def test_an_unknown_table_gets_a_suggestion(url: str) -> None:
    with pytest.raises(UnknownName, match=r'"bigg".*big'):
        rewrite(url, "bigg", lock_limit_seconds=60)


def test_tables_that_somebody_locks_or_that_are_empty_are_named_and_the_others_done(
    url: str,
) -> None:
    bloated_table(url, "other")
    ask(url, "CREATE TABLE bare (id int)")
    with Client(url, "migration") as client:
        client.run("BEGIN; LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
        tables = ("big", "other", "public.bare")
        plan = rewrite(url, *tables, lock_limit_seconds=60, dry_run=True)
        report = rewrite(url, *tables, lock_limit_seconds=60)
    assert plan.summary.startswith("1 table would be rewritten, for ")
    assert [one.verdict for one in plan.outcomes if one.action.subject == "public.big"] == [
        Verdict.BLOCKED
    ]
    found = {outcome.action.subject: outcome for outcome in report.outcomes}
    assert found["public.other"].verdict is Verdict.WORKED
    assert found["public.big"].verdict is Verdict.BLOCKED
    assert f"its lock is held by process {client.pid}" in found["public.big"].sentence
    assert "application migration" in found["public.big"].sentence
    assert found["public.bare"].verdict is Verdict.REFUSED
    assert "a page with rows" in found["public.bare"].sentence


def test_children_of_a_table_are_left_alone(url: str) -> None:
    bloated_table(url, "child")
    ask(url, "ALTER TABLE child INHERIT big")
    before = size(url, "child")
    outcome = only(rewrite(url, "big", lock_limit_seconds=60))
    assert outcome.verdict is Verdict.WORKED
    assert size(url, "child") == before


def test_nobody_has_agreed_to_the_lock(url: str) -> None:
    outcome = only(rewrite(url))
    assert outcome.verdict is Verdict.REFUSED
    assert "Confirm with the option lock_limit_seconds" in outcome.sentence


class SlowDisk(NoHistory):
    """Earlier runs rewrote a kilobyte a second."""

    def series(
        self, metric: str, subject: str = "", *, since_seconds: float = 0.0
    ) -> Sequence[Point]:
        assert (metric, subject) == ("rewrite_bytes_per_second", "")
        return [Point(since_seconds, 1e6), Point(since_seconds, 1e3)]


def test_a_lock_that_earlier_runs_foretell_to_be_longer_than_agreed_is_refused(url: str) -> None:
    outcome = only(rewrite(url, lock_limit_seconds=60, history=SlowDisk()))
    assert outcome.verdict is Verdict.REFUSED
    assert "hours, more than the 1 minute that lock_limit_seconds agrees to" in outcome.sentence
    assert "guess" not in outcome.action.predicted["lock_in_words"]


def test_a_table_without_bloat_is_not_worth_the_lock(url: str) -> None:
    ask(url, "VACUUM FULL big")
    outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.sentence.endswith("less than 20 %: not worth the lock")


def test_a_copy_that_the_disk_or_the_plan_has_no_room_for_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = ask(url, "SELECT pg_database_size(current_database())")[0][0]
    outcome = only(rewrite(url, lock_limit_seconds=60, size_limit_bytes=database + 1_000_000))
    assert outcome.verdict is Verdict.REFUSED
    assert "would pass its limit of" in outcome.sentence

    monkeypatch.setattr("maintenance.postgres.repair.disk._free_bytes", lambda _: 1_000_000)
    outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.REFUSED
    assert "more than half of the 977 kB that are free" in outcome.sentence


def test_wal_on_another_disk_that_is_full_keeps_a_table_from_being_rewritten(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = "maintenance.postgres.repair.disk._lies_elsewhere"
    monkeypatch.setattr(elsewhere, lambda one, _: one.endswith("/pg_wal"))
    free = "maintenance.postgres.repair.disk._free_bytes"
    monkeypatch.setattr(free, lambda path: 1_000_000 if path.endswith("/pg_wal") else 10**12)
    outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.REFUSED
    assert "of WAL to another disk, more than half of the 977 kB" in outcome.sentence


def test_a_plan_says_that_nobody_knows_the_disk(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {"rewrite-disk"} & {f.code for f in rewrite(url, lock_limit_seconds=60).findings}
    bloated_table(url, "other")
    monkeypatch.setattr("maintenance.postgres.repair.disk.runs_here", lambda *_: False)
    report = rewrite(url, "other", dry_run=True, lock_limit_seconds=60)
    [finding] = [f for f in report.findings if f.code == "rewrite-disk"]
    assert "size_limit_bytes of this target" in finding.sentence


def test_the_disk_is_looked_at_again_before_each_table(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10**12, 1_000_000])
    monkeypatch.setattr("maintenance.postgres.repair.disk._free_bytes", lambda _: next(free))
    before = size(url, "big")
    outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.REFUSED
    assert "that are free" in outcome.sentence
    assert size(url, "big") == before


def test_what_an_attempt_that_was_cut_short_has_rewritten_is_reported_as_done(url: str) -> None:
    done = only(rewrite(url, lock_limit_seconds=60))

    outcome = only(rewrite(url, lock_limit_seconds=60, steps=OfEarlierAttempt(done)))

    assert outcome == done


def test_an_old_transaction_is_named_and_the_table_left_alone(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.postgres.rewrite.plan.OLD_TRANSACTION_SECONDS", 0.0)
    with Client(url, "report") as old:
        old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM big")
        outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.REFUSED
    assert f"process {old.pid}" in outcome.sentence
    assert "application report" in outcome.sentence
    assert only(rewrite(url, lock_limit_seconds=60)).verdict is Verdict.WORKED


def test_a_reader_in_the_way_blocks_it_and_who_comes_behind_waits_no_longer_than_the_limit(
    url: str,
) -> None:
    waited: list[float] = []

    def read_behind() -> None:
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'big'::regclass AND NOT granted"
        eventually(lambda: ask(url, waiting) != [], 30, "our request for the lock")
        begin = time.monotonic()
        ask(url, "SELECT count(*) FROM big")
        waited.append(time.monotonic() - begin)

    behind = threading.Thread(target=read_behind)
    with Client(url, "reader") as reader:
        reader.run("BEGIN; SELECT count(*) FROM big")
        behind.start()
        # Of a target that allows longer waits for itself, the site's limit is kept all the same.
        outcome = only(rewrite(url, lock_limit_seconds=60, lock_timeout_seconds=60))
        behind.join()
    assert outcome.verdict is Verdict.BLOCKED
    assert "its lock is held by process" in outcome.sentence
    assert "application reader" in outcome.sentence
    assert waited[0] < Pacing().blocked_limit_seconds
    assert only(rewrite(url, lock_limit_seconds=60)).verdict is Verdict.WORKED


def test_a_lock_is_ended_at_the_limit_that_was_agreed_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.postgres.rewrite.plan.ASSUMED_BYTES_PER_SECOND", 1e15)
    ask(
        url,
        "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM pg_sleep(0.002); RETURN $1; END $$",
    )
    ask(url, "CREATE INDEX takes_a_second ON big (slow(id)) WHERE id <= 500")
    before = size(url, "big")
    outcome = only(rewrite(url, lock_limit_seconds=0.3))
    assert outcome.verdict is Verdict.FAILED
    assert "option lock_limit_seconds" in outcome.sentence
    assert size(url, "big") == before
    left = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'"
    eventually(lambda: ask(url, left) == [], seconds=10, what="the end of our sessions")
    assert only(rewrite(url, lock_limit_seconds=60)).verdict is Verdict.WORKED


def test_what_the_time_budget_leaves_is_left_with_the_reason(url: str) -> None:
    before = size(url, "big")
    outcome = only(rewrite(url, lock_limit_seconds=60, time_budget_seconds=1e-9))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.sentence.startswith("left for the next run: the time budget of")
    assert size(url, "big") == before


def test_a_rewrite_that_the_time_budget_is_too_short_for_is_not_begun(url: str) -> None:
    class Slow(NoHistory):
        def series(
            self, metric: str, subject: str = "", *, since_seconds: float = 0.0
        ) -> Sequence[Point]:
            return [Point(since_seconds, 1e5)]

    before = size(url, "big")
    outcome = only(rewrite(url, lock_limit_seconds=600, time_budget_seconds=5, history=Slow()))
    assert outcome.verdict is Verdict.REFUSED
    assert "and the time budget leaves" in outcome.sentence
    assert size(url, "big") == before


def test_a_hostile_name_is_rewritten_and_named(url: str) -> None:
    bloated_table(url, ODD_NAME)
    outcome = only(rewrite(url, f"public.{ODD_NAME}", lock_limit_seconds=60))
    assert outcome.verdict is Verdict.WORKED


def test_a_role_without_rights_is_refused(url: str) -> None:
    with narrow_role(url, "pg_monitor", "pg_read_all_data") as narrow:
        outcome = only(rewrite(narrow, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.sentence.startswith("the role may not: it needs ownership")


def test_a_table_whose_indexes_are_the_larger_part_is_offered_their_rebuild(url: str) -> None:
    ask(url, "REINDEX TABLE big")
    ask(url, "VACUUM FULL big")
    ask(url, "CREATE TABLE lean (id int, n int) WITH (autovacuum_enabled = off)")
    ask(url, "CREATE INDEX lean_n ON lean (n)")
    ask(url, "INSERT INTO lean SELECT i, i FROM generate_series(1, 100000) i")
    ask(url, "DELETE FROM lean WHERE n % 10 <> 0")
    ask(url, "VACUUM ANALYZE lean")
    ask(
        url, "INSERT INTO lean SELECT i, -i FROM generate_series(1, 85000) i"
    )  # into its free space
    ask(url, "VACUUM ANALYZE lean")

    report = vacuum_full(
        Job(
            "site",
            DatabaseTarget(url=url),
            VacuumFullOptions(tables=("lean", "big"), lock_limit_seconds=60, dry_run=True),
        ),
        Thresholds(minimum_bloat_bytes=64 * 1024),
    )

    [finding] = [f for f in report.findings if f.code == "rewrite-indexes-instead"]
    assert finding.subject == "public.lean"
    [command] = finding.commands
    before = size(url, "lean_n")
    ask(url, command)
    gained = before - size(url, "lean_n")
    assert finding.evidence["index_bloat_bytes"] == pytest.approx(gained, rel=0.1)


def test_a_dry_run_without_a_table_looks_at_every_large_one(url: str) -> None:
    ask(url, "CREATE TABLE small AS SELECT 1 AS id")
    target, options = DatabaseTarget(url=url), VacuumFullOptions(dry_run=True)
    report = vacuum_full(Job("site", target, options), Thresholds(minimum_bloat_bytes=1024**2))
    assert [outcome.action.subject for outcome in report.outcomes] == ["public.big"]


def slow_function(url: str) -> None:
    """A function of a number that takes its time, which VACUUM FULL calls for an index on it."""
    body = "$$ BEGIN PERFORM pg_sleep(0.002); RETURN $1; END $$"
    ask(url, f"CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS {body}")


@contextmanager
def once_at_work(url: str, view: str, what: Callable[[], object]) -> Iterator[None]:
    """Do ``what`` beside the body as soon as ``view`` shows a statement on the table."""
    at_work = f"SELECT 1 FROM {view} WHERE relid = 'big'::regclass"

    def wait_and_do() -> None:
        eventually(lambda: ask(url, at_work) != [], 30, f"a row in {view}")
        what()

    beside = threading.Thread(target=wait_and_do)
    beside.start()
    try:
        yield
    finally:
        beside.join()


REWRITING = "pg_stat_progress_cluster"


def test_what_somebody_terminates_is_not_begun_again(
    url: str, postgres_server: EmbeddedPostgres
) -> None:
    slow_function(url)
    ask(url, "CREATE INDEX takes_long ON big (slow(id)) WHERE id <= 2000")
    before = size(url, "big")
    log_every_statement(url)
    terminate = f"SELECT pg_terminate_backend(pid) FROM {REWRITING}"
    with once_at_work(url, REWRITING, lambda: ask(url, terminate)):
        outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.FAILED
    assert "terminating connection due to administrator command" in outcome.sentence
    assert "it is not begun again by itself" in outcome.sentence
    assert size(url, "big") == before
    assert logged_changes(postgres_server, url) == [outcome.action.statement]


@pytest.mark.parametrize("sessions", ["maintenance:%%", "maintenance:lookout%%"])
def test_another_attempt_leaves_what_the_one_before_had_begun(
    url: str, postgres_server: EmbeddedPostgres, sessions: str
) -> None:
    bloated_table(url, "other")
    slow_function(url)
    ask(url, "CREATE INDEX takes_long ON big (slow(id)) WHERE id <= 2000")
    log_every_statement(url)
    noted = Noted()
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE application_name LIKE '{sessions}' AND datname = current_database()"
    )
    with (
        once_at_work(url, REWRITING, lambda: ask(url, terminate)),
        suppress(TargetUnavailable),  # or the step alone was missed before the watch
    ):
        rewrite(url, "big", lock_limit_seconds=60, steps=noted)
    report = rewrite(url, "big", "other", lock_limit_seconds=60, steps=noted)
    found = {outcome.action.subject: outcome for outcome in report.outcomes}
    assert found["public.big"].verdict is Verdict.FAILED
    assert "not begun again by itself" in found["public.big"].sentence
    assert found["public.other"].verdict is Verdict.WORKED
    assert logged_changes(postgres_server, url) == [
        found[name].action.statement for name in ("public.big", "public.other")
    ]


def test_what_somebody_cancels_is_said_to_be_that(url: str) -> None:
    slow_function(url)
    ask(url, "CREATE INDEX takes_long ON big (slow(id)) WHERE id <= 2000")
    cancel = f"SELECT pg_cancel_backend(pid) FROM {REWRITING}"
    with once_at_work(url, REWRITING, lambda: ask(url, cancel)):
        outcome = only(rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.FAILED
    assert outcome.sentence.startswith("somebody cancelled it (pg_cancel_backend)")
    assert "option" not in outcome.sentence


@pytest.mark.parametrize("end", ["cancel", "terminate"])
def test_a_table_is_rewritten_though_its_analyze_was_ended(url: str, end: str) -> None:
    slow_function(url)
    ask(url, "CREATE STATISTICS slow_to_gather ON (slow(id)) FROM big")
    before = size(url, "big")
    analyzing = "pg_stat_progress_analyze"
    stop = f"SELECT pg_{end}_backend(pid) FROM {analyzing}"
    with once_at_work(url, analyzing, lambda: ask(url, stop)):
        outcome = only(report := rewrite(url, lock_limit_seconds=60))
    assert outcome.verdict is Verdict.WORKED
    assert "given back; its statistics are not new: " in outcome.sentence
    assert report.facts["gained_bytes"] == before - size(url, "big") > 0
    assert report.samples == ()
