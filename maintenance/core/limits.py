"""Rate limits that hold across all workers.

Celery's own ``rate_limit`` counts per process and makes every task behind a limited one wait. This
is the generic cell rate algorithm (ITU-T I.371) on one ledger row a limit: one row lock a start.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from maintenance.core.registry import RateLimit
from maintenance.models import RateLimitState


def reserve_start(key: str, limit: RateLimit, now: datetime | None = None) -> float:
    """Take a place under ``limit``, or say how many seconds remain until there is one.

    Returns 0.0 where the start is granted. The full burst of ``limit.starts`` is available after
    a quiet period. Cost: one short transaction, whatever the history.
    """
    now = now or timezone.now()
    spacing = timedelta(seconds=limit.period_seconds / limit.starts)
    burst = spacing * (limit.starts - 1)
    with transaction.atomic():
        RateLimitState.objects.get_or_create(key=key, defaults={"next_start_at": now})
        row = RateLimitState.objects.select_for_update().get(key=key)
        arrival = max(row.next_start_at, now)
        wait = (arrival - burst - now).total_seconds()
        if wait > 0:
            return wait
        row.next_start_at = arrival + spacing
        row.save(update_fields=["next_start_at"])
    return 0.0
