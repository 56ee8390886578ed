"""Verdicts about queues, from depths alone."""

from dataclasses import replace
from typing import Any

from maintenance.conf import BrokerTarget
from maintenance.core.findings import Finding, Severity
from maintenance.queues.diagnosis import diagnose, state
from maintenance.queues.measurement import (
    BrokerMeasurement,
    QueueDepth,
    Unacknowledged,
    Withheld,
)
from maintenance.redis_client.server import parse_facts

SERVER = parse_facts(
    {
        "redis_version": "7.0.15",
        "role": "master",
        "uptime_in_seconds": 7200,
        "used_memory": 1000,
        "maxmemory": 5000,
        "maxmemory_policy": "noeviction",
        "evicted_keys": 0,
        "expired_keys": 0,
        "keyspace_hits": 0,
        "keyspace_misses": 0,
        "run_id": "abc",
    }
)
TARGET = BrokerTarget(url="redis://broker.example", queues=("inbox",), max_pending=100)


def judge(
    pending: int = 0, server: Any = SERVER, previous: dict[str, Any] | None = None
) -> list[Finding]:
    measured = BrokerMeasurement((QueueDepth("inbox", pending, {0: pending}),), 7200.0, server)
    return list(diagnose("site", TARGET, measured, previous or {}))


def test_a_queue_within_its_limit_is_no_finding() -> None:
    assert judge(pending=99) == []


def test_a_queue_at_its_limit_is_a_warning() -> None:
    (found,) = judge(pending=100)
    assert (found.code, found.severity, found.subject) == (
        "queue-too-deep",
        Severity.WARNING,
        "inbox",
    )


def test_growth_since_the_previous_check_is_told_per_hour() -> None:
    previous = {"pending": {"inbox": 10}, "measured_at_seconds": 0.0}
    (found,) = judge(pending=50, previous=previous)
    assert found.code == "queue-growing"
    assert "from 10 to 50 messages since the previous check, 20 an hour" in found.sentence


def test_small_growth_a_new_queue_and_a_clock_set_back_are_no_growth() -> None:
    assert judge(20, previous={"pending": {"inbox": 10}, "measured_at_seconds": 0.0}) == []
    assert judge(50, previous={"pending": {}, "measured_at_seconds": 0.0}) == []
    assert judge(50, previous={"pending": {"inbox": 1}, "measured_at_seconds": 9e9}) == []


def test_a_broker_that_evicts_is_critical_whether_it_has_a_limit_or_not() -> None:
    for maxmemory_bytes in (5000, 0):
        evicting = replace(SERVER, maxmemory_policy="allkeys-lru", maxmemory_bytes=maxmemory_bytes)
        (found,) = judge(server=evicting)
        assert (found.code, found.severity) == ("broker-eviction", Severity.CRITICAL)


def test_what_may_not_be_read_is_withheld() -> None:
    missing = Withheld("broker-eviction", "the broker's eviction policy", "the ACL right +info")
    measured = BrokerMeasurement((), 7200.0, withheld=(missing,))
    (found,) = diagnose("site", TARGET, measured, {})
    assert (found.code, found.measured) == ("broker-eviction", False)
    assert found.sentence.endswith("needs the ACL right +info")


def looks(*messages: str | None, every_seconds: float = 1800.0) -> list[Finding]:
    """Judge the last of several looks at a queue, each of which saw this message next."""
    found: list[Finding] = []
    before: dict[str, Any] = {}
    for number, message in enumerate(messages):
        depth = QueueDepth("inbox", 3 if message else 0, {0: 3}, next_message=message)
        measured = BrokerMeasurement((depth,), 1e9 + number * every_seconds, SERVER)
        found = list(diagnose("site", TARGET, measured, before))
        before = state(measured, before)
    return found


def test_a_queue_whose_next_message_stays_for_an_hour_is_not_consumed() -> None:
    assert looks("a", "a") == []
    (found,) = looks("a", "a", "a")
    assert (found.code, found.severity) == ("queue-not-consumed", Severity.CRITICAL)
    assert found.sentence == (
        "Nothing has been taken from inbox for 1 hour or longer; 3 messages wait there."
    )


def test_a_queue_that_moves_is_consumed_however_deep_it_is() -> None:
    assert looks("a", "a", "b", "b") == []
    assert looks("a", "a", None, "a") == []


def test_a_queue_without_consumers_is_named_at_once_where_the_broker_counts_them() -> None:
    depth = QueueDepth("inbox", 2, {0: 2}, consumers=0)
    (found,) = diagnose("site", TARGET, BrokerMeasurement((depth,), 1e9), {})
    assert found.sentence == "No worker consumes inbox, in which 2 messages wait."
    assert found.severity is Severity.CRITICAL
    empty = replace(depth, pending=0)
    (found,) = diagnose("site", TARGET, BrokerMeasurement((empty,), 1e9), {})
    assert found.severity is Severity.WARNING
    assert not list(
        diagnose("site", TARGET, BrokerMeasurement((replace(depth, consumers=1),), 1e9), {})
    )


def test_a_message_held_beyond_the_visibility_timeout_runs_twice() -> None:
    def held(seconds: float | None) -> list[str]:
        measured = BrokerMeasurement((), 1e9, SERVER, Unacknowledged(1, seconds))
        return [finding.code for finding in diagnose("site", TARGET, measured, {})]

    assert held(3601.0) == ["unacknowledged-for-long"]
    assert held(3599.0) == []
    assert held(None) == []
