"""What is rendered: one report with its run, one without, or several under one title."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from maintenance.core.finding_life import ReportLife
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report, ReportDocument, RunFacts
from maintenance.reports.diff import ReportDiff, compare_plain
from maintenance.reports.formatting import counted
from maintenance.reports.plain import plain_document, plain_report


@dataclass(frozen=True, slots=True)
class Publication:
    """Reports as they go out: plain values, no secrets. Build it with the functions below."""

    title: str
    summary: str
    reports: tuple[Report, ...]
    run: RunFacts | None = None
    several: bool = False  # reports keep a heading of their own, even where there is but one
    since: ReportDiff | None = None  # what changed since the previous report of the same work
    life: ReportLife | None = None  # of the findings of the one report that a run made

    @property
    def severity(self) -> Severity:
        """The worst severity of all reports."""
        return max((r.severity for r in self.reports), key=lambda s: s.rank, default=Severity.OK)


def of_document(document: ReportDocument, previous: ReportDocument | None = None) -> Publication:
    """Publish a report with the facts of its run, compared with the ``previous`` one where given.

    Raises :class:`~maintenance.reports.diff.IncomparableReports` for one of another task.
    """
    clean = plain_document(document)
    since = None if previous is None else compare_plain(plain_document(previous), clean)
    report = clean.report
    return Publication(
        report.title, report.summary, (report,), clean.run, since=since, life=clean.life
    )


def of_report(report: Report) -> Publication:
    """Publish a report that no run made: what a command measured just now."""
    clean = plain_report(report)
    return Publication(clean.title, clean.summary, (clean,))


def of_reports(title: str, reports: Sequence[Report]) -> Publication:
    """Publish several reports under one title, with a verdict over all of them."""
    clean = tuple(plain_report(report) for report in reports)
    return Publication(title, _overall_verdict(clean), clean, several=True)


def _overall_verdict(reports: Sequence[Report]) -> str:
    if not reports:
        return "Nothing was measured."
    findings = [finding for report in reports for finding in report.findings]
    worrying = sum(report.severity.rank >= Severity.WARNING.rank for report in reports)
    if worrying:
        verb = "needs" if worrying == 1 else "need"
        decisive = [f for f in findings if label_of(f) in {"critical", "warning", "unavailable"}]
        return (
            f"{worrying} of {counted(len(reports), 'report')} {verb} attention: {tally(decisive)}."
        )
    unmeasured = sum(not finding.measured for finding in findings)
    if unmeasured:
        verb = "is" if unmeasured == 1 else "are"
        return (
            f"Nothing needs attention in what could be measured;"
            f" {counted(unmeasured, 'answer')} {verb} unavailable."
        )
    return f"Nothing needs attention in {counted(len(reports), 'report')}."


def tally(findings: Sequence[Finding]) -> str:
    """Count findings by severity, worst first: ``1 critical, 2 warnings, 1 unavailable``."""
    return ", ".join(counts_of(findings).values())


def counts_of(findings: Sequence[Finding]) -> dict[str, str]:
    """Count findings by label in words, worst first; labels that none has are left out."""
    seen = Counter(label_of(finding) for finding in findings)
    nouns = {
        "critical": "critical",
        "warning": "warnings" if seen["warning"] != 1 else "warning",
        "info": "for information",
        "unavailable": "unavailable",
        "ok": "in order",
    }
    return {label: f"{seen[label]} {noun}" for label, noun in nouns.items() if seen[label]}


def label_of(finding: Finding) -> str:
    """Return the word for a finding: its severity, or ``unavailable`` where nothing was measured."""
    return finding.severity.value if finding.measured else "unavailable"


def in_timezone(document: ReportDocument, timezone: tzinfo) -> ReportDocument:
    """Return the document with the times of its run in ``timezone``."""

    def shifted(moment: datetime | None) -> datetime | None:
        return moment.astimezone(timezone) if moment else None

    run = replace(
        document.run,
        queued_at=document.run.queued_at.astimezone(timezone),
        started_at=shifted(document.run.started_at),
        finished_at=shifted(document.run.finished_at),
    )
    life = document.life.in_timezone(timezone) if document.life else None
    return replace(document, run=run, life=life)
