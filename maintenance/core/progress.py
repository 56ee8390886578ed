"""Progress of a run, where people watch it: on its row, and as a state in Celery."""

import logging
import time
from typing import Any, Protocol

from celery.exceptions import BackendError
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from maintenance.core.lease import Lease
from maintenance.core.redaction import redact

logger = logging.getLogger("maintenance.runner")

#: Progress is written at most this often: a person cannot read faster, a table can be vacuumed so.
PROGRESS_SECONDS = 0.5


class Carrier(Protocol):
    """What brings a run into a process: a Celery task, or a command that works without a broker."""

    @property
    def request(self) -> Any:
        """Something with ``id``, the run's id, and ``hostname``, the worker's name."""

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        """Show progress to whoever watches the carrier."""

    def retry(
        self, *, exc: Exception | None = None, countdown: float, max_retries: int | None
    ) -> Exception:
        """Return, or raise, what makes the run come again after ``countdown`` seconds."""


class LedgerProgress:
    """Progress that is stored on the run's row and as Celery's PROGRESS state, under its lease."""

    def __init__(self, lease: Lease, task: Carrier) -> None:
        self._lease = lease
        self._task = task
        self._written_at = -PROGRESS_SECONDS

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        """Store how far the run is; see :class:`maintenance.core.job.Progress`."""
        self.check()
        now = time.monotonic()
        if now - self._written_at < PROGRESS_SECONDS and done != total:
            return
        self._written_at = now
        show(self._task, "PROGRESS", {"phase": phase, "done": done, "total": total, "unit": unit})
        self._lease.renew(
            phase=phase[:200], progress_done=done, progress_total=total, progress_unit=unit
        )

    def check(self) -> None:
        """Raise unless the run is certainly ours, and nobody asked it to stop."""
        self._lease.check()


def show(task: Carrier, state: str, meta: dict[str, Any]) -> None:
    """Store a state in Celery's result backend, for watching only: its outage costs nothing."""
    try:
        task.update_state(state=state, meta=meta)
    except (BackendError, BrokerError, RedisError, OSError) as error:
        logger.warning("Progress could not be shown in Celery: %s", redact(str(error)))
