"""Runs in the ledger as the engine leaves them, for tests that read them."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger

WORKER = "worker@crew"


def queued_run(
    task: str = "check_disk_space",
    target: str = "local",
    *,
    actor: str = "",
    checklist: str = "",
    age: timedelta = timedelta(0),
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Write a run that waits for a worker, asked for ``age`` ago."""
    trigger = Trigger.ADMIN if actor else Trigger.BEAT
    origin = Origin(trigger=trigger, actor=actor, checklist=checklist)
    run = ledger.create_run(task_named(task), target, options or {}, origin)
    if age:
        run.queued_at -= age
        run.save(update_fields=["queued_at"])
    return run


def running_run(task: str = "check_disk_space", target: str = "local") -> Run:
    """Write a run that a worker has claimed."""
    run = queued_run(task, target)
    return claims.claim(run.id, task_named(task), target, {}, WORKER)


def finished_run(
    task: str = "check_disk_space",
    target: str = "local",
    *,
    findings: Iterable[Finding] = (),
    summary: str = "All is well.",
    state: RunState = RunState.SUCCEEDED,
    reason: str = "",
    actor: str = "",
    checklist: str = "",
    age: timedelta = timedelta(0),
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Write a run with its report."""
    waiting = queued_run(task, target, actor=actor, checklist=checklist, age=age, options=options)
    run = claims.claim(waiting.id, task_named(task), target, options or {}, WORKER)
    report = Report(title="Report", summary=summary, findings=tuple(findings))
    ledger.finish(run, state, report, reason)
    run.refresh_from_db()
    return run


def warning(subject: str = "/var", sentence: str = "The disk is 85 % full.") -> Finding:
    """Return a finding that needs attention."""
    return Finding("disk-space", Severity.WARNING, subject, sentence)
