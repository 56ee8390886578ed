"""The report of tuning: what was set, what was judged, and what is on trial until when."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from maintenance.conf import Pacing
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import FollowUp, Report, Table
from maintenance.core.wording import counted
from maintenance.postgres.repair.harm import Harm, harm_findings
from maintenance.postgres.tuning.trial import Judgement, TakenBack, Trial, ends_in_words

TITLE = "Autovacuum settings on trial"

_WORDS = {
    Judgement.KEEP: "kept",
    Judgement.REVERT: "taken back",
    Judgement.GO_ON: "tried for as much time again",
}


def tuning_report(
    outcomes: Sequence[Outcome],
    judged: Sequence[tuple[Trial, Judgement, str]],
    standing: Sequence[Trial],
    harm: Harm,
    pacing: Pacing,
    *,
    remembered: Sequence[TakenBack],
    follow_up: FollowUp | None,
) -> Report:
    """Say what came of each change.

    ``standing`` trials, and what is ``remembered`` to be of no use, travel to the next run in the state.
    """
    findings = [
        *(_judgement_finding(*entry) for entry in judged),
        *(_refusal_finding(o) for o in outcomes if o.verdict not in _DONE),
        *harm_findings(harm, pacing),
    ]
    return Report(
        title=TITLE,
        summary=_summary(outcomes, judged, standing),
        findings=tuple(by_seriousness(findings)),
        outcomes=tuple(outcomes),
        tables=(_table(standing),) if standing else (),
        facts=harm.facts,
        state={
            "trials": [trial.to_json() for trial in standing],
            "taken_back": [asdict(one) for one in remembered],
        },
        follow_up=follow_up,
    )


def left_on_trial(trials: Sequence[Trial]) -> Iterator[Finding]:
    """Name what a run that ended early has set, and no later run will judge."""
    for trial in trials:
        yield Finding(
            code="tuning-left-on-trial",
            severity=Severity.WARNING,
            subject=trial.table,
            sentence=f"{trial.table} was given settings on trial, and the run ended before it could say so.",
            evidence={"settings": dict(trial.settings)},
            advice="Run the command, or leave it so: nothing will judge it.",
            commands=(trial.undo,),
        )


_DONE = {Verdict.WORKED, Verdict.PLANNED}


def _judgement_finding(trial: Trial, judgement: Judgement, why: str) -> Finding:
    return Finding(
        code=f"tuning-{judgement.value.replace(' ', '-')}",
        severity=Severity.INFO,
        subject=trial.table,
        sentence=f"The settings of {trial.table} are {_WORDS[judgement]}: {why}.",
        evidence={"settings": dict(trial.settings)},
        undo=(trial.undo,) if judgement is Judgement.KEEP else (),
    )


def _refusal_finding(outcome: Outcome) -> Finding:
    return Finding(
        code="tuning-not-done",
        severity=Severity.INFO if outcome.verdict is Verdict.REFUSED else Severity.WARNING,
        subject=outcome.action.subject,
        sentence=f"{outcome.action.subject}: {outcome.sentence}",
        commands=(outcome.action.statement,),
    )


def _summary(
    outcomes: Sequence[Outcome],
    judged: Sequence[tuple[Trial, Judgement, str]],
    standing: Sequence[Trial],
) -> str:
    would = sum(outcome.verdict is Verdict.PLANNED for outcome in outcomes)
    if would:
        return f"The settings of {counted(would, 'table')} would be changed."
    parts = []
    begun = sum(o.verdict is Verdict.WORKED and o.action.kind == "set" for o in outcomes)
    if begun:
        parts.append(f"{counted(begun, 'table')} given settings on trial")
    parts += ends_in_words([judgement for _, judgement, _ in judged], _WORDS)
    if not parts:
        return f"Nothing to change; {counted(len(standing), 'trial')} going on."
    return f"{'; '.join(parts)}; {counted(len(standing), 'trial')} going on."


def _table(standing: Sequence[Trial]) -> Table:
    return Table.of(
        "On trial",
        [
            {
                "table": trial.table,
                "settings": ", ".join(f"{n} = {v:g}" for n, v in trial.settings.items()),
                "until": datetime.fromtimestamp(trial.ends_at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "undo": trial.undo,
            }
            for trial in standing
        ],
    )
