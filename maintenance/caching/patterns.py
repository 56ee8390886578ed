"""Dropping cached values by glob pattern: SCAN and UNLINK in bounded steps.

KEYS stalls a server with a million keys for half a second, DEL frees large values in the
foreground, and FLUSHDB takes the sessions with it: none of them is used here.

One batch a page: two SCANs from the same cursor, with and without ``TYPE string``, so that what is
no cached value is seen and left alone; UNLINK of what an earlier page had; and a second look at what
was removed by the batch before, by which time others had their turn. The cost grows with the keys of
the database, which SCAN walks whatever the pattern is; the memory does not.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from maintenance.core.errors import InvalidOptions
from maintenance.core.globs import matches_nearly_all
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
KEYS_PER_COMMAND = 500
NAMED_KEYS = 10
#: A key is named by this much of it at most.
NAMED_CHARACTERS = 200
#: Memory is measured on one key in this many.
SAMPLE_EVERY = 50
#: Django's session engines ``cache`` and ``cached_db`` begin their keys so.
SESSION_KEYS = "django.contrib.sessions.cache"

NEEDS_ACL = ("+scan", "+unlink", "+exists", "+type", "+memory|usage", *CLOCK_ACL)

_IDLE_TIME = Packer([b"OBJECT", b"IDLETIME"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_TYPE = Packer([b"TYPE"])


@dataclass(slots=True)
class PatternTally:
    """Counts of one pattern. ``pattern`` is the site's, ``stored`` has prefix and version.

    ``kept_keys`` are exceptions, ``session_keys`` sessions that stay, and ``wrong_types`` counts keys that no cache has written.
    """

    pattern: str
    stored: str
    matched_keys: int = 0
    kept_keys: int = 0
    session_keys: int = 0
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
    """Raise :class:`InvalidOptions` for a pattern that matches every key, or nearly so."""
    if matches_nearly_all(pattern):
        raise InvalidOptions(
            f'The pattern "{pattern}" matches nearly every key of the cache. That is a flush, which is'
            " refused: sessions and streams may share the server. Name a prefix."
        )


def drop_pattern(
    client: redis.Redis,
    tally: PatternTally,
    progress: Progress,
    *,
    older_than_seconds: float | None = None,
    keep: Sequence[str] = (),
    sessions: str = "",
    dry_run: bool = False,
) -> None:
    """Unlink the values whose stored key matches ``tally.stored``; only strings, as caches have.

    ``keep`` are stored patterns of what stays, and ``sessions`` is that of sessions where these do.
    ``older_than_seconds`` spares what was read or
    written since. Where the server does not track idle time (an LFU policy) nothing is dropped and
    ``tally.idle_time_missing`` says what is.
    """
    with exchange(client, progress.check) as wire, exchange(client) as questions:
        _Drop(
            wire,
            questions,
            tally,
            progress,
            is_kept=matcher(keep) if keep else None,
            is_session=matcher([sessions]) if sessions else None,
            older_than_seconds=older_than_seconds,
            dry_run=dry_run,
        ).run()


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is with the server: SCANs or none, then a sample that is weighed, removals, looks."""

    scanned_units: int
    weighed: Sequence[bytes]
    removed: Sequence[bytes]
    looked_for: Sequence[bytes]


@dataclass(slots=True)
class _Drop:
    """One walk. ``chosen`` are keys to remove, ``removed`` those to look for again.

    The next batch is sent before the page at hand is judged, so that the server never waits for
    us; what a page needs to be asked meanwhile goes by a connection of its own.
    """

    wire: Exchange
    questions: Exchange
    tally: PatternTally
    progress: Progress
    is_kept: Callable[[bytes], bool] | None
    is_session: Callable[[bytes], bool] | None
    older_than_seconds: float | None
    dry_run: bool
    size: BatchSize = field(
        default_factory=lambda: BatchSize(
            FIRST_PAGE_KEYS, smallest=SMALLEST_PAGE_KEYS, largest=LARGEST_PAGE_KEYS
        )
    )
    cursor: bytes | None = b"0"
    chosen: list[bytes] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        batch = self._send()
        while batch is not None:
            strings, all_keys = self._receive(batch)
            self.progress.update(
                self.tally.matched_keys, phase=f"dropping {self.tally.pattern}", unit="keys"
            )
            batch = self._send()
            self._take_page(strings, all_keys)
            if batch is None:
                batch = self._send()
        self.tally.longest_batch_seconds = self.wire.longest_seconds

    def _send(self) -> _Batch | None:
        """Send the next batch; ``None`` where there is nothing left to do at the moment."""
        if self.tally.idle_time_missing:
            self.cursor = None
        if self.cursor is None and not self.chosen and not self.removed:
            return None
        keys = _first(self.chosen)
        looked_for, self.removed = self.removed, [] if self.dry_run else keys
        self.chosen = self.chosen[len(keys) :]
        # Removals that lag behind, because keys are huge, go before the walk does.
        scans = [] if self.cursor is None or self.chosen else self._scans(self.cursor)
        weighed = [] if self.tally.memory_denied else keys[::SAMPLE_EVERY]
        commands = [
            *scans,
            *_MEMORY_USAGE.for_keys(weighed),
            *(pack(b"UNLINK", *part) for part in _parts(self.removed)),
            *(pack(b"EXISTS", *part) for part in _parts(looked_for)),
        ]
        self.wire.send(clocked(commands))
        return _Batch(self.size.units if scans else 0, weighed, self.removed, looked_for)

    def _scans(self, cursor: bytes) -> list[bytes]:
        scan = (b"SCAN", cursor, b"MATCH", self.tally.stored.encode())
        count = (b"COUNT", b"%d" % self.size.units)
        return [pack(*scan, *count, b"TYPE", b"string"), pack(*scan, *count)]

    def _receive(self, batch: _Batch) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Count what the batch did; return the page that it found: values, and keys of any type."""
        scans = 2 if batch.scanned_units else 0
        removals, looks = len(_parts(batch.removed)), len(_parts(batch.looked_for))
        count = scans + len(batch.weighed) + removals + looks
        began, *replies, ended = self.wire.receive(count + 2)
        self.size.take(max(batch.scanned_units, len(batch.removed)), began, ended)
        sizes = replies[scans : scans + len(batch.weighed)]
        writes = replies[scans + len(batch.weighed) :]
        raise_first_error([*replies[:scans], *writes])
        self.tally.sampled_keys += sum(isinstance(size, int) for size in sizes)
        self.tally.sampled_bytes += sum(size for size in sizes if isinstance(size, int))
        self.tally.memory_denied |= any(isinstance(size, Exception) for size in sizes)
        self.tally.removed_keys += sum(writes[:removals])
        self.tally.written_again_keys += sum(writes[removals:])
        if not scans:
            return (), ()
        (cursor, strings), (_, all_keys) = replies[:scans]
        self.cursor = None if cursor == b"0" else cursor
        return list(dict.fromkeys(strings)), all_keys

    def _take_page(self, strings: Sequence[bytes], all_keys: Sequence[bytes]) -> None:
        self.tally.matched_keys += len(strings)
        self._name_wrong_types(list(set(all_keys).difference(strings)))
        left = [key for key in strings if not self.is_kept(key)] if self.is_kept else list(strings)
        self.tally.kept_keys += len(strings) - len(left)
        if self.is_session:
            matched, left = len(left), [key for key in left if not self.is_session(key)]
            self.tally.session_keys += matched - len(left)
        chosen = left if self.older_than_seconds is None else self._idle(left)
        self.tally.chosen_keys += len(chosen)
        room = NAMED_KEYS - len(self.tally.examples)
        self.tally.examples += [_named(key) for key in chosen[:room]]
        self.chosen += chosen

    def _name_wrong_types(self, keys: list[bytes]) -> None:
        """Count what is no string. A key that has expired since, or that only one of the two
        SCANs met while the server moves its keys to a new table, is none of these."""
        replies = self.questions.run(_TYPE.for_keys(keys)) if keys else []
        raise_first_error(replies)
        for key, reply in zip(keys, replies, strict=True):
            kind = reply.decode() if isinstance(reply, bytes) else str(reply)
            if kind in {"none", "string"}:
                continue
            self.tally.wrong_types[kind] += 1
            if len(self.tally.wrong_type_examples) < NAMED_KEYS:
                self.tally.wrong_type_examples.append(_named(key))

    def _idle(self, keys: list[bytes]) -> list[bytes]:
        replies = self.questions.run(_IDLE_TIME.for_keys(keys))
        for reply in replies:
            if isinstance(reply, redis.exceptions.NoPermissionError):
                raise reply
            if isinstance(reply, redis.ResponseError):
                self.tally.idle_time_missing = f"a server that keeps idle times ({reply})"
                return []
        return [
            key
            for key, idle in zip(keys, replies, strict=True)
            if idle is not None and idle >= (self.older_than_seconds or 0)
        ]


def _first(keys: list[bytes]) -> list[bytes]:
    """Return the first keys, as many as one batch may remove; a huge one stands alone."""
    if len(keys) <= LARGEST_PAGE_KEYS and sum(map(len, keys)) <= PIECE_BYTES:
        return keys
    size = 0
    for number, key in enumerate(keys[:LARGEST_PAGE_KEYS]):
        size += len(key)
        if size > PIECE_BYTES:
            return keys[: max(1, number)]
    return keys[:LARGEST_PAGE_KEYS]


def _parts(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Divide the keys of a batch into commands of bounded number."""
    return [
        keys[start : start + KEYS_PER_COMMAND] for start in range(0, len(keys), KEYS_PER_COMMAND)
    ]


def _named(key: bytes) -> str:
    name = describe_key(key[: NAMED_CHARACTERS + 1])
    return (
        name
        if len(key) <= NAMED_CHARACTERS
        else f"{name[:NAMED_CHARACTERS]}... ({len(key):,} bytes)"
    )
