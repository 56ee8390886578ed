"""Runs whose worker was lost: given to another one, until it looks as if the run itself kills them.

A death is a lease that ran out: its worker was killed, or hung, or was cut off from the ledger. It
is not an error that the work raised, which has its policy of retries, and is counted apart.
"""

import logging
from dataclasses import replace

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import FollowUp, Report, ReportDocument
from maintenance.core.runs import ledger
from maintenance.core.runs.end_reports import stop_report
from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.core.runs.recorder import RecordEnd
from maintenance.core.runs.recording import record
from maintenance.core.runs.registry import is_registered, task_named
from maintenance.models import Run, RunState

logger = logging.getLogger("maintenance.deaths")

#: What lost workers left is taken away after this long: their sessions have ended by then.
TIDY_AFTER_SECONDS = 600.0


def take_from_lost_worker(run: Run, record_end: RecordEnd = record) -> bool:
    """Requeue or end a run whose lease has run out; return whether it was ours to change.

    ``run`` is what a look saw before. Nothing changes where its worker wrote a heartbeat since, or
    somebody else was faster: looking again and changing are one transaction. The caller sends the
    message of a run that is queued afterwards; one that ends is given to ``record_end``.
    """
    with ledger_transaction():
        if not ledger.lock_if_silent(run):
            return False
        reason = ledger.note_death(run)
        logger.error("Run %s of %s: %s", run.id, run.task, reason)
        document = _ended(run, reason)
        if document is None:
            ledger.requeue(run, 0.0)
            run.state = RunState.QUEUED
    if document is not None:
        record_end(run, document)
    return True


def _ended(run: Run, reason: str) -> ReportDocument | None:
    """End a run that is not given to another worker; ``None`` where it is."""
    if run.cancel_requested:
        report = _tidied(run, stop_report(run, RunState.CANCELLED, reason))
        return ledger.finish(run, RunState.CANCELLED, report, reason)
    if is_foreign(run.task):
        return ledger.finish(run, RunState.FAILED, _abandoned(run, reason), reason)
    if run.deaths < ledger.MOST_DEATHS:
        return None
    report = _tidied(run, _dead_letter(run, reason))
    return ledger.finish(run, RunState.FAILED, report, reason)


def _tidied(run: Run, report: Report) -> Report:
    """Let a run follow that takes away what the lost workers left, where the task has such a one."""
    spec = task_named(run.task) if is_registered(run.task) else None
    if spec is None or not spec.tidies_with or spec.only_tidies(run.options):
        return report
    return replace(report, follow_up=FollowUp({spec.tidies_with: True}, TIDY_AFTER_SECONDS))


def _abandoned(run: Run, reason: str) -> Report:
    """Return the report of somebody else's task, which only its own broker may bring back."""
    return Report(
        title=f"{run.title} failed",
        summary=f"Failed: {reason}",
        findings=(
            Finding(
                code="run-failed",
                severity=Severity.CRITICAL,
                subject=run.schedule or "site",
                sentence=f"{reason} Whether it may be repeated is not known, so it was not.",
                evidence={"deaths": run.deaths, "failures": run.failures},
                advice="See what it had done, and send it again if need be. With acks_late its broker does.",
            ),
        ),
    )


def _dead_letter(run: Run, reason: str) -> Report:
    sentence = f"{run.deaths} workers were lost while they held this run. It is not started again by itself."
    return Report(
        title=f"{run.title} dead-lettered",
        summary=f"Given up after {run.deaths} workers were lost at it: {reason}",
        findings=(
            Finding(
                code="dead-lettered",
                severity=Severity.CRITICAL,
                subject=run.target or "site",
                sentence=sentence,
                evidence={
                    "deaths": run.deaths,
                    "last_phase": run.phase,
                    "failures": run.failures,
                },
                advice=(
                    "Look for the out-of-memory killer in the kernel's log of the machines named, and"
                    " in the workers' logs for what they did last. Mend that, then run the task again."
                ),
            ),
        ),
    )
