"""django-celery-beat's scheduler, with a ledger row for every slot before its message is sent."""

import logging
import time
import uuid
from collections import deque
from datetime import datetime
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule
from celery.utils.time import maybe_make_aware
from django.db import DatabaseError, IntegrityError
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from maintenance.core.dispatch import mend, start_run
from maintenance.core.errors import MaintenanceError, UnknownName
from maintenance.core.ledger import Origin
from maintenance.core.registry import TaskSpec, task_named
from maintenance.models import Trigger

logger = logging.getLogger("maintenance.scheduler")

MEND_SECONDS = 15.0
#: Namespace of run ids: the same slot gives the same id in every process, for ever.
SLOT_NAMESPACE = uuid.UUID("6f1d2a52-6a5e-4d53-9d57-0d5a9c6c1e11")


def slot_due_at(schedule: BaseSchedule, last_run_at: datetime) -> datetime:
    """Return the first due time after ``last_run_at``: the slot that a run stands for."""
    start = maybe_make_aware(last_run_at, schedule.tz)
    if hasattr(schedule, "remaining_delta"):  # crontab
        began, delta, _now = schedule.remaining_delta(start)
        due: datetime = began + delta
        return due
    interval: datetime = start + schedule.run_every
    return interval


def slot_run_id(schedule: str, target: str, scheduled_for: datetime) -> uuid.UUID:
    """Derive the run's id, which is the Celery task id, from its slot."""
    return uuid.uuid5(SLOT_NAMESPACE, f"{schedule}\n{target}\n{scheduled_for.isoformat()}")


class LedgerScheduler(DatabaseScheduler):  # type: ignore[misc]  # the library has no types
    """Beat for maintenance tasks; other tasks of the same beat are sent as ever.

    A slot's row is committed before the message goes out, so a broker outage delays a run and a
    killed beat does not repeat it: the row's unique key decides.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unrecorded: deque[tuple[ScheduleEntry, datetime]] = deque()
        self._mended_at = 0.0
        super().__init__(*args, **kwargs)

    def enabled_models_qs(self) -> Any:
        """Return every enabled row.

        The library leaves out rows whose hour is more than two hours away, and so misses a
        monthly slot when beat starts late (its bugs 894 and 956).
        """
        return PeriodicTask.objects.enabled()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; now and then bring back what was lost."""
        while self._unrecorded and self._record(*self._unrecorded[0]):
            self._unrecorded.popleft()
        if time.monotonic() - self._mended_at > MEND_SECONDS:
            self._mended_at = time.monotonic()
            self._mend()
        wait: float = super().tick(*args, **kwargs)
        return wait

    def _mend(self) -> None:
        try:
            counts = mend()
        except DatabaseError:
            logger.exception("Lost runs could not be looked for; trying again soon")
            return
        if any(counts.values()):
            logger.warning("Brought back %(lost)d lost and %(republished)d unsent runs", counts)

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Record and send one slot; hand tasks that are not ours to the library."""
        try:
            task_named(entry.task)
        except UnknownName:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        due_at = slot_due_at(entry.schedule, entry.last_run_at)
        if advance:
            self.reserve(entry)
        if not self._record(entry, due_at):
            self._unrecorded.append((entry, due_at))
        self._tasks_since_sync += 1
        if self.should_sync():
            self._do_sync()
        return None

    def _record(self, entry: ScheduleEntry, due_at: datetime) -> bool:
        """Write the slot's row and send it; return whether the slot is settled."""
        spec: TaskSpec = task_named(entry.task)
        target = entry.kwargs.get("target", "")
        try:
            run = start_run(
                spec,
                target,
                entry.kwargs.get("options", {}),
                Origin(
                    trigger=Trigger.BEAT,
                    checklist=entry.options.get("headers", {}).get("maintenance_checklist", ""),
                    schedule=entry.name,
                    scheduled_for=due_at,
                ),
                slot_run_id(entry.name, target, due_at),
            )
        except IntegrityError:
            logger.info("%s for %s has its run already", entry.name, due_at.isoformat())
        except DatabaseError:
            logger.exception("%s for %s could not be recorded; kept", entry.name, due_at)
            return False
        except MaintenanceError as error:
            logger.error("%s cannot run: %s", entry.name, error)
        else:
            logger.info("%s for %s is run %s", entry.name, due_at.isoformat(), run.id)
        return True
