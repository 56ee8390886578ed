"""Verdicts about queues, from depths alone."""

from dataclasses import replace
from typing import Any

from maintenance.conf import BrokerTarget
from maintenance.core.findings import Finding, Severity
from maintenance.queues.depth import BrokerMeasurement, QueueDepth, diagnose
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
    assert judge(pending=100) == []


def test_a_queue_over_its_limit_is_a_warning() -> None:
    (found,) = judge(pending=101)
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


def test_a_policy_that_may_not_be_read_is_withheld() -> None:
    (found,) = judge(server=None)
    assert not found.measured
    assert found.sentence.endswith("needs the ACL right +info")
