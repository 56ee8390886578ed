"""VACUUM and ANALYZE where they are needed: plan, apply table by table, verify, report."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption
from maintenance.core.plans import Action, Outcome, Verdict, planned
from maintenance.core.reports import Report
from maintenance.postgres.activity.sessions import XminHolder, lock_holder_in_words, xmin_holders
from maintenance.postgres.connection import (
    MARKER,
    connect,
    connection_was_lost,
    is_standby,
    query,
    reason_of,
    server_major,
)
from maintenance.postgres.counters import CounterWindow, measure_window
from maintenance.postgres.one_look import seen_once
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules
from maintenance.postgres.vacuum.output import VacuumOutput, parse_vacuum_output
from maintenance.postgres.vacuum.plan import (
    Mode,
    TableKind,
    TableState,
    TableTask,
    VacuumPlan,
    plan_vacuum,
)
from maintenance.postgres.vacuum.report import vacuum_report
from maintenance.postgres.vacuum.verdict import Observed, verdict_of

#: On 14 the counters arrive through a collector process, half a second late (PGSTAT_STAT_INTERVAL).
COLLECTOR_PATIENCE_SECONDS = 3.0
COLLECTOR_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class VacuumOptions(DryRunOption):
    """``mode`` is ``needed`` (by the server's own triggers) or ``all``, as ``VACUUM ANALYZE;`` does.

    ``tables`` limits the run to tables by name. One statement is cancelled by the server after
    ``table_time_limit_seconds``; 0 means no limit.
    """

    mode: Mode = "needed"
    tables: tuple[str, ...] = ()
    table_time_limit_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class VacuumMeasurement:
    """What the plan rests on."""

    tables: tuple[TableState, ...]
    rules: AutovacuumRules
    server_major: int
    window: CounterWindow
    counts: bool


def vacuum_analyze(job: Job[DatabaseTarget, VacuumOptions], thresholds: Thresholds) -> Report:  # noqa: ARG001 - the server's own triggers decide
    """Vacuum and analyze what needs it; verify each table; go on past a table that cannot be done.

    Raises :class:`Skipped` on a standby, :class:`UnknownName` for a table that does not exist,
    and what :func:`connect` raises.
    """
    with Sessions(job.target, job.options.table_time_limit_seconds) as sessions:
        conn = sessions.current()
        measurement = measure(conn)
        plan = plan_of(measurement, job.options, job.target)
        actions = tuple(action_of(task, measurement.server_major, conn) for task in plan.tasks)
        if job.options.dry_run:
            outcomes = planned(actions)
        else:
            outcomes = tuple(_apply_all(job, sessions, plan, actions))
    return vacuum_report(plan, outcomes, measurement.window, counts=measurement.counts)


def refuse_standby(conn: Connection) -> None:
    """Raise :class:`Skipped` on a standby, which its primary vacuums."""
    if is_standby(conn):
        raise Skipped(
            "The server is a standby: it cannot be vacuumed. Make the primary the target."
        )


def measure(conn: Connection) -> VacuumMeasurement:
    """Read catalogs and counters; raises :class:`Skipped` on a standby.

    Analyses of one run share one measurement.
    """
    refuse_standby(conn)
    return seen_once(conn, "vacuum", lambda: _measure(conn))


def _measure(conn: Connection) -> VacuumMeasurement:
    settings = {row["name"]: row["setting"] for row in query(conn, "autovacuum_settings")}
    rows = query(conn, "table_counters", {"oid": None})
    return VacuumMeasurement(
        tables=tuple(TableState.from_row(row) for row in rows),
        rules=AutovacuumRules.from_settings(settings),
        server_major=server_major(conn),
        window=measure_window(conn),
        counts=settings.get("track_counts") == "on",
    )


def plan_of(
    measurement: VacuumMeasurement, options: VacuumOptions, target: DatabaseTarget
) -> VacuumPlan:
    """Choose the tasks; see :func:`maintenance.postgres.vacuum_plan.plan_vacuum`."""
    return plan_vacuum(
        measurement.tables,
        measurement.rules,
        server_major=measurement.server_major,
        mode=options.mode,
        only=options.tables,
        exclude_schemas=target.exclude_schemas,
    )


def statement_of(task: TableTask, major: int) -> sql.Composed:
    """Build the one statement of a task for a server of this major version.

    TRUNCATE is off: cutting the file needs an exclusive lock that replays on standbys. The
    database-wide statistics are updated once at the end (16 and later), not after every table.
    """
    table = sql.Identifier(task.table.schema, task.table.name)
    if not task.needs.vacuum:
        # From 18 on, ONLY leaves the partitions alone: those that need it have their own task.
        whole = task.table.kind is TableKind.PARTITIONED and major >= 18
        return sql.SQL("ANALYZE ONLY {}" if whole else "ANALYZE {}").format(table)
    options = ["VERBOSE", "TRUNCATE FALSE"]
    if task.needs.freeze:
        options.append("FREEZE")
    if task.needs.analyze:
        options.append("ANALYZE")
    if task.toast_only:
        if major >= 16:
            options.append("PROCESS_MAIN FALSE")
        elif task.toast is not None:
            table = sql.Identifier(task.toast.schema, task.toast.name)
    if major >= 16:
        options.append("SKIP_DATABASE_STATS")
    return sql.SQL("VACUUM ({}) {}").format(sql.SQL(", ".join(options)), table)


def action_of(task: TableTask, major: int, conn: Connection) -> Action:
    """Describe a task as it will be run; ``statement`` is its exact text."""
    state = task.measured
    return Action(
        kind=task.kind,
        subject=task.subject,
        statement=statement_of(task, major).as_string(conn),
        reason=task.needs.in_words,
        predicted={"dead_rows": state.dead_rows, "pages": state.pages},
    )


class Sessions:
    """The session that the tables are done on; opened again where the server ended it."""

    def __init__(self, target: DatabaseTarget, statement_timeout_seconds: float) -> None:
        self._target = target
        self._statement_timeout_seconds = statement_timeout_seconds
        self._stack = ExitStack()
        self._conn: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def current(self) -> Connection:
        """Return a session that stands. Raises what :func:`connect` raises."""
        if self._conn is None or self._conn.closed:
            self._conn = self._stack.enter_context(
                connect(
                    self._target,
                    purpose="vacuum",
                    read_only=False,
                    statement_timeout_seconds=self._statement_timeout_seconds,
                )
            )
            _speak_english(self._conn)
        return self._conn


def _speak_english(conn: Connection) -> None:
    """Ask for untranslated messages, which is a superuser's right; without it, fewer are read."""
    with conn.cursor() as cursor:
        try:
            cursor.execute(f"{MARKER} SET lc_messages = 'C'")
        except psycopg2.errors.InsufficientPrivilege:
            return


def _apply_all(
    job: Job[DatabaseTarget, VacuumOptions],
    sessions: Sessions,
    plan: VacuumPlan,
    actions: tuple[Action, ...],
) -> Iterator[Outcome]:
    total = len(actions)
    vacuumed = False
    for done, (task, action) in enumerate(zip(plan.tasks, actions, strict=True)):
        job.progress.update(done, total, phase=f"{action.kind} {action.subject}", unit="tables")
        outcome = _apply(sessions, task, action)
        vacuumed = vacuumed or (bool(task.needs.vacuum) and outcome.verdict is Verdict.WORKED)
        yield outcome
    conn = sessions.current()
    if vacuumed and server_major(conn) >= 16:
        job.progress.update(total, total, phase="database statistics", unit="tables")
        with conn.cursor() as cursor:
            cursor.execute(f"{MARKER} VACUUM (ONLY_DATABASE_STATS)")
    job.progress.update(total, total, phase="done", unit="tables")


def _apply(sessions: Sessions, task: TableTask, action: Action) -> Outcome:
    """Run one task and judge it; never raises for what concerns this table alone."""
    conn = sessions.current()
    worker = query(conn, "autovacuum_at_work", {"oid": task.measured.oid})
    if worker:
        return Outcome(
            action,
            Verdict.REFUSED,
            f"autovacuum (process {worker[0]['pid']}) is at work on it and was left alone",
        )
    conn.notices.clear()
    started = time.monotonic()
    try:
        with conn.cursor() as cursor:
            cursor.execute(
                sql.SQL("{} {}").format(sql.SQL(MARKER), statement_of(task, server_major(conn)))
            )
    except psycopg2.Error as error:
        seconds = time.monotonic() - started
        verdict, sentence = _failure(conn, task, error)
        return Outcome(action, verdict, sentence, duration_seconds=seconds)
    seconds = time.monotonic() - started
    return _verified(conn, task, action, parse_vacuum_output(conn.notices), seconds)


def _failure(conn: Connection, task: TableTask, error: psycopg2.Error) -> tuple[Verdict, str]:
    if connection_was_lost(conn, error):
        return Verdict.FAILED, f"the session was ended: {reason_of(error)}"
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        holders = query(conn, "lock_holders", {"oid": task.measured.oid, "any_mode": False})
        by = "; ".join(lock_holder_in_words(row) for row in holders)
        return Verdict.BLOCKED, f"its lock is held by {by}" if by else "its lock was held"
    if isinstance(error, psycopg2.errors.UndefinedTable):
        return Verdict.REFUSED, "the table was dropped or renamed since it was measured"
    if isinstance(error, psycopg2.errors.QueryCanceled):
        return Verdict.FAILED, f"{reason_of(error)} (option table_time_limit_seconds)"
    return Verdict.FAILED, reason_of(error)


def _verified(
    conn: Connection, task: TableTask, action: Action, output: VacuumOutput, seconds: float
) -> Outcome:
    after = _state_after(conn, task)
    holders: list[XminHolder] = []
    if output.unremovable_rows:
        holders = xmin_holders(conn)
    observed = Observed(before=task.measured, after=after, output=output, holders=tuple(holders))
    verdict, sentence = verdict_of(task, observed)
    return Outcome(
        action,
        verdict,
        sentence,
        before=_counters(task.measured),
        after={
            **(_counters(after) if after else {}),
            "removed_rows": output.removed_rows,
            "unremovable_rows": output.unremovable_rows,
        },
        duration_seconds=seconds,
    )


def _state_after(conn: Connection, task: TableTask) -> TableState | None:
    """Read the counters again, waiting on 14 until they arrive; ``None`` if the table is gone."""
    deadline = time.monotonic() + COLLECTOR_PATIENCE_SECONDS
    while True:
        rows = query(conn, "table_counters", {"oid": task.measured.oid})
        after = TableState.from_row(rows[0]) if rows else None
        if after is None or _counted(task, after):
            return after
        if server_major(conn) >= 15 or time.monotonic() > deadline:
            return after
        time.sleep(COLLECTOR_POLL_SECONDS)


def _counted(task: TableTask, after: TableState) -> bool:
    before = task.measured
    vacuumed = not task.needs.vacuum or after.vacuum_count > before.vacuum_count
    analyzed = not task.needs.analyze or after.analyze_count > before.analyze_count
    return vacuumed and analyzed


def _counters(state: TableState) -> dict[str, Any]:
    return {
        "dead_rows": state.dead_rows,
        "vacuum_count": state.vacuum_count,
        "analyze_count": state.analyze_count,
        "xid_age": state.xid_age,
        "pages": state.pages,
        "all_visible_pages": state.all_visible_pages,
    }
