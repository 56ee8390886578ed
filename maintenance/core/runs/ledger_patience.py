"""Writing to a ledger that is restarting: again and again, until it takes what is written or patience ends."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections

from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.ledger_database import ledger_connection

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
