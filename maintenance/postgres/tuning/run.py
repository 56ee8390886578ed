"""Giving tables the autovacuum settings that the review advises, on trial."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import UnknownName
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict, planned
from maintenance.core.reports import FollowUp, Report
from maintenance.core.suggestions import did_you_mean
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.connection import connect
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.repair.crew import Crew, Step
from maintenance.postgres.repair.ending import outcomes_of_run
from maintenance.postgres.repair.failures import outcome_of_error
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.repair.session import RepairSession
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.time_limits import TimeLimits, binding_window
from maintenance.postgres.sql_files import query
from maintenance.postgres.tuning.options import TuneOptions
from maintenance.postgres.tuning.report import left_on_trial, tuning_report
from maintenance.postgres.tuning.trial import (
    SHORTEST_BEFORE_SECONDS,
    Activity,
    Judgement,
    TakenBack,
    Trial,
    judge,
)
from maintenance.postgres.vacuum.run import VacuumMeasurement, measure
from maintenance.postgres.vacuum.table_settings import Change, changes_for, statements_for
from maintenance.postgres.vacuum.table_state import TableKind, TableState
from maintenance.postgres.vacuum.triggers import is_switched_off

#: Settings wait for no lock longer than a session of ours may; they take moments.
STATEMENT_SECONDS = 10.0
#: What did not help a table is not tried again for half a year: by then it is another table.
REMEMBERED_SECONDS = 180 * 86_400.0
#: A judgement that could not be carried out (a lock was held) is tried again after this long.
TRY_AGAIN_SECONDS = 3600.0

_SET, _TAKE_BACK = "set", "take back"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a run is about to do: new trials by their action, and ended ones by the table's oid."""

    begun: Mapping[str, Trial]
    judged: Mapping[int, tuple[Trial, Judgement, str]]
    going_on: tuple[Trial, ...]
    remembered: tuple[TakenBack, ...]
    steps: tuple[Step, ...]
    refused: tuple[Outcome, ...]


def tune_autovacuum(job: Job[DatabaseTarget, TuneOptions], thresholds: Thresholds) -> Report:
    """Begin trials of advised settings, and judge those whose time is over.

    A trial lives in the state of this task's reports, and a follow-up run comes at its end. Raises
    :class:`Skipped` on a standby, :class:`UnknownName` for a table that does not exist,
    :class:`Postponed` where the maintenance window closed over it, and what :func:`connect` raises.
    """
    with connect(job.target, purpose="tuning") as conn:
        measured = measure(conn)
        trials = [Trial.from_json(body) for body in job.previous_state.get("trials", ())]
        tuning = _plan(conn, job, thresholds, measured, trials)
    outcomes: Sequence[Outcome] = ()
    harm, follow_up = Harm(), None
    if job.options.dry_run:
        outcomes = planned(tuple(step.action for step in tuning.steps))
        standing, remembered = trials, [*tuning.remembered]
    else:
        if tuning.steps or job.steps.done():
            outcomes, harm = _apply(job, tuning)
        standing = _standing(tuning, outcomes)
        now = measured.window.measured_at
        remembered = [*tuning.remembered, *_newly_taken_back(tuning, outcomes, now)]
        follow_up = _follow_up(standing, measured.window.measured_at)
    return tuning_report(
        [*outcomes, *tuning.refused],
        # What a lock was in the way of is judged once more, by the run that comes back to it.
        [told for told in tuning.judged.values() if told[0] not in standing],
        standing,
        harm,
        job.target.pacing,
        remembered=remembered,
        follow_up=follow_up,
    )


def _plan(
    conn: Connection,
    job: Job[DatabaseTarget, TuneOptions],
    thresholds: Thresholds,
    measured: VacuumMeasurement,
    trials: Sequence[Trial],
) -> Tuning:
    now = measured.window.measured_at
    advised = [] if job.options.judge_only else _advised(job, thresholds, measured, trials)
    oids = [trial.oid for trial in trials] + [table.oid for table, _ in advised]
    rows = {row["oid"]: row for row in query(conn, "table_activity", {"oids": oids})}
    trials = [_by_its_present_name(conn, trial, rows.get(trial.oid)) for trial in trials]
    remembered = _remembered(job, now)
    window = measured.window.seconds
    begun: dict[str, Trial] = {}
    steps: list[Step] = []
    refused: list[Outcome] = []
    for table, changes in advised:
        action = _setting_action(conn, table, changes)
        settings = {change.name: change.value for change in changes}
        reason = _refusal(table, rows.get(table.oid), window)
        if not reason and not job.options.tables:
            reason = _refusal_of_what_did_not_help(table.oid, settings, remembered)
        if reason or window is None:
            refused.append(Outcome(action, Verdict.REFUSED, reason))
            continue
        steps.append(Step(action, table.oid))
        begun[action.subject] = Trial(
            oid=table.oid,
            table=table.qualified_name,
            settings=settings,
            undo=action.undo,
            before=Activity.from_row(rows[table.oid], window),
            began_at=now,
            ends_at=now + job.options.trial_days * 86_400,
        )
    taken_back = _taken_back(job.steps.done().values())
    judged = {
        t.oid: (t, *_judgement(t, rows.get(t.oid), measured.window, taken_back))
        for t in trials
        if t.ends_at <= now
    }
    for trial, judgement, reason in judged.values():
        if judgement is Judgement.REVERT and _is_ours(trial, rows.get(trial.oid)):
            action = Action(_TAKE_BACK, trial.table, trial.undo, reason)
            steps.append(Step(action, trial.oid))
    going_on = tuple(trial for trial in trials if trial.ends_at > now)
    return Tuning(begun, judged, going_on, remembered, tuple(steps), tuple(refused))


def _by_its_present_name(conn: Connection, trial: Trial, row: Mapping[str, Any] | None) -> Trial:
    if row is None:
        return trial
    quoted = sql.Identifier(row["schema"], row["name"]).as_string(conn)
    return trial.named(row["qualified_name"], quoted)


def _remembered(job: Job[DatabaseTarget, TuneOptions], now: float) -> tuple[TakenBack, ...]:
    """Return what did not help in the last months."""
    known = (TakenBack(**body) for body in job.previous_state.get("taken_back", ()))
    return tuple(one for one in known if now - one.at < REMEMBERED_SECONDS)


def _refusal_of_what_did_not_help(
    oid: int, settings: Mapping[str, float], remembered: Sequence[TakenBack]
) -> str:
    found = [one.at for one in remembered if one.forbids(oid, settings)]
    if not found:
        return ""
    day = datetime.fromtimestamp(max(found), UTC)
    return (
        f"they were taken back on {day:%Y-%m-%d}, since they did not help: name the table with the"
        " option tables to try them again"
    )


def _advised(
    job: Job[DatabaseTarget, TuneOptions],
    thresholds: Thresholds,
    measured: VacuumMeasurement,
    trials: Sequence[Trial],
) -> list[tuple[TableState, tuple[Change, ...]]]:
    """Return the tables to change with their changes, largest first, without those on trial."""
    tables = [t for t in measured.tables if t.kind is TableKind.TABLE and not t.is_catalog]
    names = job.options.tables
    known: defaultdict[str, dict[int, TableState]] = defaultdict(dict)
    for table in tables:
        for name in (table.name, f"{table.schema}.{table.name}", table.qualified_name):
            known[name][table.oid] = table
    for name in names:
        if name not in known:
            raise UnknownName(f'Unknown table "{name}". {did_you_mean(name, known)}')
    named = {oid: table for name in names for oid, table in known[name].items()}
    chosen = list(named.values()) if names else tables
    on_trial = {trial.oid for trial in trials}
    large = thresholds.autovacuum_large_trigger_rows
    found = [
        (table, changes)
        for table in chosen
        if table.oid not in on_trial and table.schema not in job.target.exclude_schemas
        # First of all it has to be switched on, which the review of autovacuum says.
        if names or not is_switched_off(table.storage_parameters)
        if (changes := changes_for(table, measured.rules, measured.window, large))
    ]
    return sorted(found, key=lambda pair: (-pair[0].tuples, pair[0].qualified_name))


def _setting_action(conn: Connection, table: TableState, changes: tuple[Change, ...]) -> Action:
    name = sql.Identifier(table.schema, table.name).as_string(conn)
    statement, undo = statements_for(f"ALTER TABLE {name}", changes, table.storage_parameters)
    return Action(
        kind=_SET,
        subject=table.qualified_name,
        statement=statement,
        reason="; ".join(change.reason for change in changes),
        predicted={
            "lock": "SHARE UPDATE EXCLUSIVE for a moment: reads and writes go on",
            **{change.name: change.value for change in changes},
        },
        undo=undo,
    )


def _refusal(table: TableState, row: Mapping[str, Any] | None, window_seconds: float | None) -> str:
    if row is None:
        return "the table was dropped meanwhile"
    if is_switched_off(table.storage_parameters):
        return "its autovacuum is switched off: switch it on first (autovacuum_enabled)"
    if not row["may_alter"]:
        return "the role may not: ALTER TABLE needs ownership of the table"
    if window_seconds is None or window_seconds < SHORTEST_BEFORE_SECONDS:
        covered = "an unknown time" if window_seconds is None else seconds_in_words(window_seconds)
        return f"the counters cover {covered}, too little to compare a trial with: try it in a day"
    return ""


def _taken_back(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Return the tables whose settings were taken back, with the reason."""
    return {
        o.action.subject: o.action.reason
        for o in outcomes
        if o.action.kind == _TAKE_BACK and o.verdict is Verdict.WORKED
    }


def _judgement(
    trial: Trial,
    row: Mapping[str, Any] | None,
    window: CounterWindow,
    taken_back: Mapping[str, str],
) -> tuple[Judgement, str]:
    if row is None:
        return Judgement.REVERT, "the table was dropped meanwhile"
    if trial.table in taken_back:
        return Judgement.REVERT, taken_back[trial.table]
    if not trial.still_stands(row["storage_parameters"]):
        who = "somebody, or a run that was cancelled"
        return Judgement.KEEP, f"{who}, has changed them since: they are left as they are"
    return judge(trial, _activity_since(trial, row, window))


def _activity_since(trial: Trial, row: Mapping[str, Any], window: CounterWindow) -> Activity:
    """Return what happened since a trial began, as far as the counters reach back."""
    counted_seconds = trial.before.seconds + window.measured_at - trial.began_at
    # The window alone says nothing: a reset of another table's counters begins it anew as well.
    return Activity.from_row(row, counted_seconds).since(trial.before, window.seconds)


def _is_ours(trial: Trial, row: Mapping[str, Any] | None) -> bool:
    return row is not None and trial.still_stands(row["storage_parameters"])


def _apply(
    job: Job[DatabaseTarget, TuneOptions], tuning: Tuning
) -> tuple[tuple[Outcome, ...], Harm]:
    limits = TimeLimits.starting_now(
        window=binding_window(job), statement_timeout_seconds=STATEMENT_SECONDS
    )
    with watching(job, 1) as watch:
        trade = _Altering(watch.conn, tuning)
        crew: Crew[Step, None] = Crew(job, watch, trade, limits, kind="tuning", jobs=1)
        try:
            work = crew.work(tuning.steps)
        except BaseException:
            # A run that is cancelled has no report of its own, and the next one does not know of these.
            begun = [*_begun(job.steps.done().values()), *trade.begun.values()]
            job.loose_ends.note(left_on_trial(begun), None)
            raise
    return outcomes_of_run(job, tuning.steps, work, limits), work.harm


class _Altering:
    """The trade of changing the settings of tables. ``begun`` are the trials whose settings stand."""

    def __init__(self, conn: Connection, tuning: Tuning) -> None:
        self._conn = conn
        self._tuning = tuning
        self.begun: dict[str, Trial] = {}

    def perform(self, session: RepairSession, step: Step, speed: Speed) -> Outcome | None:  # noqa: ARG002 - it takes a moment
        """Change one table."""
        try:
            session.execute(sql.SQL(step.action.statement))
        except psycopg2.Error as error:
            return outcome_of_error(
                session.conn,
                step.action,
                step.table_oid,
                error,
                limit=f"limit of {seconds_in_words(STATEMENT_SECONDS)}",
            )
        if step.action.kind == _SET:
            self.begun[step.action.subject] = self._tuning.begun[step.action.subject]
        return None

    def settle(self, done: Sequence[tuple[Step, None]]) -> list[Outcome]:
        """Read the settings that the tables have now."""
        oids = [step.table_oid for step, _ in done]
        rows = {row["oid"]: row for row in query(self._conn, "table_activity", {"oids": oids})}
        return [self._altered(step, rows.get(step.table_oid)) for step, _ in done]

    def _altered(self, step: Step, row: Mapping[str, Any] | None) -> Outcome:
        if row is None:
            return Outcome(step.action, Verdict.REFUSED, "the table was dropped meanwhile")
        is_taken_back = step.action.kind == _TAKE_BACK
        subject = step.action.subject
        judged, begun = self._tuning.judged, self._tuning.begun
        trial = judged[step.table_oid][0] if is_taken_back else begun[subject]
        present = ", ".join(row["storage_parameters"]) or "those of the server"
        after: dict[str, Any] = {"storage_parameters": list(row["storage_parameters"])}
        as_wanted = trial.is_gone if is_taken_back else trial.still_stands
        if not as_wanted(row["storage_parameters"]):
            sentence = f"the table has other settings than it was to have: {present}"
            return Outcome(step.action, Verdict.FAILED, sentence, after=after)
        if not is_taken_back:
            after["trial"] = trial.to_json()
        words = "taken back" if is_taken_back else "set, on trial"
        sentence = f"{words}; its settings are now {present}"
        return Outcome(step.action, Verdict.WORKED, sentence, after=after)


def _standing(tuning: Tuning, outcomes: Sequence[Outcome]) -> list[Trial]:
    """Return the trials that go on after this run."""
    worked = {(o.action.kind, o.action.subject) for o in outcomes if o.verdict is Verdict.WORKED}
    tried = {(o.action.kind, o.action.subject) for o in outcomes}
    standing = list(tuning.going_on)
    # From the outcomes, which an attempt that was cut short has left: its trials go on, too.
    standing += _begun(outcomes)
    for trial, judgement, _ in tuning.judged.values():
        if judgement is Judgement.GO_ON:
            standing.append(trial.prolonged(trial.ends_at))
        elif (_TAKE_BACK, trial.table) in tried - worked:
            standing.append(trial)  # a lock was in the way: it is taken back by the next run
    return standing


def _begun(outcomes: Iterable[Outcome]) -> list[Trial]:
    return [Trial.from_json(o.after["trial"]) for o in outcomes if "trial" in o.after]


def _newly_taken_back(
    tuning: Tuning, outcomes: Sequence[Outcome], now: float
) -> Iterator[TakenBack]:
    """Yield what this run has found to be of no use."""
    taken_back = _taken_back(outcomes)
    for trial, _, _ in tuning.judged.values():
        if trial.table in taken_back:
            yield TakenBack(trial.oid, dict(trial.settings), now)


def _follow_up(standing: Sequence[Trial], now: float) -> FollowUp | None:
    """Ask for a run at the end of the first trial."""
    if not standing:
        return None
    ends_at = min(trial.ends_at for trial in standing)
    return FollowUp({"judge_only": True}, max(ends_at - now, TRY_AGAIN_SECONDS))
