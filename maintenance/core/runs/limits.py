"""Rate limits that hold across all workers.

Celery's own ``rate_limit`` counts per process and makes every task behind a limited one wait. This
is the generic cell rate algorithm (ITU-T I.371) on one ledger row a limit: one row lock a start.
Whatever a limit is for, starts of a task or steps within a run, its key names it.
"""

import time
from datetime import datetime, timedelta

from maintenance.core.job import Progress
from maintenance.core.rates import RateLimit
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.models import RateLimitState

#: A run that is cancelled while it waits ends after so long.
LONGEST_NAP_SECONDS = 1.0


def reserve_start(key: str, limit: RateLimit, now: datetime | None = None) -> float:
    """Take a place under ``limit``, or say how many seconds remain until there is one.

    Returns 0.0 where the start is granted. The full burst of ``limit.starts`` is available after
    a quiet period. Cost: one short transaction, whatever the history. The ledger's clock counts: one of a
    worker's that is an hour ahead would keep all others waiting for an hour.
    """
    now = now or ledger_now()
    spacing = timedelta(seconds=limit.period_seconds / limit.starts)
    burst = spacing * (limit.starts - 1)
    with ledger_transaction():
        RateLimitState.objects.get_or_create(key=key, defaults={"next_start_at": now})
        row = RateLimitState.objects.select_for_update().get(key=key)
        # What lies further ahead than a whole burst was written by a clock that was wrong.
        arrival = max(min(row.next_start_at, now + spacing * limit.starts), now)
        wait = (arrival - burst - now).total_seconds()
        if wait > 0:
            return wait
        row.next_start_at = arrival + spacing
        row.save(update_fields=["next_start_at"])
    return 0.0


def wait_for_start(key: str, limit: RateLimit, progress: Progress) -> float:
    """Take a place under ``limit``, waiting for it within a run; return the seconds waited.

    The progress is told while it waits, so that a run which is cancelled or lost ends here: raises
    what it raises. For waits of seconds; a run that waits for long gives its worker back.
    """
    started = time.monotonic()
    while (wait := reserve_start(key, limit)) > 0:
        progress.update(
            0, phase=f"waiting for the limit of {limit.starts} in {limit.period_seconds:g} s"
        )
        time.sleep(min(wait, LONGEST_NAP_SECONDS))
    return time.monotonic() - started
