"""How much waits in each queue of a site's broker, read by LLEN alone."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from maintenance.conf import BrokerTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.redis_client.connection import session
from maintenance.redis_client.packed import Packer, exchange
from maintenance.redis_client.server import ServerFacts, server_facts

#: kombu keeps messages of priority N > 0 in a list of their own, "<queue>\x06\x16<N>" (kombu,
#: transport/redis.py, ``sep`` and ``_q_for_pri``); 3, 6 and 9 by default, any of 1 to 9 by setting.
PRIORITY_SEPARATOR = "\x06\x16"
PRIORITIES = tuple(range(10))

#: Growth below this share of the limit is the ordinary breathing of a queue.
GROWTH_NOISE_RATIO = 0.1

_LENGTH = Packer([b"LLEN"])


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What waits in one queue: ``by_priority`` holds only priorities with messages.

    ``wrong_type`` says that the key of this name is no list.
    """

    queue: str
    pending: int
    by_priority: Mapping[int, int]
    wrong_type: bool = False


@dataclass(frozen=True, slots=True)
class BrokerMeasurement:
    """All queues of one broker at one moment; ``server`` is ``None`` where INFO is not allowed."""

    queues: tuple[QueueDepth, ...]
    measured_at_seconds: float  # since the epoch
    server: ServerFacts | None


def check_queue_depths(job: Job[BrokerTarget, NoOptions]) -> Report:
    """Count the messages in each configured queue and compare with ``max_pending``.

    Raises :class:`TargetUnavailable` and :class:`MissingRights` ("needs ACL +llen").
    """
    measurement = measure_queues(job.target)
    findings = tuple(diagnose(job.target_name, job.target, measurement, job.previous_state))
    pending = sum(depth.pending for depth in measurement.queues)
    return Report(
        title=f"Queue depths on {job.target_name}",
        summary=_summary(job.target, measurement, pending),
        findings=findings,
        tables=(_table(job.target, measurement, job.previous_state),),
        facts={
            "server": measurement.server.name if measurement.server else None,
            "maxmemory_policy": measurement.server.maxmemory_policy if measurement.server else None,
            "pending_messages": pending,
            "max_pending_messages": job.target.max_pending,
            "needs_acl": ["+info", "+llen", "+ping"],
        },
        samples=tuple(
            Sample("queue_depth_messages", depth.pending, depth.queue)
            for depth in measurement.queues
            if not depth.wrong_type
        ),
        state={
            "pending": {depth.queue: depth.pending for depth in measurement.queues},
            "measured_at_seconds": measurement.measured_at_seconds,
        },
    )


def measure_queues(target: BrokerTarget) -> BrokerMeasurement:
    """Read every queue with its priority lists in one batch, then the server's facts."""
    keys = [
        _key(target.key_prefix, queue, priority)
        for queue in target.queues
        for priority in PRIORITIES
    ]
    with session(target) as client:
        with exchange(client) as wire:
            replies = wire.run(_LENGTH.for_keys(keys))
        size = len(PRIORITIES)
        depths = tuple(
            _depth(queue, replies[number * size : (number + 1) * size])
            for number, queue in enumerate(target.queues)
        )
        return BrokerMeasurement(depths, time.time(), _facts_if_allowed(client))


def _key(prefix: str, queue: str, priority: int) -> bytes:
    suffix = f"{PRIORITY_SEPARATOR}{priority}" if priority else ""
    return f"{prefix}{queue}{suffix}".encode()


def _depth(queue: str, replies: Sequence[Any]) -> QueueDepth:
    wrong_type = False
    by_priority: dict[int, int] = {}
    for priority, reply in zip(PRIORITIES, replies, strict=True):
        if isinstance(reply, Exception):
            if not str(reply).startswith("WRONGTYPE"):
                raise reply
            wrong_type = True
        elif reply:
            by_priority[priority] = reply
    return QueueDepth(queue, sum(by_priority.values()), by_priority, wrong_type)


def _facts_if_allowed(client: redis.Redis) -> ServerFacts | None:
    try:
        return server_facts(client)
    except redis.exceptions.NoPermissionError:
        return None


def diagnose(
    name: str, target: BrokerTarget, measured: BrokerMeasurement, previous: Mapping[str, Any]
) -> Iterator[Finding]:
    """Judge depths, growth since the previous run, and the server's eviction policy."""
    for depth in measured.queues:
        yield from _depth_findings(target, depth)
    yield from _growth_findings(target, measured, previous)
    if measured.server is None:
        yield unavailable(
            "broker-eviction", name, "the broker's eviction policy", "the ACL right +info"
        )
    elif measured.server.maxmemory_policy != "noeviction":
        yield _eviction(name, measured.server)


def _depth_findings(target: BrokerTarget, depth: QueueDepth) -> Iterator[Finding]:
    if depth.wrong_type:
        yield Finding(
            code="queue-wrong-type",
            severity=Severity.WARNING,
            subject=depth.queue,
            sentence=f'The key of queue "{depth.queue}" is no list, so it is no queue of Celery.',
            advice="Check the queue's name, key_prefix, and the database number in the URL.",
        )
    if depth.pending > target.max_pending:
        yield Finding(
            code="queue-too-deep",
            severity=Severity.WARNING,
            subject=depth.queue,
            sentence=(
                f"{depth.pending:,} messages wait in {depth.queue}; at most"
                f" {target.max_pending:,} are expected."
            ),
            evidence={
                "pending_messages": depth.pending,
                "max_pending_messages": target.max_pending,
                "pending_by_priority": {str(k): v for k, v in depth.by_priority.items()},
            },
            advice=(
                f"See whether a worker consumes {depth.queue} (celery inspect active_queues) and"
                " what its tasks wait for; add worker processes if they are all busy."
            ),
        )


def _growth_findings(
    target: BrokerTarget, measured: BrokerMeasurement, previous: Mapping[str, Any]
) -> Iterator[Finding]:
    if "measured_at_seconds" not in previous:
        return
    elapsed = measured.measured_at_seconds - previous["measured_at_seconds"]
    if elapsed <= 0:  # a clock that was set back
        return
    for depth in measured.queues:
        before = previous["pending"].get(depth.queue)
        if before is None or depth.pending - before <= target.max_pending * GROWTH_NOISE_RATIO:
            continue
        per_hour = (depth.pending - before) / elapsed * 3600
        yield Finding(
            code="queue-growing",
            severity=Severity.INFO,
            subject=depth.queue,
            sentence=(
                f"{depth.queue} grew from {before:,} to {depth.pending:,} messages since the"
                f" previous check, {per_hour:,.0f} an hour."
            ),
            evidence={
                "previous_messages": before,
                "pending_messages": depth.pending,
                "elapsed_seconds": elapsed,
            },
            advice="More arrives than is consumed: look at the workers of this queue.",
        )


def _eviction(name: str, server: ServerFacts) -> Finding:
    limit = (
        f"its limit is {server.maxmemory_bytes:,} bytes"
        if server.maxmemory_bytes
        else "it starts on the day that a maxmemory is set"
    )
    return Finding(
        code="broker-eviction",
        severity=Severity.CRITICAL,
        subject=name,
        sentence=(
            f"The broker evicts keys when memory is full (maxmemory-policy"
            f" {server.maxmemory_policy}; {limit}): queued work can vanish without an error."
        ),
        evidence={
            "maxmemory_policy": server.maxmemory_policy,
            "maxmemory_bytes": server.maxmemory_bytes,
            "used_memory_bytes": server.used_memory_bytes,
            "evicted_keys": server.evicted_keys,
        },
        advice=(
            "Give the broker a server of its own with noeviction: a full one then refuses new"
            " messages, which the sender sees. Make the setting permanent in its configuration."
        ),
        commands=("CONFIG SET maxmemory-policy noeviction",),
        undo=(f"CONFIG SET maxmemory-policy {server.maxmemory_policy}",),
    )


def _summary(target: BrokerTarget, measured: BrokerMeasurement, pending: int) -> str:
    if pending == 0:
        return f"Nothing waits in any of {len(measured.queues)} queues."
    deep = [depth.queue for depth in measured.queues if depth.pending > target.max_pending]
    fullest = max(measured.queues, key=lambda depth: depth.pending)
    verdict = (
        f"over the limit of {target.max_pending:,}: {', '.join(deep)}"
        if deep
        else f"none over the limit of {target.max_pending:,}"
    )
    return (
        f"{pending:,} messages wait in {len(measured.queues)} queues, most in {fullest.queue}"
        f" ({fullest.pending:,}); {verdict}."
    )


def _table(target: BrokerTarget, measured: BrokerMeasurement, previous: Mapping[str, Any]) -> Table:
    before = previous.get("pending", {})
    rows = [
        {
            "queue": depth.queue,
            "pending_messages": None if depth.wrong_type else depth.pending,
            "previous_messages": before.get(depth.queue),
            "max_pending_messages": target.max_pending,
            "priorities": ", ".join(f"{p}: {n:,}" for p, n in depth.by_priority.items() if p),
        }
        for depth in measured.queues
    ]
    return Table.of("Queues", rows)
