"""Hit ratios by cache and key prefix, from the counts of an instrumented backend."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from maintenance.caching.backend import opened
from maintenance.caching.counters import PrefixCounts, StoredCounts, stored_counts
from maintenance.conf import CacheTarget, Thresholds, is_above
from maintenance.core.errors import MaintenanceError
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import History, Point
from maintenance.core.reports import Sample, Table
from maintenance.core.wording import counted, listed, percent, seconds_in_words
from maintenance.redis_client.server import server_facts

#: The review comes once a week: every day of the week is in it once.
WINDOW_DAYS = 7
#: What a table of prefixes shows and what is kept over time: the most read ones.
SHOWN_PREFIXES = 40
#: What is compared with: as long as a season of a site, short enough to know today's code.
EARLIER_SECONDS = 60 * 86_400.0
#: A ratio of a site moves by a few points from week to week.
FALL_POINTS = 0.05
#: A median of fewer earlier values is one of them.
EARLIER_VALUES = 3

METRIC = "cache_prefix_hit_ratio"


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What one cache's processes counted; ``problem`` says why nobody can tell."""

    name: str
    counts: StoredCounts | None
    problem: str = ""


def measure(caches: Mapping[str, CacheTarget], run_id: str) -> tuple[CacheCounts, ...]:
    """Read the counts of those ``caches`` whose server is the one with ``run_id``."""
    return tuple(found for name, target in caches.items() if (found := _look(name, target, run_id)))


def _look(name: str, target: CacheTarget, run_id: str) -> CacheCounts | None:
    try:
        with opened(name, target) as cache:
            if cache.client is None or server_facts(cache.client).run_id != run_id:
                return None
            return CacheCounts(name, stored_counts(cache, WINDOW_DAYS))
    except MaintenanceError as error:  # whether this cache lives here cannot be told either
        return CacheCounts(name, None, str(error))


@dataclass(frozen=True, slots=True)
class PrefixLine:
    """One prefix of a cache beside what it was before: the median of earlier reviews."""

    cache: str
    counts: PrefixCounts
    earlier_ratio: float | None

    @property
    def subject(self) -> str:
        """The name under which its ratio is kept over time."""
        return f"{self.cache}:{self.counts.prefix}"

    def to_row(self) -> dict[str, Any]:
        """Return the line of the table."""
        counts = self.counts
        return {
            "prefix": counts.prefix,
            "reads": counts.reads,
            "hit_ratio": counts.hit_ratio,
            "earlier_hit_ratio": self.earlier_ratio,
            "sets": counts.sets,
            "deletes": counts.deletes,
            "mean_bytes": counts.mean_bytes,
            "mean_compute_seconds": counts.mean_compute_seconds,
            "mean_ttl_seconds": counts.mean_ttl_seconds,
        }


def lines_of(found: Sequence[CacheCounts], history: History) -> list[PrefixLine]:
    """Put the most read prefixes of each cache beside their earlier ratios: one query."""
    shown = [
        (cache.name, counts)
        for cache in found
        if cache.counts is not None
        for counts in cache.counts.prefixes[:SHOWN_PREFIXES]
    ]
    subjects = [PrefixLine(name, counts, None).subject for name, counts in shown]
    earlier = (
        history.series_by_subject(METRIC, subjects, since_seconds=EARLIER_SECONDS) if shown else {}
    )
    return [
        PrefixLine(name, counts, earlier_ratio(earlier.get(subject, ())))
        for (name, counts), subject in zip(shown, subjects, strict=True)
    ]


def earlier_ratio(points: Sequence[Point]) -> float | None:
    """Return the median of earlier ratios; ``None`` where they are too few to be compared with."""
    return median(point.value for point in points) if len(points) >= EARLIER_VALUES else None


def tables(found: Sequence[CacheCounts], lines: Sequence[PrefixLine]) -> Iterator[Table]:
    """Return a table a cache."""
    for cache in found:
        rows = [line.to_row() for line in lines if line.cache == cache.name]
        if rows:
            yield Table.of(f"Key prefixes of cache {cache.name}, {WINDOW_DAYS} days", rows)


def samples(lines: Sequence[PrefixLine], thresholds: Thresholds) -> tuple[Sample, ...]:
    """Return the ratios that enough lookups support."""
    return tuple(
        Sample(METRIC, line.counts.hit_ratio, line.subject)
        for line in lines
        if line.counts.hit_ratio is not None
        and line.counts.reads >= thresholds.cache_hit_minimum_reads
    )


def diagnose(
    server: str,
    found: Sequence[CacheCounts],
    lines: Sequence[PrefixLine],
    thresholds: Thresholds,
    evicted_keys: int | None,
) -> Iterator[Finding]:
    """Judge the prefixes, those first whose misses cost most; name the caches that do not count.

    ``evicted_keys`` are those of the server since the previous review, ``None`` where unknown.
    """
    silent = [cache.name for cache in found if cache.counts and not cache.counts.prefixes]
    if silent:
        yield unavailable(
            "cache-prefix-ratios",
            server,
            f"the hit ratio of each key prefix of {listed(silent)}",
            "a backend that counts (maintenance.caching.instrumented.RedisCache in settings.CACHES)",
        )
    for cache in found:
        if cache.problem:
            yield unavailable(
                "cache-prefix-ratios",
                cache.name,
                f"the hit ratio of each key prefix of {cache.name}",
                f"that cache to answer ({cache.problem.rstrip('.')})",
            )
    enough = [line for line in lines if line.counts.reads >= thresholds.cache_hit_minimum_reads]
    for line in sorted(enough, key=_cost_of_misses, reverse=True):
        yield from _judge(line, thresholds, evicted_keys)


def _cost_of_misses(line: PrefixLine) -> tuple[float, int]:
    return line.counts.misses * (line.counts.mean_compute_seconds or 0.0), line.counts.misses


def _judge(line: PrefixLine, thresholds: Thresholds, evicted_keys: int | None) -> Iterator[Finding]:
    counts, ratio = line.counts, line.counts.hit_ratio
    if ratio is None:
        return
    evidence = {**line.to_row(), "cache": line.cache, "days": WINDOW_DAYS}
    if not is_above(ratio, thresholds.cache_hit_ratio):
        yield Finding(
            code="cache-prefix-hit-ratio",
            severity=Severity.WARNING,
            subject=line.subject,
            sentence=(
                f"Only {percent(ratio)} of {counts.reads:,} lookups of {counts.prefix} in cache"
                f" {line.cache} found a value in {WINDOW_DAYS} days; the target is"
                f" more than {percent(thresholds.cache_hit_ratio)}.{_price(counts)}"
            ),
            evidence=evidence,
            advice=what_to_change(counts, evicted_keys),
        )
    elif line.earlier_ratio is not None and ratio <= line.earlier_ratio - FALL_POINTS:
        yield Finding(
            code="cache-prefix-hit-ratio-fell",
            severity=Severity.INFO,
            subject=line.subject,
            sentence=(
                f"{percent(ratio)} of {counts.reads:,} lookups of {counts.prefix} in cache"
                f" {line.cache} found a value in {WINDOW_DAYS} days; it used to be"
                f" {percent(line.earlier_ratio)}."
            ),
            evidence=evidence,
            advice=what_to_change(counts, evicted_keys),
        )


def _price(counts: PrefixCounts) -> str:
    mean = counts.mean_compute_seconds
    if mean is None:
        return ""
    return (
        f" A miss takes {seconds_in_words(mean)} to compute,"
        f" {seconds_in_words(mean * counts.misses)} in all."
    )


def what_to_change(counts: PrefixCounts, evicted_keys: int | None) -> str:
    """Say what the counts point at, the most likely cause first."""
    if counts.sets < counts.misses / 2:
        return (
            f"{_few(counts.sets)} stored for {counts.misses:,} misses: what is looked"
            " for does not exist, or is None and not stored. Store that there is nothing, too, for"
            " a short time."
        )
    if counts.deletes > counts.sets / 2:
        return (
            f"{counts.deletes:,} of these keys were deleted for {counts.sets:,} stored: they are"
            " invalidated before they are read again. Invalidate less of them at once, or warm"
            " them after it."
        )
    if evicted_keys:
        return (
            f"The server evicted {counted(evicted_keys, 'key')} since the previous review: raise"
            " maxmemory, or keep less, before you look at time-outs."
        )
    if counts.hits < counts.sets:
        return (
            "Most values are never read again before they expire: lengthen the time-out"
            f"{_present_ttl(counts)}, cache something that several keys share, or do not cache it."
        )
    return (
        f"Values expire between two reads: lengthen the time-out{_present_ttl(counts)}, or warm"
        " the keys that are asked for most."
    )


def _few(sets: int) -> str:
    if sets == 0:
        return "No value was"
    return f"Only {counted(sets, 'value')} {'was' if sets == 1 else 'were'}"


def _present_ttl(counts: PrefixCounts) -> str:
    ttl = counts.mean_ttl_seconds
    return "" if ttl is None else f" ({seconds_in_words(ttl)} on average)"
