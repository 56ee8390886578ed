"""Dropping cached values by glob pattern: SCAN and UNLINK in bounded steps.

KEYS stalls a server with a million keys for half a second, DEL frees large values in the
foreground, and FLUSHDB takes the sessions with it: none of them is used here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.core.errors import InvalidOptions
from maintenance.core.job import Progress
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.packed import Exchange, Packer, exchange, pack, raise_first_error

KEYS_PER_PAGE = 1000
NAMED_KEYS = 10
#: Memory is measured on one key in this many.
SAMPLE_EVERY = 50

_IDLE_TIME = Packer([b"OBJECT", b"IDLETIME"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])


@dataclass(slots=True)
class PatternTally:
    """Counts of one pattern. ``pattern`` is the site's, ``stored`` has prefix and version."""

    pattern: str
    stored: str
    matched_keys: int = 0
    chosen_keys: int = 0
    removed_keys: int = 0
    written_again_keys: int = 0
    sampled_keys: int = 0
    sampled_bytes: int = 0
    memory_denied: bool = False
    idle_time_missing: str = ""
    examples: list[str] = field(default_factory=list)
    longest_batch_seconds: float = 0.0

    @property
    def chosen_bytes(self) -> int | None:
        """Memory of the chosen keys by their sample; ``None`` where nothing could be sampled."""
        if self.chosen_keys == 0:
            return 0
        if self.sampled_keys == 0:
            return None
        return round(self.sampled_bytes / self.sampled_keys * self.chosen_keys)


def refuse_flush(pattern: str) -> None:
    """Raise :class:`InvalidOptions` for a pattern that matches every key."""
    if pattern.strip("*?") == "":
        raise InvalidOptions(
            f'The pattern "{pattern}" matches every key of the cache. That is a flush, which is'
            " refused: sessions and streams may share the server. Name a prefix."
        )


def drop_pattern(
    client: redis.Redis,
    tally: PatternTally,
    progress: Progress,
    *,
    older_than_seconds: float | None = None,
    dry_run: bool = False,
) -> None:
    """Unlink the values whose stored key matches ``tally.stored``; only strings, as caches have.

    ``older_than_seconds`` spares what was read or written since. Where the server does not track
    idle time (an LFU policy) nothing is dropped and ``tally.idle_time_missing`` says why.
    """
    refuse_flush(tally.pattern)
    with exchange(client) as wire:
        for keys in _pages(wire, tally.stored):
            progress.update(tally.matched_keys, phase=f"dropping {tally.pattern}", unit="keys")
            tally.matched_keys += len(keys)
            chosen = (
                keys if older_than_seconds is None else _idle(wire, keys, older_than_seconds, tally)
            )
            if tally.idle_time_missing:
                return
            _take(wire, chosen, tally)
            if chosen and not dry_run:
                _unlink(wire, chosen, tally)
        tally.longest_batch_seconds = wire.longest_seconds


def _pages(wire: Exchange, pattern: str) -> Iterator[list[bytes]]:
    """Yield pages of distinct keys of type string: other types under this name are no cache."""
    cursor = b"0"
    while True:
        command = pack(
            *(b"SCAN", cursor, b"MATCH", pattern.encode()),
            *(b"COUNT", b"%d" % KEYS_PER_PAGE, b"TYPE", b"string"),
        )
        replies = wire.run([command])
        raise_first_error(replies)
        cursor, keys = replies[0]
        yield list(dict.fromkeys(keys))
        if cursor == b"0":
            return


def _idle(
    wire: Exchange, keys: Sequence[bytes], older_than_seconds: float, tally: PatternTally
) -> list[bytes]:
    replies = wire.run(_IDLE_TIME.for_keys(keys))
    for reply in replies:
        if isinstance(reply, redis.exceptions.NoPermissionError):
            raise reply
        if isinstance(reply, redis.ResponseError):
            tally.idle_time_missing = str(reply)
            return []
    return [
        key
        for key, idle in zip(keys, replies, strict=True)
        if idle is not None and idle >= older_than_seconds
    ]


def _take(wire: Exchange, keys: Sequence[bytes], tally: PatternTally) -> None:
    """Count the chosen keys, and name and weigh a sample of them."""
    tally.chosen_keys += len(keys)
    room = NAMED_KEYS - len(tally.examples)
    tally.examples += [describe_key(key) for key in keys[:room]]
    if not tally.memory_denied:
        replies = wire.run(_MEMORY_USAGE.for_keys(keys[::SAMPLE_EVERY]))
        sizes = [reply for reply in replies if isinstance(reply, int)]
        tally.sampled_keys += len(sizes)
        tally.sampled_bytes += sum(sizes)
        tally.memory_denied = any(isinstance(reply, Exception) for reply in replies)


def _unlink(wire: Exchange, keys: Sequence[bytes], tally: PatternTally) -> None:
    """Remove the keys and look whether somebody has written them again since."""
    replies: list[Any] = wire.run([pack(b"UNLINK", *keys), pack(b"EXISTS", *keys)])
    raise_first_error(replies)
    tally.removed_keys += replies[0]
    tally.written_again_keys += replies[1]
