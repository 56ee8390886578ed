"""The report of statistics targets: what was looked at, set and judged, and what is on trial."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from maintenance.conf import Pacing
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import FollowUp, Report, Table
from maintenance.core.wording import counted, listed
from maintenance.postgres.estimates.plan import SET, Looked, Plan
from maintenance.postgres.estimates.trial import Trial
from maintenance.postgres.repair.harm import Harm, harm_findings
from maintenance.postgres.tuning.trial import Judgement, ends_in_words

TITLE = "Statistics targets on trial"

_WORDS = {
    Judgement.KEEP: "kept",
    Judgement.REVERT: "taken back",
    Judgement.GO_ON: "still on trial",
}
_DONE = {Verdict.WORKED, Verdict.PLANNED}


def statistics_report(
    plan: Plan,
    outcomes: Sequence[Outcome],
    standing: Sequence[Trial],
    harm: Harm,
    pacing: Pacing,
    *,
    follow_up: FollowUp | None,
) -> Report:
    """Say what came of each change. ``standing`` trials travel to the next run in the state."""
    findings = [
        *(_judgement_finding(*entry) for entry in plan.judged.values()),
        *(_not_done(o) for o in outcomes if o.verdict not in _DONE),
        *_not_seen(plan),
        *harm_findings(harm, pacing),
    ]
    tables = (_looked_at(plan.looked), _on_trial(standing))
    return Report(
        title=TITLE,
        summary=_summary(plan, outcomes, standing),
        findings=tuple(by_seriousness(findings)),
        outcomes=tuple(outcomes),
        tables=tuple(table for table in tables if table.rows),
        facts=harm.facts,
        state={"trials": [trial.to_json() for trial in standing]},
        follow_up=follow_up,
    )


def left_on_trial(trials: Sequence[Trial]) -> Iterator[Finding]:
    """Name what a run that ended early has set, and no later run will judge."""
    for trial in trials:
        yield Finding(
            code="statistics-left-on-trial",
            severity=Severity.WARNING,
            subject=trial.column,
            sentence=f"{trial.column} was given a statistics target of {trial.target} on trial, and the"
            " run ended before it could say so.",
            advice="Run the command, or leave it so: nothing will judge it.",
            commands=(trial.undo,),
        )


def _judgement_finding(trial: Trial, judgement: Judgement, why: str) -> Finding:
    return Finding(
        code=f"statistics-{judgement.value.replace(' ', '-')}",
        severity=Severity.INFO,
        subject=trial.column,
        sentence=f"The statistics target {trial.target} of {trial.column} is {_WORDS[judgement]}: {why}.",
        evidence={"target": trial.target, "earlier_target": trial.beyond},
        undo=(trial.undo,) if judgement is Judgement.KEEP else (),
    )


def _not_done(outcome: Outcome) -> Finding:
    expected = outcome.verdict in {Verdict.REFUSED, Verdict.NO_GAIN}
    return Finding(
        code="statistics-not-done",
        severity=Severity.INFO if expected else Severity.WARNING,
        subject=outcome.action.subject,
        sentence=f"{outcome.action.subject}, {outcome.action.kind}: {outcome.sentence}",
        commands=(outcome.action.statement,),
    )


def _not_seen(plan: Plan) -> Iterator[Finding]:
    if plan.unreadable:
        number = counted(len(plan.unreadable), "table")
        yield unavailable(
            "statistics-hidden",
            "tables that may not be read",
            f"whether larger targets would help columns of {number} ({listed(list(plan.unreadable))})",
            "GRANT SELECT on them, or GRANT pg_read_all_data, to the maintenance role"
            " (and no row-level security that hides rows from it)",
        )
    if plan.left:
        yield Finding(
            code="statistics-not-looked-at",
            severity=Severity.INFO,
            subject="columns",
            sentence=f"{counted(plan.left, 'column')} were not looked at: sampling had its time.",
            advice="Name columns that matter in the option columns, and run it again.",
        )


def _summary(plan: Plan, outcomes: Sequence[Outcome], standing: Sequence[Trial]) -> str:
    going_on = f"{counted(len(standing), 'trial')} going on"
    would = sum(o.verdict is Verdict.PLANNED and o.action.kind == SET for o in outcomes)
    if would:
        return f"{counted(would, 'column')} would be given a larger target; {going_on}."
    begun = sum(o.verdict is Verdict.WORKED and o.action.kind == SET for o in outcomes)
    parts = [f"{counted(begun, 'column')} given a larger target on trial"] if begun else []
    parts += ends_in_words([judgement for _, judgement, _ in plan.judged.values()], _WORDS)
    if not parts:
        return f"Nothing to change; {going_on}."
    return f"{'; '.join(parts)}; {going_on}."


def _looked_at(looked: Sequence[Looked]) -> Table:
    return Table.of(
        "Columns looked at",
        [
            {
                "column": entry.column.qualified_name,
                "target": entry.column.target,
                "off_by_factor": None
                if entry.effect is None
                else round(entry.effect.error_factor, 2),
                "planning_ms": None if entry.effect is None else round(entry.effect.planning_ms, 3),
                "found": entry.words,
            }
            for entry in looked
        ],
    )


def _on_trial(standing: Sequence[Trial]) -> Table:
    return Table.of(
        "On trial",
        [
            {
                "column": trial.column,
                "target": trial.target,
                "earlier_target": trial.beyond,
                "off_by_factor_before": round(trial.before.error_factor, 2),
                "off_by_factor_after": None
                if trial.after is None
                else round(trial.after.error_factor, 2),
                "until": datetime.fromtimestamp(trial.ends_at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "undo": trial.undo,
            }
            for trial in standing
        ],
    )
