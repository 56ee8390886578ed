"""VACUUM and ANALYZE as steps of a crew: done in a session, verified many at a time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.postgres.activity.sessions import XminHolder, xmin_holders
from maintenance.postgres.repair.crew import Step
from maintenance.postgres.repair.failures import outcome_of_error
from maintenance.postgres.repair.pacing import LONG_SECONDS, Speed
from maintenance.postgres.repair.session import Interrupted, RepairSession
from maintenance.postgres.repair.table_lock import occupied
from maintenance.postgres.sql_files import server_major
from maintenance.postgres.vacuum.duration import ASSUMED_BYTES_PER_SECOND
from maintenance.postgres.vacuum.output import VacuumOutput, parse_vacuum_output
from maintenance.postgres.vacuum.plan import TableTask
from maintenance.postgres.vacuum.table_state import TableState, table_states
from maintenance.postgres.vacuum.verdict import Observed, needs_holders, verdict_of

#: On 14 the counters arrive through a collector process, half a second late (PGSTAT_STAT_INTERVAL).
#: Those that have not arrived after so long never will: the table was skipped.
COLLECTOR_PATIENCE_SECONDS = 3.0
#: So often somebody who waits for them looks again.
COLLECTOR_LOOK_SECONDS = 0.2
#: Statements too short for their cost limits to matter (200 pages in the cache) follow one another
#: with rests as long as they are, so that ten thousand of them do not take the site's processors.
LONGEST_REST_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumStep(Step):
    """The statement of one task, or, without one, that on the database as a whole."""

    task: TableTask | None = None

    @property
    def key(self) -> str:
        """Its table alone: what a table needs may change until another attempt, it has its turn once."""
        return self.action.subject


@dataclass(frozen=True, slots=True)
class Performed:
    """What the server said, how long it took, and when it ended by the monotonic clock.

    ``without_analyze`` says why only its VACUUM was done; empty where all of it was.
    """

    output: VacuumOutput
    seconds: float
    ended_at: float
    without_analyze: str = ""

    def done_of(self, task: TableTask) -> TableTask:
        """Return the part of a task that was done."""
        if not self.without_analyze:
            return task
        return replace(task, needs=replace(task.needs, analyze=()))


class VacuumTrade:
    """Does and judges :class:`VacuumStep`. ``conn`` is where the counters are read again."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def perform(
        self, session: RepairSession, step: VacuumStep, speed: Speed
    ) -> Performed | Outcome:
        """Run the step's statement; an outcome where the table cannot be worked on."""
        session.work_at(_bearable(step, speed))
        if step.task is None:
            return self._run(session, step)
        oid = step.task.measured.oid
        with occupied(session.conn, oid) as occupant:
            if occupant is not None:
                return Outcome(step.action, Verdict.REFUSED, occupant.in_words)
            done = self._run(session, step)
        if speed is Speed.GENTLE and isinstance(done, Performed):
            time.sleep(min(done.seconds, LONGEST_REST_SECONDS))
        return done

    def _run(self, session: RepairSession, step: VacuumStep) -> Performed | Outcome:
        started = time.monotonic()
        early = ""
        try:
            session.execute(sql.SQL(step.action.statement))
        except Interrupted as interrupted:
            if not _is_vacuumed(session.conn, step.task):
                raise
            early = interrupted.reason
        except psycopg2.Error as error:
            oid = step.task.measured.oid if step.task else 0
            outcome = outcome_of_error(
                session.conn, step.action, oid, error, limit="option table_time_limit_seconds"
            )
            if not _is_vacuumed(session.conn, step.task):
                return replace(outcome, duration_seconds=time.monotonic() - started)
            early = outcome.sentence
        now = time.monotonic()
        output = parse_vacuum_output(str(notice) for notice in session.conn.notices)
        return Performed(output, now - started, now, early)

    def settle(self, done: Sequence[tuple[VacuumStep, Performed]]) -> list[Outcome | None]:
        """Read the counters of all tables at once, and judge each whose counters have arrived."""
        tasks = [step.task for step, _ in done if step.task is not None]
        after = self._counters_after(tasks) if tasks else {}
        holders: tuple[XminHolder, ...] | None = None
        outcomes: list[Outcome | None] = []
        for step, performed in done:
            if step.task is None:
                outcomes.append(_database_done(step.action, performed))
                continue
            task = performed.done_of(step.task)
            counters = after.get(task.measured.oid)
            if self._may_still_arrive(task, counters, performed):
                outcomes.append(None)
                continue
            observed = Observed(
                before=task.measured,
                after=counters,
                output=performed.output,
            )
            if needs_holders(task, observed):
                if holders is None:
                    found = xmin_holders(self._conn, with_catalogs=True, with_shared=True)
                    holders = tuple(found)
                observed = observed.with_holders(_of_table(task.measured, holders))
            outcomes.append(_judged(task, step.action, observed, performed))
        return outcomes

    def _counters_after(self, tasks: Sequence[TableTask]) -> dict[int, TableState]:
        """Read the counters again; dropped tables are left out."""
        oids = list({task.measured.oid for task in tasks})
        return {state.oid: state for state in table_states(self._conn, oids)}

    def _may_still_arrive(
        self, task: TableTask, counters: TableState | None, performed: Performed
    ) -> bool:
        """Tell whether the counters seen are those from before, of a server that is late with them."""
        return (
            server_major(self._conn) < 15
            and not _counted(task, counters)
            and time.monotonic() - performed.ended_at < COLLECTOR_PATIENCE_SECONDS
        )


def _bearable(step: VacuumStep, speed: Speed) -> Speed:
    """Return the speed of what may take long, though nobody has timed it yet: not the full one."""
    if step.task is None or step.predicted_seconds is not None or speed is not Speed.FULL:
        return speed
    is_long = step.task.work_bytes / ASSUMED_BYTES_PER_SECOND > LONG_SECONDS
    return Speed.STEADY if is_long else speed


def _of_table(table: TableState, holders: Sequence[XminHolder]) -> tuple[XminHolder, ...]:
    """Return those that keep rows of this table."""
    catalog, shared = table.is_catalog or table.is_shared, table.is_shared
    return tuple(h for h in holders if h.keeps_rows_of(catalog=catalog, shared=shared))


def _is_vacuumed(conn: Connection, task: TableTask | None) -> bool:
    """Tell whether the VACUUM of a statement that was ended is done: it is committed before the ANALYZE."""
    if task is None or not (task.needs.vacuum and task.needs.analyze):
        return False
    vacuumed = [task.table] if task.toast is None or task.skips_toast else [task.table, task.toast]
    patience = COLLECTOR_PATIENCE_SECONDS if server_major(conn) < 15 else 0.0
    give_up_at = time.monotonic() + patience
    while True:
        counts = {t.oid: t.vacuum_count for t in table_states(conn, [t.oid for t in vacuumed])}
        if all(counts.get(table.oid, 0) > table.vacuum_count for table in vacuumed):
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(COLLECTOR_LOOK_SECONDS)


def _counted(task: TableTask, after: TableState | None) -> bool:
    if after is None:
        return True  # dropped: there is nothing to wait for
    before = task.measured
    vacuumed = not task.needs.vacuum or after.vacuum_count > before.vacuum_count
    analyzed = not task.needs.analyze or after.analyze_count > before.analyze_count
    return vacuumed and analyzed


def _database_done(action: Action, performed: Performed) -> Outcome:
    sentence = "the age of the database follows its tables again"
    return Outcome(action, Verdict.WORKED, sentence, duration_seconds=performed.seconds)


def _judged(task: TableTask, action: Action, observed: Observed, performed: Performed) -> Outcome:
    verdict, sentence = verdict_of(task, observed)
    if performed.without_analyze:
        sentence += f"; its statistics are not new: {performed.without_analyze}"
    output = observed.output
    after = dict(_counters(observed.after)) if observed.after else {}
    if performed.without_analyze:
        after["not_analyzed"] = performed.without_analyze
    if task.needs.vacuum:
        after |= {
            "removed_rows": output.removed_rows,
            "unremovable_rows": output.unremovable_rows,
        }
        if output.bypassed_identifiers:
            after["bypassed_identifiers"] = output.bypassed_identifiers
    return Outcome(
        action,
        verdict,
        sentence,
        before=_counters(task.measured),
        after=after,
        duration_seconds=performed.seconds,
    )


def _counters(state: TableState) -> Mapping[str, Any]:
    return {
        "dead_rows": state.dead_rows,
        "vacuum_count": state.vacuum_count,
        "analyze_count": state.analyze_count,
        "xid_age": state.xid_age,
        "pages": state.pages,
        "all_visible_pages": state.all_visible_pages,
    }
