"""django-celery-beat's scheduler, with a ledger row for every slot before its message is sent."""

import logging
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery.beat import ScheduleEntry
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    close_old_connections,
    transaction,
)
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from maintenance.core import ledger
from maintenance.core.dispatch import failure_report, mend, start_run
from maintenance.core.errors import MaintenanceError, UnknownName
from maintenance.core.ledger import Origin
from maintenance.core.recording import record
from maintenance.core.registry import TaskSpec, task_named
from maintenance.core.slots import SlotCrontab, slot_due_at
from maintenance.models import Run, RunState, Trigger

logger = logging.getLogger("maintenance.scheduler")

MEND_SECONDS = 15.0
#: Namespace of run ids: the same slot gives the same id in every process, for ever.
SLOT_NAMESPACE = uuid.UUID("6f1d2a52-6a5e-4d53-9d57-0d5a9c6c1e11")


@dataclass(frozen=True, slots=True)
class Slot:
    """One due time of one schedule on one target."""

    spec: TaskSpec
    target: str
    options: Mapping[str, Any]
    origin: Origin

    @classmethod
    def of(cls, entry: ScheduleEntry) -> "Slot | None":
        """Return the slot that a due entry stands for, ``None`` where the task is not ours."""
        try:
            spec = task_named(entry.task or "")
        except UnknownName:
            return None
        if entry.schedule is None or entry.last_run_at is None:
            return None
        arguments = entry.kwargs or {}
        headers = (entry.options or {}).get("headers", {})
        origin = Origin(
            trigger=Trigger.BEAT,
            checklist=headers.get("maintenance_checklist", ""),
            schedule=entry.name or "",
            scheduled_for=slot_due_at(entry.schedule, entry.last_run_at),
        )
        return cls(spec, arguments.get("target", ""), arguments.get("options", {}), origin)

    @property
    def run_id(self) -> uuid.UUID:
        """The id of the slot's run, which is the Celery task id: the same in every process."""
        due = self.origin.scheduled_for
        name = f"{self.origin.schedule}\n{self.target}\n{due.isoformat() if due else ''}"
        return uuid.uuid5(SLOT_NAMESPACE, name)


def record_slot(slot: Slot) -> bool:
    """Write the slot's row and send it; return whether the slot is settled.

    A slot that cannot run (its target is not configured any more) gets a failed row with the
    reason, so that no due slot vanishes.
    """
    name, due = slot.origin.schedule, slot.origin.scheduled_for
    try:
        run = _start_or_refuse(slot)
    except IntegrityError:
        logger.info("%s for %s has its run already", name, due)
    except (DatabaseError, InterfaceError):  # the second is what a cut connection says at once
        logger.exception("%s for %s could not be recorded and is kept", name, due)
        return False
    else:
        logger.info("%s for %s is run %s", name, due, run.id)
    return True


def _start_or_refuse(slot: Slot) -> Run:
    try:
        return start_run(slot.spec, slot.target, slot.options, slot.origin, slot.run_id)
    except MaintenanceError as error:
        reason = str(error)
    logger.error("%s cannot run: %s", slot.origin.schedule, reason)
    with transaction.atomic():
        run = ledger.create_run(slot.spec, slot.target, slot.options, slot.origin, slot.run_id)
        document = ledger.finish(run, RunState.FAILED, failure_report(run, reason), reason)
    record(run, document)
    return run


class LedgerEntry(ModelEntry):  # type: ignore[misc]  # the library has no types
    """One row, found due at the slots that its runs stand for."""

    def __init__(self, model: PeriodicTask, app: Any = None) -> None:
        super().__init__(model, app=app)
        if model.crontab is not None:
            self.schedule = SlotCrontab.of(model.crontab)


class LedgerScheduler(DatabaseScheduler):  # type: ignore[misc]  # the library has no types
    """Beat for maintenance tasks; other tasks of the same beat are sent as ever.

    A slot's row is committed before the message goes out, so a broker outage delays a run and a
    killed beat does not repeat it: the row's unique key decides.
    """

    Entry = LedgerEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unrecorded: deque[Slot] = deque()
        self._mended_at = 0.0
        self._reached_the_ledger = False
        super().__init__(*args, **kwargs)

    def enabled_models_qs(self) -> Any:
        """Return every enabled row.

        The library leaves out rows whose hour is more than two hours away, and so misses a
        monthly slot when beat starts late (its bugs 894 and 956).
        """
        return PeriodicTask.objects.enabled()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; now and then bring back what was lost."""
        close_old_connections()  # a connection that the server ended says so only when it is used
        while self._unrecorded and record_slot(self._unrecorded[0]):
            self._unrecorded.popleft()
        if time.monotonic() - self._mended_at > MEND_SECONDS:
            self._mended_at = time.monotonic()
            self._mend()
        wait: float = super().tick(*args, **kwargs)
        return wait

    def _mend(self) -> None:
        # After an outage, or in a beat that has just started and cannot know of one, the workers
        # get until the next look to write a heartbeat.
        judge_leases, self._reached_the_ledger = self._reached_the_ledger, False
        try:
            counts = mend(judge_leases=judge_leases)
        except (DatabaseError, InterfaceError):
            logger.exception("Lost runs could not be looked for; trying again soon")
            return
        self._reached_the_ledger = True
        if any(counts.values()):
            logger.warning("Brought back %(lost)d lost and %(republished)d unsent runs", counts)

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Record and send one slot; hand tasks that are not ours to the library."""
        slot = Slot.of(entry)
        if slot is None:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        if advance:
            self.reserve(entry)
        if not record_slot(slot):
            self._unrecorded.append(slot)
        self._tasks_since_sync += 1
        if self.should_sync():
            self._do_sync()
        return None
