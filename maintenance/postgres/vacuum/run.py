"""VACUUM and ANALYZE where they are needed: plan, apply in several sessions, verify, report."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.plans import Outcome, planned
from maintenance.core.reports import Report
from maintenance.postgres.connection import connect
from maintenance.postgres.counters import CounterWindow, measure_window
from maintenance.postgres.one_look import seen_once
from maintenance.postgres.repair.crew import Crew
from maintenance.postgres.repair.ending import outcomes_of_run
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.time_limits import TimeLimits, binding_window
from maintenance.postgres.repair.watch import Watch
from maintenance.postgres.sql_files import is_standby, query, server_major
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules
from maintenance.postgres.vacuum.duration import Durations
from maintenance.postgres.vacuum.lost_counters import hidden_dead_rows
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.plan import Learned, VacuumPlan, plan_vacuum
from maintenance.postgres.vacuum.report import Done, vacuum_report
from maintenance.postgres.vacuum.space import Space, measure_space
from maintenance.postgres.vacuum.statements import Server, action_of, database_action
from maintenance.postgres.vacuum.table_state import TableState, table_states
from maintenance.postgres.vacuum.trade import Performed, VacuumStep, VacuumTrade

#: Names of tables whose last VACUUM left dead item pointers to their indexes, from run to run.
BYPASSED_KEY = "bypassed"
#: The state of a report is read by every next run: no more names than these.
BYPASSED_MOST = 1000

#: No more sessions than a target may be configured with.
MOST_JOBS = 64


@dataclass(frozen=True, slots=True)
class VacuumMeasurement:
    """What the plan rests on."""

    tables: tuple[TableState, ...]
    rules: AutovacuumRules
    server_major: int
    window: CounterWindow
    counts: bool


VacuumJob = Job[DatabaseTarget, VacuumOptions]


def vacuum_analyze(job: VacuumJob, thresholds: Thresholds) -> Report:
    """Vacuum and analyze what needs it; verify each table; go on past a table that cannot be done.

    Raises :class:`Skipped` on a standby, :class:`UnknownName` for a table that does not exist,
    :class:`Postponed` where the maintenance window closes before all is done, and what
    :func:`connect` raises.
    """
    if job.options.dry_run:
        with connect(job.target, purpose="vacuum plan") as conn:
            measurement = measure(conn)
            plan = plan_of(measurement, job, _learned(job, measurement, thresholds, conn))
            steps = steps_of(plan, measurement, job, conn)
        done = Done(planned(tuple(step.action for step in steps)))
        return _report(job, plan, measurement, done)
    started = time.monotonic()
    with watching(job, jobs_of(job)) as watch:
        measurement = measure(watch.conn)
        plan = plan_of(measurement, job, _learned(job, measurement, thresholds, watch.conn))
        steps = steps_of(plan, measurement, job, watch.conn)
        done = _apply(job, watch, steps)
        if done.outcomes:
            done = replace(done, space=_space(job, plan, watch, time.monotonic() - started))
        return _report(job, plan, measurement, done)


def _space(job: VacuumJob, plan: VacuumPlan, watch: Watch, run_seconds: float) -> Space | None:
    """Look at the tables of the plan and their TOAST tables, done or not."""
    job.progress.update(0, phase="looking at free space", unit="tables")
    tables = [table for table in plan.tables if not table.is_catalog]
    oids = [oid for table in tables for oid in (table.oid, table.toast_oid) if oid]
    return measure_space(watch.conn, oids, run_seconds)


def _report(job: VacuumJob, plan: VacuumPlan, measurement: VacuumMeasurement, done: Done) -> Report:
    report = vacuum_report(
        plan, done, measurement.window, job.target.pacing, counts=measurement.counts
    )
    return replace(report, state={BYPASSED_KEY: bypassed_after(done.outcomes, job.previous_state)})


def bypassed_after(outcomes: Iterable[Outcome], previous_state: Mapping[str, Any]) -> list[str]:
    """Return the tables whose last VACUUM left dead item pointers, by name.

    What had no VACUUM in this run stays as it was.
    """
    names = set(previous_state.get(BYPASSED_KEY, ()))
    for outcome in outcomes:
        if "removed_rows" not in outcome.after:
            continue
        if outcome.after.get("bypassed_identifiers"):
            names.add(outcome.action.subject)
        else:
            names.discard(outcome.action.subject)
    return sorted(names)[:BYPASSED_MOST]


def jobs_of(job: VacuumJob) -> int:
    """Return how many sessions may work at once."""
    return max(1, min(MOST_JOBS, job.options.jobs or job.target.jobs))


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
    return VacuumMeasurement(
        tables=tuple(table_states(conn)),
        rules=AutovacuumRules.from_settings(settings),
        server_major=server_major(conn),
        window=measure_window(conn),
        counts=settings.get("track_counts") == "on",
    )


def _learned(
    job: VacuumJob, measurement: VacuumMeasurement, thresholds: Thresholds, conn: Connection
) -> Learned:
    """Gather what the counters do not say."""
    return Learned(
        durations=Durations.from_history(job.history),
        hidden_dead_rows=hidden_dead_rows(
            conn,
            [t for t in measurement.tables if t.schema not in job.target.exclude_schemas],
            measurement.rules,
            measurement.window,
            thresholds.minimum_bloat_bytes,
        ),
        bypassed=frozenset(job.previous_state.get(BYPASSED_KEY, ())),
    )


def plan_of(measurement: VacuumMeasurement, job: VacuumJob, learned: Learned) -> VacuumPlan:
    """Choose the tasks; see :func:`maintenance.postgres.vacuum.plan.plan_vacuum`."""
    return plan_vacuum(
        measurement.tables,
        measurement.rules,
        server_major=measurement.server_major,
        mode=job.options.mode,
        only=job.options.tables,
        exclude_schemas=job.target.exclude_schemas,
        learned=learned,
    )


def steps_of(
    plan: VacuumPlan, measurement: VacuumMeasurement, job: VacuumJob, conn: Connection
) -> list[VacuumStep]:
    """Turn the tasks into steps, in their order, and add what follows them all."""
    vacuums = sum(bool(task.needs.vacuum) for task in plan.tasks)
    server = Server(
        measurement.server_major,
        alone=jobs_of(job) == 1 or vacuums == 1,
        may_name_toast=query(conn, "may_name_toast")[0]["may_name_toast"],
    )
    steps = [
        VacuumStep(
            action_of(task, server, conn),
            task.table.oid,
            stage=task.stage,
            predicted_seconds=task.predicted_seconds,
            task=task,
        )
        for task in plan.tasks
    ]
    # An attempt that was cut short may have vacuumed all of them and not come to this.
    earlier = any("vacuum" in outcome.action.kind for outcome in job.steps.done().values())
    if (vacuums or earlier) and server.major >= 16:
        steps.append(VacuumStep(database_action(conn), 0, stage=2, predicted_seconds=0.0))
    return steps


def _apply(job: VacuumJob, watch: Watch, steps: Sequence[VacuumStep]) -> Done:
    """Do the steps; see :func:`outcomes_of_run`."""
    limits = TimeLimits.starting_now(
        window=binding_window(job),
        budget_seconds=job.options.time_budget_seconds,
        statement_timeout_seconds=job.options.table_time_limit_seconds,
    )
    crew: Crew[VacuumStep, Performed] = Crew(
        job, watch, VacuumTrade(watch.conn), limits, kind="vacuum", jobs=jobs_of(job)
    )
    work = crew.work(steps)
    # What follows the tables follows those of the next run: it is not left.
    left = tuple((step, reason) for step, reason in work.left if step.task is not None)
    outcomes = outcomes_of_run(job, steps, replace(work, left=left), limits)
    return Done(outcomes, work.harm)
