"""Rebuilds beside an application: every refusal, every interruption, and nothing left over."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from bench.bloat_shapes import FIXED
from maintenance.conf import DatabaseTarget, Pacing, Thresholds
from maintenance.core.errors import Cancelled, Postponed, Skipped, TargetUnavailable, UnknownName
from maintenance.core.job import Job, NoHistory, OpenWindow, Point, SilentProgress
from maintenance.core.loose_ends import LooseEnds
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.run_marks import RunMark
from maintenance.postgres.reindex import preflight
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.run import reindex_bloated_indexes
from maintenance.postgres.repair.table_lock import LOCK_CLASS
from maintenance.postgres.run_sessions import DatabaseSessions
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, alone, ask, major_of, narrow_role
from tests.postgres_standby import primary_and_standby
from tests.servers import stand_in_for_flush
from tests.statement_log import log_every_statement, logged_changes

THRESHOLDS = Thresholds(minimum_bloat_bytes=64 * 1024)
RUN_ID = "5f6a4b0e-3d1c-4a55-9a55-2a1b9f6f7c10"
#: How far a size may be from that of a fresh index.
FRESH_RATIO = 0.05

#: A function that takes its time while an index on it is rebuilt, and only then.
SLOWLY = """
CREATE FUNCTION slowly(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF pg_catalog.current_query() LIKE '%REINDEX%' THEN
        PERFORM pg_catalog.pg_sleep(0.02);
    END IF;
    RETURN n;
END $$
"""
AT_WORK = "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'building%%'"
WAITING = "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%%'"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def plant(url: str, table: str = "t", index: str = "t_n", rows: int = 30_000) -> None:
    """A table that autovacuum leaves alone, four fifths of whose index are bloat."""
    t, i = quoted(table), quoted(index)
    ask(url, f"CREATE TABLE {t} (n int, note text) WITH (autovacuum_enabled = off)")
    ask(url, f"CREATE INDEX {i} ON {t} (n)")
    ask(url, f"INSERT INTO {t} SELECT i, 'x' FROM generate_series(1, {rows}) i")
    ask(url, f"DELETE FROM {t} WHERE n % 5 <> 0")
    ask(url, f"VACUUM (ANALYZE) {t}")


def plant_slow(url: str, rows: int = 100) -> None:
    """A table whose index takes seconds to rebuild: two for a hundred rows."""
    ask(url, SLOWLY)
    ask(url, "CREATE TABLE t (n int, note text) WITH (autovacuum_enabled = off)")
    ask(url, f"INSERT INTO t SELECT i, 'x' FROM generate_series(1, {rows}) i")
    ask(url, "CREATE INDEX t_n ON t (slowly(n))")
    ask(url, "ANALYZE t")


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    plant(url)
    return url


@pytest.fixture
def slow_url(make_database: Callable[[], str]) -> str:
    url = make_database()
    plant_slow(url)
    return url


#: A server of tests is never quiet: pacing is the crew's business, and tested there.
CALM = Pacing(
    active_sessions=1000, lock_waiters=1000, added_latency_ms=10_000, wal_bytes_per_second=2**50
)


def reindex(
    url: str, *, pacing: Pacing = CALM, target: dict[str, Any] | None = None, **values: Any
) -> Report:
    given = ("progress", "steps", "window", "history", "by_hand", "loose_ends")
    job = {name: values.pop(name) for name in given if name in values}
    return reindex_bloated_indexes(
        Job(
            "site",
            DatabaseTarget(url=url, pacing=pacing, **(target or {})),
            ReindexOptions(**values),
            run_id=RUN_ID,
            **job,
        ),
        THRESHOLDS,
    )


def only(report: Report, kind: str = "reindex") -> Outcome:
    [outcome] = [o for o in report.outcomes if o.action.kind == kind]
    return outcome


def size(url: str, index: str) -> int:
    return int(ask(url, "SELECT pg_relation_size(%s::regclass)", index)[0][0])


def oid(url: str, index: str = "t_n") -> int:
    return int(ask(url, "SELECT %s::regclass::oid", index)[0][0])


def invalid(url: str) -> list[str]:
    return [name for (name,) in ask(url, INVALID)]


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Run ``work`` beside the body, and fail where it failed."""
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(work)
        yield
        beside.result()


@contextmanager
def rebuilding(url: str, **options: Any) -> Iterator[list[Report]]:
    """Let a rebuild be at work in the body; the list has its report afterwards."""
    reports: list[Report] = []
    with meanwhile(lambda: reports.append(reindex(url, indexes=("t_n",), **options))):
        eventually(lambda: bool(ask(url, AT_WORK)), seconds=30, what="a rebuild at work")
        yield reports


def spare_copy(url: str, table: str = "t", name: str = "t_n") -> None:
    """Leave what an interrupted rebuild leaves: a REINDEX that a lock_timeout ended."""
    with Client(url) as reader:
        reader.run(f"BEGIN; SELECT count(*) FROM {table}")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            in_one_session(url, "SET lock_timeout = '50ms'", f"REINDEX INDEX CONCURRENTLY {name}")


def assert_rebuilt(slow_url: str, before: int) -> None:
    """A later run does the work that one could not: a new index, of the very size of the old one."""
    again = only(reindex(slow_url, indexes=("t_n",)))
    assert again.verdict is Verdict.NO_GAIN
    assert again.sentence.startswith("it did not shrink: ")
    assert oid(slow_url) != before
    assert invalid(slow_url) == []


def in_one_session(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


# What is rebuilt


def test_every_bloated_index_is_as_small_as_a_fresh_one(make_database: Callable[[], str]) -> None:
    url = make_database()
    for shape in FIXED:
        if shape.name in {"narrow", "accounts", "jobs", "roomy"}:
            for statement in shape.statements():
                ask(url, statement)

    report = reindex(url)

    done = [o for o in report.outcomes if o.action.kind == "reindex"]
    assert {o.verdict for o in done} == {Verdict.WORKED}
    names = [o.action.subject.rpartition(".")[2] for o in done]
    assert set(names) >= {"narrow_id", "narrow_n", "accounts_email", "jobs_open"}
    assert not {"roomy_note", "roomy_pkey"} & set(names)
    for outcome, name in zip(done, names, strict=True):
        rebuilt = size(url, name)
        assert outcome.after["size_bytes"] == rebuilt
        ask(url, f"REINDEX INDEX {name}")
        assert rebuilt == pytest.approx(size(url, name), rel=FRESH_RATIO), name
        gain = outcome.action.predicted["gain_bytes"]
        assert outcome.after["gained_bytes"] == pytest.approx(gain, rel=0.1), name
    assert report.facts["gained_bytes"] == sum(o.after["gained_bytes"] for o in done)
    gains = [o.action.predicted["gain_bytes"] for o in done]
    assert gains == sorted(gains, reverse=True)
    assert only(report, "analyze").action.statement == f"ANALYZE {alone(url)}public.accounts"
    assert [f for f in report.findings if not f.code.startswith("repair-")] == []
    assert invalid(url) == []


def test_a_dry_run_changes_nothing_and_says_what_the_run_then_does(
    make_database: Callable[[], str], postgres_server: EmbeddedPostgres
) -> None:
    url = make_database()
    plant(url)
    plant(url, "u", "u_n", 60_000)
    ask(url, "CREATE INDEX t_half ON t ((n / 2))")
    spare_copy(url)
    before = [oid(url, name) for name in ("t_n", "u_n", "t_n_ccold")]

    dry = reindex(url, dry_run=True, indexes=("t_n", "u_n", "t_half"))

    assert [oid(url, name) for name in ("t_n", "u_n", "t_n_ccold")] == before
    assert {o.verdict for o in dry.outcomes} == {Verdict.PLANNED}
    planned = [o.action.statement for o in dry.outcomes]
    assert len(planned) == 5  # a leftover, three indexes, one table with an expression

    log_every_statement(url)
    reindex(url, indexes=("t_n", "u_n", "t_half"))

    assert logged_changes(postgres_server, url) == planned


def test_what_a_dry_run_chooses_by_itself_is_what_the_run_then_does(
    make_database: Callable[[], str], postgres_server: EmbeddedPostgres
) -> None:
    url = make_database()
    for table in "tuvw":
        # Keys of many lengths: other pages of the table are another estimate.
        ask(url, f"CREATE TABLE {table} (n text) WITH (autovacuum_enabled = off)")
        ask(url, f"CREATE INDEX {table}_n ON {table} (n)")
        uneven = "repeat(md5(i::text), 1 + (i * 7919) % 12)"
        ask(url, f"INSERT INTO {table} SELECT {uneven} FROM generate_series(1, 30000) i")
        ask(url, f"DELETE FROM {table} WHERE n < '8'")
        ask(url, f"VACUUM (ANALYZE) {table}")
    spare_copy(url, "t", "t_n")
    spare_copy(url, "t", "t_n")

    dry = reindex(url, dry_run=True)

    ratios = sorted(row[dry.tables[0].columns.index("bloat_ratio")] for row in dry.tables[0].rows)
    assert reindex(url, dry_run=True).tables == dry.tables
    # Between them, where one page more or less decides.
    limit = (ratios[1] + ratios[2]) / 2
    planned = only_planned(reindex(url, dry_run=True, minimum_bloat_ratio=limit))
    assert len(planned) == 4  # two leftovers, two of four indexes
    log_every_statement(url)

    reindex(url, minimum_bloat_ratio=limit)

    assert logged_changes(postgres_server, url) == planned


def test_what_belongs_to_an_index_is_as_it_was(url: str) -> None:
    ask(url, "ALTER TABLE t ADD COLUMN id int NOT NULL GENERATED ALWAYS AS IDENTITY")
    ask(url, "CREATE UNIQUE INDEX t_id ON t (id) WITH (fillfactor = 80)")
    ask(url, "ALTER TABLE t REPLICA IDENTITY USING INDEX t_id")
    ask(url, "ALTER TABLE t ADD CONSTRAINT t_unique UNIQUE USING INDEX t_id DEFERRABLE")
    ask(url, "COMMENT ON INDEX t_unique IS 'mine'")
    ask(url, "CREATE INDEX t_lower ON t (lower(note))")
    ask(url, "ALTER INDEX t_lower ALTER COLUMN 1 SET STATISTICS 321")
    ask(url, "CLUSTER t USING t_lower")
    kept = (
        "SELECT c.relname, pg_get_indexdef(c.oid), indisreplident, indisclustered,"
        " obj_description(c.oid), (SELECT max(attstattarget) FROM pg_attribute WHERE attrelid = c.oid)"
        " FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname IN ('t_unique', 't_lower')"
        " ORDER BY 1"
    )
    before = ask(url, kept)
    assert [row[2:5] for row in before] == [(False, True, None), (True, False, "mine")]

    report = reindex(url, indexes=("t_unique", "t_lower"))

    rebuilt = [o for o in report.outcomes if o.action.kind == "reindex"]
    assert {o.verdict for o in rebuilt} <= {Verdict.WORKED, Verdict.NO_GAIN}
    assert [o.after.get("changed") for o in rebuilt] == [None, None]
    assert ask(url, kept) == before
    statistics = "SELECT count(*) FROM pg_stats WHERE tablename = 't_lower'"
    assert ask(url, statistics) == [(1,)]


def test_an_index_that_is_not_bloated_gains_nothing_and_says_so(url: str) -> None:
    ask(url, "REINDEX INDEX t_n")
    outcome = only(report := reindex(url, indexes=("public.t_n",)))
    assert outcome.verdict is Verdict.NO_GAIN
    assert outcome.sentence.startswith("it did not shrink: ")
    assert "reindex-no-gain" in {f.code for f in report.findings}
    assert reindex(url).summary == "Nothing to rebuild: none of 1 measured index is bloated enough."


def test_names_of_every_kind_come_out_right(make_database: Callable[[], str]) -> None:
    url = make_database()
    plant(url, ODD_NAME[:40], ODD_NAME)

    report = reindex(url, indexes=(ODD_NAME,))

    assert only(report).verdict is Verdict.WORKED
    assert only(report).action.statement == (
        f"REINDEX INDEX CONCURRENTLY public.{quoted(ODD_NAME)}"
    )
    assert only(reindex(url, indexes=(f"public.{ODD_NAME}",))).verdict is Verdict.NO_GAIN


def test_an_unknown_index_gets_a_suggestion(url: str) -> None:
    with pytest.raises(UnknownName, match=r'Unknown index "t_m"\. Did you mean "t_n"\?'):
        reindex(url, indexes=("t_m",))


# What is refused


def test_what_cannot_be_rebuilt_is_refused_by_name(url: str) -> None:
    ask(url, "CREATE TABLE ranges (r int4range, EXCLUDE USING gist (r WITH &&))")
    ask(url, "CREATE TABLE parts (n int) PARTITION BY RANGE (n)")
    ask(url, "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9)")
    ask(url, "CREATE INDEX parts_n ON parts (n)")
    spare_copy(url)
    names = {
        "ranges_r_excl": "exclusion constraint",
        "parts_n": "indexes of its partitions",
        "pg_catalog.pg_class_oid_index": "system catalog",
        "t_n_ccold": "second valid index",
    }

    report = reindex(url, indexes=(*names, "part_n_idx"), dry_run=True)

    refused = {
        o.action.subject: o.sentence for o in report.outcomes if o.verdict is Verdict.REFUSED
    }
    assert len(refused) == len(names)
    for name, words in names.items():
        sentence = next(
            s for subject, s in refused.items() if subject.endswith(name.split(".")[-1])
        )
        assert words in sentence
    assert only_planned(report, "reindex") == ["REINDEX INDEX CONCURRENTLY public.part_n_idx"]
    left = [f.subject for f in report.findings if f.code == "reindex-left-alone"]
    assert sorted(left) == sorted(refused)


def only_planned(report: Report, kind: str = "") -> list[str]:
    return [
        o.action.statement
        for o in report.outcomes
        if o.verdict is Verdict.PLANNED and o.action.kind.startswith(kind)
    ]


def test_indexes_of_partitions_are_rebuilt_one_by_one(url: str) -> None:
    ask(url, "CREATE TABLE parts (n int) PARTITION BY HASH (n)")
    for number in range(2):
        ask(
            url,
            f"CREATE TABLE part{number} PARTITION OF parts"
            f" FOR VALUES WITH (MODULUS 2, REMAINDER {number})",
        )
    ask(url, "CREATE INDEX parts_n ON parts (n)")
    ask(url, "INSERT INTO parts SELECT i FROM generate_series(1, 60000) i")
    ask(url, "DELETE FROM parts WHERE n % 5 <> 0")
    ask(url, "VACUUM ANALYZE parts")

    report = reindex(url)

    worked = {o.action.subject for o in report.outcomes if o.verdict is Verdict.WORKED}
    assert worked >= {"public.part0.part0_n_idx", "public.part1.part1_n_idx"}
    attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'parts_n'::regclass"
    assert ask(url, attached) == [(2,)]


def test_an_old_snapshot_keeps_a_rebuild_from_beginning_and_is_named(url: str) -> None:
    before = oid(url)
    with Client(url, "forgetful") as holder:
        holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        age = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'forgetful'"
            " AND clock_timestamp() - xact_start > interval '0.2 s'"
        )
        eventually(lambda: bool(ask(url, age)), seconds=10, what="an old transaction")

        report = reindex(url, oldest_transaction_seconds=0.2)
        dry = reindex(url, oldest_transaction_seconds=0.2, dry_run=True)

    outcome = only(report)
    assert outcome.verdict is Verdict.REFUSED
    assert f"it would wait for process {holder.pid}" in outcome.sentence
    assert "application forgetful, idle in transaction" in outcome.sentence
    assert oid(url) == before
    [finding] = [f for f in dry.findings if f.code == "reindex-would-wait"]
    assert "forgetful" in finding.sentence
    assert only(reindex(url, oldest_transaction_seconds=0.2)).verdict is Verdict.WORKED
    assert oid(url) != before


def test_a_table_that_others_change_is_left_alone(url: str) -> None:
    with Client(url, "builder") as builder:
        builder.run("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")
        locked = only(reindex(url))
    assert locked.verdict is Verdict.REFUSED
    assert "application builder" in locked.sentence
    assert "ShareUpdateExclusiveLock" in locked.sentence
    with Client(url) as other:
        key = f"{LOCK_CLASS}, ({oid(url, 't')}::bigint - 2147483648)::int"
        other.run(f"SELECT pg_advisory_lock({key})")
        occupied = only(reindex(url))
    assert occupied.verdict is Verdict.REFUSED
    assert "another maintenance run" in occupied.sentence
    assert only(reindex(url)).verdict is Verdict.WORKED


def test_a_database_near_its_limit_is_not_filled(url: str) -> None:
    database = int(ask(url, "SELECT pg_database_size(current_database())")[0][0])
    outcome = only(reindex(url, target={"size_limit_bytes": database + 8192}))
    assert outcome.verdict is Verdict.REFUSED
    assert "would pass its limit" in outcome.sentence


def test_a_dry_run_names_what_would_keep_the_run_from_working_now(url: str) -> None:
    plant(url, "u", "u_n")
    spare_copy(url)
    plant(url, "v", "v_n")
    database = int(ask(url, "SELECT pg_database_size(current_database())")[0][0])
    with Client(url, "builder") as builder, Client(url, "reader") as reader:
        builder.run("BEGIN; LOCK TABLE u IN SHARE UPDATE EXCLUSIVE MODE")
        reader.run("BEGIN; SELECT count(*) FROM t")

        dry = reindex(url, dry_run=True, target={"size_limit_bytes": database + 8192})
        done = reindex(url, target={"size_limit_bytes": database + 8192})

    found = [f for f in dry.findings if f.code == "reindex-would-wait"]
    told = {f.subject: f.sentence for f in found}
    assert set(told) == {"public.t.t_n_ccold", "public.u.u_n", "public.v.v_n"}
    assert "its table is used by process" in told["public.t.t_n_ccold"]
    assert "its table is being worked on by" in told["public.u.u_n"]
    assert "application builder" in told["public.u.u_n"]
    assert "would pass its limit" in told["public.v.v_n"]
    # The run leaves alone what the dry run said it would.
    left = {o.action.subject for o in done.outcomes if o.verdict is not Verdict.WORKED}
    assert left == set(told)


class Slow(NoHistory):
    """What earlier rebuilds saw: a kilobyte a second."""

    def series_by_subject(self, metric: str, *_: Any, **__: Any) -> Mapping[str, Sequence[Point]]:
        return {"public.t.t_n": [Point(0, 1024.0)]} if metric.endswith("per_second") else {}


def test_what_does_not_fit_into_the_window_is_not_begun(url: str) -> None:
    before, now = oid(url), time.time()
    outcome = only(reindex(url, history=Slow(), window=OpenWindow(now + 60, now + 3600)))
    assert outcome.verdict is Verdict.REFUSED
    assert "left for the next run: it needs about" in outcome.sentence
    assert "the maintenance window closes at" in outcome.sentence
    assert outcome.action.predicted["seconds"] > 60
    assert oid(url) == before


def test_what_the_time_budget_leaves_is_rebuilt_by_the_next_run(url: str) -> None:
    left = only(reindex(url, time_budget_seconds=1e-9))
    assert left.verdict is Verdict.REFUSED
    assert "left for the next run: the time budget of" in left.sentence
    assert only(reindex(url)).verdict is Verdict.WORKED


def test_a_role_without_rights_is_told_what_it_needs(url: str) -> None:
    with narrow_role(url, "pg_read_all_data") as narrow_url:
        report = reindex(narrow_url)
    assert [o.action.kind for o in report.outcomes] == []
    [finding] = [f for f in report.findings if f.code == "reindex-rights"]
    assert not finding.measured
    assert "public.t.t_n" in finding.sentence


@pytest.mark.since_postgres(17)
def test_a_role_with_pg_maintain_may_rebuild(url: str) -> None:
    with narrow_role(url, "pg_maintain", "pg_read_all_data") as narrow_url:
        assert only(reindex(narrow_url)).verdict is Verdict.WORKED


def test_an_owner_may_rebuild_without_seeing_others(url: str) -> None:
    with narrow_role(url) as narrow_url:
        role = narrow_url.partition("//")[2].partition(":")[0]
        ask(url, f"ALTER TABLE t OWNER TO {role}")
        assert only(reindex(narrow_url)).verdict is Verdict.WORKED
        ask(url, "ALTER TABLE t OWNER TO CURRENT_USER")


def test_a_standby_is_left_to_its_primary(server_root: Path) -> None:
    def fill(server: EmbeddedPostgres) -> None:
        stand_in_for_flush(server)
        ask(server.url(), "CREATE TABLE t (n int)")

    with (
        primary_and_standby(server_root / "reindex", fill) as (_, standby),
        pytest.raises(Skipped, match="standby"),
    ):
        reindex(standby.url())


# What happens in mid-rebuild


def test_limits_of_the_role_end_no_rebuild(slow_url: str) -> None:
    with narrow_role(slow_url) as narrow_url:
        role = narrow_url.partition("//")[2].partition(":")[0]
        for limit in ("statement_timeout", "lock_timeout"):
            ask(slow_url, f"ALTER ROLE {role} SET {limit} = '300ms'")
        ask(slow_url, f"ALTER TABLE t OWNER TO {role}")
        outcome = only(report := reindex(narrow_url, indexes=("t_n",)))
        ask(slow_url, "ALTER TABLE t OWNER TO CURRENT_USER")
    assert outcome.verdict in {Verdict.WORKED, Verdict.NO_GAIN}
    assert outcome.duration_seconds > 1
    [finding] = [f for f in report.findings if f.code == "reindex-preflight"]
    assert "GRANT pg_monitor" in finding.sentence


def test_a_reader_that_never_ends_is_named_and_the_leftover_dropped_once_it_does(
    url: str,
) -> None:
    with Client(url, "forgetful") as reader:
        reader.run("BEGIN; SELECT count(*) FROM t")

        report = reindex(url, locker_patience_seconds=0.5)

        outcome = only(report)
        stays = invalid(url)
        again = reindex(url, leftovers_only=True)
        still = invalid(url)
    # The new index had taken the old one's place already: only the old one had to wait.
    assert outcome.verdict is Verdict.WORKED
    assert stays == still == ["t_n_ccold"]
    assert "its leftover public.t.t_n_ccold cannot be dropped yet" in outcome.sentence
    for told in (report, again):
        [finding] = [f for f in told.findings if f.code == "reindex-leftover"]
        assert f"process {reader.pid}" in finding.sentence
        assert "application forgetful" in finding.sentence
        assert told.follow_up is not None
        assert told.follow_up.options == {"leftovers_only": True}

    last = reindex(url, leftovers_only=True)

    assert invalid(url) == []
    assert only(last, "drop leftover").verdict is Verdict.WORKED
    assert last.follow_up is None
    assert [f.code for f in last.findings if f.code == "reindex-leftover"] == []


def test_a_snapshot_that_appears_in_mid_rebuild_ends_it_and_nothing_is_left(slow_url: str) -> None:
    before = oid(slow_url)
    with Client(slow_url, "reporting") as holder:
        with rebuilding(slow_url, locker_patience_seconds=0.5) as reports:
            holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        outcome = only(reports[0])
        assert outcome.verdict is Verdict.BLOCKED
        assert outcome.sentence.startswith("it waited ")
        assert f"for process {holder.pid} (user" in outcome.sentence
        assert "application reporting" in outcome.sentence
        # A snapshot without a lock on the table keeps nobody from dropping the copy.
        assert outcome.sentence.endswith("what it left was dropped")
        assert invalid(slow_url) == []
        assert oid(slow_url) == before
    assert reports[0].follow_up is None
    assert "reindex-blocked" in {f.code for f in reports[0].findings}
    assert_rebuilt(slow_url, before)


def test_a_lock_that_comes_between_is_not_waited_for_in_the_queue(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "refusal_for_table", lambda *_: "")  # it comes after that look
    with Client(url, "builder") as builder:
        builder.run("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")
        outcome = only(reindex(url, target={"lock_timeout_seconds": 0.5}))
    assert outcome.verdict is Verdict.BLOCKED
    assert f"for process {builder.pid} (user" in outcome.sentence
    assert 0.5 <= outcome.duration_seconds < 3
    assert invalid(url) == []
    assert only(reindex(url)).verdict is Verdict.WORKED


def test_several_at_once_do_not_wait_for_one_another(url: str) -> None:
    plant(url, "u", "u_n")
    for table in "tu":
        ask(url, f"CREATE INDEX {table}_half ON {table} ((n / 2))")
        ask(url, f"CREATE INDEX {table}_part ON {table} (n) WHERE n > 9")
    names = ("t_n", "u_n", "t_half", "u_half", "t_part", "u_part")
    report = reindex(url, indexes=names, jobs=2)
    rebuilt = [o for o in report.outcomes if o.action.kind == "reindex"]
    assert len(rebuilt) == len(names)
    assert {o.verdict for o in rebuilt} <= {Verdict.WORKED, Verdict.NO_GAIN}


def test_a_rebuild_ends_at_its_deadline(slow_url: str) -> None:
    before = oid(slow_url)
    outcome = only(reindex(slow_url, indexes=("t_n",), index_time_limit_seconds=0.5))
    assert outcome.verdict is Verdict.FAILED
    assert "it was not complete after 500 ms (option index_time_limit_seconds)" in outcome.sentence
    assert outcome.duration_seconds < 5
    assert invalid(slow_url) == []
    assert oid(slow_url) == before
    assert_rebuilt(slow_url, before)


def test_a_schema_change_of_the_site_is_let_through_in_time(slow_url: str) -> None:
    waited: list[float] = []

    def alter() -> None:
        eventually(lambda: bool(ask(slow_url, AT_WORK)), seconds=30, what="a rebuild at work")
        begin = time.monotonic()
        ask(slow_url, "ALTER TABLE t ADD COLUMN more int")
        waited.append(time.monotonic() - begin)

    pacing = CALM.model_copy(update={"blocked_limit_seconds": 1.0})
    with meanwhile(alter):
        report = reindex(slow_url, indexes=("t_n",), pacing=pacing)

    assert waited[0] < 1
    assert report.facts["gave_way_count"] == 1
    assert only(report).verdict in {Verdict.WORKED, Verdict.NO_GAIN}  # by the second try
    assert invalid(slow_url) == []


def test_a_rebuild_that_somebody_terminates_is_not_begun_again_and_leaves_nothing(
    slow_url: str,
) -> None:
    before = oid(slow_url)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index"
        " WHERE phase LIKE 'building%%'"
    )
    with rebuilding(slow_url) as reports:
        ask(slow_url, kill)
    outcome = only(reports[0])
    assert outcome.verdict is Verdict.FAILED
    assert outcome.sentence.startswith("somebody ended its session (terminating connection")
    assert invalid(slow_url) == []
    assert oid(slow_url) == before


def test_a_run_that_is_cancelled_leaves_nothing(slow_url: str) -> None:
    class Impatient(SilentProgress):
        def update(self, *_: Any, **__: Any) -> None:
            if ask(slow_url, AT_WORK):
                raise Cancelled("Cancelled on request.")

    before = oid(slow_url)
    with pytest.raises(Cancelled):
        reindex(slow_url, indexes=("t_n",), progress=Impatient())
    assert invalid(slow_url) == []
    assert oid(slow_url) == before
    ours = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'"
    eventually(lambda: ask(slow_url, ours) == [], seconds=5, what="the end of our sessions")


def test_a_window_that_closes_postpones_the_rest(slow_url: str) -> None:
    closes = time.time() + 1
    with pytest.raises(Postponed) as postponed:
        reindex(slow_url, indexes=("t_n",), window=OpenWindow(closes, closes + 3600))
    assert postponed.value.until_epoch_seconds == closes + 3600
    assert invalid(slow_url) == []


def test_a_person_may_rebuild_after_the_window_has_closed(url: str) -> None:
    window = OpenWindow(time.time() - 1, time.time() + 3600)
    assert only(reindex(url, window=window, by_hand=True)).verdict is Verdict.WORKED


class CancelledAtWork(SilentProgress):
    """Somebody reads the table of a rebuild at work, and another asks the run to stop."""

    def __init__(self, url: str, reader: Client) -> None:
        self._url, self._reader = url, reader

    def update(self, *_: Any, **__: Any) -> None:
        if ask(self._url, AT_WORK):
            self._reader.run("BEGIN; SELECT count(*) FROM t")
            raise Cancelled("Cancelled on request.")


def test_a_run_that_is_cancelled_over_a_reader_names_what_stays_and_asks_for_its_drop(
    slow_url: str,
) -> None:
    left = LooseEnds()
    with Client(slow_url, "forgetful") as reader:
        progress = CancelledAtWork(slow_url, reader)
        with pytest.raises(Cancelled):
            reindex(slow_url, indexes=("t_n",), progress=progress, loose_ends=left)
        assert invalid(slow_url) == ["t_n_ccnew"]
    [finding] = left.findings
    assert finding.code == "reindex-leftover"
    assert "application forgetful" in finding.sentence
    assert left.follow_up is not None
    assert left.follow_up.options == {"leftovers_only": True}


def test_a_run_that_is_postponed_over_a_reader_names_what_stays_and_asks_for_its_drop(
    slow_url: str,
) -> None:
    left, closes = LooseEnds(), time.time() + 1
    with Client(slow_url, "forgetful") as reader:

        class Reading(SilentProgress):
            def update(self, *_: Any, **__: Any) -> None:
                if ask(slow_url, AT_WORK):
                    reader.run("BEGIN; SELECT count(*) FROM t")

        with pytest.raises(Postponed):
            reindex(
                slow_url,
                indexes=("t_n",),
                progress=Reading(),
                loose_ends=left,
                window=OpenWindow(closes, closes + 3600),
            )
        assert invalid(slow_url) == ["t_n_ccnew"]
    assert [finding.code for finding in left.findings] == ["reindex-leftover"]
    assert left.follow_up is not None


def test_leftovers_are_dropped_after_a_window_has_closed(url: str) -> None:
    spare_copy(url)
    window = OpenWindow(time.time() - 1, time.time() + 3600)
    with pytest.raises(Postponed):
        reindex(url, window=window)
    spare_copy(url)

    report = reindex(url, leftovers_only=True, window=window)

    assert only(report, "drop leftover").verdict is Verdict.WORKED
    assert invalid(url) == []


def test_a_leftover_that_had_no_turn_is_named_and_asked_for_again(url: str) -> None:
    spare_copy(url)
    with Client(url, "forgetful") as reader:
        reader.run("BEGIN; SELECT count(*) FROM t")
        report = reindex(url, leftovers_only=True, time_budget_seconds=1e-9)
    assert only(report, "drop leftover").verdict is Verdict.REFUSED
    assert [f.code for f in report.findings if f.code == "reindex-leftover"] == ["reindex-leftover"]
    assert report.follow_up is not None


def test_a_server_that_is_away_is_asked_again_for_leftovers() -> None:
    left = LooseEnds()
    with pytest.raises(TargetUnavailable):
        reindex("postgres://nobody@127.0.0.1:9/none", leftovers_only=True, loose_ends=left)
    assert left.follow_up is not None
    assert left.follow_up.options == {"leftovers_only": True}


def test_what_a_dead_attempt_left_is_ended_dropped_and_done_again(slow_url: str) -> None:
    before = oid(slow_url)
    mark = RunMark(RUN_ID.replace("-", ""), 1)
    with Client(slow_url, f"maintenance:reindex:{mark}") as dead:
        dead.start("REINDEX INDEX CONCURRENTLY t_n")
        eventually(lambda: bool(ask(slow_url, AT_WORK)), seconds=30, what="the dead one at work")

        DatabaseSessions().end(DatabaseTarget(url=slow_url), lambda _marks: [mark])
        report = reindex(slow_url, indexes=("t_n",))

        alive = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        assert ask(slow_url, alive, dead.pid) == []
    assert only(report).verdict in {Verdict.WORKED, Verdict.NO_GAIN}
    assert invalid(slow_url) == []
    assert oid(slow_url) != before


class Noted:
    """Steps that are kept in memory, as the ledger keeps them."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    def done(self) -> dict[str, Outcome]:
        return dict(self.outcomes)

    def record(self, key: str, outcome: Outcome) -> None:
        self.outcomes[key] = outcome


def test_an_interrupted_run_goes_on_and_still_renews_statistics(url: str) -> None:
    plant(url, "u", "u_n")
    ask(url, "CREATE INDEX t_half ON t ((n / 2))")
    steps = Noted()
    first = reindex(url, indexes=("t_half",), steps=steps)
    assert [o.action.kind for o in first.outcomes] == ["reindex", "analyze"]
    del steps.outcomes["analyze public.t"]
    rebuilt = oid(url, "t_half")

    second = reindex(url, indexes=("t_half", "u_n"), steps=steps)

    assert oid(url, "t_half") == rebuilt
    assert {(o.action.kind, o.action.subject) for o in second.outcomes} == {
        ("reindex", "public.t.t_half"),
        ("reindex", "public.u.u_n"),
        ("analyze", "public.t"),
    }


# Leftovers


def test_leftovers_are_dropped_at_the_start_of_every_run(url: str) -> None:
    long = "t_" + "n" * 61
    ask(url, f"ALTER INDEX t_n RENAME TO {long}")
    spare_copy(url, name=long)
    ask(url, f"ALTER INDEX {long} RENAME TO t_n")
    assert len(invalid(url)) == 1
    [(toast, toast_index)] = ask(
        url,
        "SELECT c.relname, i.indexrelid::regclass::text FROM pg_class c JOIN pg_index i"
        " ON i.indrelid = c.oid WHERE c.oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 't')",
    )
    spare_copy(url, f"pg_toast.{toast}", toast_index)
    assert len(invalid(url)) == 2

    report = reindex(url)

    assert invalid(url) == []
    dropped = [o for o in report.outcomes if o.action.kind == "drop leftover"]
    assert [o.verdict for o in dropped] == [Verdict.WORKED] * 2
    assert oid(url, toast_index)
    assert oid(url, "t_n")
    assert ask(url, "SELECT count(*) FROM t WHERE n = 5") == [(1,)]


def test_an_invalid_index_that_is_no_copy_stays(url: str) -> None:
    ask(url, "CREATE TABLE twice (n int)")
    ask(url, "INSERT INTO twice VALUES (1), (1)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        in_one_session(url, "CREATE UNIQUE INDEX CONCURRENTLY twice_ccnew ON twice (n)")

    report = reindex(url)

    assert invalid(url) == ["twice_ccnew"]
    assert [o for o in report.outcomes if o.action.kind == "drop leftover"] == []


def test_a_leftover_that_only_its_owner_may_drop_is_named_without_another_try(url: str) -> None:
    spare_copy(url)
    with narrow_role(url, "pg_read_all_data") as narrow_url:
        report = reindex(narrow_url, leftovers_only=True)
    [finding] = [f for f in report.findings if f.code == "reindex-leftover"]
    assert "must be owner" in finding.sentence
    assert finding.commands == ('DROP INDEX CONCURRENTLY "public"."t_n_ccold";',)
    assert report.follow_up is None
    assert invalid(url) == ["t_n_ccold"]


def test_counts_of_scans_that_begin_anew_are_said_where_they_do(url: str) -> None:
    for _ in range(3):
        in_one_session(url, "SET enable_seqscan = off", "SELECT count(*) FROM t WHERE n = 5")
    counted = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 't_n'"
    eventually(lambda: ask(url, counted)[0][0] >= 3, seconds=10, what="counted scans")

    sentence = only(reindex(url)).sentence

    assert ("began anew" in sentence) is (major_of(url) <= 14)
