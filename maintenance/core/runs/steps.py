"""What a run has done so far, kept in the ledger: one that is interrupted repeats nothing."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError
from django.utils import timezone

from maintenance.core.errors import LostLease
from maintenance.core.plans import Outcome
from maintenance.core.redaction import redact
from maintenance.core.runs.ledger_database import ledger_connection, ledger_transaction
from maintenance.core.runs.tracing import current_trace
from maintenance.models import Run, RunState, RunStep
from maintenance.reports.plain import plain

logger = logging.getLogger("maintenance.steps")

#: Steps are written together at most this often: what a crash costs then is half a second's work.
WRITE_SECONDS = 0.5
#: A step that took as long is written at once: doing it again would cost more than the row.
COSTLY_SECONDS = 0.5


class LedgerSteps:
    """The steps of one attempt: see :class:`maintenance.core.job.Steps`.

    Any thread may record: that only fills a buffer. One thread of the store's own, which begins
    with the first step, writes it, so that no thread of a pool opens a connection to the ledger.
    While the ledger is away the steps are kept, for ``patience_seconds`` at the most; after that
    :meth:`record` raises Django's ``OperationalError``.
    """

    def __init__(self, run: Run, patience_seconds: float) -> None:
        self._run = run
        self._patience_seconds = patience_seconds
        self._done = stored_steps(run) if run.attempt > 1 else {}
        self._lock = threading.Lock()
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._wake = threading.Event()
        self._is_closed = False
        self._away_since: float | None = None
        self._failure: Exception | None = None
        self._writer: threading.Thread | None = None
        self._trace = current_trace()

    def done(self) -> Mapping[str, Outcome]:
        """Return what earlier attempts of this run have done, in the order in which they did it."""
        return self._done

    def record(self, key: str, outcome: Outcome) -> None:
        """Note that the step ``key`` is done, with its outcome as a report would show it.

        Raises ``LostLease``, ``TypeError`` for an outcome that JSON cannot hold, and Django's
        ``DatabaseError`` where the ledger refuses a step or has been away for too long.
        """
        if self._failure is not None:
            raise self._failure
        body = plain(outcome.to_json())
        self._trace.step(key, outcome)
        with self._lock:
            self._unwritten[key] = body
            if self._writer is None:
                name = f"steps-{self._run.id}"
                self._writer = threading.Thread(target=self._write_on, name=name, daemon=True)
                self._writer.start()
        if outcome.duration_seconds >= COSTLY_SECONDS:
            self._wake.set()

    def close(self) -> None:
        """Write what is left, in the calling thread; may be called again where that failed.

        Raises ``LostLease``, and Django's ``DatabaseError`` or ``InterfaceError``.
        """
        self._is_closed = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join()
        if isinstance(self._failure, LostLease):
            raise self._failure
        self._write()

    def _write_on(self) -> None:
        try:
            while not self._is_closed and self._failure is None:
                try:
                    self._write()
                except (OperationalError, InterfaceError, InternalError) as error:
                    self._wait_for_the_ledger(error)
                except (DatabaseError, LostLease) as refusal:
                    self._failure = refusal
                else:
                    self._away_since = None
                self._wake.wait(WRITE_SECONDS)
                self._wake.clear()
        finally:
            ledger_connection().close()

    def _wait_for_the_ledger(self, error: Exception) -> None:
        """Let the work go on while the ledger is away or read-only, but not for ever."""
        ledger_connection().close()
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            reason = redact(str(error))
            logger.warning("Steps of run %s could not be stored yet: %s", self._run.id, reason)
        elif now - self._away_since > self._patience_seconds:
            self._failure = error

    def _write(self) -> None:
        with self._lock:
            batch, self._unwritten = self._unwritten, {}
        if not batch:
            return
        try:
            _store(self._run, batch)
        except (DatabaseError, InterfaceError):
            with self._lock:
                self._unwritten = {**batch, **self._unwritten}
            raise


def _store(run: Run, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write steps of the attempt that holds the run. Raises ``LostLease`` where it does not."""
    now = timezone.now()
    with ledger_transaction():
        held = Run.objects.filter(id=run.id, attempt=run.attempt, state=RunState.RUNNING)
        if not held.select_for_update(no_key=True).values_list("id").first():
            raise LostLease(f"Run {run.id} is not held by attempt {run.attempt} any more.")
        RunStep.objects.bulk_create(
            (
                RunStep(run=run, key=key, outcome=outcome, recorded_at=now)
                for key, outcome in outcomes.items()
            ),
            batch_size=1000,
            update_conflicts=True,
            unique_fields=["run", "key"],
            update_fields=["outcome", "recorded_at"],
        )


def stored_steps(run: Run) -> dict[str, Outcome]:
    """Return the steps of a run, those of earlier attempts first."""
    rows = RunStep.objects.filter(run=run).order_by("id").values_list("key", "outcome")
    return {key: Outcome.from_json(outcome) for key, outcome in rows}
