"""A run without a broker: the same row, lease, retries and report, in the process at hand."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from socket import gethostname
from typing import Any

from celery.exceptions import Ignore
from django.utils import timezone

from maintenance.core.errors import LostLease
from maintenance.core.runs import ledger
from maintenance.core.runs.end_reports import stop_report
from maintenance.core.runs.recording import record
from maintenance.core.runs.registry import task_named
from maintenance.core.runs.runner import INTERRUPTED, RunFailed, execute
from maintenance.models import Run, RunState


class _Later(Exception):
    """The run comes again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Request:
    id: str
    hostname: str


class _Terminal:
    """The carrier of a run that nobody delivered: see :class:`maintenance.core.runs.progress.Carrier`."""

    def __init__(self, run: Run) -> None:
        self.request = _Request(str(run.id), f"{os.getpid()}@{gethostname()}")

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        """Do nothing: whoever watches reads the run's row."""

    def send_event(self, type_: str, retry: bool = True, **fields: Any) -> None:
        """Do nothing: there may be no broker."""

    def retry(
        self,
        *,
        exc: Exception | None = None,  # noqa: ARG002 - the carrier's signature
        countdown: float,
        max_retries: int | None,  # noqa: ARG002
    ) -> Exception:
        """Return what makes :func:`work_here` wait."""
        return _Later(countdown)


def work_here(run: Run, on_wait: Callable[[float], None] = lambda _seconds: None) -> Run:
    """Do a queued run's work in this process, attempts and rate limit included; return its row.

    The limits of the server hold (``statement_timeout``); Celery's time limits need a worker.

    ``on_wait`` is told how many seconds pass before the next attempt. The row that is returned is
    not finished where a worker took the run meanwhile, and where the run was postponed to a time
    that nobody waits for (:attr:`~maintenance.models.Run.waits_for_long`). Where the process is
    interrupted (``KeyboardInterrupt``) the run ends as cancelled, so that no worker takes it up
    again.
    """
    spec = task_named(run.task)
    carrier = _Terminal(run)
    try:
        while True:
            try:
                execute(carrier, spec, run.target, run.options)
            except _Later as later:
                on_wait(later.seconds)
                time.sleep(later.seconds)
            except Ignore:
                wait = _seconds_until_next(run)
                if wait is None or run.waits_for_long:
                    break
                on_wait(wait)
                time.sleep(wait)
            except RunFailed:
                break
            else:
                break
    except KeyboardInterrupt:
        _cancel(run, carrier.request.hostname)
        raise
    return Run.objects.get(id=run.id)


def _seconds_until_next(run: Run) -> float | None:
    """Return how long a run waits in the ledger, ``None`` where it is no longer ours to start."""
    run.refresh_from_db()
    if run.state != RunState.QUEUED:
        return None
    if run.available_at is None:
        return 0.0
    return max((run.available_at - timezone.now()).total_seconds(), 0.0)


def _cancel(run: Run, worker: str) -> None:
    run.refresh_from_db()
    if run.worker not in {"", worker}:
        return  # taken over: it is not ours to end
    report = stop_report(run, RunState.CANCELLED, INTERRUPTED)
    try:
        document = ledger.finish(run, RunState.CANCELLED, report, INTERRUPTED)
    except LostLease:
        return  # it had ended already, with a report of its own
    record(run, document)
