"""VACUUM FULL of named tables: planned, agreed to, in a window, one at a time, and verified."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import Skipped
from maintenance.core.findings import Finding
from maintenance.core.job import Job, Steps
from maintenance.core.plans import Outcome, Verdict, planned
from maintenance.core.reports import Report
from maintenance.core.wording import bytes_in_words, listed
from maintenance.postgres.activity.sessions import lock_holder_in_words, xmin_holders
from maintenance.postgres.bloat.indexes import measure_index_bloat
from maintenance.postgres.bloat.options import PLAN_SEED, IndexBloatOptions
from maintenance.postgres.bloat.table_report import TableBloat
from maintenance.postgres.bloat.tables import measure_tables
from maintenance.postgres.connection import connect, connection_was_lost
from maintenance.postgres.inheritance import only
from maintenance.postgres.repair.crew import TRIED_AGAIN, Crew, Step
from maintenance.postgres.repair.disk import disk_of, refusal_for_disk, unknown_disk
from maintenance.postgres.repair.ending import outcomes_of_run
from maintenance.postgres.repair.failures import outcome_of_error
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.repair.session import End, Interrupted, RepairSession, SessionLost
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.table_lock import occupied
from maintenance.postgres.repair.time_limits import TimeLimits
from maintenance.postgres.rewrite.naming import NamedTable, not_measured, tables_named
from maintenance.postgres.rewrite.options import VacuumFullOptions
from maintenance.postgres.rewrite.plan import Candidate, Conditions, plan_rewrite
from maintenance.postgres.rewrite.report import better_ways, rewrite_report, would_wait_findings
from maintenance.postgres.sql_files import query, server_major
from maintenance.postgres.vacuum.run import refuse_standby

_NO_WINDOW = (
    "VACUUM FULL locks a table for all, and so runs in a maintenance window only, also by hand."
    " Add windows to this target, or wait for the next one. A dry run is possible at any time."
)
_NOT_AGAIN = "it is not begun again by itself: the lock was agreed to once"
_BEGUN = f"an earlier attempt of this run began it and was lost before its end, and {_NOT_AGAIN}"


def vacuum_full(job: Job[DatabaseTarget, VacuumFullOptions], thresholds: Thresholds) -> Report:
    """Rewrite tables; what is refused says why, and better ways are named first.

    A dry run without tables plans for every large one. A rewrite that was begun is not begun again by
    any attempt of the run, unless its window or time budget ended it. Raises :class:`Skipped` on a
    standby, without tables, and outside of a window; :class:`UnknownName` for a table that does not
    exist; :class:`Postponed` where the window closed over it; and what :func:`connect` raises.
    """
    options = job.options
    if not options.tables and not options.dry_run:
        raise Skipped("No table is named. VACUUM FULL is only done to tables that are: tables=...")
    if not options.dry_run and job.window is None:
        raise Skipped(_NO_WINDOW)
    with connect(job.target, purpose="rewrite-plan") as conn:
        refuse_standby(conn)
        tables = tables_named(conn, options.tables) if options.tables else None
        candidates = _measure(conn, job, thresholds, tables)
        locked = not_measured(conn, tables or (), {candidate.oid for candidate in candidates})
        steps, refused = plan_rewrite(candidates, _conditions(conn, job))
        tools = [row["name"] for row in query(conn, "rewrite_tools")]
        notes = list(better_ways(candidates, tools, server_major(conn), thresholds))
        notes += _unknown_disks(candidates, steps, job.target.size_limit_bytes)
        if options.dry_run:
            notes += would_wait_findings(_lock_holders(conn, steps))
    # What an earlier attempt of this run has rewritten is not worth it any more.
    done_before = {
        outcome.action.subject
        for outcome in job.steps.done().values()
        if outcome.verdict not in TRIED_AGAIN
    }
    outcomes = [
        Outcome(r.action, Verdict.REFUSED, r.reason)
        for r in refused
        if r.action.subject not in done_before
    ]
    outcomes += [one for one in locked if one.action.subject not in done_before]
    harm = Harm()
    if options.dry_run:
        outcomes = [*planned(tuple(step.action for step in steps)), *outcomes]
    elif steps or done_before:
        done, harm = _rewrite(job, steps)
        outcomes = [*done, *outcomes]
    return rewrite_report(candidates, outcomes, harm, job.target.pacing, notes)


def _measure(
    conn: Connection,
    job: Job[DatabaseTarget, VacuumFullOptions],
    thresholds: Thresholds,
    tables: Sequence[NamedTable] | None,
) -> list[Candidate]:
    """Measure the tables that are named, or every large one; a table that somebody locks is left out."""
    free = None if tables is None else {t.oid: t for t in tables if not t.is_locked}
    measured = measure_tables(conn, free, thresholds, job.progress, seed=PLAN_SEED)
    bloat = {table.qualified_name: table for table in measured if not table.is_toast}
    names = bloat if free is None else [table.qualified_name for table in free.values()]
    rows = query(conn, "rewrite_candidates", {"names": list(names)})
    candidates = [_candidate(conn, row, bloat.get(row["qualified_name"])) for row in rows]
    return _with_index_bloat(conn, job, thresholds, candidates)


def _with_index_bloat(
    conn: Connection,
    job: Job[DatabaseTarget, VacuumFullOptions],
    thresholds: Thresholds,
    candidates: Sequence[Candidate],
) -> list[Candidate]:
    """Return the candidates with the bloat of their indexes, where it could be more than that beside them."""
    worth = [c.oid for c in candidates if c.index_bytes > (c.gain_bytes or 0)]
    rows = query(conn, "rewrite_indexes", {"table_oids": worth}) if worth else []
    table_of = {row["oid"]: row["table_oid"] for row in rows}
    options = IndexBloatOptions(seed=PLAN_SEED)
    found = measure_index_bloat(conn, job, options, thresholds, only=table_of.keys()).indexes
    return [
        replace(c, indexes=tuple(i for i in found if table_of[i.oid] == c.oid)) for c in candidates
    ]


def _candidate(conn: Connection, row: dict[str, Any], bloat: TableBloat | None) -> Candidate:
    table = sql.Identifier(row["schema"], row["name"])
    alone = sql.SQL(only(server_major(conn)))
    rewriting = sql.SQL("VACUUM (FULL, ANALYZE, VERBOSE) {}{}").format(alone, table)
    statement = rewriting.as_string(conn)
    disk = disk_of(conn, row["oid"])
    return Candidate(**row, statement=statement, bloat=bloat, disk=disk)


def _conditions(conn: Connection, job: Job[DatabaseTarget, VacuumFullOptions]) -> Conditions:
    rates = job.history.series("rewrite_bytes_per_second")
    return Conditions(
        lock_limit_seconds=job.options.lock_limit_seconds,
        minimum_gain_ratio=job.options.minimum_gain_ratio,
        # The slowest of the last ones: a lock that lasts longer than foretold is a broken promise.
        bytes_per_second=min((point.value for point in rates[-3:]), default=None),
        size_limit_bytes=job.target.size_limit_bytes,
        holders=tuple(xmin_holders(conn)),
    )


def _unknown_disks(
    candidates: Sequence[Candidate], steps: Sequence[Step], size_limit_bytes: int | None
) -> tuple[Finding, ...]:
    """Say once that the disk of a table to rewrite could not be looked at."""
    oids = {step.table_oid for step in steps}
    disks = [c.disk for c in candidates if c.oid in oids and c.disk is not None]
    unknown = (unknown_disk("rewrite-disk", disk, size_limit_bytes) for disk in disks)
    return next(filter(None, unknown), ())


def _lock_holders(conn: Connection, steps: Sequence[Step]) -> dict[str, str]:
    """Return who holds a lock on the table of each step at this moment, by table."""
    found = {}
    for step in steps:
        holders = query(conn, "lock_holders", {"oid": step.table_oid, "any_mode": True})
        if holders:
            found[step.action.subject] = listed([lock_holder_in_words(row) for row in holders], 3)
    return found


def _rewrite(
    job: Job[DatabaseTarget, VacuumFullOptions], steps: Sequence[Step]
) -> tuple[tuple[Outcome, ...], Harm]:
    limits = TimeLimits.starting_now(
        window=job.window,  # also by hand: it locks a table for all
        budget_seconds=job.options.time_budget_seconds,
        statement_timeout_seconds=job.options.lock_limit_seconds,
    )
    with watching(job, 1) as watch:
        trade = _Rewriting(watch.conn, job.steps, job.target.size_limit_bytes)
        crew: Crew[Step, _Done] = Crew(
            job, watch, trade, limits, kind="rewrite", jobs=1, gives_way=False
        )
        work = crew.work(steps)
    outcomes = outcomes_of_run(job, steps, work, limits)
    return tuple(_ended(outcome) for outcome in outcomes), work.harm


def _ended(outcome: Outcome) -> Outcome:
    """Count as failed what an earlier attempt has begun, and nobody has seen the end of."""
    is_open = outcome.verdict is Verdict.PLANNED
    return replace(outcome, verdict=Verdict.FAILED) if is_open else outcome


@dataclass(frozen=True, slots=True)
class _Done:
    """A statement that has ended: the table before it, and how long it lasted.

    ``early`` says why it ended before its ANALYZE had, or the rewrite itself; ``None`` where all is done.
    """

    before_bytes: int
    before_file: int | None
    seconds: float
    early: Outcome | None = None


class _Rewriting:
    """The trade of rewriting one table after another."""

    def __init__(self, conn: Connection, steps: Steps, size_limit_bytes: int | None) -> None:
        self._conn = conn
        self._steps = steps
        self._size_limit_bytes = size_limit_bytes

    def perform(self, session: RepairSession, step: Step, speed: Speed) -> _Done | Outcome:  # noqa: ARG002 - the shorter its lock the better
        """Rewrite one table, at full speed."""
        try:
            with occupied(session.conn, step.table_oid) as occupant:
                if occupant is not None:
                    return Outcome(step.action, Verdict.REFUSED, occupant.in_words)
                reason = self._refusal_for_disk(session.conn, step)
                if reason:
                    return Outcome(step.action, Verdict.REFUSED, reason)
                return self._rewritten(session, step)
        except psycopg2.Error as error:
            if connection_was_lost(session.conn, error):
                raise
            return _failed(session.conn, step, error)

    def _rewritten(self, session: RepairSession, step: Step) -> _Done:
        conn, oid = session.conn, step.table_oid
        before = _total_bytes(conn, oid) or 0, _file_of(conn, oid)
        # Whatever becomes of this process: another attempt must not take the lock once more.
        self._steps.record(step.key, Outcome(step.action, Verdict.PLANNED, _BEGUN))
        begin = time.monotonic()
        early: Outcome | None = None
        try:
            session.execute(sql.SQL(step.action.statement))
        except SessionLost as lost:
            sentence = f"its session was ended ({lost}), and {_NOT_AGAIN}"
            early = Outcome(step.action, Verdict.FAILED, sentence)
        except Interrupted as interrupted:
            early = Outcome(step.action, Verdict.REFUSED, interrupted.reason)
            if _file_of(conn, oid) == before[1]:
                if interrupted.end is End.OUT_OF_TIME:
                    # Our own limit, which the run may go on behind; whatever else it was ends it.
                    self._steps.record(step.key, early)
                raise
        except psycopg2.Error as error:
            early = _failed(conn, step, error)
        return _Done(*before, time.monotonic() - begin, early)

    def _refusal_for_disk(self, conn: Connection, step: Step) -> str:
        """Look once more: the disk was measured before the tables that came first."""
        if _total_bytes(conn, step.table_oid) is None:
            return ""  # dropped: the statement says so
        need = step.action.predicted["disk_bytes"]
        return refusal_for_disk(disk_of(conn, step.table_oid), need, self._size_limit_bytes)

    def settle(self, done: Sequence[tuple[Step, _Done]]) -> list[Outcome]:
        """Compare sizes."""
        return [self._outcome(step, result) for step, result in done]

    def _outcome(self, step: Step, done: _Done) -> Outcome:
        if done.early is not None and _file_of(self._conn, step.table_oid) == done.before_file:
            return done.early
        after = _total_bytes(self._conn, step.table_oid)
        if after is None:
            return Outcome(step.action, Verdict.REFUSED, "the table was dropped meanwhile")
        gained = done.before_bytes - after
        worked = gained > 0
        sentence = f"{bytes_in_words(gained)} given back" if worked else "it did not get smaller"
        seen = {"total_bytes": after}
        if done.early is not None:
            # The rewrite is committed, and its lock given back, before the ANALYZE begins.
            sentence += f"; its statistics are not new: {done.early.sentence}"
            seen["analyzed"] = False
        return Outcome(
            step.action,
            Verdict.WORKED if worked else Verdict.NO_GAIN,
            sentence,
            before={"total_bytes": done.before_bytes},
            after=seen,
            duration_seconds=done.seconds,
        )


def _failed(conn: Connection, step: Step, error: psycopg2.Error) -> Outcome:
    return outcome_of_error(
        conn,
        step.action,
        step.table_oid,
        error,
        limit="option lock_limit_seconds",
        exclusive=True,
    )


def _file_of(conn: Connection, oid: int) -> int | None:
    """Return the number of a table's file, another one after a rewrite; ``None`` where it was dropped."""
    number: int | None = query(conn, "relation_file", {"oid": oid})[0]["file_number"]
    return number


def _total_bytes(conn: Connection, oid: int) -> int | None:
    size: int | None = query(conn, "total_size", {"oid": oid})[0]["size_bytes"]
    return size
