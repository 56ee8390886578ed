"""The report of the rebuilds: before and after of each index, what was left, and what others felt."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maintenance.conf import Pacing
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed
from maintenance.postgres.bloat.index_report import IndexBloat, unmeasured
from maintenance.postgres.reindex.left_behind import LeftBehind, Remaining
from maintenance.postgres.reindex.measure import SECONDS_METRIC, SPEED_METRIC
from maintenance.postgres.reindex.plan import ANALYZE, DROP, REINDEX, Candidate, ReindexPlan
from maintenance.postgres.repair.harm import Harm, harm_findings

TITLE = "Rebuild of bloated indexes"

_PROBLEMS = {
    Verdict.BLOCKED: ("blocked", Severity.WARNING),
    Verdict.FAILED: ("failed", Severity.WARNING),
    Verdict.REFUSED: ("left-alone", Severity.INFO),
    Verdict.NO_GAIN: ("no-gain", Severity.INFO),
}


def reindex_report(
    plan: ReindexPlan,
    bloat: Sequence[IndexBloat],
    outcomes: Sequence[Outcome],
    *,
    left: LeftBehind,
    harm: Harm,
    pacing: Pacing,
    too_small: int,
    in_the_way: Mapping[str, str],
    state: Mapping[str, Any],
    unseen: Sequence[Finding] = (),
) -> Report:
    """Say what was done to each index and what stood in the way.

    ``in_the_way`` is why steps of a dry run would not be done at this moment, by index;
    ``unseen`` is what nobody could look at before the rebuilds.
    """
    findings = [
        *_outcome_findings(outcomes),
        *left.findings,
        *_rights_findings(plan),
        *_waiting_findings(in_the_way),
        *unseen,
        *unmeasured(bloat),
        *harm_findings(harm, pacing),
    ]
    gained = sum(_gained(outcome) for outcome in outcomes)
    return Report(
        title=TITLE,
        summary=_summary(bloat, outcomes, gained, left.remaining),
        findings=tuple(by_seriousness(findings)),
        outcomes=tuple(outcomes),
        tables=_tables(plan, outcomes),
        facts={
            "indexes_measured": len(bloat),
            "indexes_too_small": too_small,
            "gained_bytes": gained,
            "leftovers_remaining": len(left.remaining),
            **harm.facts,
        },
        samples=tuple(_samples(outcomes)),
        state=state,
        follow_up=left.follow_up,
    )


def _outcome_findings(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        kind = outcome.action.kind
        problem = _PROBLEMS.get(outcome.verdict)
        if problem is None or (kind == ANALYZE and outcome.verdict is Verdict.REFUSED):
            continue
        if kind == DROP and outcome.verdict is not Verdict.FAILED:
            continue  # what stays has a finding of its own
        name, severity = problem
        yield Finding(
            code=f"{kind.replace(' ', '-')}-{name}",
            severity=severity,
            subject=outcome.action.subject,
            sentence=f"{outcome.action.subject}: {outcome.sentence}.",
            evidence={**outcome.before, **outcome.after, "reason": outcome.action.reason},
            advice=_advice(outcome),
            commands=_commands(outcome),
        )


def _advice(outcome: Outcome) -> str:
    if outcome.after.get("changed"):
        return "Compare its definition with your migrations, and restore what differs."
    return {
        Verdict.BLOCKED: (
            "End that transaction, or find out why the application left it open; the next run tries"
            " the index again."
        ),
        Verdict.FAILED: "Read the reason; the next run tries the index again.",
        Verdict.REFUSED: "The next run looks at it again.",
        Verdict.NO_GAIN: "Nothing needs to be done: the measurement before it was wrong.",
    }[outcome.verdict]


def _commands(outcome: Outcome) -> tuple[str, ...]:
    """The statement, where a person may want to run it by hand."""
    if outcome.action.kind == REINDEX and outcome.verdict in {Verdict.BLOCKED, Verdict.FAILED}:
        return (f"{outcome.action.statement};",)
    return ()


def _rights_findings(plan: ReindexPlan) -> Iterator[Finding]:
    names = plan.without_rights
    if names:
        yield unavailable(
            "reindex-rights",
            "indexes",
            f"rebuilding {counted(len(names), 'index', 'indexes')}",
            "ownership of the table, or from PostgreSQL 17 on GRANT MAINTAIN ON TABLE or GRANT"
            f" pg_maintain, for {listed(list(names))}",
        )


def _waiting_findings(in_the_way: Mapping[str, str]) -> Iterator[Finding]:
    for subject, reason in in_the_way.items():
        yield Finding(
            code="reindex-would-wait",
            severity=Severity.INFO,
            subject=subject,
            sentence=f"{subject} would be left alone at this moment: {reason}.",
            advice="Take that out of its way before the run, or run it at another time.",
        )


def _gained(outcome: Outcome) -> int:
    return int(outcome.after.get("gained_bytes") or 0)


def _summary(
    bloat: Sequence[IndexBloat],
    outcomes: Sequence[Outcome],
    gained: int,
    remaining: Sequence[Remaining],
) -> str:
    among = counted(len(bloat), "measured index", "measured indexes")
    verdicts = Counter((o.action.kind, o.verdict) for o in outcomes)
    rebuilds = sum(n for (kind, _), n in verdicts.items() if kind == REINDEX)
    stays = f"; {counted(len(remaining), 'leftover')} could not be dropped yet" if remaining else ""
    dropped = verdicts[DROP, Verdict.WORKED]
    also = f", and {counted(dropped, 'leftover')} dropped" if dropped else ""
    would = [o for o in outcomes if o.verdict is Verdict.PLANNED and o.action.kind != ANALYZE]
    if would:
        gain = sum(int(o.action.predicted.get("gain_bytes") or 0) for o in would)
        parts = [f"{counted(verdicts[REINDEX, Verdict.PLANNED], 'index', 'indexes')} rebuilt"]
        if verdicts[DROP, Verdict.PLANNED]:
            parts.append(f"{counted(verdicts[DROP, Verdict.PLANNED], 'leftover')} dropped")
        return f"{' and '.join(parts)} would give back {bytes_in_words(gain)} ({among})."
    if not rebuilds:
        if dropped or remaining:
            return f"{counted(dropped, 'leftover')} dropped, {bytes_in_words(gained)} given back{stays}."
        return f"Nothing to rebuild: none of {among} is bloated enough."
    done = verdicts[REINDEX, Verdict.WORKED]
    rebuilt = f"{done} of {counted(rebuilds, 'index', 'indexes')} rebuilt{also}"
    parts = [rebuilt, f"{bytes_in_words(gained)} given back"]
    for verdict, words in (
        (Verdict.NO_GAIN, "without gain"),
        (Verdict.BLOCKED, "blocked"),
        (Verdict.FAILED, "failed"),
        (Verdict.REFUSED, "left alone"),
    ):
        if verdicts[REINDEX, verdict]:
            parts.append(f"{verdicts[REINDEX, verdict]} {words}")
    return f"{'; '.join(parts)}{stays} ({among})."


def _tables(plan: ReindexPlan, outcomes: Sequence[Outcome]) -> tuple[Table, ...]:
    by_subject = {o.action.subject: o for o in outcomes if o.action.kind == REINDEX}
    shown = sorted(plan.candidates, key=lambda c: (-(c.gain_bytes or 0), c.facts.qualified_name))
    rows = [_row(c, by_subject.get(c.facts.qualified_name)) for c in shown]
    return (Table.of("Indexes before and after", rows),)


def _row(candidate: Candidate, outcome: Outcome | None) -> dict[str, Any]:
    after = outcome.after if outcome else {}
    ratio = candidate.bloat_ratio
    return {
        "index": candidate.facts.qualified_name,
        "access_method": candidate.facts.method,
        "size_bytes": candidate.size_bytes,
        "bloat_ratio": None if ratio is None else round(ratio, 4),
        "low_ratio": None if ratio is None else round(candidate.bloat_low_ratio, 4),
        "expected_bytes": candidate.fresh_bytes,
        "after_bytes": after.get("size_bytes"),
        "gained_bytes": after.get("gained_bytes"),
        "verdict": outcome.verdict.value if outcome else "not bloated enough",
    }


def _samples(outcomes: Sequence[Outcome]) -> Iterator[Sample]:
    """Keep when and how fast each index was rebuilt: the next plan foretells its time from it."""
    for outcome in outcomes:
        if outcome.action.kind != REINDEX or "size_bytes" not in outcome.after:
            continue
        subject = outcome.action.subject
        yield Sample(SECONDS_METRIC, outcome.duration_seconds, subject)
        yield Sample("reindex_gained_bytes", float(_gained(outcome)), subject)
        if outcome.duration_seconds > 0:
            speed = outcome.after["size_bytes"] / outcome.duration_seconds
            yield Sample(SPEED_METRIC, speed, subject)
