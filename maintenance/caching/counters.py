"""Counts of what an instrumented cache was asked for, by key prefix.

Each process counts in memory and adds its counts now and then to one hash a day on the cache's own
server: its fields are ``hits:book-rating`` and the like, all of them integers. No key and no value
of the site is in it. What a process has counted since its last flush is lost when it ends, about a
minute's worth: ratios and means do not notice.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import Any, Protocol
from weakref import WeakSet

import redis

from maintenance.caching.backend import OpenCache
from maintenance.caching.key_prefixes import LONGEST_PREFIX, OTHER, prefix_of
from maintenance.core.redaction import redact

logger = logging.getLogger("maintenance.caching")

#: Rare enough that a process of a thousand lookups a second spends nothing on it that can be
#: measured, often enough that a worker which is replaced every few minutes is counted.
FLUSH_SECONDS = 60.0
#: A hash has at most so many prefixes of each process: some 100 kB, however a site names its keys.
MAX_PREFIXES = 200
#: Keys whose prefix is remembered: a site asks for the same ones over and over.
REMEMBERED_KEYS = 2048
#: The monthly review looks back over the longest month, and a run may be late.
KEPT_DAYS = 40

_HASH = "maintenance-counts:{:%Y%m%d}"


class Metric(IntEnum):
    """What is counted; the names are those of the hash's fields."""

    HITS = 0
    MISSES = 1
    SETS = 2
    DELETES = 3
    SIZED_SETS = 4
    SIZED_BYTES = 5
    COMPUTES = 6
    COMPUTE_MICROSECONDS = 7
    ENDING_SETS = 8
    TTL_SECONDS = 9

    @property
    def field(self) -> str:
        """The name in the hash, without the prefix."""
        return self.name.lower()


# Plain numbers for what happens at every lookup: a member of an enumeration is looked up twice.
_HITS, _MISSES = int(Metric.HITS), int(Metric.MISSES)


class ProcessCounts:
    """The counts of this process for one cache, exact over its threads."""

    def __init__(self, rule: Callable[[str], str] = prefix_of) -> None:
        """Count by the prefix that ``rule`` gives to a key."""
        self._rule = rule
        self.forget()
        _all_counts.add(self)

    def forget(self) -> None:
        """Begin anew, as a forked process does: what was counted so far is its parent's."""
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._rows: dict[str, list[int]] = {}
        self._rows_by_key: dict[Any, list[int]] = {}
        self.flushed_at = time.monotonic()

    def prefix_of(self, key: object) -> str:
        """Return the prefix of a key; a rule of the site that breaks must not break the site."""
        try:
            prefix = str(self._rule(str(key)))[:LONGEST_PREFIX]
        except Exception:  # noqa: BLE001 - foreign code in the middle of a lookup
            return OTHER
        return prefix or OTHER

    def hit(self, key: object) -> None:
        """Count a lookup that found its key."""
        with self._lock:
            (self._rows_by_key.get(key) or self._row(key))[_HITS] += 1

    def miss(self, key: object) -> None:
        """Count a lookup that did not."""
        with self._lock:
            (self._rows_by_key.get(key) or self._row(key))[_MISSES] += 1

    def add(self, key: object, metric: Metric, amount: int = 1) -> None:
        """Count something else about ``key``."""
        with self._lock:
            self._row(key)[metric] += amount

    def add_set(
        self,
        key: object,
        size_bytes: int | None,
        seconds: float | None,
        ttl_seconds: float | None,
    ) -> None:
        """Count a value that was stored: its size and what it took to compute, where known."""
        with self._lock:
            row = self._row(key)
            row[Metric.SETS] += 1
            if size_bytes is not None:
                row[Metric.SIZED_SETS] += 1
                row[Metric.SIZED_BYTES] += size_bytes
            if ttl_seconds is not None:
                row[Metric.ENDING_SETS] += 1
                row[Metric.TTL_SECONDS] += round(ttl_seconds)
            if seconds is not None:
                row[Metric.COMPUTES] += 1
                row[Metric.COMPUTE_MICROSECONDS] += round(seconds * 1e6)

    def sets_of(self, key: object) -> int:
        """Return how many values of the key's kind were stored since the last flush."""
        with self._lock:
            return self._row(key)[Metric.SETS]

    def _row(self, key: object) -> list[int]:
        """Return the counts of the key's kind, and remember them for the key."""
        row = self._rows_by_key.get(key)
        if row is None:
            prefix = self.prefix_of(key)
            if prefix not in self._rows and len(self._rows) >= MAX_PREFIXES:
                prefix = OTHER
            row = self._rows.setdefault(prefix, [0] * len(Metric))
            if len(self._rows_by_key) >= REMEMBERED_KEYS:
                self._rows_by_key.clear()
            self._rows_by_key[key] = row
        return row

    def take(self) -> dict[str, int]:
        """Return the counts by field and begin anew."""
        with self._lock:
            rows = self._rows
            self._begin()
        return {
            f"{metric.field}:{prefix}": row[metric]
            for prefix, row in rows.items()
            for metric in Metric
            if row[metric]
        }

    def look(self) -> tuple["PrefixCounts", ...]:
        """Return what was counted since the last flush."""
        with self._lock:
            rows = {prefix: tuple(row) for prefix, row in self._rows.items()}
        return tuple(PrefixCounts(prefix, *row) for prefix, row in sorted(rows.items()) if any(row))


_all_counts: WeakSet[ProcessCounts] = WeakSet()


def _forget_all() -> None:
    for counts in _all_counts:
        counts.forget()


os.register_at_fork(after_in_child=_forget_all)


class KeyMaker(Protocol):
    """The part of a Django cache that makes stored keys."""

    def make_key(self, key: str) -> str:
        """Return the key with prefix and version."""


def flush(counts: ProcessCounts, client: redis.Redis, cache: KeyMaker) -> None:
    """Add the counts to today's hash, all or none of them, in one exchange with the server.

    Never raises redis-py's errors: counts that the server does not take are dropped, because they
    may have been added by a server whose answer was lost.
    """
    fields = counts.take()
    if not fields:
        return
    name = stored_hash(cache, datetime.now(UTC).date())
    pipeline = client.pipeline(transaction=True)
    for field, amount in fields.items():
        pipeline.hincrby(name, field, amount)
    pipeline.expire(name, KEPT_DAYS * 86_400)
    try:
        pipeline.execute()
    except (redis.RedisError, OSError) as error:
        logger.warning("Counts of cache lookups were dropped: %s", redact(str(error)))


def stored_hash(cache: KeyMaker, day: date) -> str:
    """Return the stored key of a day's hash."""
    return str(cache.make_key(_HASH.format(day)))


@dataclass(frozen=True, slots=True)
class PrefixCounts:
    """The counts of one prefix over some days. Means are ``None`` where nothing supports them."""

    prefix: str
    hits: int = 0
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    sized_sets: int = 0
    sized_bytes: int = 0
    computes: int = 0
    compute_microseconds: int = 0
    ending_sets: int = 0
    ttl_seconds: int = 0

    @property
    def reads(self) -> int:
        """Lookups of either kind."""
        return self.hits + self.misses

    @property
    def hit_ratio(self) -> float | None:
        """Hits over lookups."""
        return self.hits / self.reads if self.reads else None

    @property
    def mean_bytes(self) -> float | None:
        """Bytes of a pickled value, of a sample: an estimate of what the server stores."""
        return self.sized_bytes / self.sized_sets if self.sized_sets else None

    @property
    def mean_compute_seconds(self) -> float | None:
        """From a miss to the value that was stored for it."""
        return self.compute_microseconds / 1e6 / self.computes if self.computes else None

    @property
    def mean_ttl_seconds(self) -> float | None:
        """Time-out of what was stored with one."""
        return self.ttl_seconds / self.ending_sets if self.ending_sets else None


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """What the processes of a site counted in ``days`` days, of which ``days_found`` left a hash.

    ``prefixes`` has the most read ones first.
    """

    days: int
    days_found: int
    prefixes: tuple[PrefixCounts, ...]


def stored_counts(cache: OpenCache, days: int, today: date | None = None) -> StoredCounts:
    """Read the counts of today and the ``days - 1`` days before it.

    A cache outside of Redis has none. Raises redis-py's errors. Needs ACL ``+hgetall``; one
    exchange with the server, and at most :data:`KEPT_DAYS` days.
    """
    if cache.client is None:
        return StoredCounts(days, 0, ())
    last = today or datetime.now(UTC).date()
    pipeline = cache.client.pipeline(transaction=False)
    for back in range(min(days, KEPT_DAYS)):
        pipeline.hgetall(stored_hash(cache.cache, last - timedelta(days=back)))
    found = [fields for fields in pipeline.execute() if fields]
    return StoredCounts(days, len(found), parse_counts(found))


def parse_counts(hashes: Iterable[Mapping[bytes, bytes]]) -> tuple[PrefixCounts, ...]:
    """Add up the hashes, the most read prefixes first. Fields of a later release are left out."""
    known = {metric.field: metric for metric in Metric}
    rows: dict[str, list[int]] = {}
    for fields in hashes:
        for field, amount in fields.items():
            name, _, prefix = field.decode("utf-8", "backslashreplace").partition(":")
            if name in known:
                rows.setdefault(prefix, [0] * len(Metric))[known[name]] += int(amount)
    made = [PrefixCounts(prefix, *row) for prefix, row in rows.items()]
    return tuple(sorted(made, key=lambda counts: (-counts.reads, counts.prefix)))
