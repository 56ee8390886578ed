"""What a command's exit code says, so that scripts and monitoring need not read its output."""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from maintenance.core.findings import Severity
from maintenance.core.reports import Report
from maintenance.models import RunState


class ExitCode(IntEnum):
    """0, 1 and 2 as the guide's commands have them; 130 is the shell's word for Ctrl-C."""

    HEALTHY = 0
    FINDINGS = 1
    NOT_MEASURED = 2
    INTERRUPTED = 130


#: For the end of every ``--help``.
EXPLANATION = """\
exit codes:
  0  healthy: no finding reaches --fail-on
  1  a finding reaches --fail-on
  2  could not measure, or bad input (the reason is on standard error)"""


def was_measured(report: Report) -> bool:
    """Tell whether a report holds any measurement, and not only reasons why there is none."""
    if any(finding.measured for finding in report.findings):
        return True
    if any(table.rows for table in report.tables) or report.samples:
        return True
    return not report.findings


def of_reports(
    answers: Mapping[str, Sequence[Report]], fail_on: Severity, *, each_is_required: bool
) -> ExitCode:
    """Return the code for the reports that answer each question (analysis, check) by its name.

    A question that somebody named must get an answer from at least one target; where all were
    asked because none was named, one answer to any of them is enough.
    """
    measured = [any(was_measured(report) for report in reports) for reports in answers.values()]
    if not (all(measured) if each_is_required else any(measured)):
        return ExitCode.NOT_MEASURED
    return _by_severity((r for reports in answers.values() for r in reports), fail_on)


def of_run(
    state: str, report: Report, fail_on: Severity, counting: Severity | None = None
) -> ExitCode:
    """Return the code for a run: 2 unless it did its work, else by its worst finding.

    ``counting`` is the worst of those that are not muted, where that is known.
    """
    if state != RunState.SUCCEEDED or not was_measured(report):
        return ExitCode.NOT_MEASURED
    worst = report.severity if counting is None else counting
    return ExitCode.FINDINGS if worst.rank >= fail_on.rank else ExitCode.HEALTHY


def _by_severity(reports: Iterable[Report], fail_on: Severity) -> ExitCode:
    reached = any(report.severity.rank >= fail_on.rank for report in reports)
    return ExitCode.FINDINGS if reached else ExitCode.HEALTHY
