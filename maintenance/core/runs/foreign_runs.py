"""A slot of somebody else's task in the worker: claimed once, with a heartbeat, and its end noted.

What it was given and what it returns stay out of the ledger, as does what an error of it says: that may
name people. The log of the worker has it.
"""

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from numbers import Real
from typing import Any, TypeVar

from celery import Task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.utils.time import maybe_make_aware
from django.db import DatabaseError, InterfaceError
from django.db.models.functions import Now

from maintenance.core.errors import Cancelled, LostLease
from maintenance.core.findings import Finding, Severity
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger, pings
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.lease import Lease, kept, steady_seconds
from maintenance.core.runs.ledger_database import ledger_connection, ledger_transaction
from maintenance.core.runs.ledger_patience import with_patience
from maintenance.core.runs.recording import log
from maintenance.models import Run, RunState, StoredFinding, StoredReport

logger = logging.getLogger("maintenance.runner")

#: A message that finds the ledger away, or its run not given back yet, comes again after this long.
COMES_AGAIN_SECONDS = 5.0
#: A message may come so much before its time: it was sent before the time was noted.
EARLY = timedelta(seconds=1)
#: Celery's own ``retry`` raises ``Reject`` as well, where the broker does not take the message.
REJECTED_ADVICE = (
    "No message brings it back. See in that log whether the task rejected it or the broker took no retry,"
    " mend the cause, and send the task again."
)

T = TypeVar("T")


class _TooEarly(claims.NotClaimed):
    """The run is not to be taken for ``seconds``: a message of its own retry is needed again then."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


def execute_once(task: "Task[Any, Any]", work: Callable[[], Any]) -> Any:
    """Do the work of a slot's message, unless it is done or being done; return what it returns.

    Raises ``Ignore`` for a message that must do nothing, or comes again because the ledger is away or it
    came too early, ``Reject`` where the broker does not take it for that, and what the work raises.
    """
    asked_at = steady_seconds()
    try:
        run = _claim(uuid.UUID(task.request.id), task.request.hostname or "")
    except LEDGER_AWAY as error:
        ledger_connection().close()
        logger.warning("Run %s waits for the ledger: %s", task.request.id, redact(str(error)))
        raise _again(task, COMES_AGAIN_SECONDS) from None
    except claims.NotClaimed as answer:
        raise _without_work(task, answer) from None
    if run is None:  # its row is gone: kept for no longer, or never written
        return work()
    pings.run_started(ledger.run_facts(run))
    try:
        with kept(Lease(run, asked_at)):
            result = work()
    except Retry as retry:
        _give_back(run, _seconds_until(retry.when))
        raise
    except Reject as refusal:
        if refusal.requeue:  # type: ignore[attr-defined]  # missing in the stubs
            _give_back(run, 0.0)
        elif _is_of_the_broker(refusal):
            _noted(run, lambda: ledger.requeue(run, 0.0))
        else:
            _end(run, RunState.FAILED, "It rejected its message for good", REJECTED_ADVICE)
        raise
    except Ignore:
        _end(run, RunState.SUCCEEDED)
        raise
    except Exception as error:
        _end(run, RunState.FAILED, f"{type(error).__name__} was raised")
        raise
    _end(run, RunState.SUCCEEDED)
    return result


def _without_work(task: "Task[Any, Any]", answer: claims.NotClaimed) -> Exception:
    """Return what ends a message whose run is not claimed.

    Where a retry of the task's own comes too early it comes again: it alone knows how many were before. What
    else comes too early is a second message for the slot.
    """
    if isinstance(answer, _TooEarly) and task.request.retries:
        logger.info("Message for run %s is too early: %s", task.request.id, answer)
        return _again(task, answer.seconds)
    logger.info("Message for run %s does nothing: %s", task.request.id, answer)
    return Ignore()


def _is_of_the_broker(refusal: Reject) -> bool:
    """Tell whether it comes of Celery's ``retry``, for whose message no broker was there: no answer of the task."""
    trace = refusal.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is Task.retry.__code__


def _again(task: "Task[Any, Any]", delay_seconds: float) -> Exception:
    """Send this message again for later; return what ends it here.

    Not as a retry: how many of those the task has is between it and its errors.
    """
    request = task.request
    retries = request.retries or 0
    try:
        task.signature_from_request(request, countdown=delay_seconds, retries=retries).apply_async()
    except Exception as error:  # noqa: BLE001 - of any broker, as Celery's own retry has it
        reason = redact(str(error))
        logger.warning("The broker does not take run %s for later: %s", request.id, reason)
        return Reject(reason, requeue=True)
    return Ignore()


@ledger_transaction()
def _claim(run_id: uuid.UUID, worker: str) -> Run | None:
    """Make a run ``running``. Raises :class:`~maintenance.core.runs.claims.NotClaimed`.

    A run whose worker was lost is claimed again: its broker has delivered it again, as its site wants.
    """
    run = Run.objects.select_for_update().annotate(ledger_now=Now()).filter(id=run_id).first()
    if run is None:
        return None
    now = run.ledger_now
    if run.state == RunState.RUNNING:
        if ledger.lease_is_alive(run, now):
            raise _TooEarly(f"{run.worker} is at it", COMES_AGAIN_SECONDS)
        ledger.note_death(run)
    elif run.state == RunState.FAILED and 0 < run.deaths < ledger.MOST_DEATHS:
        StoredReport.objects.filter(run=run).delete()
        StoredFinding.objects.filter(run=run).delete()
    elif run.state not in (RunState.QUEUED, RunState.SENT):
        raise claims.NotClaimed(run.state)
    elif run.available_at and run.available_at > now + EARLY:
        seconds = (run.available_at - now).total_seconds()
        raise _TooEarly(f"not due before {run.available_at.isoformat()}", seconds)
    if run.deaths >= ledger.MOST_DEATHS:
        raise claims.NotClaimed(f"{run.deaths} workers were lost at it")
    run.state, run.attempt, run.worker = RunState.RUNNING, run.attempt + 1, worker
    run.started_at = run.heartbeat_at = now
    run.finished_at = run.available_at = None
    run.reason = run.summary = run.severity = ""
    run.save()
    return run


def _seconds_until(when: object) -> float:
    """Return how long it is to the time of a retry, as Celery gives it: seconds, or a moment (UTC if naive)."""
    if isinstance(when, datetime):
        return max((maybe_make_aware(when) - datetime.now(UTC)).total_seconds(), 0.0)
    return float(when) if isinstance(when, Real) else 0.0


def _give_back(run: Run, delay_seconds: float) -> None:
    """Note that a message of the task's own making brings it back after ``delay_seconds``."""
    due_at = steady_seconds() + delay_seconds
    _noted(run, lambda: ledger.requeue(run, max(due_at - steady_seconds(), 0.0), held=True))


def _end(run: Run, state: RunState, failure: str = "", advice: str = "") -> None:
    """Note how it ended: well, or with a ``failure`` that tells nothing of what the task was given."""
    title = f"{run.title} {state.label}"
    if state is RunState.FAILED:
        reason = f"{failure}; the log of {run.worker or 'its worker'} has the rest."
        subject = run.schedule or run.task
        finding = Finding("run-failed", Severity.CRITICAL, subject, reason, advice=advice)
        report = Report(title, f"Failed: {reason}", findings=(finding,))
    else:
        reason = ""
        report = Report(title, "Done.")
    # As many as a site's own tasks are: of these the ledger and the log tell.
    document = _noted(run, lambda: ledger.finish(run, state, report, reason, keeps_files=False))
    if document is not None:
        log(document)


def _noted(run: Run, write: Callable[[], T]) -> T | None:
    """Write to the ledger, with patience. What it does not take costs the note, never the task's own result."""
    try:
        return with_patience(write)
    except (Cancelled, LostLease) as stop:
        logger.warning("What became of run %s is not noted: %s", run.id, stop)
    except SoftTimeLimitExceeded:  # of the task, whose work is done
        ledger_connection().close()
        logger.error("The end of run %s could not be noted within its time limit.", run.id)
    except (DatabaseError, InterfaceError) as error:
        ledger_connection().close()
        reason = redact(f"{type(error).__name__}: {error}")
        logger.error("The end of run %s could not be noted: %s", run.id, reason)
    return None
