"""Writing many values to a cache, in batches that keep its server responsive."""

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import redis
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache

from maintenance.caching.backend import OpenCache
from maintenance.redis_client.packed import PIECE_BYTES, exchange, pack

#: Keys in one batch: some milliseconds of the server's time at most.
KEYS_PER_WRITE = 500
#: Values that are written together must not all expire together: each time-out is up to a tenth
#: shorter than asked for.
TTL_JITTER_RATIO = 0.1

#: What a backend raises for a value or key that it cannot store. A lost server is none of these.
REFUSED_VALUES = (
    redis.DataError,
    pickle.PicklingError,
    TypeError,
    AttributeError,
    ValueError,
)

Encoder = Callable[[Any], bytes]


@dataclass(slots=True)
class WriteTally:
    """What came of a write. ``first_refusal`` is the reason for the first key that was refused."""

    keys_written: int = 0
    keys_refused: int = 0
    first_refusal: str = ""

    def refuse(self, reason: object, keys: int = 1) -> None:
        """Count keys that were not written; what was stored under them before stays."""
        text = str(reason).rstrip(". ")
        self.first_refusal = self.first_refusal or text or type(reason).__name__
        self.keys_refused += keys


class OnBatch(Protocol):
    """Called after each batch with the number of keys that are done."""

    def __call__(self, done: int) -> None: ...


def write(
    cache: OpenCache,
    values: Mapping[str, Any],
    ttl_seconds: int,
    on_batch: OnBatch,
    stored_key: Callable[[str], bytes] | None = None,
    *,
    check: Callable[[], None] = lambda: None,
) -> WriteTally:
    """Store ``values`` under their ``stored_key``, each with a time-out of its own within :data:`TTL_JITTER_RATIO`.

    Each key is written by one command with its time-out: a process that is killed between two of
    them leaves no value behind that never expires, and a second run writes the same keys again. A
    key that the backend or a full server refuses is counted, and the others are written. Raises
    redis-py's errors for anything else. ``check`` is called before each batch. Memory: one batch of at most 256 kB, or one value.
    """
    encode = encoder_of(cache.cache)
    if cache.client is None or encode is None:
        return _write_by_api(cache.cache, values, ttl_seconds, on_batch, check)
    tally = WriteTally()
    done = 0
    with exchange(cache.client, check) as wire:
        batches = _batches(values, stored_key or cache.stored_key, encode, ttl_seconds, tally)
        for count, replies in wire.run_ahead(batches):
            for reply in replies:
                if isinstance(reply, redis.exceptions.OutOfMemoryError):
                    tally.refuse(reply)
                elif isinstance(reply, Exception):
                    raise reply
                else:
                    tally.keys_written += 1
            done += count
            on_batch(done)
    return tally


def encoder_of(cache: BaseCache) -> Encoder | None:
    """Return what turns a value into the bytes that the backend stores; ``None`` if unknown."""
    if isinstance(cache, RedisCache):
        dumps = cache._cache._serializer.dumps  # type: ignore[attr-defined]  # missing in its stubs
        return lambda value: _as_bytes(dumps(value))
    # django-redis: serializer and compressor of the settings.
    encode = getattr(getattr(cache, "client", None), "encode", None)
    return None if encode is None else lambda value: _as_bytes(encode(value))


def _as_bytes(stored: Any) -> bytes:
    """Return what redis-py would send: backends leave integers as they are, for INCR."""
    return stored if isinstance(stored, bytes) else str(stored).encode()


def jittered(ttl_seconds: float) -> float:
    """Return a time-out that is up to a tenth shorter."""
    return ttl_seconds * (1 - TTL_JITTER_RATIO * random.random())  # noqa: S311 - no secret


def _batches(
    values: Mapping[str, Any],
    stored_key: Callable[[str], bytes],
    encode: Encoder,
    ttl_seconds: int,
    tally: WriteTally,
) -> Iterator[tuple[int, list[bytes]]]:
    """Yield packed commands with their number, as large as a batch may be."""
    commands: list[bytes] = []
    size = 0
    for key, value in values.items():
        try:
            milliseconds = b"%d" % max(1, round(jittered(ttl_seconds) * 1000))
            command = pack(b"SET", stored_key(key), encode(value), b"PX", milliseconds)
        except REFUSED_VALUES as error:
            tally.refuse(f"{type(error).__name__}: {error}")
            continue
        if commands and (len(commands) == KEYS_PER_WRITE or size + len(command) > PIECE_BYTES):
            yield len(commands), commands
            commands, size = [], 0
        commands.append(command)
        size += len(command)
    if commands:
        yield len(commands), commands


def _write_by_api(
    cache: BaseCache,
    values: Mapping[str, Any],
    ttl_seconds: int,
    on_batch: OnBatch,
    check: Callable[[], None],
) -> WriteTally:
    """Any backend of Django: ``set_many`` a batch at a time, whose keys share a time-out."""
    tally = WriteTally()
    keys = list(values)
    for start in range(0, len(keys), KEYS_PER_WRITE):
        part = {key: values[key] for key in keys[start : start + KEYS_PER_WRITE]}
        check()
        try:
            refused = cache.set_many(part, timeout=jittered(ttl_seconds))
        except REFUSED_VALUES as error:
            tally.refuse(f"{type(error).__name__}: {error}", len(part))
        else:
            tally.keys_written += len(part) - len(refused)
            if refused:
                tally.refuse("the backend did not take it", len(refused))
        on_batch(start + len(part))
    return tally
