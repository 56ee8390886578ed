"""What a run is about to try, to judge and to take back, and the statements of it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import UnknownName
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.suggestions import did_you_mean
from maintenance.postgres.connection import reason_of
from maintenance.postgres.estimates.columns import (
    LEAST_ROWS,
    ColumnStatistics,
    column_of,
    is_cut_off,
    target_for,
)
from maintenance.postgres.estimates.misestimate import Effect, measure_effect, measure_values
from maintenance.postgres.estimates.options import StatisticsOptions
from maintenance.postgres.estimates.trial import LEAST_ERROR_FACTOR, Trial, judge
from maintenance.postgres.exclusive_use import NEEDS, tables_in_exclusive_use
from maintenance.postgres.inheritance import only
from maintenance.postgres.repair.crew import Step
from maintenance.postgres.sql_files import query, server_major
from maintenance.postgres.time_budget import TimeBudget
from maintenance.postgres.tuning.trial import Judgement

#: Columns that are not sampled within this time are left for another run.
LOOKING_SECONDS = 120.0

RENEW, SET, TAKE_BACK, USE = "analyze", "set", "take back", "analyze again"

StatisticsJob = Job[DatabaseTarget, StatisticsOptions]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStep(Step):
    """A statement for the sake of one column.

    ``beyond`` are the common values that measurements leave out, ``target`` is the column's own one
    afterwards. ``is_owed`` is whether a trial of an earlier run waits for it.
    """

    column: ColumnStatistics
    beyond: int
    target: int | None = None
    is_owed: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """A column that was looked at, with the words for what was found."""

    column: ColumnStatistics
    words: str
    target: int | None = None
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is about to do.

    ``unreadable`` are tables that the role may not read, ``left`` counts columns that were not sampled.
    """

    looked: tuple[Looked, ...]
    judged: Mapping[str, tuple[Trial, Judgement, str]]
    going_on: tuple[Trial, ...]
    renewals: tuple[ColumnStep, ...]
    changes: tuple[ColumnStep, ...]
    uses: tuple[ColumnStep, ...]
    refused: tuple[Outcome, ...]
    unreadable: tuple[str, ...]
    left: int

    @property
    def steps(self) -> tuple[ColumnStep, ...]:
        """All of it, in the order in which it is done."""
        return (*self.renewals, *self.changes, *self.uses)


def plan_of(conn: Connection, job: StatisticsJob, trials: Sequence[Trial], now: float) -> Plan:
    """Look at columns and at trials; raises :class:`UnknownName` for a column that does not exist."""
    excluded = {"least_rows": LEAST_ROWS, "exclude_schemas": list(job.target.exclude_schemas)}
    columns = [column_of(row) for row in query(conn, "statistics_targets", excluded)]
    looked, left = ([], 0) if job.options.judge_only else _looked_at(conn, job, columns, trials)
    by_place = {(column.oid, column.number): column for column in columns}
    judged = {t.column: (t, *_judgement(conn, job, t, by_place, now)) for t in _ended(trials, now)}
    going_on = tuple(trial for trial in trials if trial.ends_at > now)
    changes = [
        _setting(conn, entry.column, entry.target, entry.effect)
        for entry in looked
        if entry.target is not None and entry.effect is not None
    ]
    allowed = [step.column for step in changes if step.column.may_alter]
    backs = [
        _taking_back(conn, by_place[trial.place], trial, why)
        for trial, judgement, why in judged.values()
        if judgement is Judgement.REVERT and _is_ours(conn, trial) and trial.place in by_place
    ]
    unused = [t for t in going_on if t.after is None and t.place in by_place]
    return Plan(
        looked=tuple(looked),
        judged=judged,
        going_on=going_on,
        renewals=tuple(_analyzing(conn, RENEW, c, c.target) for c in allowed),
        changes=(*(step for step in changes if step.column.may_alter), *backs),
        uses=(
            *(_analyzing(conn, USE, c, c.target) for c in allowed),
            *(_owed(conn, by_place[t.place], t) for t in unused),
            *(_analyzing(conn, USE, s.column, s.beyond, s.action.subject) for s in backs),
        ),
        refused=tuple(_refused(step) for step in changes if not step.column.may_alter),
        unreadable=tuple(dict.fromkeys(c.table_name for c in columns if not c.is_readable)),
        left=left,
    )


def _ended(trials: Sequence[Trial], now: float) -> Iterator[Trial]:
    return (trial for trial in trials if trial.ends_at <= now)


def _looked_at(
    conn: Connection,
    job: StatisticsJob,
    columns: Sequence[ColumnStatistics],
    trials: Sequence[Trial],
) -> tuple[list[Looked], int]:
    """Sample the columns that a larger target may help; return them, and how many were left."""
    on_trial = {trial.oid for trial in trials}
    chosen = [c for c in _chosen(job, columns) if c.is_readable and c.oid not in on_trial]
    locked = tables_in_exclusive_use(conn)
    budget = TimeBudget(LOOKING_SECONDS)
    looked: list[Looked] = []
    for number, column in enumerate(chosen):
        if not is_cut_off(column):
            if job.options.columns:
                looked.append(Looked(column, "its list of common values leaves nothing to gain"))
            continue
        if budget.is_spent:
            return _worst_of_each_table(looked), len(chosen) - number
        job.progress.update(number, len(chosen), phase="sampling", unit="columns")
        if (column.schema, column.table) in locked:
            looked.append(Looked(column, f"not sampled: needs {NEEDS}"))
        else:
            looked.append(_look(conn, column))
    return _worst_of_each_table(looked), 0


def _chosen(job: StatisticsJob, columns: Sequence[ColumnStatistics]) -> list[ColumnStatistics]:
    names = job.options.columns
    if not names:
        return [column for column in columns if column.is_searched]
    known: defaultdict[str, list[ColumnStatistics]] = defaultdict(list)
    for column in columns:
        for name in column.names:
            known[name].append(column)
    for name in names:
        if name not in known:
            raise UnknownName(
                f'No table of {LEAST_ROWS:,} rows or more has a column "{name}" that values are'
                f" compared with. {did_you_mean(name, known)}"
            )
    named = {(c.oid, c.number): c for name in names for c in known[name]}
    return list(named.values())


def _look(conn: Connection, column: ColumnStatistics) -> Looked:
    try:
        sample = measure_values(conn, column, column.target)
        target = target_for(column.target, sample.rests)
        if target is None or not sample.probes:
            return Looked(column, "what a sample has beyond its common values is even or rare")
        effect = measure_effect(conn, column, sample)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled) as error:
        return Looked(column, f"not sampled: {reason_of(error)}")
    if effect.error_factor < LEAST_ERROR_FACTOR:
        return Looked(column, "its estimates are good enough", effect=effect)
    return Looked(column, f"worth a trial with {target}", target, effect)


def _worst_of_each_table(looked: Sequence[Looked]) -> list[Looked]:
    """Leave one wish for each table: ANALYZE reads for the largest target of all its columns."""
    worst: dict[int, Looked] = {}
    for entry in looked:
        if entry.target is None:
            continue
        other = worst.get(entry.column.oid)
        if other is None or _error(entry) > _error(other):
            worst[entry.column.oid] = entry
    return [
        entry
        if entry.target is None or worst[entry.column.oid] is entry
        else Looked(entry.column, "after the trial of a column that is worse", effect=entry.effect)
        for entry in looked
    ]


def _error(entry: Looked) -> float:
    return 0.0 if entry.effect is None else entry.effect.error_factor


def _judgement(
    conn: Connection,
    job: StatisticsJob,
    trial: Trial,
    by_place: Mapping[tuple[int, int], ColumnStatistics],
    now: float,
) -> tuple[Judgement, str]:
    for outcome in job.steps.done().values():  # an earlier attempt of this run ended it
        action = outcome.action
        is_back = (action.kind, action.subject) == (TAKE_BACK, trial.column)
        if is_back and outcome.verdict is Verdict.WORKED:
            return Judgement.REVERT, action.reason
    present = state_of(conn, trial.oid, trial.number)
    if present is None:
        return Judgement.REVERT, "the column was dropped meanwhile, and its target with it"
    if present["own_target"] != trial.target:
        who = "somebody, or a run that was cancelled"
        return Judgement.KEEP, f"{who}, has changed its target since: it is left as it is"
    column = by_place.get(trial.place)
    if column is None:
        return Judgement.KEEP, "its table has become too small to judge it by"
    try:
        seen = _seen(conn, column, trial)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled) as error:
        return Judgement.GO_ON, f"it could not be measured: {reason_of(error)}"
    analyzes = max(0, present["analyzes"] - trial.analyzes)
    return judge(trial, seen, analyzes=analyzes, seconds=now - trial.began_at)


def _seen(conn: Connection, column: ColumnStatistics, trial: Trial) -> Effect | None:
    """Measure a trial that can still be won; ``None`` where no value is frequent enough."""
    sample = measure_values(conn, column, trial.beyond)
    return measure_effect(conn, column, sample) if sample.probes else None


def state_of(conn: Connection, oid: int, number: int) -> dict[str, Any] | None:
    """Return the row of ``sql/column_targets.sql`` of one column; ``None`` where it was dropped."""
    rows = query(conn, "column_targets", {"oids": [oid]})
    return next((row for row in rows if row["number"] == number), None)


def _is_ours(conn: Connection, trial: Trial) -> bool:
    present = state_of(conn, trial.oid, trial.number)
    return present is not None and present["own_target"] == trial.target


# --- statements -----------------------------------------------------------------------------------


def _setting(conn: Connection, column: ColumnStatistics, target: int, effect: Effect) -> ColumnStep:
    return ColumnStep(
        action=Action(
            kind=SET,
            subject=column.qualified_name,
            statement=_statement(conn, column, target),
            reason=(
                f"its list of {column.common_values} common values is full, and estimates of values"
                f" beyond it are off {effect.error_factor:.1f}-fold"
            ),
            predicted={
                "lock": "SHARE UPDATE EXCLUSIVE for a moment: reads and writes go on",
                "earlier_target": column.target,
                "target": target,
                "error_factor": round(effect.error_factor, 2),
                "rows_that_analyze_reads": min(round(column.rows), 300 * target),
            },
            undo=_statement(conn, column, column.own_target),
        ),
        table_oid=column.oid,
        column=column,
        beyond=column.target,
        target=target,
    )


def _statement(conn: Connection, column: ColumnStatistics, target: int | None) -> str:
    """Build the one that gives a column its own target; ``None`` gives it back to the default."""
    default = "DEFAULT" if server_major(conn) >= 17 else "-1"
    return (
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {};")
        .format(
            sql.Identifier(column.schema, column.table),
            sql.Identifier(column.name),
            sql.SQL(default if target is None else str(target)),
        )
        .as_string(conn)
    )


def _taking_back(conn: Connection, column: ColumnStatistics, trial: Trial, why: str) -> ColumnStep:
    statement = _statement(conn, column, trial.earlier)  # by the names that it has now
    return ColumnStep(
        action=Action(TAKE_BACK, trial.column, statement, why),
        table_oid=column.oid,
        column=column,
        beyond=trial.beyond,
        target=trial.earlier,
    )


_WHY = {
    RENEW: "statistics of now, to compare with: what an ANALYZE alone mends is not the target's doing",
    USE: "the planner has statistics of another target after an ANALYZE only",
}


def _analyzing(
    conn: Connection,
    kind: str,
    column: ColumnStatistics,
    beyond: int,
    subject: str = "",
) -> ColumnStep:
    table = sql.Identifier(column.schema, column.table)
    alone = sql.SQL(only(server_major(conn)))
    statement = sql.SQL("ANALYZE {}{};").format(alone, table).as_string(conn)
    return ColumnStep(
        action=Action(kind, subject or column.qualified_name, statement, _WHY[kind]),
        table_oid=column.oid,
        column=column,
        beyond=beyond,
    )


def _owed(conn: Connection, column: ColumnStatistics, trial: Trial) -> ColumnStep:
    return replace(_analyzing(conn, USE, column, trial.beyond, trial.column), is_owed=True)


def _refused(step: ColumnStep) -> Outcome:
    grant = step.column.grant
    how = (
        f"have its owner run the statement, or {grant}"
        if grant
        else (
            "its owner is a superuser, whose membership would be too much: have the owner run the"
            " statement, or give the table another owner"
        )
    )
    sentence = f"the role may not: ALTER TABLE needs ownership of the table, pg_maintain is not enough; {how}"
    return Outcome(step.action, Verdict.REFUSED, sentence)
