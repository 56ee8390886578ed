"""The report of a vacuum run."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maintenance.conf import Pacing
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, listed
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.repair.ending import LEFT
from maintenance.postgres.repair.harm import Harm, harm_findings
from maintenance.postgres.vacuum.duration import duration_samples
from maintenance.postgres.vacuum.plan import TableTask, VacuumPlan
from maintenance.postgres.vacuum.space import Space
from maintenance.postgres.vacuum.statements import DATABASE_STATISTICS
from maintenance.postgres.vacuum.table_state import TableKind, TableState

TITLE = "Vacuum and analyze"

_PROBLEMS = {
    Verdict.BLOCKED: ("vacuum-blocked", Severity.WARNING),
    Verdict.FAILED: ("vacuum-failed", Severity.WARNING),
    Verdict.REFUSED: ("vacuum-left-alone", Severity.INFO),
}

#: Tables left are named up to so many in a finding's evidence.
LEFT_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Done:
    """What came of the plan, what others felt of it, and what room there is in the tables now.

    The latter are ``None`` for a dry run.
    """

    outcomes: tuple[Outcome, ...]
    harm: Harm | None = None
    space: Space | None = None


def vacuum_report(
    plan: VacuumPlan, done: Done, window: CounterWindow, limits: Pacing, *, counts: bool
) -> Report:
    """Say what was done to each table, what stood in the way, and what others felt of it.

    ``counts`` tells whether the server counts row changes (``track_counts``) at all.
    """
    outcomes = done.outcomes
    findings = [
        *([_no_counts()] if not counts else []),
        *_outcome_findings(outcomes),
        *_not_analyzed(outcomes),
        *_left_findings(outcomes),
        *_rights_findings(plan.not_permitted),
        *(harm_findings(done.harm, limits) if done.harm else ()),
    ]
    return Report(
        title=TITLE,
        summary=" ".join(
            [_summary(plan, outcomes), *([done.space.in_words] if done.space else [])]
        ),
        findings=tuple(by_seriousness(findings)),
        outcomes=tuple(outcomes),
        tables=(_table(plan), *((done.space.table,) if done.space else ())),
        facts={
            "tables_examined": len(plan.tables),
            "tables_in_plan": len(plan.tasks),
            "counters_cover_seconds": window.seconds,
            **(done.harm.facts if done.harm else {}),
            **(done.space.facts if done.space else {}),
        },
        samples=_samples(plan, outcomes),
    )


def _no_counts() -> Finding:
    return unavailable(
        "vacuum-needs",
        "server",
        "what needs vacuuming",
        "track_counts = on in postgresql.conf, because the server counts no changed rows without it",
    )


def _outcome_findings(outcomes: Sequence[Outcome]) -> list[Finding]:
    return [
        Finding(
            code=_PROBLEMS[outcome.verdict][0],
            severity=_PROBLEMS[outcome.verdict][1],
            subject=outcome.action.subject,
            sentence=f"{outcome.action.subject}: {outcome.sentence}",
            evidence={"reason": outcome.action.reason, **outcome.after},
            advice=_advice(outcome.verdict),
            commands=(f"{outcome.action.statement};",),
        )
        for outcome in outcomes
        if outcome.verdict in _PROBLEMS and not outcome.sentence.startswith(LEFT)
    ]


def _not_analyzed(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Name the tables that were vacuumed, and whose ANALYZE alone did not come to its end."""
    for outcome in outcomes:
        if reason := outcome.after.get("not_analyzed"):
            yield Finding(
                code="vacuum-without-analyze",
                severity=Severity.WARNING,
                subject=outcome.action.subject,
                sentence=f"{outcome.action.subject} was vacuumed, but its statistics are not new: {reason}",
                evidence={"reason": reason},
                advice=(
                    "Read the reason; while ANALYZE does not come to its end, plans go by old statistics. The"
                    " next run tries it again."
                ),
                commands=(f"{outcome.action.statement};",),
            )


def _left_findings(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Yield one finding for each reason why tables had no turn."""
    by_reason = defaultdict(list)
    for outcome in outcomes:
        if outcome.sentence.startswith(LEFT):
            by_reason[outcome.sentence.removeprefix(LEFT)].append(outcome.action.subject)
    for reason, names in by_reason.items():
        yield Finding(
            code="vacuum-left-for-later",
            severity=Severity.INFO,
            subject=reason,
            sentence=(
                f"{counted(len(names), 'table')} had no turn, because {reason}: {listed(names)}."
            ),
            evidence={"tables": names[:LEFT_NAMED]},
            advice="Nothing needs to be done: the next run takes them up, most urgent first.",
        )


def _advice(verdict: Verdict) -> str:
    if verdict is Verdict.BLOCKED:
        return "Clear what stands in the way; the next run takes the table up again."
    if verdict is Verdict.FAILED:
        return "Read the reason; the next run tries the table again."
    return "Nothing needs to be done; the next run looks at the table again."


def _rights_findings(tasks: Sequence[TableTask]) -> list[Finding]:
    """Name the tables that need work and may not be touched, in one finding each for ours and its."""
    own = [t for t in tasks if not t.table.is_catalog]
    catalog = [t for t in tasks if t.table.is_catalog]
    findings = []
    if own:
        findings.append(
            _rights_finding(
                "tables",
                own,
                "ownership, or from PostgreSQL 17 on GRANT"
                " MAINTAIN ON TABLE or GRANT pg_maintain, for",
            )
        )
    if catalog:
        findings.append(
            _rights_finding(
                "system catalogs",
                catalog,
                "a superuser, the owner of the"
                " database, or from PostgreSQL 17 on GRANT pg_maintain, for",
            )
        )
    return findings


def _rights_finding(what: str, tasks: Sequence[TableTask], needs: str) -> Finding:
    names = sorted(t.subject for t in tasks)
    return unavailable(
        "vacuum-rights",
        what,
        f"vacuuming {counted(len(names), 'table')}",
        f"{needs} {listed(names)}",
    )


def _summary(plan: VacuumPlan, outcomes: Sequence[Outcome]) -> str:
    examined = counted(len(plan.tables), "table")
    if not outcomes:
        waiting = len(plan.not_permitted)
        if waiting:
            return f"Nothing was done: the {waiting} of {examined} in need may not be vacuumed by this role."
        return f"Nothing to do: none of {examined} needs VACUUM or ANALYZE."
    by_verdict = Counter(outcome.verdict for outcome in outcomes)
    if by_verdict[Verdict.PLANNED]:
        return f"{len(plan.tasks)} of {examined} would be vacuumed or analyzed."
    of_tables = [o for o in outcomes if o.action.statement != DATABASE_STATISTICS]
    by_verdict = Counter(outcome.verdict for outcome in of_tables)
    done = by_verdict[Verdict.WORKED] + by_verdict[Verdict.NO_GAIN]
    removed = sum(int(o.after.get("removed_rows") or 0) for o in outcomes)
    parts = [f"{done} of {counted(len(of_tables), 'table')} in need were vacuumed or analyzed"]
    parts.append(f"{counted(removed, 'dead row')} removed")
    for verdict, words in (
        (Verdict.BLOCKED, "blocked"),
        (Verdict.FAILED, "failed"),
        (Verdict.REFUSED, "left alone"),
    ):
        if by_verdict[verdict]:
            parts.append(f"{by_verdict[verdict]} {words}")
    return f"{'; '.join(parts)} ({examined} examined)."


def _table(plan: VacuumPlan) -> Table:
    shown = [t for t in plan.tables if not t.is_catalog or plan.needs[t.oid].any]
    shown.sort(key=lambda t: (not plan.needs[t.oid].any, -t.dead_rows, t.qualified_name))
    return Table.of("Tables and what they need", [_row(table, plan) for table in shown])


def _row(table: TableState, plan: VacuumPlan) -> dict[str, str | int | float | None]:
    needs = plan.needs[table.oid]
    return {
        "table": table.qualified_name,
        "kind": "partitioned" if table.kind is TableKind.PARTITIONED else "table",
        "live_rows": table.live_rows,
        "dead_rows": table.dead_rows,
        "inserted_since_vacuum": table.inserted_since_vacuum,
        "modified_since_analyze": table.modified_since_analyze,
        "oldest_row_age": table.xid_age,
        "reason": needs.in_words,
    }


def _samples(plan: VacuumPlan, outcomes: Sequence[Outcome]) -> tuple[Sample, ...]:
    removed = sum(int(o.after.get("removed_rows") or 0) for o in outcomes)
    unremovable = sum(int(o.after.get("unremovable_rows") or 0) for o in outcomes)
    return (
        Sample("tables_needing_vacuum_count", len(plan.tasks) + len(plan.not_permitted)),
        Sample("dead_rows_count", sum(t.dead_rows for t in plan.tables)),
        Sample("removed_rows_count", removed),
        Sample("unremovable_rows_count", unremovable),
        *duration_samples(outcomes),
    )
