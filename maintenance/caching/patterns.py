"""Dropping cached values by glob pattern: SCAN and UNLINK in bounded steps.

KEYS stalls a server with a million keys for half a second, DEL frees large values in the
foreground, and FLUSHDB takes the sessions with it: none of them is used here.

One exchange a page: two SCANs from the same cursor, with and without ``TYPE string``, so that what
is no cached value is seen and left alone; UNLINK of the page before; and a second look at the page
before that one, by which time others had their turn. The cost grows with the keys of the database,
which SCAN walks whatever the pattern is; the memory does not.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.core.errors import InvalidOptions
from maintenance.core.job import Progress
from maintenance.redis_client.batch_size import NEEDS_ACL as CLOCK_ACL
from maintenance.redis_client.batch_size import BatchSize, clocked
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.globs import matcher
from maintenance.redis_client.packed import (
    PIECE_BYTES,
    Exchange,
    Packer,
    exchange,
    pack,
    raise_first_error,
)

#: A page begins small, in case keys are a megabyte long, and grows while the server is quick.
FIRST_PAGE_KEYS = 100
SMALLEST_PAGE_KEYS = 32
LARGEST_PAGE_KEYS = 1000
KEYS_PER_UNLINK = 500
NAMED_KEYS = 10
#: A key is named by this much of it at most.
NAMED_CHARACTERS = 200
#: Memory is measured on one key in this many.
SAMPLE_EVERY = 50

NEEDS_ACL = ("+scan", "+unlink", "+exists", "+type", "+memory|usage", *CLOCK_ACL)

_IDLE_TIME = Packer([b"OBJECT", b"IDLETIME"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_TYPE = Packer([b"TYPE"])


@dataclass(slots=True)
class PatternTally:
    """Counts of one pattern. ``pattern`` is the site's, ``stored`` has prefix and version.

    ``kept_keys`` are exceptions, ``wrong_types`` counts keys that no cache has written.
    """

    pattern: str
    stored: str
    matched_keys: int = 0
    kept_keys: int = 0
    chosen_keys: int = 0
    removed_keys: int = 0
    written_again_keys: int = 0
    wrong_types: Counter[str] = field(default_factory=Counter)
    wrong_type_examples: list[str] = field(default_factory=list)
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

    @property
    def vanished_keys(self) -> int:
        """Keys that expired, or that somebody else removed, between the look and the removal."""
        return self.chosen_keys - self.removed_keys


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
    keep: Sequence[str] = (),
    dry_run: bool = False,
) -> None:
    """Unlink the values whose stored key matches ``tally.stored``; only strings, as caches have.

    ``keep`` are stored patterns of what stays. ``older_than_seconds`` spares what was read or
    written since. Where the server does not track idle time (an LFU policy) nothing is dropped and
    ``tally.idle_time_missing`` says why.
    """
    with exchange(client) as wire:
        _Drop(
            wire,
            tally,
            progress,
            is_kept=matcher(keep),
            older_than_seconds=older_than_seconds,
            dry_run=dry_run,
        ).run()


@dataclass(slots=True)
class _Drop:
    """One walk: ``chosen`` are keys of the page before, ``unlinked`` those of the one before it."""

    wire: Exchange
    tally: PatternTally
    progress: Progress
    is_kept: Callable[[bytes], bool]
    older_than_seconds: float | None
    dry_run: bool
    size: BatchSize = field(
        default_factory=lambda: BatchSize(
            FIRST_PAGE_KEYS, smallest=SMALLEST_PAGE_KEYS, largest=LARGEST_PAGE_KEYS
        )
    )
    chosen: list[bytes] = field(default_factory=list)
    unlinked: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        cursor: bytes | None = b"0"
        while cursor is not None or self.chosen or self.unlinked:
            self.progress.update(
                self.tally.matched_keys, phase=f"dropping {self.tally.pattern}", unit="keys"
            )
            looks = [] if cursor is None else self._looks(cursor)
            units = max(self.size.units if looks else 0, len(self.chosen))
            began, *replies, ended = self.wire.run(clocked([*looks, *self._writes()]))
            self.size.take(units, began, ended)
            raise_first_error(replies[: len(looks)])
            self._take_writes(replies[len(looks) :])
            self.unlinked, self.chosen = self.chosen, []
            if cursor is not None:
                (after, strings), (_, all_keys) = replies[: len(looks)]
                cursor = None if after == b"0" else after
                self._take_page(list(dict.fromkeys(strings)), all_keys)
            if self.tally.idle_time_missing:
                break
        self.tally.longest_batch_seconds = self.wire.longest_seconds

    def _looks(self, cursor: bytes) -> list[bytes]:
        scan = (b"SCAN", cursor, b"MATCH", self.tally.stored.encode())
        count = (b"COUNT", b"%d" % self.size.units)
        return [pack(*scan, *count, b"TYPE", b"string"), pack(*scan, *count)]

    def _writes(self) -> list[bytes]:
        """Weigh a sample of the chosen keys, remove them, look for those removed before."""
        return [
            *_MEMORY_USAGE.for_keys(self._sample()),
            *([] if self.dry_run else [pack(b"UNLINK", *keys) for keys in _bounded(self.chosen)]),
            *(pack(b"EXISTS", *keys) for keys in _bounded(self.unlinked)),
        ]

    def _sample(self) -> list[bytes]:
        return [] if self.tally.memory_denied else self.chosen[::SAMPLE_EVERY]

    def _take_writes(self, replies: Sequence[Any]) -> None:
        weighed = len(self._sample())
        sizes = [reply for reply in replies[:weighed] if isinstance(reply, int)]
        self.tally.sampled_keys += len(sizes)
        self.tally.sampled_bytes += sum(sizes)
        self.tally.memory_denied |= any(isinstance(r, Exception) for r in replies[:weighed])
        raise_first_error(replies[weighed:])
        seen_again = len(list(_bounded(self.unlinked)))
        unlinked = replies[weighed : len(replies) - seen_again]
        self.tally.removed_keys += sum(unlinked)
        self.tally.written_again_keys += sum(replies[len(replies) - seen_again :])
        if self.dry_run:
            self.chosen = []

    def _take_page(self, strings: list[bytes], all_keys: Sequence[bytes]) -> None:
        self.tally.matched_keys += len(strings)
        self._name_wrong_types(list(set(all_keys).difference(strings)))
        left = [key for key in strings if not self.is_kept(key)]
        self.tally.kept_keys += len(strings) - len(left)
        self.chosen = left if self.older_than_seconds is None else self._idle(left)
        self.tally.chosen_keys += len(self.chosen)
        room = NAMED_KEYS - len(self.tally.examples)
        self.tally.examples += [_named(key) for key in self.chosen[:room]]

    def _name_wrong_types(self, keys: list[bytes]) -> None:
        """Count what is no string. A key that has expired since, or that only one of the two
        SCANs met while the server moves its keys to a new table, is none of these."""
        replies = self.wire.run(_TYPE.for_keys(keys)) if keys else []
        raise_first_error(replies)
        for key, reply in zip(keys, replies, strict=True):
            kind = reply.decode() if isinstance(reply, bytes) else str(reply)
            if kind in {"none", "string"}:
                continue
            self.tally.wrong_types[kind] += 1
            if len(self.tally.wrong_type_examples) < NAMED_KEYS:
                self.tally.wrong_type_examples.append(_named(key))

    def _idle(self, keys: list[bytes]) -> list[bytes]:
        replies = self.wire.run(_IDLE_TIME.for_keys(keys))
        for reply in replies:
            if isinstance(reply, redis.exceptions.NoPermissionError):
                raise reply
            if isinstance(reply, redis.ResponseError):
                self.tally.idle_time_missing = str(reply)
                return []
        return [
            key
            for key, idle in zip(keys, replies, strict=True)
            if idle is not None and idle >= (self.older_than_seconds or 0)
        ]


def _bounded(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Divide keys into commands of bounded number and size; a huge key stands alone."""
    start = size = 0
    for number, key in enumerate(keys):
        if number > start and (number - start == KEYS_PER_UNLINK or size + len(key) > PIECE_BYTES):
            yield keys[start:number]
            start, size = number, 0
        size += len(key)
    if start < len(keys):
        yield keys[start:]


def _named(key: bytes) -> str:
    name = describe_key(key[: NAMED_CHARACTERS + 1])
    return (
        name
        if len(key) <= NAMED_CHARACTERS
        else f"{name[:NAMED_CHARACTERS]}... ({len(key):,} bytes)"
    )
