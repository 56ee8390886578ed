"""From the wish to run a task to a message on its queue, and the mending of what got lost between."""

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import transaction
from django.utils import timezone

from maintenance.conf import configuration
from maintenance.core.errors import InvalidOptions, LostLease, Skipped
from maintenance.core.options import parse_options
from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.core.runs.deaths import take_from_lost_worker
from maintenance.core.runs.end_reports import failure_report, stop_report
from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_alias
from maintenance.core.runs.lost_messages import runs_with_lost_messages
from maintenance.core.runs.messages import fault_of_options
from maintenance.core.runs.recorder import RecordEnd
from maintenance.core.runs.recording import record
from maintenance.core.runs.registry import TaskSpec
from maintenance.core.runs.sending import Sent, send
from maintenance.models import Run, RunState

logger = logging.getLogger("maintenance.dispatch")

#: A message that was sent is presumed waiting in its queue for this long before it is sent again.
#: A second message for one run does no harm: the ledger lets only one of them claim it.
REPUBLISH_SECONDS = 600.0
#: A message that was never confirmed is sent again after this long.
UNCONFIRMED_SECONDS = 10.0
#: A run of a task that nobody knows, or that takes no such arguments, is given up after this long.
UNKNOWN_TASK_SECONDS = 3600.0


def record_run(
    spec: TaskSpec,
    target: str,
    options: Mapping[str, Any],
    origin: Origin,
    run_id: uuid.UUID | None = None,
) -> Run:
    """Check and record one run as ``queued``; nothing is sent.

    Raises ``UnknownName``, ``InvalidOptions``, and ``IntegrityError`` where the slot has a run
    already.
    """
    try:
        spec.resolve_target(configuration(), target)
    except Skipped:
        logger.debug("%s has no target configured; its run will say so", spec.name)
    parse_options(spec.options_type, options)
    fault = fault_of_options(options)
    if fault:
        raise InvalidOptions(f"A run of {spec.short_name} cannot be sent: {fault}.")
    return ledger.create_run(spec, target, options, origin, run_id)


def start_run(
    spec: TaskSpec,
    target: str,
    options: Mapping[str, Any],
    origin: Origin,
    run_id: uuid.UUID | None = None,
) -> Run:
    """Check, record and send one run; return its row.

    The message goes out when the surrounding transaction commits. Where the broker does not
    answer, the run stays ``queued`` and is sent by :func:`mend`. Raises as :func:`record_run`.
    """
    run = record_run(spec, target, options, origin, run_id)
    transaction.on_commit(lambda: publish(run), using=ledger_alias())
    return run


def publish(run: Run) -> bool:
    """Send the message of a queued run; return whether the broker took it."""
    return send([run]).count == 1


def mend(
    *,
    judge_leases: bool = True,
    may_send: Callable[[], bool] = lambda: True,
    record_end: RecordEnd = record,
) -> dict[str, int]:
    """Bring back runs whose worker died and runs whose message was lost; count both.

    Safe to call from several processes at once: each row is changed under its fence. Without
    ``judge_leases`` no worker is held to be dead: no heartbeat could be written while the ledger
    was away, so old ones say nothing until the workers had time to write again. Nothing is sent any
    more once ``may_send`` says no. Runs that end here are given to ``record_end``, which takes as long as the
    log store where it writes their files at once.
    """
    silent = ledger.runs_without_a_worker() if judge_leases else []
    lost = [run for run in silent if take_from_lost_worker(run, record_end)]
    # Together, and nothing more once the broker is away: it takes seconds to say so, and would for each.
    sent = _send_again([run for run in lost if run.state == RunState.QUEUED], may_send, record_end)
    count = 0
    for wanting in (_runs_without_a_message, _runs_with_lost_messages):
        if not sent.is_broker_away:
            sent = _send_again(wanting(), may_send, record_end)
            count += sent.count
    return {"lost": len(lost), "republished": count}


def _runs_without_a_message() -> Sequence[Run]:
    return ledger.runs_without_a_message(UNCONFIRMED_SECONDS, REPUBLISH_SECONDS)


def _runs_with_lost_messages() -> Sequence[Run]:
    return runs_with_lost_messages(ledger_now())


def _send_again(runs: Sequence[Run], may_send: Callable[[], bool], record_end: RecordEnd) -> Sent:
    """Send runs, and end those that no later try can send."""
    sent = send([run for run in runs if not _give_up_unknown(run, record_end)], may_send)
    for run, reason in sent.unsendable:
        report = stop_report(run, RunState.SKIPPED, reason)
        _end_without_worker(run, RunState.SKIPPED, report, reason, record_end)
    for run, reason in sent.refused:
        if _has_had_its_time(run):
            report = failure_report(run, reason)
            _end_without_worker(run, RunState.FAILED, report, reason, record_end)
    return sent


def _give_up_unknown(run: Run, record_end: RecordEnd) -> bool:
    """Fail a run whose task was renamed or removed; return whether it was one.

    It gets time first: another process may have been updated before this one.
    """
    if run.task in current_app.tasks or is_foreign(run.task):
        return False
    if _has_had_its_time(run):
        reason = f"The task {run.task} does not exist any more."
        report = failure_report(run, reason)
        _end_without_worker(run, RunState.FAILED, report, reason, record_end)
    return True


def _has_had_its_time(run: Run) -> bool:
    """Tell whether another process, which may have been updated before this one, could have sent it by now."""
    due_since = max(run.queued_at, run.available_at or run.queued_at)
    return timezone.now() - due_since > timedelta(seconds=UNKNOWN_TASK_SECONDS)


def revive(run: Run) -> bool:
    """Take a run from its lost worker and send it again; return whether it was ours to change."""
    if not take_from_lost_worker(run):
        return False
    if run.state == RunState.QUEUED:
        publish(run)
    return True


def _end_without_worker(
    run: Run, state: RunState, report: Report, reason: str, record_end: RecordEnd
) -> bool:
    try:
        document = ledger.finish(run, state, report, reason)
    except LostLease:
        return False
    record_end(run, document)
    return True
