"""Queues of a Redis broker, as kombu lays them out, by reading commands alone."""

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

import redis

from maintenance.conf import BrokerTarget
from maintenance.queues.measurement import BrokerMeasurement, QueueDepth, Unacknowledged, Withheld
from maintenance.redis_client.connection import explain, session
from maintenance.redis_client.packed import Exchange, Packer, exchange, pack
from maintenance.redis_client.server import ServerFacts, server_facts

#: kombu keeps messages of priority N > 0 in a list of their own, "<queue>\x06\x16<N>" (kombu,
#: transport/redis.py, ``sep`` and ``_q_for_pri``); 3, 6 and 9 by default, any of 1 to 9 by setting.
PRIORITY_SEPARATOR = "\x06\x16"
PRIORITIES = tuple(range(10))
#: Messages that a worker holds, scored by when it got them (kombu, ``unacked_index_key``).
UNACKNOWLEDGED = b"unacked_index"

#: Beyond +llen and +ping, without which nothing can be said.
_OPTIONAL_ACL = ("+info", "+lindex", "+zcard", "+zrange")

#: Codes of findings beyond depths, and what each is about.
_WAITING = ("queue-not-consumed", "how long messages wait")
_HELD = ("unacknowledged-for-long", "what workers hold")
_EVICTION = ("broker-eviction", "the broker's eviction policy")
_NOT_LOOKED_AT = tuple(
    Withheld(code, what, "depths_only = false of this broker in the configuration")
    for code, what in (_WAITING, _HELD, _EVICTION)
)

_LENGTH = Packer([b"LLEN"])
#: Messages are pushed on the left and taken from the right.
_NEXT = Packer([b"LINDEX"], [b"-1"])


def acl_of(target: BrokerTarget) -> tuple[str, ...]:
    """Return the rights beside +ping that the whole look takes."""
    return ("+llen",) if target.depths_only else ("+llen", *_OPTIONAL_ACL)


def measure_redis(target: BrokerTarget) -> BrokerMeasurement:
    """Read every queue with its priority lists in one batch, then what is next in each.

    Of a message only its delivery tag is kept; with ``depths_only`` none is read. Raises :class:`TargetUnavailable` and
    :class:`MissingRights` ("needs ACL +llen"); what other rights are missing for is withheld. Costs
    three batches, and as much traffic as one message a queue.
    """
    keys = [_key(target.key_prefix, q, p) for q in target.queues for p in PRIORITIES]
    withheld: list[Withheld] = []
    with session(target) as client:
        with exchange(client) as wire:
            replies = wire.run(_LENGTH.for_keys(keys))
            size = len(PRIORITIES)
            depths = [
                _depth(queue, replies[number * size : (number + 1) * size])
                for number, queue in enumerate(target.queues)
            ]
            if target.depths_only:
                return BrokerMeasurement(tuple(depths), time.time(), withheld=_NOT_LOOKED_AT)
            depths = _with_next_messages(wire, target, depths, withheld)
            unacknowledged = _unacknowledged(wire, target, withheld)
        facts = _facts_if_allowed(client, withheld)
    return BrokerMeasurement(tuple(depths), time.time(), facts, unacknowledged, tuple(withheld))


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


def _with_next_messages(
    wire: Exchange, target: BrokerTarget, depths: Sequence[QueueDepth], withheld: list[Withheld]
) -> list[QueueDepth]:
    """Add to each queue what its consumers take next: of the list of the first priority."""
    waiting = {d.queue: min(d.by_priority) for d in depths if d.by_priority}
    replies = wire.run(_NEXT.for_keys([_key(target.key_prefix, q, p) for q, p in waiting.items()]))
    answers = _allowed(replies, target, *_WAITING, withheld)
    tags = dict(zip(waiting, map(_tag, answers), strict=False))  # no answers without the right
    return [
        QueueDepth(d.queue, d.pending, d.by_priority, d.wrong_type, next_message=tags.get(d.queue))
        for d in depths
    ]


def _tag(message: Any) -> str | None:
    """Return what tells this message from all others; ``None`` where it has just been taken."""
    if message is None:
        return None
    try:
        return str(json.loads(message)["properties"]["delivery_tag"])
    except (ValueError, KeyError, TypeError):  # not kombu's: its bytes must do
        return hashlib.sha256(message).hexdigest()


def _unacknowledged(
    wire: Exchange, target: BrokerTarget, withheld: list[Withheld]
) -> Unacknowledged | None:
    key = target.key_prefix.encode() + UNACKNOWLEDGED
    replies = wire.run([pack(b"ZCARD", key), pack(b"ZRANGE", key, b"0", b"0", b"WITHSCORES")])
    answers = _allowed(replies, target, *_HELD, withheld)
    if not answers:
        return None
    count, oldest = answers
    age = max(0.0, time.time() - float(oldest[1])) if oldest else None
    return Unacknowledged(count, age)


def _allowed(
    replies: Sequence[Any], target: BrokerTarget, code: str, what: str, withheld: list[Withheld]
) -> list[Any]:
    """Return the replies; none where a right or the right type is missing, which is then withheld."""
    failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
    if failed is None:
        return list(replies)
    explained = explain(failed, target.resolved_url())
    if isinstance(failed, redis.exceptions.NoPermissionError) and explained is not None:
        needs = "the " + str(explained).rpartition("needs ")[2].rstrip(".").replace(
            "ACL +", "ACL right +"
        )
    else:
        needs = "a key of kombu's own kind"
    withheld.append(Withheld(code, what, needs))
    return []


def _facts_if_allowed(client: redis.Redis, withheld: list[Withheld]) -> ServerFacts | None:
    try:
        return server_facts(client)
    except redis.exceptions.NoPermissionError:
        withheld.append(Withheld(*_EVICTION, "the ACL right +info"))
        return None
