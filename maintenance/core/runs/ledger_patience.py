"""Writing to a ledger that is restarting: again and again, until it takes what is written or patience ends."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections

from maintenance.core.errors import LostLease
from maintenance.core.reports import Report, ReportDocument
from maintenance.core.runs import ledger
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.models import Run, RunState

#: How long the end of a run waits for a ledger that is restarting.
FINISH_PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def with_patience(write: Callable[[], T]) -> T:
    """Write to the ledger, again and again while its database restarts.

    Raises what ``write`` raises, one of ``LEDGER_AWAY`` only after :data:`FINISH_PATIENCE_SECONDS`.
    """
    give_up_at = time.monotonic() + FINISH_PATIENCE_SECONDS
    pause_seconds = 0.5
    while True:
        try:
            return write()
        except LEDGER_AWAY:
            if time.monotonic() > give_up_at:
                raise
            close_old_connections()
            ledger_connection().close()
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 8.0)


def finish_with_patience(run: Run, state: RunState, report: Report, reason: str) -> ReportDocument:
    """End the run in the ledger, which may have done so at a call whose answer was lost.

    Raises as :func:`~maintenance.core.runs.ledger.finish`.
    """
    calls = 0

    def finish() -> ReportDocument:
        nonlocal calls
        calls += 1
        return ledger.finish(run, state, report, reason)

    try:
        return with_patience(finish)
    except LostLease:
        document = with_patience(lambda: ledger.own_end(run, state)) if calls > 1 else None
        if document is None:
            raise
        return document
