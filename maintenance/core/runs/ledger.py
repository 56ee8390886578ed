"""The run ledger: every change of a run's row goes through here.

A run is written as ``queued`` before its message is sent. A worker claims it: that makes it
``running``, counts an attempt, and starts a lease that heartbeats keep alive. The attempt number
is the fence: a worker whose attempt is not the row's any more can change nothing.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from maintenance.core.attention.finding_rows import stored_life
from maintenance.core.errors import Cancelled, LostLease
from maintenance.core.redaction import redact
from maintenance.core.reports import FollowUp, Report, ReportDocument, RunFacts
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_connection, ledger_transaction
from maintenance.core.runs.registry import TaskSpec
from maintenance.core.runs.report_rows import store_report
from maintenance.core.runs.steps import stored_steps
from maintenance.models import (
    TERMINAL_STATES,
    Run,
    RunState,
    StoredReport,
    Trigger,
)

#: A run whose heartbeat is older than this has lost its worker. Six heartbeats, so that one slow
#: write or a short pause of the machine does not look like a death.
LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0

#: So many messages are sent again at a look; where there are more the next look follows at once.
MESSAGES_PER_LOOK = 1000

#: So many workers may be lost at one run; what kills the next one is most likely the run itself.
MOST_DEATHS = 3

#: A run that asks for another one waits at least as long for it: whatever goes wrong there, the
#: target is not asked without a pause.
SHORTEST_FOLLOW_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run comes from."""

    trigger: str
    actor: str = ""
    checklist: str = ""
    schedule: str = ""
    scheduled_for: datetime | None = None


def create_run(
    spec: TaskSpec,
    target: str,
    options: Mapping[str, Any],
    origin: Origin,
    run_id: uuid.UUID | None = None,
) -> Run:
    """Write a ``queued`` run. Raises ``IntegrityError`` if its slot has a run already."""
    return Run.objects.create(**_new_run_fields(spec, target, options, origin, run_id))


def _new_run_fields(
    spec: TaskSpec,
    target: str,
    options: Mapping[str, Any],
    origin: Origin,
    run_id: uuid.UUID | None,
) -> dict[str, Any]:
    return {
        "id": run_id or uuid.uuid4(),
        "task": spec.name,
        "target": target,
        "options": dict(options),
        "resource": spec.resource_of(options),
        "queue": spec.queue,
        "checklist": origin.checklist,
        "schedule": origin.schedule,
        "scheduled_for": origin.scheduled_for,
        "trigger": origin.trigger,
        "actor": origin.actor,
        "queued_at": ledger_now(),
    }


def admit(run_id: uuid.UUID, spec: TaskSpec, target: str, options: Mapping[str, Any]) -> None:
    """Write the row of a message that application code sent; do nothing where it has one."""
    fields = _new_run_fields(spec, target, options, Origin(Trigger.API), run_id)
    Run.objects.get_or_create(id=run_id, defaults=fields)


def forget_message(run_id: uuid.UUID) -> None:
    """Note that no message is on its way for a queued run: ``dispatch.mend`` sends one when due."""
    Run.objects.filter(id=run_id, state=RunState.QUEUED).update(published_at=None)


def lease_is_alive(run: Run, now: datetime) -> bool:
    """Tell whether the worker of a running run was heard of within its lease."""
    return run.heartbeat_at is not None and now - run.heartbeat_at < timedelta(
        seconds=LEASE_SECONDS
    )


_HEARTBEAT = """
UPDATE maintenance_run
SET heartbeat_at = pg_catalog.statement_timestamp(){columns}
WHERE id = %s AND attempt = %s AND state = %s
RETURNING CASE WHEN cancel_requested THEN cancel_actor END
"""


def heartbeat(run: Run, *, counts_anew: bool = False, **progress: Any) -> str | None:
    """Renew the lease and store ``progress`` fields; return who asked for a cancel, if anybody did.

    ``counts_anew`` says that a count of progress begins with these fields. Raises ``LostLease`` where this attempt does not hold the run any more.
    """
    # One statement for both: Django's update() returns no columns.
    columns = "".join(f", {ledger_connection().ops.quote_name(name)} = %s" for name in progress)
    if counts_anew:  # by the same clock as the heartbeat
        columns += ", progress_since = pg_catalog.statement_timestamp()"
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            _HEARTBEAT.format(columns=columns),
            [*progress.values(), run.id, run.attempt, RunState.RUNNING.value],
        )
        held = cursor.fetchone()
    if held is None:
        raise _lost(run)
    actor: str | None = held[0]
    return actor


def who_asked_to_stop(run: Run) -> str | None:
    """Return what a heartbeat does, without a write. Raises ``LostLease`` as it does."""
    held = Run.objects.filter(id=run.id, attempt=run.attempt, state=RunState.RUNNING)
    asked = held.values_list("cancel_requested", "cancel_actor").first()
    if asked is None:
        raise _lost(run)
    is_requested, actor = asked
    return actor if is_requested else None


def cancelled_at_work(actor: str) -> Cancelled:
    """Return what ends a run that ``actor`` asked to stop; empty where the row does not say who."""
    return Cancelled(f"Cancelled by {actor} while it was at work." if actor else "Cancelled.")


def _lost(run: Run) -> LostLease:
    return LostLease(f"Run {run.id} is not held by attempt {run.attempt} any more.")


def previous_state(spec: TaskSpec, target: str) -> dict[str, Any]:
    """Return what the last successful run of ``spec`` on ``target`` left for the next one."""
    found = (
        StoredReport.objects.filter(
            run__task=spec.name, run__target=target, run__state=RunState.SUCCEEDED
        )
        .order_by("-run__finished_at")
        .values_list("state", flat=True)
        .first()
    )
    return dict(found or {})


def run_facts(run: Run) -> RunFacts:
    """Return the head of the run's report."""
    return RunFacts(
        run_id=str(run.id),
        task=run.task,
        target=run.target,
        schedule=run.schedule,
        trigger=run.trigger,
        actor=run.actor,
        state=run.state,
        reason=run.reason,
        attempt=run.attempt,
        options=run.options,
        queued_at=run.queued_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def finish(
    run: Run, state: RunState, report: Report, reason: str = "", *, keeps_files: bool = True
) -> ReportDocument:
    """End a run with its report, findings and samples, in one transaction.

    Whoever ends it records it outside of the ledger as well (:mod:`maintenance.core.runs.recording`), and
    others do where that did not come to its end; unless the run ``keeps_files`` not, and has a line alone.

    A run that did not succeed reports the steps that it has done, unless its report tells of them.
    However it ended it may ask for another: see :class:`~maintenance.core.reports.FollowUp`. Raises
    ``LostLease`` where this attempt does not hold the run any more; nothing is written then. Cost
    grows with the number of steps, findings and samples of this run alone.
    """
    reason = redact(reason)
    with ledger_transaction():
        _write_end(run, state, report, reason)
        if state != RunState.SUCCEEDED and not report.outcomes:
            report = replace(report, outcomes=tuple(stored_steps(run).values()))
        document = ReportDocument(run_facts(run), report)
        now = run.finished_at or ledger_now()
        document = store_report(run, document, now, keeps_files=keeps_files)
        if report.follow_up is not None:
            _queue_follow_up(run, report.follow_up, now)
    return document


_END = """
UPDATE maintenance_run SET
    state = %s, reason = %s, finished_at = pg_catalog.statement_timestamp(), severity = %s, summary = %s,
    failures = %s, deaths = %s
WHERE id = %s AND attempt = %s AND state <> ALL (%s)
RETURNING *
"""


def _write_end(run: Run, state: RunState, report: Report, reason: str) -> None:
    """End the row, and read it anew into ``run``. Raises ``LostLease``."""
    values = [state.value, reason, report.severity.value, redact(report.summary)]
    fence = [run.id, run.attempt, [str(ended) for ended in TERMINAL_STATES]]
    ended = next(
        iter(Run.objects.raw(_END, [*values, json.dumps(run.failures), run.deaths, *fence])), None
    )
    if ended is None:
        raise LostLease(f"Run {run.id} was ended by somebody else; this report is dropped.")
    _read_anew(run, ended)


def _read_anew(run: Run, now: Run) -> None:
    for field in Run._meta.concrete_fields:
        setattr(run, field.attname, getattr(now, field.attname))


def _queue_follow_up(run: Run, follow_up: FollowUp, now: datetime) -> None:
    """Write the run that ``run`` asks for, unless its like is queued; ``dispatch.mend`` sends it."""
    wanted = {"task": run.task, "target": run.target, "options": dict(follow_up.options)}
    if Run.objects.filter(state=RunState.QUEUED, **wanted).exists():
        return
    delay_seconds = max(follow_up.delay_seconds, SHORTEST_FOLLOW_UP_SECONDS)
    Run.objects.create(
        **wanted,
        resource=run.resource,
        queue=run.queue,
        checklist=run.checklist,
        trigger=Trigger.FOLLOW_UP,
        actor=run.actor,
        queued_at=now,
        available_at=now + timedelta(seconds=delay_seconds),
    )


def record_failed_attempt(run: Run, reason: str) -> None:
    """Note on the run, in memory, why this attempt failed; the next write stores it."""
    run.failures = [
        *run.failures,
        {"attempt": run.attempt, "at": timezone.now().isoformat(), "reason": redact(reason)},
    ]


def note_death(run: Run) -> str:
    """Note on the run, in memory, that its worker was lost; return that as a sentence."""
    reason = f"The worker {run.worker or 'that held it'} stopped responding"
    if run.heartbeat_at:
        reason += f" (last heartbeat {run.heartbeat_at:%Y-%m-%d %H:%M:%S %Z})"
    record_failed_attempt(run, f"{reason}.")
    run.failures[-1]["lost_worker"] = True
    run.deaths += 1
    return f"{reason}."


def errors_of(run: Run) -> int:
    """Return how many attempts failed by an error of their own: lost workers are counted apart."""
    return sum(not failure.get("lost_worker") for failure in run.failures)


def lock_if_silent(run: Run) -> bool:
    """Lock a run's row, within a transaction, if nothing was heard of its attempt since ``run``.

    A row that somebody has locked is left to the next look: it is at work, or its session is ended soon.
    """
    same = Run.objects.filter(id=run.id, attempt=run.attempt, state=RunState.RUNNING)
    locked = same.filter(heartbeat_at=run.heartbeat_at).select_for_update(
        no_key=True, skip_locked=True
    )
    return locked.values_list("id").first() is not None


def waits_for_a_start(run_id: uuid.UUID) -> bool:
    """Tell whether a run is queued, or not recorded yet (application code sent its message)."""
    state = Run.objects.filter(id=run_id).values_list("state", flat=True).first()
    return state in (None, RunState.QUEUED)


def postpone(run_id: uuid.UUID, delay_seconds: float, *, held: bool, reason: str = "") -> None:
    """Let a queued run wait; ``held`` and ``reason`` as for :func:`requeue`."""
    now = ledger_now()
    Run.objects.filter(id=run_id, state=RunState.QUEUED).update(
        available_at=now + timedelta(seconds=delay_seconds),
        published_at=now if held else None,
        reason=redact(reason),
    )


def requeue(
    run: Run,
    delay_seconds: float,
    *,
    held: bool = False,
    reason: str = "",
    follow_up: FollowUp | None = None,
) -> None:
    """Give a run back to the queue, not to be started before ``delay_seconds`` have passed.

    ``held`` says that a message for then is on its way; otherwise ``dispatch.mend`` sends one.
    ``reason`` is why it waits, where it was postponed and has not failed; ``follow_up`` is what does not
    wait as long. Raises ``LostLease``
    where this attempt does not hold the run any more, and ``Cancelled`` where somebody asked it to
    stop: nothing is left to wait for then.
    """
    now = ledger_now()
    ours = Run.objects.filter(id=run.id, attempt=run.attempt, state=RunState.RUNNING)
    with ledger_transaction():
        if not ours.filter(cancel_requested=False).update(
            state=RunState.QUEUED,
            reason=redact(reason),
            failures=run.failures,
            deaths=run.deaths,
            available_at=now + timedelta(seconds=delay_seconds),
            published_at=now if held else None,
            phase="",
        ):
            actor = who_asked_to_stop(run)
            raise _lost(run) if actor is None else cancelled_at_work(actor)
        if follow_up is not None:
            _queue_follow_up(run, follow_up, now)


def request_cancel(run: Run, actor: str) -> ReportDocument | None:
    """Ask a run to stop, on behalf of ``actor``.

    A queued run ends at once: its report is returned, for the log store. A running one is told at
    its next update of progress, at the latest with the next heartbeat; a finished one stays as it
    is. Both return ``None``.
    """
    with ledger_transaction():
        current = Run.objects.select_for_update().get(id=run.id)
        if current.state == RunState.RUNNING:
            Run.objects.filter(id=run.id).update(cancel_requested=True, cancel_actor=actor)
        if current.state != RunState.QUEUED:
            return None
        reason = f"Cancelled by {actor} while it was queued."
        report = Report(title=f"{current.title} cancelled", summary=reason)
        return finish(current, RunState.CANCELLED, report, reason)


def stored_document(run: Run) -> ReportDocument:
    """Return a finished run's report. Raises ``StoredReport.DoesNotExist`` before that."""
    return _document(run, StoredReport.objects.get(run=run))


def own_end(run: Run, state: RunState) -> ReportDocument | None:
    """Return the stored report of a run that ended in ``state`` under this very attempt, read anew into ``run``.

    ``None`` where it is another attempt's, has another state, or another worker's name.
    """
    ended = Run.objects.filter(
        id=run.id, attempt=run.attempt, worker=run.worker, state=state
    ).first()
    if ended is None:
        return None
    _read_anew(run, ended)
    return stored_document(run)


def previous_document(run: Run) -> ReportDocument | None:
    """Return the report of the run before that did the same and succeeded, to compare with.

    The same is the same task on the same target with the same options: a dry run and what it
    previews say different things. ``None`` where there is none, or only one that another release
    wrote, and for a run that did not succeed: it has nothing to compare. One query.
    """
    if run.state != RunState.SUCCEEDED:
        return None
    before = (
        Run.objects.filter(
            task=run.task,
            target=run.target,
            options=run.options,
            state=RunState.SUCCEEDED,
            queued_at__lt=run.queued_at,
            report__isnull=False,
        )
        .select_related("report")
        .order_by("-queued_at")
        .first()
    )
    if before is None:
        return None
    try:
        return _document(before, before.report)
    except ValueError:
        return None


def _document(run: Run, stored: StoredReport) -> ReportDocument:
    body = {
        "schema_version": stored.schema_version,
        "run": run_facts(run).to_json(),
        "report": stored.body,
    }
    return replace(ReportDocument.from_json(body), life=stored_life(run, stored))


def runs_without_a_worker(now: datetime | None = None) -> list[Run]:
    """Return ``running`` runs whose lease has expired."""
    oldest = (now or ledger_now()) - timedelta(seconds=LEASE_SECONDS)
    return list(
        Run.objects.filter(state=RunState.RUNNING).filter(
            Q(heartbeat_at__lt=oldest) | Q(heartbeat_at=None)
        )
    )


def runs_without_a_message(
    unconfirmed_seconds: float, silence_seconds: float, now: datetime | None = None
) -> list[Run]:
    """Return up to :data:`MESSAGES_PER_LOOK` due ``queued`` runs for which a message must be sent.

    Those are runs whose message nobody confirmed for ``unconfirmed_seconds``, and runs whose
    message was taken by the broker but has led to nothing for ``silence_seconds``.
    """
    now = now or ledger_now()
    unsent = Q(published_at=None, queued_at__lt=now - timedelta(seconds=unconfirmed_seconds)) & (
        Q(available_at=None) | Q(available_at__lte=now)
    )
    long_ago = now - timedelta(seconds=silence_seconds)
    silent = Q(published_at__lt=long_ago) & (Q(available_at=None) | Q(available_at__lt=long_ago))
    waiting = Run.objects.filter(state=RunState.QUEUED).filter(unsent | silent)
    return list(waiting.order_by("queued_at")[:MESSAGES_PER_LOOK])
