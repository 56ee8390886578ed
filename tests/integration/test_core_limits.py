"""Rate limits over all workers, on a real PostgreSQL."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from maintenance.core.rates import RateLimit
from maintenance.core.runs.limits import reserve_start
from maintenance.models import RateLimitState

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_over_all_workers_exactly_the_limit_is_granted() -> None:
    limit = RateLimit(10, 3600)
    barrier = threading.Barrier(6)
    waits: list[float] = []

    def worker() -> None:
        try:
            barrier.wait()
            waits.extend(reserve_start("task", limit, NOON) for _ in range(8))
        finally:
            connection.close()

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(waits) == 48
    assert waits.count(0.0) == 10
    assert all(wait == 360 for wait in waits if wait)
    assert RateLimitState.objects.count() == 1


def test_a_refused_start_takes_no_place() -> None:
    limit = RateLimit(2, 60)
    assert [reserve_start("task", limit, NOON) for _ in range(5)] == [0, 0, 30, 30, 30]

    later = NOON + timedelta(seconds=30)

    assert [reserve_start("task", limit, later) for _ in range(2)] == [0, 30]


def test_whoever_waits_as_long_as_told_gets_the_next_place() -> None:
    limit = RateLimit(7, 60)
    now = NOON
    granted_at = []
    while len(granted_at) < 50:
        wait = reserve_start("task", limit, now)
        if wait == 0:
            granted_at.append(now)
        else:
            now += timedelta(seconds=wait)

    for first, after_burst in zip(granted_at, granted_at[13:], strict=False):
        # A burst of 7, then one each 60/7 s: never more than 13 in any minute, 7 in the long run.
        assert after_burst - first >= timedelta(seconds=51)
    assert granted_at[-1] - granted_at[0] >= timedelta(seconds=43 * 60 / 7 - 0.1)


def test_after_a_quiet_period_the_whole_burst_is_there_again() -> None:
    limit = RateLimit(3, 60)
    assert [reserve_start("task", limit, NOON) for _ in range(4)] == [0, 0, 0, 20]

    next_day = NOON + timedelta(days=1)

    assert [reserve_start("task", limit, next_day) for _ in range(4)] == [0, 0, 0, 20]


def test_each_task_has_a_limit_of_its_own() -> None:
    limit = RateLimit(1, 60)

    assert reserve_start("one", limit, NOON) == 0
    assert reserve_start("two", limit, NOON) == 0
    assert reserve_start("one", limit, NOON) == 60


def test_a_clock_that_is_set_back_does_not_grant_more() -> None:
    limit = RateLimit(1, 60)
    assert reserve_start("task", limit, NOON) == 0

    assert reserve_start("task", limit, NOON - timedelta(seconds=30)) == 60


def test_a_clock_that_was_wrong_keeps_nobody_waiting_for_longer_than_a_burst() -> None:
    limit = RateLimit(starts=30, period_seconds=60)
    assert reserve_start("task", limit, NOON + timedelta(hours=1)) == 0

    waits = [reserve_start("task", limit, NOON) for _ in range(2)]

    assert max(waits) <= 2


def test_the_ledger_s_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2036, 1, 1, tzinfo=UTC))
    assert reserve_start("task", RateLimit(starts=1, period_seconds=60)) == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT next_start_at - now() FROM maintenance_ratelimitstate")
        [(ahead,)] = cursor.fetchall()
    assert ahead <= timedelta(seconds=60)
