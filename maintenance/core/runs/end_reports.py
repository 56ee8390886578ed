"""Reports of runs that did not do their work: skipped, cancelled, or failed."""

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.models import Run, RunState

#: Findings that say only how a run ended: it has not looked.
CODES_OF_ENDS = frozenset({"run-failed", "dead-lettered"})


def stop_report(run: Run, state: RunState, reason: str) -> Report:
    """Return the report of a run that did not do its work, which is no failure."""
    word = str(state.label).capitalize()
    summary = reason if reason.startswith(word) else f"{word}: {reason}"
    return Report(title=f"{run.title} {state.label}", summary=summary)


def failure_report(run: Run, reason: str) -> Report:
    """Return the report of a run that failed: the reason, and every attempt.

    An attempt that was postponed has not failed, and does not count.
    """
    attempts = len(run.failures)
    return Report(
        title=f"{run.title} failed",
        summary=f"Failed after {_attempts(attempts)}: {reason}",
        findings=(
            Finding(
                code="run-failed",
                severity=Severity.CRITICAL,
                subject=run.target or "site",
                sentence=reason,
                evidence={"attempts": attempts, "failures": run.failures},
                advice="Mend the cause, then run the task again.",
            ),
        ),
    )


def _attempts(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"
