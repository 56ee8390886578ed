"""Who takes a run: a worker claims it, or learns why it may not.

The usual claim is one statement, so that a run costs the ledger little; whatever that statement does not
find in order is looked at under the row's lock, which finds the reason.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import Q
from django.db.models.functions import Now

from maintenance.core.runs.concurrency import has_a_cap, reason_to_wait
from maintenance.core.runs.ledger import (
    MOST_DEATHS,
    admit,
    forget_message,
    lease_is_alive,
    note_death,
)
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.core.runs.registry import TaskSpec
from maintenance.models import Misfire, OverlapPolicy, Run, RunState, SchedulePolicy

#: A run that ends just as another one looks who is in its way leaves the way free: it looks again so often.
CLAIM_LOOKS = 3


class NotClaimed(Exception):
    """The message needs no work: its run is finished, held by another worker, or not due yet."""


class HolderLost(Exception):
    """The lease of the run's worker has run out, and the run is not to be claimed by another one."""

    def __init__(self, run: Run) -> None:
        super().__init__(str(run.id))
        self.run = run


class TooLate(Exception):
    """The run did not start before its deadline."""

    def __init__(self, run: Run) -> None:
        super().__init__(str(run.id))
        self.run = run


class Overlap(Exception):
    """Another run of the same task on the same target is at work."""

    def __init__(self, run: Run, other: Run) -> None:
        super().__init__(str(other.id))
        self.run = run
        self.other = other


class Waits(Exception):
    """Runs of others are at work beside which this one may not begin; ``reason`` says which."""

    def __init__(self, run: Run, reason: str) -> None:
        super().__init__(reason)
        self.run = run
        self.reason = reason


_CLAIMED_FIELDS = (
    "state",
    "attempt",
    "worker",
    "resource",
    "started_at",
    "heartbeat_at",
    "finished_at",
    "available_at",
    "reason",
    "phase",
    "progress_done",
    "progress_total",
    "progress_since",
    "progress_from",
    "failures",
    "deaths",
)


def claim(
    run_id: uuid.UUID, spec: TaskSpec, target: str, options: Mapping[str, Any], worker: str
) -> Run:
    """Make a run ``running`` for ``worker`` and count an attempt.

    A message sent by application code has no row yet: it is written here. A run whose lease has run
    out is taken over, which counts a death. Raises :class:`NotClaimed` for a message that must do
    nothing, :class:`Overlap` where another run holds the same task and target, :class:`TooLate` for a
    run that has not started before its deadline, :class:`Waits` where another task holds what this one
    needs or as many runs are at work as may be, and :class:`HolderLost` where the run ends because its
    worker was lost.
    """
    for _look in range(CLAIM_LOOKS):
        try:
            return _claim_or_explain(run_id, spec, target, options, worker)
        except IntegrityError:  # of the index that lets one run of a resource and target be running
            run = Run.objects.get(id=run_id)
            at_work = Run.objects.filter(target=run.target, state=RunState.RUNNING)
            other = at_work.filter(resource=spec.resource_of(options)).first()
            if other is not None:
                raise _in_the_way(run, other) from None
    forget_message(run_id)
    raise NotClaimed("one run after another was in its way, and has just ended")


def _claim_or_explain(
    run_id: uuid.UUID, spec: TaskSpec, target: str, options: Mapping[str, Any], worker: str
) -> Run:
    """Claim a run, or raise as :func:`claim`; ``IntegrityError`` where another run is in the way."""
    run = _claim_at_once(run_id, spec, target, options, worker)
    if run is not None:
        return run
    try:
        return _claim_looking(run_id, spec, options, worker)
    except Run.DoesNotExist:
        admit(run_id, spec, target, options)
        return _claim_looking(run_id, spec, options, worker)


def _claim_at_once(
    run_id: uuid.UUID, spec: TaskSpec, target: str, options: Mapping[str, Any], worker: str
) -> Run | None:
    """Claim a queued run that nothing stands in the way of; return ``None`` where something may."""
    if has_a_cap(spec, target):
        return None
    values = {
        "id": run_id,
        "target": target,
        "worker": worker,
        "resource": spec.resource_of(options),
        "queued": RunState.QUEUED.value,
        "running": RunState.RUNNING.value,
    }
    return next(iter(Run.objects.raw(_CLAIM, values)), None)


# A run of its resource at work is looked for here, and by the index that allows one: under a race the
# index has the last word, without it the usual refusal would be an error in the server's log.
_CLAIM = """
UPDATE maintenance_run SET
    state = %(running)s, attempt = attempt + 1, worker = %(worker)s, resource = %(resource)s,
    started_at = pg_catalog.statement_timestamp(), heartbeat_at = pg_catalog.statement_timestamp(),
    finished_at = NULL, available_at = NULL, reason = '', phase = '', progress_done = 0,
    progress_total = NULL, progress_since = NULL, progress_from = NULL
WHERE id = %(id)s AND target = %(target)s AND state = %(queued)s
  AND (
    available_at IS NULL OR available_at <= pg_catalog.statement_timestamp() + interval '1 second'
  )
  AND (attempt > 0 OR deadline_at IS NULL OR deadline_at >= pg_catalog.statement_timestamp())
  AND NOT EXISTS (
    SELECT FROM maintenance_run AS other
    WHERE other.state = 'running' AND other.resource <> ''
      AND other.resource = %(resource)s AND other.target = %(target)s
  )
RETURNING *
"""


@ledger_transaction()
def _claim_looking(
    run_id: uuid.UUID, spec: TaskSpec, options: Mapping[str, Any], worker: str
) -> Run:
    run = Run.objects.select_for_update().annotate(ledger_now=Now()).get(id=run_id)
    now: datetime = run.ledger_now
    if run.is_finished or (run.state == RunState.RUNNING and lease_is_alive(run, now)):
        raise NotClaimed(run.state)
    if run.available_at and run.available_at > now + timedelta(seconds=1):
        raise NotClaimed("not due before " + run.available_at.isoformat())
    if run.attempt == 0 and run.deadline_at is not None and run.deadline_at < now:
        raise TooLate(run)
    if run.state == RunState.RUNNING:
        if run.cancel_requested or run.deaths + 1 >= MOST_DEATHS:
            raise HolderLost(run)
        note_death(run)
    reason = reason_to_wait(run, spec)
    if reason:
        raise Waits(run, reason)
    run.state = RunState.RUNNING
    run.attempt += 1
    run.worker = worker
    run.resource = spec.resource_of(options)
    run.started_at = run.heartbeat_at = now
    run.finished_at = run.available_at = None
    run.reason = run.phase = ""
    run.progress_done, run.progress_total = 0, None
    run.progress_since = run.progress_from = None
    run.save(update_fields=_CLAIMED_FIELDS)
    return run


def overdue(run: Run) -> str:
    """Say that a run has not started before its deadline."""
    assert run.deadline_at is not None
    return (
        f"it had to start by {run.deadline_at:%Y-%m-%d %H:%M:%S %Z}, and no worker took it by then"
    )


def _in_the_way(run: Run, other: Run) -> Overlap | Waits:
    if other.task == run.task and not _may_wait_for_its_like(run):
        return Overlap(run, other)
    reason = (
        f"{other.short_task} ({other.id}) has the {run.resource} of {run.target or 'the site'} to"
        f" itself since {other.started_at:%Y-%m-%d %H:%M:%S %Z}"
    )
    return Waits(run, reason)


def _may_wait_for_its_like(run: Run) -> bool:
    """Tell whether the schedule of a run wants it to run all the same, later."""
    willing = Q(overlap__in=[OverlapPolicy.QUEUE_ONE, OverlapPolicy.ALLOW]) | Q(
        misfire=Misfire.EACH
    )
    return SchedulePolicy.objects.filter(willing, row__name=run.schedule).exists()
