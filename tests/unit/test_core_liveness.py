"""The dead man's switch: what a look at the ledger means."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maintenance.core.evidence.liveness import (
    LeaderFacts,
    Look,
    OverdueSlot,
    PausedSchedule,
    QueueFacts,
    liveness_reports,
)
from maintenance.core.findings import Severity

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def leader(silent_seconds: float = 1, lease_seconds: float = 9) -> LeaderFacts:
    ticked = NOON - silent_seconds * SECOND
    return LeaderFacts(
        "beat@one", NOON - timedelta(days=1), ticked + lease_seconds * SECOND, ticked
    )


def findings(**more: Any) -> list[tuple[str, Severity]]:
    seen = Look(**{"now": NOON, "enabled": 3, "leader": leader(), **more})
    reports = liveness_reports(seen)
    return [(finding.code, finding.severity) for report in reports for finding in report.findings]


def sentences(**more: Any) -> str:
    seen = Look(**{"now": NOON, "enabled": 3, "leader": leader(), **more})
    reports = liveness_reports(seen)
    return " ".join(f.sentence for report in reports for f in report.findings)


def test_a_crew_at_work_has_nothing_to_say() -> None:
    busy = QueueFacts("high", 40, NOON - timedelta(hours=2), at_work=1)
    fresh = QueueFacts("low", 1, NOON - timedelta(minutes=9), at_work=0)
    assert findings(queues=[busy, fresh]) == []


@pytest.mark.parametrize(
    ("silent_seconds", "is_dead"), [(0, False), (59, False), (61, True), (86_400, True)]
)
def test_a_leader_that_is_silent_for_longer_than_a_takeover_takes_is_dead(
    silent_seconds: float, is_dead: bool
) -> None:
    expected = [("leader-silent", Severity.CRITICAL)] if is_dead else []
    assert findings(leader=leader(silent_seconds)) == expected


def test_a_leader_that_hangs_is_told_from_one_that_is_gone() -> None:
    gone = sentences(leader=leader(90))
    hangs = sentences(leader=leader(90, lease_seconds=3600))
    assert "beat@one has been silent for 1.5 minutes, and nobody took over" in gone
    assert "and still holds its lease: nothing is sent" in hangs


def test_no_leader_at_all_is_critical_where_anything_is_scheduled() -> None:
    assert findings(leader=None) == [("no-leader", Severity.CRITICAL)]
    assert findings(leader=None, enabled=0) == [("no-schedule", Severity.WARNING)]


def test_overdue_schedules_are_named_and_of_many_the_rest_is_counted() -> None:
    slots = [OverdueSlot(f"daily {n}", NOON - timedelta(hours=1)) for n in range(25)]
    assert findings(overdue=slots) == [("schedule-overdue", Severity.CRITICAL)] * 21
    text = sentences(overdue=slots)
    assert "daily 0 was due at 2026-11-26 11:00 UTC and was not sent." in text
    assert "5 more schedules are overdue: daily 20, daily 21" in text


def test_a_paused_schedule_is_named_with_who_and_why_and_is_no_alarm() -> None:
    paused = [PausedSchedule("weekly x", NOON - timedelta(days=3), "ann", "new disks")]
    assert findings(paused=paused) == [("schedule-paused", Severity.INFO)]
    assert sentences(paused=paused) == "weekly x has been paused by ann for 3 days: new disks."


def test_a_queue_that_stands_still_says_that_its_workers_are_down() -> None:
    queue = QueueFacts("high", 4, NOON - timedelta(minutes=25), at_work=0)
    assert findings(queues=[queue]) == [("queue-stands", Severity.CRITICAL)]
    assert "4 runs wait in the queue high, the oldest for 25 minutes" in sentences(queues=[queue])
