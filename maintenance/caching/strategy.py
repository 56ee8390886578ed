"""What to do with each kind of cached value: keep it as it is, hold it longer or shorter, warm it, or
stop caching it. Pure: counts and a sample in, one verdict with its reason out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maintenance.caching.counters import PrefixCounts
from maintenance.caching.key_prefixes import OTHER
from maintenance.conf import Thresholds, is_above
from maintenance.core.wording import bytes_in_words, counted, percent, seconds_in_words

#: Every day of the week has to be in the window: a site's Sundays are not its Mondays.
MINIMUM_DAYS = 7
#: What a lookup or a write costs a page that computes nothing: a round trip to the server, measured
#: at 0.1 to 0.3 ms on one machine and up to 1 ms between two.
ROUND_TRIP_SECONDS = 0.0003
#: The guide calls a statement slow from 100 ms: a visitor notices the miss.
SLOW_COMPUTE_SECONDS = 0.1
#: Warming computes every key: past this many, visitors ask for a few of them only.
WARMABLE_KEYS = 1000
#: Fewer values read again than one in ten that were stored: nine are thrown away unread.
REREAD_RATIO = 0.1
#: Below, memory is not worth a decision.
MINIMUM_BYTES = 10 * 1024**2
#: Longer than a month nobody knows what a value still stands for.
LONGEST_TTL_SECONDS = 30 * 86_400


class Advice(StrEnum):
    """What to do with one prefix."""

    KEEP = "keep"
    LONGER = "longer"
    SHORTER = "shorter"
    WARM = "warm"
    DROP = "drop"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """Keys of one prefix as a sample found them: estimates of all from ``sampled_keys``.

    ``keys_without_ttl_ratio`` is of the sampled ones. ``size_bytes`` is ``None`` where rights do not
    allow MEMORY USAGE.
    """

    sampled_keys: int
    keys: int
    size_bytes: int | None
    keys_without_ttl_ratio: float


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """How one prefix is used. ``counts`` are those of ``days`` days; ``stored`` is ``None`` where the
    sample met no key of it. ``evicted_keys`` are the server's since the previous review, or since its
    start."""

    counts: PrefixCounts
    days: int
    stored: StoredKeys | None
    evicted_keys: int

    @property
    def hits_per_hour(self) -> float:
        """Lookups that found a value."""
        return self.counts.hits / (self.days * 24)

    @property
    def sets_per_hour(self) -> float:
        """Churn: values that were stored."""
        return self.counts.sets / (self.days * 24)

    @property
    def computed_seconds_per_day(self) -> float | None:
        """What misses cost."""
        mean = self.counts.mean_compute_seconds
        return None if mean is None else mean * self.counts.misses / self.days


@dataclass(frozen=True, slots=True)
class Verdict:
    """The advice with its reason, one sentence, and the change that follows from it."""

    advice: Advice
    reason: str
    change: str = ""


def judge(use: PrefixUse, thresholds: Thresholds) -> Verdict:
    """Return what to do with one prefix. The first rule that fits speaks."""
    counts = use.counts
    if use.days < MINIMUM_DAYS:
        return Verdict(
            Advice.WITHHELD,
            f"Only {counted(use.days, 'day')} were counted; {MINIMUM_DAYS} are needed, so that every"
            " day of the week is among them.",
        )
    if counts.prefix == OTHER:
        return Verdict(
            Advice.WITHHELD,
            "These keys are of kinds that cannot be told apart; a PREFIX_RULE of the site can.",
        )
    if max(counts.reads, counts.sets) < thresholds.cache_hit_minimum_reads:
        return Verdict(
            Advice.WITHHELD,
            f"{counted(counts.reads, 'lookup')} in {counted(use.days, 'day')} are too few to judge"
            f" by; {thresholds.cache_hit_minimum_reads:,} are needed.",
        )
    ratio = counts.hit_ratio
    return (
        _not_worth_it(counts)
        or (None if is_above(ratio or 0, thresholds.cache_hit_ratio) else _below_target(use, ratio))
        or _too_much_memory(use)
        or Verdict(
            Advice.KEEP,
            f"{percent(ratio or 0)} of {counts.reads:,} lookups find a value, and each value that is"
            f" stored is read {_times(counts)}.",
        )
    )


def _not_worth_it(counts: PrefixCounts) -> Verdict | None:
    """Caching that takes more time than it saves, or stores what nobody reads."""
    mean = counts.mean_compute_seconds
    stop = "Do not cache these values."
    if mean is not None:
        saved = counts.hits * mean
        spent = (counts.reads + counts.sets) * ROUND_TRIP_SECONDS
        if saved < spent:
            return Verdict(
                Advice.DROP,
                f"Hits saved {seconds_in_words(saved)} of computing, and lookups and writes took about"
                f" {seconds_in_words(spent)}: caching costs more than it saves.",
                stop,
            )
    elif counts.hits < counts.sets * REREAD_RATIO:
        return Verdict(
            Advice.DROP,
            f"{counts.sets:,} values were stored for {counted(counts.hits, 'hit')}: more than nine in"
            " ten go unread.",
            stop,
        )
    return None


def _below_target(use: PrefixUse, ratio: float | None) -> Verdict:
    counts, stored = use.counts, use.stored
    found = f"Only {percent(ratio or 0)} of {counts.reads:,} lookups find a value"
    if counts.sets < counts.misses / 2:
        return Verdict(
            Advice.KEEP,
            f"{found}, but only {counts.sets:,} values were stored for {counts.misses:,} misses: what"
            " is looked for mostly does not exist, and no time-out changes that.",
            "Store that there is nothing, too, for a short time.",
        )
    if counts.deletes > counts.sets / 2:
        return Verdict(
            Advice.WARM,
            f"{found}: {counts.deletes:,} keys were invalidated for {counts.sets:,} values stored, most"
            " before they were read again.",
            "Warm them after invalidation, or invalidate fewer of them at once.",
        )
    if use.evicted_keys:
        return Verdict(
            Advice.KEEP,
            f"{found}, and the server evicted {counted(use.evicted_keys, 'key')} meanwhile: values go"
            " before their time-out, so a longer one changes nothing.",
            "Raise maxmemory first, or cache less.",
        )
    mean = counts.mean_compute_seconds
    if (
        mean is not None
        and mean >= SLOW_COMPUTE_SECONDS
        and stored is not None
        and stored.keys <= WARMABLE_KEYS
    ):
        return Verdict(
            Advice.WARM,
            f"{found}; {counted(stored.keys, 'key')} are few enough to compute beforehand, and each miss"
            f" keeps a visitor waiting for {seconds_in_words(mean)}.",
            "Register a warmer for these keys.",
        )
    return _hold_longer(use, found)


def _hold_longer(use: PrefixUse, found: str) -> Verdict:
    ttl = use.counts.mean_ttl_seconds
    if ttl is None:
        return Verdict(
            Advice.KEEP,
            f"{found}, but values are stored without a time-out: misses are first reads, and nothing can"
            " be held longer.",
        )
    if ttl >= LONGEST_TTL_SECONDS:
        return Verdict(
            Advice.KEEP,
            f"{found}, but values are held for {seconds_in_words(ttl)} already: misses are first reads.",
        )
    longer = min(ttl * 2, LONGEST_TTL_SECONDS)
    price = use.computed_seconds_per_day
    cost = "" if price is None else f"; misses cost {seconds_in_words(price)} of computing a day"
    return Verdict(
        Advice.LONGER,
        f"{found}, each value is stored {_times_again(use.counts)} and expires after"
        f" {seconds_in_words(ttl)}{cost}.",
        f"Try a time-out of {seconds_in_words(longer)}, and look at the ratio a week later.",
    )


def _too_much_memory(use: PrefixUse) -> Verdict | None:
    """Values that mostly wait for a reader: more of them than reads in the whole window."""
    stored = use.stored
    if stored is None or stored.size_bytes is None or stored.size_bytes < MINIMUM_BYTES:
        return None
    if stored.keys <= use.counts.hits:
        return None
    ttl = use.counts.mean_ttl_seconds
    waits = (
        f"{stored.keys:,} values of {bytes_in_words(stored.size_bytes)} are held for"
        f" {use.counts.hits:,} hits in {counted(use.days, 'day')}: most are never read again"
    )
    if stored.keys_without_ttl_ratio > 0.5 or ttl is None:
        return Verdict(
            Advice.SHORTER,
            f"{waits}, and {percent(stored.keys_without_ttl_ratio)} of them never expire.",
            "Give them a time-out.",
        )
    return Verdict(
        Advice.SHORTER,
        f"{waits} before they expire after {seconds_in_words(ttl)}.",
        f"Try a time-out of {seconds_in_words(ttl / 2)}.",
    )


def _times(counts: PrefixCounts) -> str:
    if not counts.sets:
        return "many times"
    return f"{counts.hits / counts.sets:.1f} times"


def _times_again(counts: PrefixCounts) -> str:
    return f"for {counts.hits / counts.sets:.1f} hits" if counts.sets else "once"


def to_row(use: PrefixUse, verdict: Verdict) -> dict[str, Any]:
    """Return the line of the table."""
    counts, stored = use.counts, use.stored
    return {
        "prefix": counts.prefix,
        "advice": verdict.advice.value,
        "reads": counts.reads,
        "hit_ratio": counts.hit_ratio,
        "hits_per_hour": round(use.hits_per_hour, 1),
        "sets_per_hour": round(use.sets_per_hour, 1),
        "keys": stored.keys if stored else None,
        "size_bytes": stored.size_bytes if stored else None,
        "mean_ttl_seconds": counts.mean_ttl_seconds,
        "keys_without_ttl_ratio": stored.keys_without_ttl_ratio if stored else None,
        "mean_compute_seconds": counts.mean_compute_seconds,
        "reason": verdict.reason,
    }
