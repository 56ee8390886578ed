"""Waiting for a run's end, with a line wherever something changed."""

import time
from collections.abc import Callable

from django.utils import timezone

from maintenance.core.errors import MaintenanceError
from maintenance.models import Run, RunState
from maintenance.reports.formatting import format_seconds, format_time
from maintenance.reports.progress import amount_in_words, pace_in_words

POLL_SECONDS = 0.25
#: One progress line in this time is enough for a log, and not too slow for a person.
LINE_SECONDS = 2.0
#: A worker takes a run within a second; after this long somebody should look.
QUEUED_PATIENCE_SECONDS = 15.0


class StillGoing(MaintenanceError):
    """The run had not finished when the time to wait was over, or it was postponed for long."""


def watch(run: Run, say: Callable[[str], None], timeout_seconds: float | None = None) -> Run:
    """Wait until the run has finished; return its row. Raises :class:`StillGoing`."""
    started = time.monotonic()
    teller = Teller(say)
    while True:
        run = Run.objects.get(id=run.id)
        waited = time.monotonic() - started
        if run.is_finished:
            return run
        if run.waits_for_long:
            raise StillGoing(
                f"{run} {waiting_line(run)} A worker takes it up then."
                f" See: python manage.py maintenance reports show {run.id}"
            )
        teller.about(run, waited)
        if timeout_seconds is not None and waited >= timeout_seconds:
            raise StillGoing(
                f"{run} is still {run.state} after {format_seconds(waited)}; it goes on without us."
                f" See: python manage.py maintenance reports show {run.id}"
            )
        time.sleep(POLL_SECONDS)


class Teller:
    """Says what is new about a run: its state at once, its progress now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._line = ""
        self._at = -LINE_SECONDS
        self._state = ""
        self._warned = False

    def about(self, run: Run, waited_seconds: float) -> None:
        """Say what changed since the last call."""
        line = progress_line(run)
        new_state = run.state != self._state
        if line != self._line and (new_state or waited_seconds - self._at >= LINE_SECONDS):
            self._say(line)
            self._line, self._at, self._state = line, waited_seconds, run.state
        if (
            run.state == RunState.QUEUED
            and run.attempt == 0
            and waited_seconds > QUEUED_PATIENCE_SECONDS
            and not self._warned
        ):
            self._warned = True
            self._say(
                f"Nobody has taken the run for {format_seconds(waited_seconds)}. Is there a worker"
                f" on the queue {run.queue}? See: python manage.py health_check --check celery"
            )


def waiting_line(run: Run) -> str:
    """Return until when a postponed run waits, and why."""
    until = format_time(timezone.localtime(run.available_at)) if run.available_at else "it is sent"
    return f"waits until {until}: {run.reason}"


def progress_line(run: Run) -> str:
    """Return how far a run is: ``running: vacuuming, 3 of 12 tables (25.0 %), 4 tables/min``."""
    if run.state == RunState.QUEUED:
        if run.is_postponed:
            return f"queued: {waiting_line(run)}"
        if run.attempt:
            return f"queued: attempt {run.attempt} failed, another follows"
        return f"queued on {run.queue}: {run.id}"
    words = [f"{run.state}"]
    if run.phase:
        words.append(f": {run.phase}")
    amount = amount_in_words(run.progress_done, run.progress_total, run.progress_unit)
    known = filter(None, (amount, pace_in_words(run.pace, run.progress_unit)))
    return "".join([*words, *(f", {each}" for each in known)])
