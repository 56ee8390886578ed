"""What happens around a task's own line of work: claim, lease, progress, retry, report."""

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from traceback import format_exc
from typing import Any

from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from django.db import DatabaseError, DataError, InterfaceError
from django.utils import timezone

from maintenance.conf import configuration
from maintenance.core.attention.delivering import start_delivery
from maintenance.core.errors import (
    Cancelled,
    InvalidOptions,
    LostLease,
    Postponed,
    Skipped,
    UnknownName,
)
from maintenance.core.job import Job
from maintenance.core.loose_ends import LooseEnds
from maintenance.core.options import parse_options
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.core.run_marks import RunMark, marked
from maintenance.core.runs import claims, ledger, pings
from maintenance.core.runs.concurrency import wait_seconds
from maintenance.core.runs.conditions import (
    like_that_waits,
    open_window,
    require_good_time,
    require_leave,
)
from maintenance.core.runs.dispatch import revive
from maintenance.core.runs.end_reports import failure_report, stop_report
from maintenance.core.runs.failures import LEDGER_AWAY, is_transient
from maintenance.core.runs.history import LedgerHistory
from maintenance.core.runs.lease import Lease, kept, steady_seconds
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.ledger_patience import finish_with_patience, with_patience
from maintenance.core.runs.limits import reserve_start, wait_in_line
from maintenance.core.runs.messages import fault_of_message
from maintenance.core.runs.progress import Carrier, LedgerProgress, show
from maintenance.core.runs.recording import complete_unrecorded, record, run_logger
from maintenance.core.runs.registry import TaskSpec
from maintenance.core.runs.sessions import Interruption, end_expired_sessions
from maintenance.core.runs.soft_limit import soft_limit_passes_by, soft_limit_strikes
from maintenance.core.runs.steps import LedgerSteps
from maintenance.core.runs.tracing import traced_run
from maintenance.models import Run, RunState
from maintenance.reports.plain import plain, plain_report

logger = logging.getLogger("maintenance.runner")

#: A wait up to this long is a delayed message, which a worker holds in memory. A longer one is a
#: time on the run's row, from which it is sent when due: it survives restarts and fills no worker.
LONGEST_HELD_SECONDS = 60.0
#: A message that finds the ledger away comes again after this long.
LEDGER_AWAY_SECONDS = 5.0
#: The reason of a run whose process somebody interrupted from its terminal.
INTERRUPTED = "Interrupted at the terminal."
#: What is postponed to a time that is past comes again after this long, not in a tight loop.
SHORTEST_POSTPONEMENT_SECONDS = 1.0

#: Why a run is not claimed.
NOT_NOW = (
    claims.NotClaimed,
    claims.HolderLost,
    claims.Overlap,
    claims.TooLate,
    claims.Waits,
)


class RunFailed(Exception):
    """A run failed for good. Carries the redacted reason, so that no secret reaches a traceback."""


def execute(
    task: Carrier, spec: TaskSpec, target: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Do one message's work; return how it ended: state, worst severity, summary.

    Raises ``Ignore`` for a message that must do nothing, Celery's ``Retry`` where the run is tried
    again later, and :class:`RunFailed` where it failed for good.
    """
    ended = _execute(task, spec, target, options)
    show(task, "SUCCESS", ended)  # the last word after PROGRESS; Celery stores failures itself
    return ended


def _execute(
    task: Carrier, spec: TaskSpec, target: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    _refuse_what_is_no_message(task, spec, target, options)
    run_id = uuid.UUID(task.request.id)
    try:
        _refuse_what_nobody_recorded(run_id, spec, target, options)
        _wait_for_rate_limit(task, spec, run_id, target, options)
        asked_at = steady_seconds()
        run = claims.claim(run_id, spec, target, options, task.request.hostname or "")
    except LEDGER_AWAY as error:
        # The message may be all there is of this run: it must not end here.
        logger.warning("Run %s waits for the ledger: %s", run_id, redact(str(error)))
        ledger_connection().close()
        try:
            raise task.retry(countdown=LEDGER_AWAY_SECONDS, max_retries=None) from None
        except Reject as refusal:  # the broker takes none for later: it keeps this one
            raise Reject(redact(str(refusal)), requeue=True) from None
    except NOT_NOW as answer:
        return _without_work(run_id, answer)
    pings.run_started(ledger.run_facts(run))
    with traced_run(run, task.request) as trace:
        ended = _attempt(task, spec, run, options, Lease(run, asked_at))
        trace.ended(ended)
    return ended


def _refuse_what_is_no_message(
    task: Carrier, spec: TaskSpec, target: object, options: object
) -> None:
    fault = fault_of_message(task.request.id, target, options)
    if fault:
        logger.error("A message for %s does nothing: %s.", spec.name, fault)
        raise Ignore


def _refuse_what_nobody_recorded(
    run_id: uuid.UUID, spec: TaskSpec, target: str, options: Mapping[str, Any]
) -> None:
    """End a message that is none of the ledger's, where the configuration says that all are."""
    if not configuration().recorded_runs_only:
        return
    recorded = Run.objects.filter(id=run_id).values_list("task", "target", "options").first()
    if recorded != (spec.name, target, dict(options)):
        said = "says otherwise than its row" if recorded else "has no row in the ledger"
        logger.error("A message for %s does nothing: it %s (%s).", spec.name, said, run_id)
        raise Ignore


def _without_work(run_id: uuid.UUID, answer: Exception) -> dict[str, Any]:
    """End the message of a run that is not claimed, and the run where that is its end."""
    if isinstance(answer, claims.Overlap | claims.TooLate):
        return _skip(answer)
    if isinstance(answer, claims.Waits):
        return _wait_for_others(answer)
    if isinstance(answer, claims.HolderLost):
        revive(answer.run)
    else:
        logger.info("Message for run %s does nothing: %s", run_id, answer)
    raise Ignore from None


@soft_limit_passes_by()
def _attempt(
    task: Carrier, spec: TaskSpec, run: Run, options: Mapping[str, Any], lease: Lease
) -> dict[str, Any]:
    """Work on a run that was claimed, and end it, put it off, or give it back to be tried again."""
    left = LooseEnds()
    try:
        report = _work(task, spec, run, options, lease, loose_ends=left)
    except LostLease as lost:
        logger.error("Run %s stops: %s", run.id, lost)
        raise Ignore from None
    except (Skipped, Cancelled) as stop:
        return _stop(run, stop, left)
    except KeyboardInterrupt:
        _stop(run, Cancelled(INTERRUPTED), left)
        raise
    except Postponed as wait:
        return _put_off(run, wait, left)
    except SoftTimeLimitExceeded:
        reason = f"Stopped at its time limit of {spec.soft_time_limit_seconds:g} seconds."
        ledger.record_failed_attempt(run, reason)
        return _fail(run, reason, left)
    except Exception as error:  # noqa: BLE001 - whatever went wrong belongs on the run
        # Formatted here and not by the logger: a traceback repeats the error, and its secrets.
        logger.warning("Run %s of %s failed\n%s", run.id, spec.name, redact(format_exc()))
        return _retry_or_fail(task, spec, run, error, left)
    return _end(run, RunState.SUCCEEDED, report)


def _wait_for_rate_limit(
    task: Carrier, spec: TaskSpec, run_id: uuid.UUID, target: str, options: Mapping[str, Any]
) -> None:
    """Let the run come again later where its task's limit is used up.

    A doubled message takes no place under the limit: its run does not wait for a start any more.
    """
    if spec.rate_limit is None or not ledger.waits_for_a_start(run_id):
        return
    wait = reserve_start(spec.name, spec.rate_limit)
    if wait > 0:
        ledger.admit(run_id, spec, target, options)
        wait = wait_in_line(run_id, spec.rate_limit, wait)
        held = wait <= LONGEST_HELD_SECONDS
        ledger.postpone(run_id, wait, held=held)
        raise _again(task, run_id, wait, held=held)


def _again(
    task: Carrier, run_id: uuid.UUID, delay: float, *, held: bool, error: Exception | None = None
) -> Exception:
    """Return what ends this message so that the run comes again after ``delay`` seconds."""
    if held:
        try:
            return task.retry(exc=error, countdown=delay, max_retries=None)
        except Reject as refusal:  # the broker did not take the message: mend sends it when due
            logger.warning("Run %s waits for the broker: %s", run_id, redact(str(refusal)))
            ledger.forget_message(run_id)
    return Ignore()


def _work(
    task: Carrier,
    spec: TaskSpec,
    run: Run,
    options: Mapping[str, Any],
    lease: Lease,
    *,
    loose_ends: LooseEnds,
) -> Report:
    if run.cancel_requested:  # while an earlier attempt was at work
        raise ledger.cancelled_at_work(run.cancel_actor)
    parsed = parse_options(spec.options_type, options)
    target = spec.resolve_target(configuration(), run.target)
    windows = configuration().windows_of(target)
    now = timezone.now()
    is_dry_run = getattr(parsed, "dry_run", False)
    if spec.writes and not is_dry_run:
        require_leave(spec, run.target, target)
        if not spec.only_tidies(options):
            require_good_time(run, windows, now)
    mark = RunMark(run.id.hex, run.attempt)
    needs = run.deaths > 0 or (spec.writes and not is_dry_run)
    interruption = Interruption(spec, target, mark)
    with kept(lease, interruption), _kept_steps(run) as steps, soft_limit_strikes():
        ended = end_expired_sessions(spec, target, needs=needs)
        report = _report_of(
            spec,
            mark,
            Job(
                target_name=run.target,
                target=target,
                options=parsed,
                progress=LedgerProgress(lease, task),
                previous_state=ledger.previous_state(spec, run.target),
                history=LedgerHistory(run.target),
                steps=steps,
                loose_ends=loose_ends,
                run_id=run.id.hex,
                by_hand=run.is_by_hand,
                window=open_window(windows, now),
            ),
        )
        report = replace(report, findings=(*report.findings, *ended))
        return _checked(spec, report, is_dry_run=is_dry_run)


def _report_of(spec: TaskSpec, mark: RunMark, job: Job[Any, Any]) -> Report:
    job.progress.check()  # the process may have been stopped since the claim
    try:
        with marked(mark):
            return spec.function(job)
    except (UnknownName, InvalidOptions) as error:
        if job.by_hand:  # a slip of whoever reads the answer: nothing that others need to mend
            raise Skipped(str(error)) from error
        raise


@contextmanager
def _kept_steps(run: Run) -> Iterator[LedgerSteps]:
    """Keep what the body has done, however it ends. Raises ``LostLease``."""
    steps = LedgerSteps(run, ledger.LEASE_SECONDS)
    try:
        yield steps
    finally:
        try:
            with_patience(steps.close)
        except (DatabaseError, InterfaceError) as error:  # the work is done all the same
            reason = redact(str(error))
            logger.error("Steps of run %s are lost: %s", run.id, reason)


def _checked(spec: TaskSpec, report: Report, *, is_dry_run: bool) -> Report:
    """Return the report as the ledger can hold it, without secrets.

    A value that JSON cannot hold, or a run asked for with wrong options, fails the run by name.
    """
    follow_up = None if is_dry_run else report.follow_up
    if follow_up is not None:
        follow_up = replace(follow_up, options=plain(follow_up.options))
        parse_options(spec.options_type, follow_up.options)
    return replace(plain_report(report), state=plain(report.state), follow_up=follow_up)


def _skip(refusal: claims.Overlap | claims.TooLate) -> dict[str, Any]:
    run = refusal.run
    reason = claims.overdue(run) if isinstance(refusal, claims.TooLate) else _overlap(refusal.other)
    return _end(run, RunState.SKIPPED, stop_report(run, RunState.SKIPPED, reason), reason)


def _overlap(other: Run) -> str:
    return (
        f"Another run of {other.short_task} on {other.target or 'the site'} ({other.id})"
        f" has been at work since {other.started_at:%Y-%m-%d %H:%M:%S %Z}."
    )


def _wait_for_others(wait: claims.Waits) -> dict[str, Any]:
    """Let the run come again, unless its like waits already and no person asked for this one.

    Its time stands on its row: no worker holds a message for it meanwhile.
    """
    run, reason = wait.run, wait.reason
    like = None if run.is_by_hand else like_that_waits(run)
    if like is not None:
        reason = f"{reason}, and run {like.id} of the same work waits for that already."
        return _end(run, RunState.SKIPPED, stop_report(run, RunState.SKIPPED, reason), reason)
    delay = wait_seconds(timezone.now() - run.queued_at)
    ledger.postpone(run.id, delay, held=False, reason=f"{reason}.")
    logger.info("Run %s waits for %.0f s: %s", run.id, delay, redact(reason))
    raise Ignore


def _stop(run: Run, stop: Skipped | Cancelled, left: LooseEnds) -> dict[str, Any]:
    """End a run that did not do its work, or not all of it, for a good reason."""
    state = RunState.SKIPPED if isinstance(stop, Skipped) else RunState.CANCELLED
    return _end(run, state, _with_loose_ends(stop_report(run, state, str(stop)), left), str(stop))


def _put_off(run: Run, wait: Postponed, left: LooseEnds) -> dict[str, Any]:
    """Give the run back until its time has come, unless somebody asked it to stop."""
    delay = max(wait.until_epoch_seconds - time.time(), SHORTEST_POSTPONEMENT_SECONDS)
    reason = f"{wait} {left.in_words}".strip()
    try:
        with_patience(lambda: ledger.requeue(run, delay, reason=reason, follow_up=left.follow_up))
    except LostLease as lost:
        logger.error("Run %s is not postponed here: %s", run.id, lost)
    except Cancelled as stop:
        return _stop(run, stop, left)
    else:
        logger.info("Run %s waits for %.0f s: %s", run.id, delay, redact(str(wait)))
    raise Ignore from None


def _retry_or_fail(
    task: Carrier, spec: TaskSpec, run: Run, error: Exception, left: LooseEnds
) -> dict[str, Any]:
    reason = redact(str(error).strip() or type(error).__name__)
    ledger.record_failed_attempt(run, reason)
    failures = ledger.errors_of(run)
    if not is_transient(error) or spec.retry.gives_up_after(failures):
        return _fail(run, reason, left)
    delay = spec.retry.delay_seconds(failures)
    held = delay <= LONGEST_HELD_SECONDS
    try:
        with_patience(lambda: ledger.requeue(run, delay, held=held, follow_up=left.follow_up))
    except LostLease as lost:
        logger.error("Run %s is not tried again here: %s", run.id, lost)
        raise Ignore from None
    except Cancelled as stop:
        return _stop(run, stop, left)
    raise _again(task, run.id, delay, held=held, error=RunFailed(reason))


def _fail(run: Run, reason: str, left: LooseEnds) -> dict[str, Any]:
    _end(run, RunState.FAILED, _with_loose_ends(failure_report(run, reason), left), reason)
    raise RunFailed(reason) from None


def _with_loose_ends(report: Report, left: LooseEnds) -> Report:
    """Return the report of a run that did not succeed with what it leaves open."""
    told = replace(report, findings=(*report.findings, *left.findings))
    return replace(plain_report(told), follow_up=left.follow_up)


def _end(run: Run, state: RunState, report: Report, reason: str = "") -> dict[str, Any]:
    """Write the end of the run everywhere it is kept, the ledger first."""
    with soft_limit_passes_by():
        return _end_undisturbed(run, state, report, reason)


def _end_undisturbed(run: Run, state: RunState, report: Report, reason: str) -> dict[str, Any]:
    try:
        document = finish_with_patience(run, state, report, reason)
    except LostLease as lost:
        logger.error("%s", lost)
        raise Ignore from None
    except LEDGER_AWAY:
        run_logger.error("report not stored", extra={"document": report.to_json()})
        logger.error("The ledger is away; run %s was logged only", run.id)
        raise
    except DataError as error:  # a name longer than its column, for one
        if state is RunState.FAILED:
            raise
        reason = f"The report could not be stored: {error}"
        ledger.record_failed_attempt(run, reason)
        return _fail(run, reason, LooseEnds())
    has_files = record(run, document, with_patience)
    start_delivery()
    if has_files:  # a log store that is away is not asked again for others
        complete_unrecorded()
    return {
        "state": document.run.state,
        "severity": document.report.severity.value,
        "summary": redact(document.report.summary),
    }
