"""What is counted of a log, in memory that no size of it exceeds.

A row is (time, path, status, size, seconds) as the log has them, in bytes: see
:func:`maintenance.web.log_format.row_pattern`. The loop over rows is where the time of a run goes.
Words that come again (a path, a size, a latency) are looked up in dictionaries instead of being read
again; these are emptied when they are full.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from maintenance.web.latency_histogram import NO_TIME, bucket_of
from maintenance.web.routes import NOT_FOUND, RouteCounts, Routes

Row = tuple[bytes, bytes, bytes, bytes, bytes]

V = TypeVar("V")

#: Words of a kind that are remembered; a path is as long as it likes, and long ones are not.
_REMEMBERED = 50_000
_REMEMBERED_BYTES = 200

#: Ten days; of a longer log only the minutes with errors stay.
MAXIMUM_MINUTES = 14_400
#: Pairs of a route and a minute.
MAXIMUM_PAIRS = 20_000
#: Paths that were not found and are counted one by one.
MAXIMUM_MISSING = 2_000
#: The year 2200: a later time is none.
_LATEST_TIME = 7_258_118_400


class _Memory(dict[bytes, V]):
    """A dictionary that reads a word it does not know, and forgets all when it is full."""

    def __init__(self, read: Callable[[bytes], V]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, word: bytes) -> V:
        value = self._read(word)
        if len(word) <= _REMEMBERED_BYTES:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[word] = value
        return value


@dataclass(slots=True)
class Minute:
    """One minute of the log: all requests, and those that the server failed."""

    requests: int = 0
    server_errors: int = 0


@dataclass(slots=True)
class Counts:
    """What was counted; minutes are seconds since the epoch at their start.

    ``failed`` and ``slow`` hold the requests of a route in a minute that the server failed, or that
    took longer than the limit. ``oldest`` and ``newest`` are ``None`` where no request was read.
    """

    routes: Routes = field(default_factory=Routes)
    minutes: dict[int, Minute] = field(default_factory=dict)
    failed: dict[tuple[RouteCounts, int], int] = field(default_factory=dict)
    slow: dict[tuple[RouteCounts, int], int] = field(default_factory=dict)
    missing: dict[bytes, int] = field(default_factory=dict)
    oldest: int | None = None
    newest: int | None = None


class Tally:
    """Counts rows. ``read_time`` returns seconds since the epoch, ``read_seconds`` a latency or
    ``None``; the first may raise ``ValueError`` for what is none."""

    def __init__(
        self,
        read_time: Callable[[bytes], float],
        read_seconds: Callable[[bytes], float | None],
        slow_seconds: float,
    ) -> None:
        self.counts = Counts()
        self._read_time = read_time
        self._slow_bucket = bucket_of(slow_seconds) + 1
        self._sizes: _Memory[int] = _Memory(lambda word: int(word) if word.isdigit() else 0)
        self._buckets: _Memory[int] = _Memory(lambda word: _bucket(read_seconds(word)))
        self._routes: _Memory[RouteCounts] = _Memory(self._route)
        self._generation = 0
        self._last_time = b""
        self._last_minute = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Count rows in the order of the log. Costs about a microsecond a row."""
        sizes, buckets, routes, slow_bucket = (
            *(self._sizes, self._buckets, self._routes),
            self._slow_bucket,
        )
        last_time, minute = self._last_time, self._last_minute
        current = self._minute(minute) if last_time else Minute()
        for time, path, status, size, seconds in rows:
            if time != last_time:
                minute = self._start_of_minute(time, minute)
                last_time, current = time, self._minute(minute)
            current.requests += 1
            route = routes[path] if status != b"404" else self._not_found(path)
            bucket = buckets[seconds]
            route.latencies[bucket] += 1
            route.sent_bytes += sizes[size]
            statuses = route.statuses
            statuses[status] = statuses.get(status, 0) + 1
            if status >= b"500":
                current.server_errors += 1
                _count(self.counts.failed, (route, minute), MAXIMUM_PAIRS)
            if slow_bucket <= bucket < NO_TIME:
                _count(self.counts.slow, (route, minute), MAXIMUM_PAIRS)
        self._last_time, self._last_minute = last_time, minute

    def _start_of_minute(self, time: bytes, before: int) -> int:
        """Return the minute of a time; of one that cannot be, such as 31 February, the last one."""
        try:
            seconds = self._read_time(time)
        except (ValueError, OverflowError):
            return before
        return int(seconds) // 60 * 60 if 0 <= seconds < _LATEST_TIME else before

    def _route(self, path: bytes) -> RouteCounts:
        route = self.counts.routes.of(path)
        if self.counts.routes.generation != self._generation:
            self._generation = self.counts.routes.generation
            self._routes.clear()
        return route

    def _not_found(self, path: bytes) -> RouteCounts:
        """Count what does not exist under one heading: every scanner makes up paths of its own."""
        _count(self.counts.missing, path[:_REMEMBERED_BYTES], MAXIMUM_MISSING)
        return self.counts.routes.special(NOT_FOUND)

    def _minute(self, start: int) -> Minute:
        counts = self.counts
        found = counts.minutes.get(start)
        if found is None:
            if len(counts.minutes) >= MAXIMUM_MINUTES:
                counts.minutes = _worst_minutes(counts.minutes)
            found = counts.minutes[start] = Minute()
            counts.oldest = start if counts.oldest is None else min(counts.oldest, start)
            counts.newest = start if counts.newest is None else max(counts.newest, start)
        return found


def _bucket(seconds: float | None) -> int:
    return NO_TIME if seconds is None else bucket_of(seconds)


K = TypeVar("K")


def _count(counted: dict[K, int], key: K, limit: int) -> None:
    """Add one; where there are too many keys, the smaller half is forgotten."""
    counted[key] = counted.get(key, 0) + 1
    if len(counted) > limit:
        kept = sorted(counted.items(), key=lambda item: item[1], reverse=True)[: limit // 2]
        counted.clear()
        counted.update(kept)


def _worst_minutes(minutes: dict[int, Minute]) -> dict[int, Minute]:
    kept = sorted(minutes.items(), key=lambda item: item[1].server_errors, reverse=True)
    return dict(kept[: MAXIMUM_MINUTES // 2])
