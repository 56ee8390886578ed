"""A report as rows of the ledger: the whole of it, and what lists and series ask for."""

from collections.abc import Iterable
from datetime import datetime

from maintenance.core.findings import Finding
from maintenance.core.reports import SCHEMA_VERSION, Report, ReportDocument
from maintenance.models import SUBJECT_LENGTH, Run, StoredFinding, StoredReport, StoredSample


def store_report(run: Run, document: ReportDocument, now: datetime) -> None:
    """Write the rows of one report: itself, its findings, its samples."""
    report = document.report
    StoredReport.objects.create(
        run=run,
        schema_version=SCHEMA_VERSION,
        body=report.to_json(),
        state=dict(report.state),
        created_at=now,
    )
    StoredFinding.objects.bulk_create(
        (_finding_row(run, finding, now) for finding in report.findings), batch_size=500
    )
    StoredSample.objects.bulk_create(
        (
            StoredSample(
                run=run,
                target=run.target,
                metric=sample.metric,
                subject=sample.subject[:SUBJECT_LENGTH],
                value=sample.value,
                measured_at=now,
            )
            for sample in report.samples
        ),
        batch_size=1000,
    )


def store_short_reports(ended: Iterable[tuple[Run, Report]], now: datetime) -> None:
    """Write the rows of many reports that have no samples, in a few statements."""
    pairs = list(ended)
    StoredReport.objects.bulk_create(
        (
            StoredReport(
                run=run, schema_version=SCHEMA_VERSION, body=report.to_json(), created_at=now
            )
            for run, report in pairs
        ),
        batch_size=500,
    )
    StoredFinding.objects.bulk_create(
        (_finding_row(run, finding, now) for run, report in pairs for finding in report.findings),
        batch_size=500,
    )


def _finding_row(run: Run, finding: Finding, now: datetime) -> StoredFinding:
    return StoredFinding(
        run=run,
        fingerprint=finding.fingerprint(run.target),
        code=finding.code,
        severity=finding.severity.value,
        target=run.target,
        subject=finding.subject[:SUBJECT_LENGTH],
        sentence=finding.sentence,
        advice=finding.advice,
        evidence=dict(finding.evidence),
        measured=finding.measured,
        found_at=now,
    )
