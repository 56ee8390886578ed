"""Rate limits over all workers, on a real PostgreSQL."""

import heapq
import math
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from maintenance.core.rates import RateLimit
from maintenance.core.reports import Report
from maintenance.core.runs.limits import LONGEST_STAND_SECONDS, reserve_start, wait_in_line
from maintenance.core.runs.runner import LONGEST_HELD_SECONDS
from maintenance.models import RateLimitState, Run, RunState, Trigger
from tests.made_tasks import TaskFactory

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
#: From the answer that there is no place until it stands on the run's row.
WRITING = timedelta(milliseconds=5)


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


# --- Runs that come again ---


@pytest.fixture
def ask(task_that: TaskFactory) -> Callable[..., list[Run]]:
    """Ask for runs of one task, a moment after each other."""
    spec = task_that(lambda _job: Report("T", "S."))

    def ask(count: int, since: datetime = NOON, **fields: Any) -> list[Run]:
        return Run.objects.bulk_create(
            Run(
                task=spec.name,
                queue=spec.queue,
                trigger=Trigger.BEAT,
                queued_at=since + timedelta(microseconds=number),
                **fields,
            )
            for number in range(count)
        )

    return ask


def deliver(runs: Sequence[Run], limit: RateLimit) -> dict[UUID, list[datetime]]:
    """Deliver runs in virtual time until each has started; return when each was delivered.

    All at once in any order, and those refused when they were told to come, the longer waits by the looks of
    ``mend`` every 15 s.
    """
    deliveries: dict[UUID, list[datetime]] = {run.id: [] for run in runs}
    order = random.Random(7)
    coming = [(run.queued_at, order.random(), run.id) for run in runs]
    heapq.heapify(coming)
    while coming:
        now, _, run_id = heapq.heappop(coming)
        deliveries[run_id].append(now)
        wait = reserve_start("task", limit, now)
        if not wait:
            Run.objects.filter(id=run_id).update(state=RunState.SUCCEEDED)
            continue
        wait = wait_in_line(run_id, limit, wait, now)
        noted = now + WRITING
        Run.objects.filter(id=run_id).update(available_at=noted + timedelta(seconds=wait))
        if wait > LONGEST_HELD_SECONDS:
            wait = 15 * math.ceil(wait / 15)
        heapq.heappush(coming, (noted + timedelta(seconds=wait), order.random(), run_id))
    return deliveries


def test_a_crowd_comes_again_about_once_a_run_and_starts_as_quickly_as_the_limit_lets_it(
    ask: Callable[..., list[Run]],
) -> None:
    limit = RateLimit(30, 60)
    runs = ask(200)

    deliveries = deliver(runs, limit)

    assert sum(map(len, deliveries.values())) < 600
    starts = sorted(moments[-1] for moments in deliveries.values())
    # 30 at once, and then one each 2 s: 170 of them.
    assert starts[-1] - NOON < timedelta(seconds=340 + 15 + 1)
    for count, start in enumerate(starts, start=1):
        assert start - NOON >= timedelta(seconds=2 * (count - 30) - 0.001)


def test_those_who_come_later_starve_nobody_who_waits(ask: Callable[..., list[Run]]) -> None:
    limit = RateLimit(6, 60)
    crowd = ask(40)
    later = [ask(1, NOON + timedelta(seconds=7 * number))[0] for number in range(1, 60)]

    deliveries = deliver([*crowd, *later], limit)

    # Alone the crowd would have been 340 s; each of those who slip in costs it one place of 10 s.
    assert max(deliveries[run.id][-1] for run in crowd) - NOON < timedelta(seconds=400)
    assert max(map(len, deliveries.values())) <= 6


def test_whoever_is_put_off_for_another_reason_keeps_no_place(
    ask: Callable[..., list[Run]],
) -> None:
    limit = RateLimit(6, 60)
    ask(5, NOON - timedelta(hours=1), available_at=NOON + timedelta(hours=9))
    first, second, third = ask(3)

    assert [wait_in_line(run.id, limit, 4.0, NOON) for run in (first, second, third)] == [4, 14, 24]


def test_a_long_line_is_stood_in_for_ten_minutes_at_a_time(ask: Callable[..., list[Run]]) -> None:
    last = ask(100)[-1]

    assert wait_in_line(last.id, RateLimit(6, 60), 4.0, NOON) == LONGEST_STAND_SECONDS
    assert wait_in_line(last.id, RateLimit(3, 3600), 900.0, NOON) == 900.0
