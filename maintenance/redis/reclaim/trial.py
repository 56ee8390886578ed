"""What a recommended limit does, measured on copies of a few values.

Each value is copied twice under temporary names, once as it is and once compact, and both copies are
measured and asked the same. For the compact copy the limit is raised and put back within one
transaction, so that no command of anybody else runs under it; the copies have a time to live, should
this process be killed. No key of the site is written to.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from maintenance.redis.reclaim.encodings import MeasuredValue, Recommendation
from maintenance.redis_client.batch_size import TIME, epoch_seconds
from maintenance.redis_client.packed import Exchange, Packer, pack, raise_first_error

NEEDS_ACL = (
    "+config|set",
    "+dump",
    "+exec",
    "+hget",
    "+hrandfield",
    "+hset",
    "+memory|usage",
    "+multi",
    "+restore",
    "+sadd",
    "+sismember",
    "+srandmember",
    "+srem",
    "+time",
    "+unlink",
    "+zincrby",
    "+zrandmember",
    "+zscore",
)

#: So long the copies live at most.
COPY_MILLISECONDS = 60_000
#: Each look is timed so often, in batches of which the median counts.
BATCHES = 9
BATCH_COMMANDS = 40
PREFIX = b"maintenance:trial:"
#: A limit under which a command takes so much longer than now is not advised: a thousand of them a
#: second are a twentieth of the server's time.
MOST_ADDED_SECONDS = 50e-6
#: Moves a member of a sorted set to the end, where a stream by time gets its newest.
_TO_THE_END = b"1e15"

_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_RANDOM_MEMBER = {"zset": b"ZRANDMEMBER", "hash": b"HRANDFIELD", "set": b"SRANDMEMBER"}
_FIND = {"zset": b"ZSCORE", "hash": b"HGET", "set": b"SISMEMBER"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One value in both encodings: MEMORY USAGE, and the server's time to find and to write a member."""

    key: bytes
    length: int
    loose_bytes: int
    compact_bytes: int
    loose_seconds: float
    compact_seconds: float
    loose_write_seconds: float
    compact_write_seconds: float

    @property
    def added_seconds(self) -> float:
        """How much longer the compact one takes, to find or to write a member, whichever is more."""
        return max(
            self.compact_seconds - self.loose_seconds,
            self.compact_write_seconds - self.loose_write_seconds,
        )


def is_too_slow(measured: Sequence[Measured]) -> bool:
    """Return whether most of the values would cost the site more than memory is worth. Pure."""
    if not measured:
        return False
    return median(one.added_seconds for one in measured) > MOST_ADDED_SECONDS


def try_out(exchange: Exchange, recommendation: Recommendation) -> list[Measured]:
    """Measure the recommendation on its example values.

    Raises the server's errors; the setting is put back in the transaction that raised it.
    """
    measured = (_measure(exchange, recommendation, value) for value in recommendation.examples)
    return [one for one in measured if one is not None]


def _measure(
    exchange: Exchange, recommendation: Recommendation, value: MeasuredValue
) -> Measured | None:
    (payload,) = exchange.run([pack(b"DUMP", value.key)])
    if isinstance(payload, Exception):
        raise payload
    if payload is None:
        return None
    with _two_names(exchange) as (loose, compact):
        _copy(exchange, loose, payload, recommendation.setting, recommendation.current)
        _copy(exchange, compact, payload, recommendation.setting, recommendation.value)
        sizes = exchange.run(_MEMORY_USAGE.for_keys([loose, compact]))
        raise_first_error(sizes)
        members = _members(exchange, value.kind, loose)
        return Measured(
            key=value.key,
            length=value.length,
            loose_bytes=sizes[0],
            compact_bytes=sizes[1],
            loose_seconds=_time_to_find(exchange, value.kind, loose, members),
            compact_seconds=_time_to_find(exchange, value.kind, compact, members),
            # Last, since the copies are no copies any more.
            loose_write_seconds=_time_to_write(exchange, value.kind, loose, members),
            compact_write_seconds=_time_to_write(exchange, value.kind, compact, members),
        )


@contextmanager
def _two_names(exchange: Exchange) -> Iterator[tuple[bytes, bytes]]:
    name = PREFIX + secrets.token_hex(16).encode()
    names = name + b":loose", name + b":compact"
    try:
        yield names
    finally:
        exchange.run([pack(b"UNLINK", *names)])


def _copy(exchange: Exchange, name: bytes, payload: bytes, setting: str, limit: int) -> None:
    """Restore a copy under ``limit``, with the limit in force put back in the same transaction."""
    (before,) = exchange.run([pack(b"CONFIG", b"GET", setting.encode())])
    if isinstance(before, Exception):
        raise before
    set_limit = (b"CONFIG", b"SET", setting.encode())
    *queued, executed = exchange.run(
        [
            pack(b"MULTI"),
            pack(*set_limit, b"%d" % limit),
            pack(b"RESTORE", name, b"%d" % COPY_MILLISECONDS, payload),
            pack(*set_limit, before[1]),
            pack(b"EXEC"),
        ]
    )
    raise_first_error(queued)
    raise_first_error([executed] if isinstance(executed, Exception) else executed)


def _members(exchange: Exchange, kind: str, name: bytes) -> Sequence[bytes]:
    replies = exchange.run([pack(_RANDOM_MEMBER[kind], name)] * BATCH_COMMANDS)
    raise_first_error(replies)
    return replies


def _time_to_find(exchange: Exchange, kind: str, name: bytes, members: Sequence[bytes]) -> float:
    """Return the median time, by the server's clock, to find a member that is drawn at random."""
    batch = [TIME, *(pack(_FIND[kind], name, member) for member in members), TIME]
    return median(_span(exchange.run(batch)) for _ in range(BATCHES)) / len(members)


def _time_to_write(exchange: Exchange, kind: str, name: bytes, members: Sequence[bytes]) -> float:
    """Return the median time, by the server's clock, to write a member that is drawn at random."""
    spans = [
        _span(exchange.run([TIME, *_writes(kind, name, members, number), TIME]))
        for number in range(BATCHES)
    ]
    return median(spans) / len(members)


def _writes(kind: str, name: bytes, members: Sequence[bytes], number: int) -> Iterator[bytes]:
    """Yield commands that change as many members and keep their number."""
    if kind == "set":
        # Each twice: a member goes and comes back.
        for member in members[::2]:
            yield pack(b"SREM", name, member)
            yield pack(b"SADD", name, member)
        return
    for member in members:
        if kind == "hash":
            yield pack(b"HSET", name, member, b"%d" % (10**number))  # longer than the one before
        else:
            yield pack(b"ZINCRBY", name, _TO_THE_END, member)


def _span(replies: Sequence[Any]) -> float:
    raise_first_error(replies)
    first, last = epoch_seconds(replies[0]), epoch_seconds(replies[-1])
    return max(0.0, (last or 0.0) - (first or 0.0))
