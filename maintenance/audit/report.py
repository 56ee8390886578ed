"""The audit as one report: targets, courses, what changed in a month, and what every subject said. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from maintenance.audit.subjects import Subject
from maintenance.audit.targets import Course, course_rows, plots_of, target_rows
from maintenance.conf import Configuration
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report, ReportDocument, Table
from maintenance.core.trend import DAY_SECONDS
from maintenance.core.wording import counted, seconds_in_words
from maintenance.reports.diff import Fate, FindingChange, compare
from maintenance.schedules import CHECKLISTS

#: Rows that stand here of each table of a subject; its own report has them all.
TABLE_ROWS = 15
#: Every checklist but the quarter's has come round by then.
STALE_SECONDS = 35 * DAY_SECONDS
QUARTER_STALE_SECONDS = 100 * DAY_SECONDS

_SERIOUS = (Severity.CRITICAL, Severity.WARNING)


@dataclass(frozen=True, slots=True)
class Compared:
    """A subject with what became of its findings since a month ago.

    ``changes`` has all findings of now, and those that are gone; without an earlier report each is
    ``None`` in its fate, which says that nothing is known.
    """

    subject: Subject
    changes: tuple[FindingChange, ...]
    has_earlier: bool

    def count(self, *fates: Fate) -> int | None:
        """Count changes, ``None`` where there is nothing to compare with."""
        if not self.has_earlier:
            return None
        return sum(change.fate in fates for change in self.changes)


def audit_report(
    subjects: Sequence[Subject],
    live: Sequence[Report],
    courses: Sequence[Course],
    configuration: Configuration,
    at: datetime,
) -> Report:
    """Join what subjects said last, with ``live``, which was measured for this audit.

    ``subjects`` are compared with a month ago. ``at`` is the time of the audit.
    """
    compared = [_compared(subject) for subject in subjects]
    targets = list(target_rows(courses, configuration))
    missed = [row for row in targets if row["verdict"] == "missed"]
    findings = _once(
        (
            *(_of_subject(f, one.subject) for one in compared for f in _serious(one)),
            *(finding for report in live for finding in report.findings),
            *_not_audited(compared, at),
        )
    )
    return Report(
        title=f"Performance audit, {at:%B %Y}",
        summary=_summary(compared, findings, targets, missed),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(_tables(compared, live, courses, targets, configuration)),
        facts={
            "subjects": len(compared),
            "targets_met": len(targets) - len(missed),
            "targets_missed": len(missed),
            "compared_subjects": sum(one.has_earlier for one in compared),
            "oldest_earlier_report_at": _oldest_earlier(compared),
        },
        plots=plots_of(courses, configuration),
    )


def _compared(subject: Subject) -> Compared:
    if subject.now is None:
        return Compared(subject, (), has_earlier=False)
    if subject.before is None:
        found = by_seriousness(subject.now.report.findings)
        changes = tuple(FindingChange(Fate.UNKNOWN, None, finding) for finding in found)
        return Compared(subject, changes, has_earlier=False)
    return Compared(subject, compare(subject.before, subject.now).findings, has_earlier=True)


def _serious(one: Compared) -> Iterator[Finding]:
    if one.subject.now is not None:
        yield from (f for f in one.subject.now.report.findings if f.severity in _SERIOUS)


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out what several tasks say of one subject: what the first of them says stays."""
    return list({(f.code, f.subject): f for f in reversed([*findings])}.values())


def _of_subject(finding: Finding, subject: Subject) -> Finding:
    """Name the target within the subject: one report has those of all targets."""
    known = not subject.target or finding.subject == subject.target
    name = finding.subject if known else f"{subject.target}: {finding.subject}"
    evidence = {"task": subject.task, **finding.evidence}
    return replace(finding, subject=name, evidence=evidence, repeated=True)


def _not_audited(compared: Sequence[Compared], at: datetime) -> Iterator[Finding]:
    """Name what the audit has no report of, what failed since, and what is old."""
    for one in compared:
        subject = one.subject
        if subject.state == "failed":
            yield _stands_aside(
                "audit-subject-failed",
                subject,
                f"The last run of {subject.name} failed: {subject.reason}",
                Severity.WARNING,
            )
        elif subject.now is None:
            reason = subject.reason or "it has not run yet"
            sentence = f"There is no report of {subject.name}: {reason}"
            yield _stands_aside("audit-subject-missing", subject, sentence, Severity.INFO)
        elif (age := _age_seconds(subject.now, at)) > _stale_after(subject):
            yield _stands_aside(
                "audit-subject-stale",
                subject,
                f"The newest report of {subject.name} is {seconds_in_words(age)} old.",
                Severity.WARNING,
            )


def _stands_aside(code: str, subject: Subject, sentence: str, severity: Severity) -> Finding:
    target = f" --target {subject.target}" if subject.target else ""
    return Finding(
        code=code,
        severity=severity,
        subject=subject.name,
        sentence=sentence if sentence.endswith(".") else f"{sentence}.",
        advice="See why in its run, and run it again.",
        commands=(f"python manage.py maintenance run {subject.task}{target}",),
    )


def _stale_after(subject: Subject) -> float:
    others = {s.task for name, lines in CHECKLISTS.items() if name != "quarterly" for s in lines}
    return STALE_SECONDS if subject.task in others else QUARTER_STALE_SECONDS


def _age_seconds(document: ReportDocument, at: datetime) -> float:
    ended = document.run.finished_at
    return (at - ended).total_seconds() if ended else 0.0


def _oldest_earlier(compared: Sequence[Compared]) -> str | None:
    times = [
        one.subject.before.run.finished_at
        for one in compared
        if one.subject.before is not None and one.subject.before.run.finished_at is not None
    ]
    return min(times).isoformat(timespec="seconds") if times else None


def _summary(
    compared: Sequence[Compared],
    findings: Sequence[Finding],
    targets: Sequence[dict[str, Any]],
    missed: Sequence[dict[str, Any]],
) -> str:
    severities = Counter(finding.severity for finding in findings)
    critical, warnings = severities[Severity.CRITICAL], severities[Severity.WARNING]
    now = (
        f"{counted(len(compared), 'subject')}: {critical} critical, {counted(warnings, 'warning')}"
    )
    if any(one.has_earlier for one in compared):
        new, worse, gone = (
            sum(one.count(fate) or 0 for one in compared)
            for fate in (Fate.NEW, Fate.WORSE, Fate.FIXED)
        )
        change = f"Since a month ago {new} findings are new, {worse} worse, {gone} gone."
    else:
        change = "There is no report of a month ago to compare with."
    if not targets:
        met = "No target has been measured yet."
    elif missed:
        named = ", ".join(row["metric"] for row in missed[:3])
        met = f"{len(missed)} of {counted(len(targets), 'target')} missed: {named}" + (
            " and others." if len(missed) > 3 else "."
        )
    else:
        met = f"All {len(targets)} targets are met."
    return f"{now}. {change} {met}"


def _tables(
    compared: Sequence[Compared],
    live: Sequence[Report],
    courses: Sequence[Course],
    targets: Sequence[dict[str, Any]],
    configuration: Configuration,
) -> Iterator[Table]:
    sections: Sequence[tuple[str, list[dict[str, Any]]]] = (
        ("Key performance metrics and their targets", list(targets)),
        ("Courses without a target", list(course_rows(courses, configuration))),
        ("Subjects", [_subject_row(one) for one in compared]),
        ("What changed since a month ago", list(_change_rows(compared))),
        ("All findings, worst first", list(_finding_rows(compared))),
        ("What was done", list(_outcome_rows(compared))),
    )
    for title, rows in sections:
        if rows:
            yield Table.of(title, rows)
    for report in live:
        yield from (_shortened(table, report.title) for table in report.tables)
    for one in compared:
        if one.subject.now is not None:
            for table in one.subject.now.report.tables:
                yield _shortened(table, one.subject.name)


def _shortened(table: Table, whose: str) -> Table:
    left = len(table.rows) - TABLE_ROWS
    more = f" (the first {TABLE_ROWS} of {len(table.rows)})" if left > 0 else ""
    return Table(f"{whose}: {table.title}{more}", table.columns, table.rows[:TABLE_ROWS])


def _subject_row(one: Compared) -> dict[str, Any]:
    subject, now = one.subject, one.subject.now
    ended = now.run.finished_at if now else None
    return {
        "subject": subject.name,
        "verdict": now.report.severity.value if now else None,
        "last_run": subject.state or "none yet",
        "measured_at": ended.isoformat(timespec="seconds") if ended else None,
        "since_a_month_ago": _change_in_words(one),
        "says": now.report.summary if now else subject.reason,
    }


def _change_in_words(one: Compared) -> str | None:
    if not one.has_earlier:
        return None
    counts = ((one.count(fate), fate.value) for fate in _CHANGED)
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "no change"


_CHANGED = (Fate.WORSE, Fate.NEW, Fate.BETTER, Fate.FIXED)


def _change_rows(compared: Sequence[Compared]) -> Iterator[dict[str, Any]]:
    for fate in _CHANGED:
        for one in compared:
            if not one.has_earlier:
                continue
            for change in one.changes:
                if change.fate is fate:
                    yield {"change": fate.value, **_finding_row(one, change.current)}


def _finding_rows(compared: Sequence[Compared]) -> Iterator[dict[str, Any]]:
    found = [(one, change) for one in compared for change in one.changes if change.new is not None]
    found.sort(key=lambda pair: -pair[1].current.severity.rank)
    for one, change in found:
        known = change.fate.value if one.has_earlier else None
        yield {**_finding_row(one, change.current), "since_a_month_ago": known}


def _finding_row(one: Compared, finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.value if finding.measured else "unavailable",
        "task": one.subject.name,
        "subject": finding.subject,
        "finding": finding.sentence,
        "advice": finding.advice,
    }


def _outcome_rows(compared: Sequence[Compared]) -> Iterator[dict[str, Any]]:
    """Yield what tasks did, counted by verdict: each action stands in the task's own report."""
    for one in compared:
        if one.subject.now is None or not one.subject.now.report.outcomes:
            continue
        verdicts = Counter(outcome.verdict for outcome in one.subject.now.report.outcomes)
        yield {
            "task": one.subject.name,
            **{verdict.value.replace(" ", "_"): verdicts[verdict] for verdict in Verdict},
        }
