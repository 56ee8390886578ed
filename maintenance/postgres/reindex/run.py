"""Rebuild of bloated indexes: plan, drop leftovers, rebuild one after the other, verify, report."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import (
    Cancelled,
    LeaseUnknown,
    LostLease,
    MissingRights,
    TargetUnavailable,
)
from maintenance.core.job import Job
from maintenance.core.plans import Outcome, Verdict, planned
from maintenance.core.reports import Report
from maintenance.postgres.connection import MARKER, connect, connection_was_lost, query, reason_of
from maintenance.postgres.indexes.catalog import indexes_of_table
from maintenance.postgres.reindex.leftovers import leftovers_among
from maintenance.postgres.reindex.measure import (
    ReindexMeasurement,
    drop_statement,
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
from maintenance.postgres.reindex.preflight import obstacles, refusal_for_transactions, sees_others
from maintenance.postgres.reindex.report import Remaining, reindex_report
from maintenance.postgres.reindex.trade import Done, ReindexTrade, in_use_by
from maintenance.postgres.repair.crew import Crew
from maintenance.postgres.repair.ending import outcomes_of_run
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.sessions import repair_session, watching
from maintenance.postgres.repair.time_limits import TimeLimits, binding_window

#: A DROP INDEX CONCURRENTLY waits for locks up to three times, and others behind it. What nobody
#: watches may take so much of their limit each time.
DROP_WAIT_RATIO = 0.2
#: The statement itself only removes a file.
DROP_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Result:
    """What was done, by this attempt and those before it."""

    outcomes: tuple[Outcome, ...]
    remaining: tuple[Remaining, ...]
    harm: Harm


def reindex_bloated_indexes(
    job: Job[DatabaseTarget, ReindexOptions], thresholds: Thresholds
) -> Report:
    """Rebuild what is bloated beside the application; verify each index; drop what is left over.

    Raises :class:`Skipped` on a standby and on versions whose rebuilds corrupt an index,
    :class:`UnknownName` for an index that does not exist, :class:`Postponed` where the maintenance
    window closed over the work, and what :func:`connect` raises.
    """
    with connect(job.target, purpose="reindex-plan") as conn:
        refuse_server(conn)
        measurement = measure(conn, job, thresholds)
        plan = _plan(conn, job, thresholds, measurement)
        is_blind = bool(plan.rebuilds) and not sees_others(conn)
        waits_for = _would_wait_for(conn, job, plan) if job.options.dry_run else {}
    if job.options.dry_run:
        outcomes = planned(tuple(step.action for step in plan.steps))
        result = _Result(outcomes, (), Harm())
    else:
        result = _carry_out(job, plan)
    return reindex_report(
        plan,
        measurement.bloat,
        (*plan.refused, *result.outcomes),
        remaining=result.remaining,
        harm=result.harm,
        pacing=job.target.pacing,
        too_small=measurement.too_small,
        waits_for=waits_for,
        is_blind=is_blind,
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


def _would_wait_for(
    conn: Connection, job: Job[DatabaseTarget, ReindexOptions], plan: ReindexPlan
) -> dict[str, str]:
    """Return for each rebuild that would not begin at this moment whom it would wait for."""
    reasons = {}
    for step in plan.rebuilds:
        found = obstacles(conn, step.table_oid)
        reason = refusal_for_transactions(found, job.options.oldest_transaction_seconds)
        if reason:
            reasons[step.action.subject] = reason
    return reasons


def _carry_out(job: Job[DatabaseTarget, ReindexOptions], plan: ReindexPlan) -> _Result:
    limits = TimeLimits.starting_now(
        window=binding_window(job), budget_seconds=job.options.time_budget_seconds
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
            remaining = _drop_what_is_left(job, trade.uncertain_tables)
    return _Result(outcomes_of_run(job, plan.steps, work, limits), remaining, work.harm)


def _drop_what_is_left(
    job: Job[DatabaseTarget, ReindexOptions], tables: Collection[int]
) -> tuple[Remaining, ...]:
    """Try once more to drop the leftovers of these tables; return those that stay, with the reason.

    Also after a run that was cancelled or lost its server. Where this cannot be done now, the next
    run begins with it; where this run is somebody else's by now, that is he.
    """
    if not tables or not _is_still_ours(job):
        return ()
    try:
        with repair_session(
            job.target, "reindex", statement_timeout_seconds=DROP_LIMIT_SECONDS
        ) as conn:
            patience = job.target.pacing.blocked_limit_seconds * DROP_WAIT_RATIO
            query(conn, "lock_time_limit", {"milliseconds": round(patience * 1000)})
            return tuple(_remaining(conn, sorted(tables)))
    except (TargetUnavailable, MissingRights, psycopg2.OperationalError):
        return ()


def _is_still_ours(job: Job[DatabaseTarget, ReindexOptions]) -> bool:
    """Tell whether this run may write: one that was cancelled may tidy up, one that is lost may not."""
    try:
        job.progress.check()
    except Cancelled:
        return True
    except (LostLease, LeaseUnknown):
        return False
    return True


def _remaining(conn: Connection, tables: Sequence[int]) -> list[Remaining]:
    remaining = []
    for table_oid in tables:
        for leftover in leftovers_among(indexes_of_table(conn, table_oid)):
            statement = drop_statement(conn, leftover)
            reason, may_drop = _drop(conn, table_oid, statement)
            if reason:
                remaining.append(Remaining(leftover, statement, reason, may_drop=may_drop))
    return remaining


def _drop(conn: Connection, table_oid: int, statement: str) -> tuple[str, bool]:
    """Drop a leftover; return why it stays, empty where it does not, and whether rights suffice."""
    try:
        with conn.cursor() as cursor:
            cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), sql.SQL(statement)))
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
        return in_use_by(conn, table_oid), True
    except psycopg2.errors.InsufficientPrivilege as error:
        return reason_of(error), False
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        return reason_of(error), True
    return "", True
