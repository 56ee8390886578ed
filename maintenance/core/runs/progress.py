"""Progress of a run, where people watch it: on its row, and as a state in Celery."""

import logging
import time
from typing import Any, Protocol

from celery.exceptions import BackendError
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from maintenance.core.pace import Pace, pace
from maintenance.core.redaction import redact
from maintenance.core.runs.lease import Lease
from maintenance.core.runs.tracing import current_trace
from maintenance.reports.progress import pace_in_words

logger = logging.getLogger("maintenance.runner")

#: Progress is written at most this often: a person cannot read faster, a table can be vacuumed so.
PROGRESS_SECONDS = 0.5

#: A broker that did not take an event may need seconds to say so: the work shall not wait for it each time.
EVENTS_AWAY_SECONDS = 30.0


class Carrier(Protocol):
    """What brings a run into a process: a Celery task, or a command that works without a broker."""

    @property
    def request(self) -> Any:
        """Something with ``id``, the run's id, and ``hostname``, the worker's name."""

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        """Show progress to whoever watches the carrier."""

    def send_event(self, type_: str, retry: bool = True, **fields: Any) -> Any:
        """Tell whoever follows Celery's events, Flower among them."""

    def retry(
        self, *, exc: Exception | None = None, countdown: float, max_retries: int | None
    ) -> Exception:
        """Return, or raise, what makes the run come again after ``countdown`` seconds."""


class _Count:
    """One stretch of progress: as long as the same things are counted, and their number rises."""

    def __init__(self) -> None:
        self.began_with = 0
        self._began_at: float | None = None
        self._last = 0, ""

    def begins(self, done: int, unit: str) -> bool:
        """Note what is done; tell whether another count has begun with it."""
        last_done, last_unit = self._last
        self._last = done, unit
        if self._began_at is not None and unit == last_unit and done >= last_done:
            return False
        self.began_with, self._began_at = done, time.monotonic()
        return True

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since it began."""
        return 0.0 if self._began_at is None else time.monotonic() - self._began_at


class LedgerProgress:
    """Progress that is stored on the run's row and as Celery's PROGRESS state, under its lease."""

    def __init__(self, lease: Lease, task: Carrier) -> None:
        self._lease = lease
        self._task = task
        self._written_at = -PROGRESS_SECONDS
        self._count = _Count()
        self._trace = current_trace()
        self._events_from = 0.0  # by the monotonic clock

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        """Store how far the run is; see :class:`maintenance.core.job.Progress`."""
        self.check()
        self._trace.phase(phase)
        now = time.monotonic()
        if now - self._written_at < PROGRESS_SECONDS and done != total:
            return
        self._written_at = now
        begun = (
            {"counts_anew": True, "progress_from": done} if self._count.begins(done, unit) else {}
        )
        reached = pace(done, total, self._count.began_with, self._count.elapsed_seconds)
        show(
            self._task,
            "PROGRESS",
            {
                "phase": phase,
                "done": done,
                "total": total,
                "unit": unit,
                "per_second": reached and reached.per_second,
                "seconds_left": reached and reached.seconds_left,
            },
        )
        self._send_event(now, words_of(done, total, phase=phase, unit=unit, reached=reached))
        self._lease.renew(
            phase=phase[:200],
            progress_done=done,
            progress_total=total,
            progress_unit=unit,
            **begun,
        )

    def _send_event(self, now: float, words: str) -> None:
        """Send what Flower's page of a task shows: it reads events, and no results of a backend.

        Celery lets an event of a name of its own be a state (``Task.event`` of celery.events.state).
        """
        if now < self._events_from:
            return
        try:
            self._task.send_event("task-progress", retry=False, result=words)
        except (BrokerError, RedisError, OSError) as error:
            self._events_from = now + EVENTS_AWAY_SECONDS
            logger.warning("Progress could not be sent to Flower: %s", redact(str(error)))

    def check(self) -> None:
        """Raise unless the run is certainly ours, and nobody asked it to stop."""
        self._lease.check()


def show(task: Carrier, state: str, meta: dict[str, Any]) -> None:
    """Store a state in Celery's result backend, for watching only: its outage costs nothing."""
    try:
        task.update_state(state=state, meta=meta)
    except (BackendError, BrokerError, RedisError, OSError) as error:
        logger.warning("Progress could not be shown in Celery: %s", redact(str(error)))


def words_of(
    done: int, total: int | None, *, phase: str, unit: str, reached: Pace | None = None
) -> str:
    """Return progress in words: ``vacuuming, 35 of 81 tables (43 %), 12 tables/min``."""
    amount = f"{done:,} of {total:,} {unit}".rstrip() if total else f"{done:,} {unit}".rstrip()
    share = f" ({done / total:.0%})".replace("%", " %") if total else ""
    words = (redact(phase), amount + share, pace_in_words(reached, unit))
    return ", ".join(word for word in words if word)
