"""Verdicts about the queues of a broker. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from maintenance.conf import BrokerTarget, is_below
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, seconds_in_words
from maintenance.queues.measurement import BrokerMeasurement, QueueDepth, Unacknowledged
from maintenance.redis_client.server import ServerFacts

#: Growth below this share of the limit is the ordinary breathing of a queue.
GROWTH_NOISE_RATIO = 0.1


def diagnose(
    name: str, target: BrokerTarget, measured: BrokerMeasurement, previous: Mapping[str, Any]
) -> Iterator[Finding]:
    """Judge depths, what nobody takes, what workers hold, and the server's eviction policy.

    ``previous`` is the :func:`state` of the check before, empty at the first.
    """
    for depth in measured.queues:
        yield from _depth_findings(target, depth)
        yield from _unconsumed(target, depth, measured, previous)
    yield from _growth_findings(target, measured, previous)
    yield from _held_for_long(name, target, measured.unacknowledged)
    for withheld in measured.withheld:
        yield unavailable(withheld.code, name, withheld.what, withheld.needs)
    if measured.server is not None and measured.server.maxmemory_policy != "noeviction":
        yield _eviction(name, measured.server)


def state(measured: BrokerMeasurement, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the next check needs: depths, and since when the same message has been next."""
    return {
        "pending": {depth.queue: depth.pending for depth in measured.queues},
        "measured_at_seconds": measured.measured_at_seconds,
        "next": {
            depth.queue: [depth.next_message, _next_since(depth, measured, previous)]
            for depth in measured.queues
            if depth.next_message is not None
        },
    }


def waited_seconds(
    depth: QueueDepth, measured: BrokerMeasurement, previous: Mapping[str, Any]
) -> float | None:
    """Return how long the next message has been seen to wait, at least; ``None`` where none waits.

    Messages do not say when they were sent. That the one at the head was there at an earlier check
    is certain.
    """
    if depth.next_message is None:
        return None
    return max(0.0, measured.measured_at_seconds - _next_since(depth, measured, previous))


def _next_since(
    depth: QueueDepth, measured: BrokerMeasurement, previous: Mapping[str, Any]
) -> float:
    tag, since = previous.get("next", {}).get(depth.queue, (None, 0.0))
    return float(since) if tag == depth.next_message else measured.measured_at_seconds


def _unconsumed(
    target: BrokerTarget,
    depth: QueueDepth,
    measured: BrokerMeasurement,
    previous: Mapping[str, Any],
) -> Iterator[Finding]:
    if depth.missing:
        yield Finding(
            code="queue-missing",
            severity=Severity.WARNING,
            subject=depth.queue,
            sentence=f'The broker knows no queue "{depth.queue}".',
            advice="Check the queue's name, and that a worker or a sender has declared it once.",
        )
    waited = waited_seconds(depth, measured, previous) or 0.0
    if depth.consumers == 0:
        evidence: dict[str, Any] = {"consumers": 0, "pending_messages": depth.pending}
        sentence = (
            f"No worker consumes {depth.queue}, in which {counted(depth.pending, 'message')} wait."
        )
    elif waited >= target.max_wait_seconds:
        evidence = {"waited_seconds": waited, "pending_messages": depth.pending}
        sentence = (
            f"Nothing has been taken from {depth.queue} for {seconds_in_words(waited)} or longer;"
            f" {counted(depth.pending, 'message')} wait there."
        )
    else:
        return
    yield Finding(
        code="queue-not-consumed",
        severity=Severity.CRITICAL if depth.pending else Severity.WARNING,
        subject=depth.queue,
        sentence=sentence,
        evidence=evidence,
        advice=(
            f"Start a worker with -Q {depth.queue}, or see what the ones that run are busy with"
            " (celery inspect active); where nothing should go there any more, find who sends."
        ),
    )


def _held_for_long(
    name: str, target: BrokerTarget, unacknowledged: Unacknowledged | None
) -> Iterator[Finding]:
    """Name messages that are delivered a second time while, or although, a worker has them."""
    if unacknowledged is None or unacknowledged.oldest_seconds is None:
        return
    held = unacknowledged.oldest_seconds
    if held < target.visibility_timeout_seconds:
        return
    yield Finding(
        code="unacknowledged-for-long",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"A worker has held a message for {seconds_in_words(held)} without acknowledging it;"
            f" after {seconds_in_words(target.visibility_timeout_seconds)} the broker hands it to"
            " another one, and its task runs twice."
        ),
        evidence={
            "unacknowledged_messages": unacknowledged.count,
            "oldest_seconds": held,
            "visibility_timeout_seconds": target.visibility_timeout_seconds,
        },
        advice=(
            "Raise visibility_timeout above the longest task and the longest countdown or eta, on"
            " every worker; where no worker is alive, start one: it takes the message over."
        ),
    )


def _depth_findings(target: BrokerTarget, depth: QueueDepth) -> Iterator[Finding]:
    if depth.wrong_type:
        yield Finding(
            code="queue-wrong-type",
            severity=Severity.WARNING,
            subject=depth.queue,
            sentence=f'The key of queue "{depth.queue}" is no list, so it is no queue of Celery.',
            advice="Check the queue's name, key_prefix, and the database number in the URL.",
        )
    if not is_below(depth.pending, target.max_pending):
        yield Finding(
            code="queue-too-deep",
            severity=Severity.WARNING,
            subject=depth.queue,
            sentence=(
                f"{counted(depth.pending, 'message')} wait in {depth.queue}; the target is fewer than"
                f" {target.max_pending:,}."
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
