"""What the reports of a checklist say, in a few lines each."""

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.reports import Report, ReportDocument
from maintenance.core.runs.ledger import stored_document
from maintenance.models import Run, RunState, StoredReport
from service.up.output import plain_line
from service.up.progress_view import SEVERITY_STYLES

SHOWN_FINDINGS = 10
WORD_WIDTH = 10


def documents_of(runs: Iterable[Run]) -> list[tuple[Run, ReportDocument]]:
    """Read the reports of finished runs."""
    found = []
    for run in runs:
        try:
            found.append((run, stored_document(run)))
        except StoredReport.DoesNotExist:
            continue  # still queued when somebody stopped us: it has no report to show
    return found


def verdict_lines(documents: Sequence[tuple[Run, ReportDocument]]) -> Iterator[Text]:
    """Yield a line for each report, and under it its warnings and worse."""
    tasks = max((len(run.short_task) for run, _ in documents), default=0)
    targets = max((len(run.target) for run, _ in documents), default=0)
    for run, document in documents:
        word, style = verdict_word(run, document.report)
        names = f"{run.short_task:<{tasks}}  {run.target:<{targets}}  "
        yield Text.assemble(
            (f"{word:<{WORD_WIDTH}}", style), names, plain_line(document.report.summary)
        )
        yield from _finding_lines(document.report)


def verdict_word(run: Run, report: Report) -> tuple[str, str]:
    """Return the state of a run that did not succeed, else the worst severity; and its style."""
    if run.state == RunState.FAILED:
        return "FAILED", SEVERITY_STYLES["critical"]
    if run.state != RunState.SUCCEEDED:
        return str(run.state), "dim"
    return report.severity.value, SEVERITY_STYLES[report.severity.value]


def _finding_lines(report: Report) -> Iterator[Text]:
    serious = [
        finding
        for finding in by_seriousness(report.findings)
        if finding.severity.rank >= Severity.WARNING.rank
    ]
    for finding in serious[:SHOWN_FINDINGS]:
        yield _finding_line(finding)
    if len(serious) > SHOWN_FINDINGS:
        yield Text(f"{'':<{WORD_WIDTH}}- and {len(serious) - SHOWN_FINDINGS} more in the report")


def _finding_line(finding: Finding) -> Text:
    return Text.assemble(
        f"{'':<{WORD_WIDTH}}- ",
        (finding.severity.value, SEVERITY_STYLES[finding.severity.value]),
        f": {plain_line(finding.sentence)}",
    )
