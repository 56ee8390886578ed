"""Writes that happen only if nobody touched the key since it was looked at.

WATCH, a look, and MULTI ... EXEC: if a watched key was written to, expired or was evicted meanwhile,
the server does none of the transaction (Redis documentation, "Transactions"; expiry counts since
6.0.9). Several keys share a transaction, which saves round trips; one that was touched takes the
others down with it, and then each is tried again by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.redis_client.batch_size import BatchSize, clocked
from maintenance.redis_client.packed import Exchange, pack

#: How often a key is tried that others keep writing to; then it is left alone.
ATTEMPTS = 3

_UNWATCH = pack(b"UNWATCH")
_MULTI = pack(b"MULTI")
_EXEC = pack(b"EXEC")

NEEDS_ACL = ("+watch", "+unwatch", "+multi", "+exec")


class Touched(Exception):
    """What was seen of a key cannot be relied on: look again."""


@dataclass(frozen=True, slots=True)
class GuardedWrite:
    """What to ask of a key while it is watched, and what to write.

    ``look`` returns commands; ``decide`` gets their replies and returns the writes, none to leave
    the key alone, or raises :class:`Touched`.
    """

    look: Callable[[bytes], list[bytes]]
    decide: Callable[[bytes, list[Any]], list[bytes]]


@dataclass(slots=True)
class Guarded:
    """What came of a batch. ``replies`` has those of the writes by key; ``contested`` keys were
    written to by others at each attempt; ``moved`` ones live on another node by now."""

    replies: dict[bytes, list[Any]] = field(default_factory=dict)
    left_alone: list[bytes] = field(default_factory=list)
    contested: list[bytes] = field(default_factory=list)
    moved: list[bytes] = field(default_factory=list)


def write_guarded(
    exchange: Exchange, keys: Sequence[bytes], write: GuardedWrite, size: BatchSize
) -> Iterator[Guarded]:
    """Write to ``keys`` in batches that ``size`` keeps short; yield what came of each.

    Raises the server's errors other than a key that has moved to another node.
    """
    position = 0
    while position < len(keys):
        batch = keys[position : position + size.units]
        position += len(batch)
        yield _with_retries(exchange, batch, write, size)


def _with_retries(
    exchange: Exchange, batch: Sequence[bytes], write: GuardedWrite, size: BatchSize
) -> Guarded:
    done = Guarded()
    if len(batch) > 1 and _attempt(exchange, batch, write, size, done):
        return done
    for key in batch:
        if not any(_attempt(exchange, [key], write, size, done) for _ in range(ATTEMPTS)):
            done.contested.append(key)
    return done


def _attempt(
    exchange: Exchange, keys: Sequence[bytes], write: GuardedWrite, size: BatchSize, done: Guarded
) -> bool:
    """Try one transaction; return whether it is settled."""
    looks = [write.look(key) for key in keys]
    watch = pack(b"WATCH", *keys)
    began, watched, *answers, ended = exchange.run(
        clocked([watch, *(command for look in looks for command in look)])
    )
    if isinstance(watched, redis.exceptions.MovedError | redis.exceptions.AskError):
        done.moved += keys
        return True
    if isinstance(watched, Exception):
        raise watched
    try:
        writes = _decided(keys, looks, answers, write)
    except Touched:
        exchange.run([_UNWATCH])
        return False
    if not any(writes.values()):
        exchange.run([_UNWATCH])
        size.take(len(keys), began, ended)
        done.left_alone += keys
        return True
    return _execute(exchange, writes, size, done)


def _decided(
    keys: Sequence[bytes], looks: Sequence[Sequence[bytes]], answers: list[Any], write: GuardedWrite
) -> dict[bytes, list[bytes]]:
    remaining = iter(answers)
    replies = {key: [next(remaining) for _ in look] for key, look in zip(keys, looks, strict=True)}
    return {key: write.decide(key, replies[key]) for key in keys}


def _execute(
    exchange: Exchange, writes: dict[bytes, list[bytes]], size: BatchSize, done: Guarded
) -> bool:
    commands = [command for several in writes.values() for command in several]
    began, _, *queued, executed, ended = exchange.run(clocked([_MULTI, *commands, _EXEC]))
    for reply in queued:
        if isinstance(reply, Exception):
            raise reply  # the server has thrown the transaction away
    if isinstance(executed, Exception):
        raise executed
    if executed is None:
        return False
    size.take(len(writes), began, ended)  # dearer than the look, which others wait for less
    remaining = iter(executed)
    for key, several in writes.items():
        if several:
            done.replies[key] = [next(remaining) for _ in several]
        else:
            done.left_alone.append(key)
    for replies in done.replies.values():
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
    return True
