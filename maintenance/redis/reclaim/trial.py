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
    "+memory|usage",
    "+multi",
    "+restore",
    "+sismember",
    "+srandmember",
    "+hrandfield",
    "+time",
    "+unlink",
    "+zrandmember",
    "+zscore",
)

#: So long the copies live at most.
COPY_MILLISECONDS = 60_000
#: Each look is timed so often, in batches of which the median counts.
BATCHES = 9
BATCH_COMMANDS = 40
PREFIX = b"maintenance:trial:"

_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_RANDOM_MEMBER = {"zset": b"ZRANDMEMBER", "hash": b"HRANDFIELD", "set": b"SRANDMEMBER"}
_FIND = {"zset": b"ZSCORE", "hash": b"HGET", "set": b"SISMEMBER"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One value in both encodings: MEMORY USAGE, and the server's time to find a member."""

    key: bytes
    length: int
    loose_bytes: int
    compact_bytes: int
    loose_seconds: float
    compact_seconds: float


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


def _span(replies: Sequence[Any]) -> float:
    raise_first_error(replies)
    first, last = epoch_seconds(replies[0]), epoch_seconds(replies[-1])
    return max(0.0, (last or 0.0) - (first or 0.0))
