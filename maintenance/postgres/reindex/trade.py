"""How leftovers are dropped, indexes rebuilt and tables analyzed, and how each is looked after."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.wording import bytes_in_words, seconds_in_words
from maintenance.postgres.activity.sessions import session_in_words
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.indexes.catalog import IndexState, indexes_of_table
from maintenance.postgres.reindex.leftovers import is_still_leftover, leftovers_among
from maintenance.postgres.reindex.measure import drop_statement, snapshot_of
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.plan import ANALYZE, IndexFacts, ReindexStep
from maintenance.postgres.reindex.preflight import in_use_by, refusal_now
from maintenance.postgres.reindex.verdict import IndexSnapshot, judge
from maintenance.postgres.repair.failures import outcome_of_error
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.repair.session import End, Interrupted, RepairSession, SessionLost
from maintenance.postgres.repair.table_lock import occupied
from maintenance.postgres.sql_files import query

#: What the server answers where somebody else has the lock, or both wait for one another.
_BLOCKED = (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected)


@dataclass(frozen=True, slots=True)
class Done:
    """A step whose statement succeeded; ``before`` is the index before its rebuild."""

    seconds: float
    before: IndexSnapshot | None = None
    remark: str = ""


@dataclass(slots=True)
class _Rebuild:
    """A rebuild at work: since when, whom it waits for since when, and why we ended it if we did.

    ``before`` is the index as it was.
    """

    before: IndexSnapshot
    begun_at: float
    holder: tuple[int, bool] | None = None
    waits_since: float = 0.0
    ended: Interrupted | None = None
    verdict: Verdict = Verdict.BLOCKED


class ReindexTrade:
    """Carries out the steps of a plan. ``watch_conn`` is the session of the calling thread."""

    def __init__(
        self,
        target: DatabaseTarget,
        options: ReindexOptions,
        watch_conn: Connection,
        analyze_due: Collection[int] = (),
    ) -> None:
        self._target = target
        self._options = options
        self._watch_conn = watch_conn
        self._at_work: dict[int, _Rebuild] = {}
        self._before: dict[str, tuple[IndexSnapshot, float]] = {}  # and when it was begun
        self._rebuilt_tables = set(analyze_due)
        #: Tables on which something may be left: by oid.
        self.uncertain_tables: set[int] = set()

    def perform(self, session: RepairSession, step: ReindexStep, speed: Speed) -> Done | Outcome:
        """Do one step; see :class:`maintenance.postgres.repair.crew.Trade`."""
        begun_at = time.monotonic()
        try:
            with occupied(session.conn, step.table_oid) as occupant:
                if occupant is not None:
                    return Outcome(step.action, Verdict.REFUSED, occupant.in_words)
                result = self._perform(session, step, speed)
        except psycopg2.Error as error:
            if connection_was_lost(session.conn, error):
                raise SessionLost.of(session.conn, error) from error
            result = _outcome(session.conn, step, error)
        if isinstance(result, Outcome) and not result.duration_seconds:
            return replace(result, duration_seconds=time.monotonic() - begun_at)
        return result

    def _perform(self, session: RepairSession, step: ReindexStep, speed: Speed) -> Done | Outcome:
        if step.leftover is not None:
            return self._drop_step(session, step, step.leftover)
        if step.index is not None:
            return self._rebuild_step(session, step, step.index, speed)
        if step.table_oid not in self._rebuilt_tables:
            reason = "no index on an expression of it was rebuilt"
            return Outcome(step.action, Verdict.REFUSED, reason)
        begun_at = time.monotonic()
        warnings = [n for n in session.execute(sql.SQL(step.action.statement)) if "WARNING" in n]
        if warnings:  # a missing right is only a warning
            said = " ".join(warnings[0].split()).removeprefix("WARNING: ")
            return Outcome(step.action, Verdict.REFUSED, said)
        return Done(time.monotonic() - begun_at)

    def settle(self, done: Sequence[tuple[ReindexStep, Done]]) -> list[Outcome]:
        """Measure again and judge; see :class:`maintenance.postgres.repair.crew.Trade`."""
        return [self._judged(step, result) for step, result in done]

    def _judged(self, step: ReindexStep, result: Done) -> Outcome:
        if step.action.kind == ANALYZE:
            sentence = "its statistics are new"
            return Outcome(step.action, Verdict.WORKED, sentence, duration_seconds=result.seconds)
        if step.leftover is not None:
            size = step.leftover.size_bytes
            return Outcome(
                step.action,
                Verdict.WORKED,
                f"{bytes_in_words(size)} given back, and no write keeps it up to date any more",
                before={"size_bytes": size},
                after={"size_bytes": 0, "gained_bytes": size},
                duration_seconds=result.seconds,
            )
        assert step.index is not None
        assert result.before is not None
        outcome = judge(step.action, result.before, self._seen(step.index), result.seconds)
        return replace(outcome, sentence=f"{outcome.sentence}{result.remark}")

    def _seen(self, index: IndexFacts) -> IndexSnapshot | None:
        try:
            return snapshot_of(self._watch_conn, index)
        except psycopg2.errors.LockNotAvailable:
            return None

    # Leftovers

    def _drop_step(
        self, session: RepairSession, step: ReindexStep, leftover: IndexState
    ) -> Done | Outcome:
        begun_at = time.monotonic()
        self.uncertain_tables.add(leftover.table_oid)
        if not is_still_leftover(leftover, indexes_of_table(session.conn, leftover.table_oid)):
            reason = "it is gone, in work or valid by now, and was left alone"
            return Outcome(step.action, Verdict.REFUSED, reason)
        try:
            session.execute(sql.SQL(step.action.statement))
        except _BLOCKED:
            by = in_use_by(session.conn, leftover.table_oid)
            return Outcome(step.action, Verdict.BLOCKED, f"it cannot be dropped yet: {by}")
        return Done(time.monotonic() - begun_at)

    def _drop_leftovers(self, session: RepairSession, index: IndexFacts) -> str:
        """Drop what rebuilds of this index left; return what is still there and why."""
        present = indexes_of_table(session.conn, index.table_oid)
        structures = [other.structure for other in present if other.oid == index.oid]
        structures += [other.structure for other in present if other.name == index.name]
        for leftover in leftovers_among(present):
            if leftover.structure not in structures:
                continue
            self.uncertain_tables.add(index.table_oid)
            try:
                session.execute(sql.SQL(drop_statement(session.conn, leftover)))
            except (*_BLOCKED, Interrupted):
                by = in_use_by(session.conn, index.table_oid)
                return f"its leftover {leftover.qualified_name} cannot be dropped yet: {by}"
            except psycopg2.errors.InsufficientPrivilege as error:
                return f"its leftover {leftover.qualified_name} stays: {reason_of(error)}"
        return ""

    # Rebuilds

    def _rebuild_step(
        self, session: RepairSession, step: ReindexStep, index: IndexFacts, speed: Speed
    ) -> Done | Outcome:
        before = snapshot_of(session.conn, index)
        earlier, begun_at = self._before.get(step.key, (None, 0.0))
        if before is not None and earlier is not None and before.oid != earlier.oid:
            # The attempt before was ended when the new index had taken the old one's place.
            return self._complete(session, index, earlier, time.monotonic() - begun_at)
        if before is None or before.oid != index.oid or not before.is_usable:
            reason = "it was locked, renamed, rebuilt or dropped since it was measured"
            return Outcome(step.action, Verdict.REFUSED, reason)
        reason = self._refusal(session, step, index)
        if reason:
            return Outcome(
                step.action, Verdict.REFUSED, reason, before={"size_bytes": before.size_bytes}
            )
        self._before[step.key] = before, time.monotonic()
        return self._rebuild(session, step, index, before, speed)

    def _refusal(self, session: RepairSession, step: ReindexStep, index: IndexFacts) -> str:
        """Return why the rebuild does not begin now; empty where it may."""
        return refusal_now(session.conn, step, self._target, self._options) or self._drop_leftovers(
            session, index
        )

    def _rebuild(
        self,
        session: RepairSession,
        step: ReindexStep,
        index: IndexFacts,
        before: IndexSnapshot,
        speed: Speed,
    ) -> Done | Outcome:
        begun_at = time.monotonic()
        at_work = self._at_work[session.pid] = _Rebuild(before, begun_at)
        try:
            with _without_limits(session.conn, speed):
                session.execute(sql.SQL(step.action.statement))
        except (Interrupted, psycopg2.Error) as error:
            self._at_work.pop(session.pid, None)
            self.uncertain_tables.add(index.table_oid)
            return self._ended_early(session, step, index, at_work, error)
        finally:
            self._at_work.pop(session.pid, None)
            if session.conn.closed:
                self.uncertain_tables.add(index.table_oid)
        self._rebuilt_tables.add(index.table_oid)
        return Done(time.monotonic() - begun_at, before)

    def _ended_early(
        self,
        session: RepairSession,
        step: ReindexStep,
        index: IndexFacts,
        at_work: _Rebuild,
        error: Interrupted | psycopg2.Error,
    ) -> Done | Outcome:
        """Say what came of a rebuild that was ended, and drop what it left where that goes."""
        seconds = time.monotonic() - at_work.begun_at
        before = at_work.before
        now = snapshot_of(session.conn, index)
        if now is not None and now.oid != before.oid and now.is_usable:
            return self._complete(session, index, before, seconds)
        stays = self._drop_leftovers(session, index)
        if isinstance(error, Interrupted) and error is not at_work.ended:
            raise error
        if isinstance(error, Interrupted):
            verdict, sentence = at_work.verdict, error.reason
        else:
            failed = _outcome(session.conn, step, error)
            verdict, sentence = failed.verdict, failed.sentence
        rest = f"; {stays}" if stays else "; what it left was dropped"
        return Outcome(
            step.action,
            verdict,
            f"{sentence}{rest}",
            before={"size_bytes": before.size_bytes},
            duration_seconds=seconds,
        )

    def _complete(
        self, session: RepairSession, index: IndexFacts, before: IndexSnapshot, seconds: float
    ) -> Done:
        """Take the new index as it is: only the old one was still to be dropped."""
        self._rebuilt_tables.add(index.table_oid)
        stays = self._drop_leftovers(session, index)
        return Done(seconds, before, f"; {stays}" if stays else "")

    def oversee(self, session: RepairSession) -> Interrupted | None:
        """End a rebuild at its deadline, and one that waits too long for the same transaction."""
        at_work = self._at_work.get(session.pid)
        if at_work is None or at_work.ended is not None:
            return at_work.ended if at_work else None
        limit = self._options.index_time_limit_seconds
        if limit and time.monotonic() - at_work.begun_at >= limit:
            at_work.verdict = Verdict.FAILED
            at_work.ended = Interrupted(
                End.OUT_OF_TIME,
                f"it was not complete after {seconds_in_words(limit)}"
                " (option index_time_limit_seconds)",
            )
            return at_work.ended
        at_work.ended = self._waited_too_long(session, at_work)
        return at_work.ended

    def _waited_too_long(self, session: RepairSession, at_work: _Rebuild) -> Interrupted | None:
        rows = query(self._watch_conn, "reindex_waits", {"pid": session.pid})
        holder = (rows[0]["holder_pid"], rows[0]["is_in_queue"]) if rows else None
        now = time.monotonic()
        if holder != at_work.holder:
            at_work.holder, at_work.waits_since = holder, now
        if holder is None:
            return None
        # Before it has its lock, whoever comes after it waits for it as well, and nothing is lost.
        in_queue = holder[1]
        patience = (
            self._target.lock_timeout_seconds if in_queue else self._options.locker_patience_seconds
        )
        if now - at_work.waits_since < patience:
            return None
        row = rows[0]
        who = (
            session_in_words(
                row["holder_pid"],
                row["user_name"],
                row["application_name"],
                row["state"],
                row["transaction_seconds"],
            )
            if row["holder_pid"]
            else "a prepared transaction"
        )
        return Interrupted(
            End.OUT_OF_TIME, f"it waited {seconds_in_words(now - at_work.waits_since)} for {who}"
        )


@contextmanager
def _without_limits(conn: Connection, speed: Speed) -> Iterator[None]:
    """Let no timeout end a rebuild in the body, and put the session's own limit back after it."""
    usual = query(conn, "reindex_session", {"alone": speed is not Speed.FULL})[0]["usual_ms"]
    try:
        yield
    finally:
        if not conn.closed:
            query(conn, "lock_time_limit", {"milliseconds": usual})


def _outcome(conn: Connection, step: ReindexStep, error: psycopg2.Error) -> Outcome:
    """Say what an error of the server means for one step alone."""
    if isinstance(error, psycopg2.errors.DeadlockDetected):
        return Outcome(step.action, Verdict.BLOCKED, reason_of(error))
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return Outcome(step.action, Verdict.REFUSED, reason_of(error))
    return outcome_of_error(
        conn, step.action, step.table_oid, error, limit="option index_time_limit_seconds"
    )
