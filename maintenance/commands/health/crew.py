"""Checks of the maintenance crew itself: workers, beat, runs and the log store."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from celery import Celery, current_app
from django.core.files.storage import storages
from django.utils import timezone
from kombu.exceptions import OperationalError

from maintenance.commands.earlier import job_after
from maintenance.commands.health.scope import Scope
from maintenance.commands.measuring import contained
from maintenance.conf import Configuration
from maintenance.core.errors import Skipped, TargetUnavailable
from maintenance.core.evidence.liveness import liveness_reports
from maintenance.core.evidence.liveness_look import look
from maintenance.core.findings import Finding, Severity
from maintenance.core.options import NoOptions
from maintenance.core.redaction import address_of, redact
from maintenance.core.reports import Report, Table
from maintenance.core.runs import ledger
from maintenance.core.runs.registry import all_tasks
from maintenance.models import Run, RunState
from maintenance.queues.depth import check_queue_depths
from maintenance.reports.log_store import configured_store
from maintenance.reports.whole_files import WholeFiles

#: An idle worker answers within milliseconds; a machine under load within this.
WORKER_ANSWER_SECONDS = 2.0
#: A worker that is at a long task lets others wait; three hours is the longest task's own limit.
WAITING_TOLERANCE_SECONDS = 3 * 3600.0
#: The daily checklist leaves a report every day; two hours more let a slow one finish.
REPORT_AGE_SECONDS = 26 * 3600.0


def celery(scope: Scope) -> Iterator[Report]:
    """Count what waits in the queues of each broker; ask our own workers for their queues."""
    for name, broker in scope.configuration.brokers.items():
        job = job_after(scope.earlier, "check_queue_depths", name, broker, NoOptions())
        yield from contained(f"Queues of {name}", name, check_queue_depths, job)
    yield from contained("Workers", "", workers, current_app)


def workers(app: Celery, wait_seconds: float = WORKER_ANSWER_SECONDS) -> Report:
    """Ask every worker of ``app`` which queues it consumes; each queue of ours needs one.

    Raises ``Skipped`` where the application has no broker, ``TargetUnavailable`` where it does
    not answer. Takes ``wait_seconds``, since a broadcast has no last answer.
    """
    if not app.conf.broker_url:
        raise Skipped("the Celery application has no broker; set broker_url.")
    answers = _ask_for_queues(app, wait_seconds)
    consumers: dict[str, list[str]] = {queue: [] for queue in sorted(_queues())}
    for worker, queues in answers.items():
        for queue in queues:
            consumers.setdefault(queue["name"], []).append(worker)
    rows = [
        {"queue": queue, "workers": len(names), "names": ", ".join(sorted(names))}
        for queue, names in consumers.items()
    ]
    return Report(
        title="Workers",
        summary=_workers_summary(answers, consumers),
        findings=tuple(_unserved(consumers, app.main or "<application>")),
        tables=(Table.of("Queues and their workers", rows),),
        facts={"workers": len(answers), "waited_seconds": wait_seconds},
    )


def _queues() -> set[str]:
    return {spec.queue for spec in all_tasks()}


def _ask_for_queues(app: Celery, wait_seconds: float) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=math.ceil(wait_seconds))
            inspect = app.control.inspect(timeout=wait_seconds, connection=connection)
            return inspect.active_queues() or {}
        except (OperationalError, OSError) as error:
            raise TargetUnavailable(
                f"The broker {address_of(connection.as_uri())} does not answer:"
                f" {redact(str(error)).rstrip('.')}. Check that it runs, and broker_url."
            ) from error


def _unserved(consumers: Mapping[str, Sequence[str]], application: str) -> Iterator[Finding]:
    unserved = [queue for queue, names in consumers.items() if not names]
    if not unserved:
        return
    yield Finding(
        code="queue-without-worker",
        severity=Severity.CRITICAL,
        subject=", ".join(unserved),
        sentence=f"No worker answers for {', '.join(unserved)}: runs of these queues wait.",
        evidence={"queues": unserved},
        advice="Start a worker that consumes them, or look why the one there does not answer.",
        commands=(f"celery -A {application} worker -Q {','.join(unserved)}",),
    )


def _workers_summary(answers: Mapping[str, Any], consumers: Mapping[str, Sequence[str]]) -> str:
    if not answers:
        return "No worker answers."
    unserved = [queue for queue, names in consumers.items() if not names]
    count = "1 worker answers" if len(answers) == 1 else f"{len(answers)} workers answer"
    if unserved:
        return f"{count}, but none for {', '.join(unserved)}."
    return f"{count}; every queue has one."


def schedule(_scope: Scope) -> Iterator[Report]:
    """Judge the scheduler and the workers from the ledger: a dead beat is noticed by whoever asks."""
    yield from contained("Scheduler", "", lambda: liveness_reports(look()))
    yield from contained("Runs", "", runs, timezone.now())


def runs(now: datetime) -> Report:
    """Look for runs whose worker is gone, and for runs that wait too long."""
    lost = ledger.runs_without_a_worker(now)
    oldest = now - timedelta(seconds=WAITING_TOLERANCE_SECONDS)
    waiting = [
        run
        for run in Run.objects.filter(state=RunState.QUEUED, queued_at__lt=oldest)[:1000]
        if run.available_at is None or run.available_at < oldest
    ]
    counts = {
        "running": Run.objects.filter(state=RunState.RUNNING).count(),
        "queued": Run.objects.filter(state=RunState.QUEUED).count(),
    }
    return Report(
        title="Runs",
        summary=(
            f"{len(lost)} runs lost their worker, {len(waiting)} wait for hours."
            if lost or waiting
            else f"No run is stuck: {counts['running']} at work, {counts['queued']} waiting."
        ),
        findings=(*(_lost(run) for run in lost), *(_waiting(run) for run in waiting)),
        facts=counts,
    )


def _lost(run: Run) -> Finding:
    return Finding(
        code="run-without-worker",
        severity=Severity.WARNING,
        subject=str(run),
        sentence=f"{run} is running on a worker that stopped responding.",
        evidence={
            "run_id": str(run.id),
            "worker": run.worker,
            "last_heartbeat_at": run.heartbeat_at.isoformat() if run.heartbeat_at else None,
        },
        advice="Beat brings it back within a quarter of a minute; if this stays, beat is down.",
    )


def _waiting(run: Run) -> Finding:
    return Finding(
        code="run-waits",
        severity=Severity.WARNING,
        subject=str(run),
        sentence=f"{run} has waited in the queue {run.queue} since {run.queued_at:%Y-%m-%d %H:%M %Z}.",
        evidence={"run_id": str(run.id), "queue": run.queue},
        advice=f"See whether a worker consumes the queue {run.queue} and what keeps it busy.",
    )


def reports(scope: Scope) -> Iterator[Report]:
    """Write to the log store, and look when the last run ended."""
    yield from contained("Log store", "", log_store, scope.configuration)
    yield from contained("Reports", "", last_report, timezone.now())


def log_store(configuration: Configuration) -> Report:
    """Write a file where reports go, and remove it. Raises ``LogStoreUnavailable``."""
    configured_store()  # says what is wrong with the settings, if anything is
    settings = configuration.reports
    files = WholeFiles(storages[settings.storage])
    name = "/".join(part for part in (settings.prefix.strip("/"), f"health-{uuid4().hex}") if part)
    files.write(name, b"written by health_check; may be deleted\n")
    files.delete(name)
    return Report("Log store", f'The storage "{settings.storage}" can be written.')


def last_report(now: datetime) -> Report:
    """Compare the age of the newest finished run with what the daily checklist promises."""
    newest = Run.objects.exclude(finished_at=None).order_by("-finished_at").first()
    if newest is None or newest.finished_at is None:
        finding = Finding(
            code="no-report",
            severity=Severity.INFO,
            subject="reports",
            sentence="No run has finished yet.",
            advice="Run a task by hand to see that the crew works.",
            commands=("python manage.py maintenance run check_disk_space",),
        )
        return Report("Reports", finding.sentence, findings=(finding,))
    age_seconds = (now - newest.finished_at).total_seconds()
    facts = {
        "newest": str(newest),
        "finished_at": newest.finished_at.isoformat(),
        "age_seconds": round(age_seconds),
    }
    if age_seconds <= REPORT_AGE_SECONDS:
        return Report("Reports", f"The newest report is of {newest}.", facts=facts)
    finding = Finding(
        code="reports-stale",
        severity=Severity.WARNING,
        subject="reports",
        sentence=f"The newest run ended {age_seconds / 86_400:.1f} days ago.",
        evidence=facts,
        advice="The daily checklist should leave a report every day: look at beat and workers.",
    )
    return Report("Reports", finding.sentence, findings=(finding,), facts=facts)
