"""Rate limits that hold across all workers.

Celery's own ``rate_limit`` counts per process and makes every task behind a limited one wait. This
is the generic cell rate algorithm (ITU-T I.371) on one ledger row a limit: one row lock a start.
Whatever a limit is for, starts of a task or steps within a run, its key names it.
"""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from maintenance.core.job import Progress
from maintenance.core.rates import RateLimit
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.models import RateLimitState, Run, RunState

#: A run that is cancelled while it waits ends after so long.
LONGEST_NAP_SECONDS = 1.0
#: A run in a long line asks again after so long: those before it may have been cancelled, or the limit raised.
LONGEST_STAND_SECONDS = 600.0


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


def wait_in_line(
    run_id: UUID, limit: RateLimit, wait_seconds: float, now: datetime | None = None
) -> float:
    """Return in how many seconds a run comes again that was refused a place for ``wait_seconds``.

    In the line are the queued runs of its task, in the order in which they were asked for. Told the same
    moment all would come back together, for one place. The line promises nothing: who comes to a free place
    has it, so that one whose message is lost holds up nobody, and the first in it is told the next place.
    Two queries.
    """
    now = now or ledger_now()
    task, queued_at = Run.objects.values_list("task", "queued_at").get(id=run_id)
    earlier = Q(queued_at__lt=queued_at) | Q(queued_at=queued_at, id__lt=run_id)
    before = Run.objects.filter(earlier, task=task, state=RunState.QUEUED)
    moments = before.values_list("available_at", flat=True)
    free = _first_free(
        wait_seconds,
        limit.period_seconds / limit.starts,
        ((moment - now).total_seconds() if moment else 0.0 for moment in moments),
    )
    return max(wait_seconds, min(free, LONGEST_STAND_SECONDS))


def _first_free(seconds: float, spacing_seconds: float, taken: Iterable[float]) -> float:
    """Return the first of the places from ``seconds`` on that nobody comes for.

    A moment takes the place before it: rows are written a moment after the limit was asked.
    """
    for moment in sorted(taken):
        if moment >= seconds + spacing_seconds:
            break
        seconds += spacing_seconds
    return seconds


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
