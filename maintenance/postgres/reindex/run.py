"""Rebuild of bloated indexes: plan, drop leftovers, rebuild one after the other, verify, report."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import TargetUnavailable
from maintenance.core.job import Job
from maintenance.core.plans import Outcome, Verdict, planned
from maintenance.core.reports import Report
from maintenance.postgres.connection import connect
from maintenance.postgres.reindex.left_behind import (
    AWAY_SECONDS,
    LeftBehind,
    drop_what_is_left,
    tidying_up,
)
from maintenance.postgres.reindex.measure import (
    ReindexMeasurement,
    facts_of_names,
    measure,
    refuse_server,
)
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.plan import (
    ANALYZE,
    REINDEX,
    ReindexPlan,
    ReindexStep,
    Rules,
    plan_reindex,
)
from maintenance.postgres.reindex.preflight import refusal_now, unseen_before
from maintenance.postgres.reindex.report import reindex_report
from maintenance.postgres.reindex.trade import Done, ReindexTrade
from maintenance.postgres.repair.crew import Crew
from maintenance.postgres.repair.ending import outcomes_of_run
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.time_limits import TimeLimits, binding_window
from maintenance.postgres.sql_files import server_major


@dataclass(frozen=True, slots=True)
class _Result:
    """What was done, by this attempt and those before it."""

    outcomes: tuple[Outcome, ...]
    left: LeftBehind
    harm: Harm


def reindex_bloated_indexes(
    job: Job[DatabaseTarget, ReindexOptions], thresholds: Thresholds
) -> Report:
    """Rebuild what is bloated beside the application; verify each index; drop what is left over.

    Raises :class:`Skipped` on a standby and on versions whose rebuilds corrupt an index,
    :class:`UnknownName` for an index that does not exist, :class:`Postponed` where the maintenance
    window closed over the work, and what :func:`connect` raises.
    """
    try:
        return _reindex(job, thresholds)
    except TargetUnavailable:
        if job.options.leftovers_only and not job.options.dry_run:
            job.loose_ends.note(job.loose_ends.findings, tidying_up(AWAY_SECONDS))
        raise


def _reindex(job: Job[DatabaseTarget, ReindexOptions], thresholds: Thresholds) -> Report:
    with connect(job.target, purpose="reindex-plan") as conn:
        refuse_server(conn)
        measurement = measure(conn, job, thresholds)
        plan = _plan(conn, job, thresholds, measurement)
        unseen = tuple(unseen_before(conn, plan.rebuilds, job.target))
        in_the_way = _in_the_way(conn, job, plan) if job.options.dry_run else {}
    if job.options.dry_run:
        outcomes = planned(tuple(step.action for step in plan.steps))
        result = _Result(outcomes, LeftBehind(), Harm())
    else:
        result = _carry_out(job, plan)
    return reindex_report(
        plan,
        measurement.bloat,
        (*plan.refused, *result.outcomes),
        left=result.left,
        harm=result.harm,
        pacing=job.target.pacing,
        too_small=measurement.too_small,
        in_the_way=in_the_way,
        unseen=unseen,
        state=measurement.state,
    )


def _plan(
    conn: Connection,
    job: Job[DatabaseTarget, ReindexOptions],
    thresholds: Thresholds,
    measurement: ReindexMeasurement,
) -> ReindexPlan:
    ratio = job.options.minimum_bloat_ratio
    rules = Rules(
        minimum_bloat_ratio=thresholds.index_bloat_warning_ratio if ratio is None else ratio,
        minimum_bloat_bytes=thresholds.minimum_bloat_bytes,
        server_major=server_major(conn),
        excluded_schemas=job.target.exclude_schemas,
    )
    return plan_reindex(
        measurement.candidates,
        measurement.leftovers,
        rules,
        jobs=job.options.jobs,
        analyze_due=_analyze_due(conn, job.steps.done()),
    )


def _analyze_due(conn: Connection, done: Mapping[str, Outcome]) -> dict[int, str]:
    """Return the tables whose statistics an earlier attempt of this run still had to renew."""
    analyzed = {o.action.subject for o in done.values() if o.action.kind == ANALYZE}
    rebuilt = [
        o.action.subject
        for o in done.values()
        if o.action.kind == REINDEX and o.verdict in {Verdict.WORKED, Verdict.NO_GAIN}
    ]
    if not rebuilt:
        return {}
    return {
        facts.table_oid: facts.table_name
        for facts in facts_of_names(conn, rebuilt)
        if facts.has_expressions and facts.table_name not in analyzed
    }


def _in_the_way(
    conn: Connection, job: Job[DatabaseTarget, ReindexOptions], plan: ReindexPlan
) -> dict[str, str]:
    """Return for each step that would not be done at this moment what is in its way."""
    reasons = {}
    for step in plan.steps:
        reason = refusal_now(conn, step, job.target, job.options)
        if reason:
            reasons[step.action.subject] = reason
    return reasons


def _carry_out(job: Job[DatabaseTarget, ReindexOptions], plan: ReindexPlan) -> _Result:
    limits = TimeLimits.starting_now(
        window=None if job.options.leftovers_only else binding_window(job),
        budget_seconds=job.options.time_budget_seconds,
    )
    jobs = max(1, min(job.options.jobs, job.target.jobs))
    due = {step.table_oid for step in plan.steps if step.action.kind == ANALYZE}
    rebuilt = {step.table_oid for step in plan.rebuilds}
    with watching(job, jobs) as watch:
        trade = ReindexTrade(job.target, job.options, watch.conn, due - rebuilt)
        crew: Crew[ReindexStep, Done] = Crew(
            job, watch, trade, limits, kind="reindex", jobs=jobs, oversee=trade.oversee
        )
        try:
            work = crew.work(plan.steps)
        finally:
            left = drop_what_is_left(job, _to_look_at(plan, trade.uncertain_tables))
            # However this ends: a run that is cancelled, postponed or fails has no report of its own.
            job.loose_ends.note(left.findings, left.follow_up)
    return _Result(outcomes_of_run(job, plan.steps, work, limits), left, work.harm)


def _to_look_at(plan: ReindexPlan, uncertain: Collection[int]) -> dict[int, str]:
    """Return the tables on which something may be left, by oid with their names.

    Those of planned leftovers too: what had no turn is still there.
    """
    tables = {}
    for step in plan.steps:
        index = step.leftover or step.index
        if index is not None and (step.leftover is not None or step.table_oid in uncertain):
            tables[step.table_oid] = index.table_name
    return tables
