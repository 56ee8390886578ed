"""The trend of a measured number, how sure it is, and when it reaches a limit.

The slope is Theil and Sen's: the median of the slopes between all pairs of points. Sizes move in
steps (a bulk load, an archive run, a repack), and a least-squares line is tilted by any single one;
this one takes no notice until almost a third of the points agree.

Its band holds two 95 % intervals. Sen's own (P. K. Sen, "Estimates of the Regression Coefficient
Based on Kendall's Tau", 1968) is right where values scatter around a line. Sizes and counters do
not: they are sums, whose every step stays, and there it covers the true rate in less than half of
all cases. So the band is widened to the interval of a random walk's drift, from the changes between
neighbouring points; but what never fell is not said to fall.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median
from typing import Any

from maintenance.core.job import Point
from maintenance.core.wording import day_in_words, forecast_in_words, seconds_in_words

DAY_SECONDS = 86_400.0
WEEK_SECONDS = 7 * DAY_SECONDS

#: Below these a slope says more about the hour of the measurements than about the site: four
#: weekly runs, or a fortnight of daily ones, which holds every day of the week twice.
MINIMUM_POINTS = 4
MINIMUM_SPAN_SECONDS = 14 * DAY_SECONDS

#: Points that are compared pair by pair; more would change nothing but the time it takes.
MAXIMUM_POINTS = 60

#: A fall of more than this share is work that somebody did (a repack, an archive run), not noise:
#: what went before it says nothing of what comes.
FALL_RATIO = 0.10

#: Nobody knows a site's growth in ten years: a later date is not said.
HORIZON_SECONDS = 10 * 365 * DAY_SECONDS

# Two-sided 95 % of the normal distribution, and of Student's with 1, 2, ... degrees of freedom.
_Z = 1.96
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True, slots=True)
class Trend:
    """How fast a number changes, a second, with its 95 % band; ``last`` is the newest point.

    What is foretold starts at ``last``, not on a line through the middle of the points: a step
    that has been made stays made, and what is uncertain is the rate.
    """

    per_second: float
    lowest_per_second: float
    highest_per_second: float
    last: Point
    points: int
    span_seconds: float

    def value_at(self, at_epoch_seconds: float) -> float:
        """Return the value that the trend leads to."""
        return self.last.value + self.per_second * (at_epoch_seconds - self.last.at_epoch_seconds)

    def band_at(self, at_epoch_seconds: float) -> tuple[float, float]:
        """Return the lowest and the highest value that the band leads to."""
        seconds = at_epoch_seconds - self.last.at_epoch_seconds
        ends = (
            self.last.value + self.lowest_per_second * seconds,
            self.last.value + self.highest_per_second * seconds,
        )
        return min(ends), max(ends)

    def reaches(self, limit: float) -> "Forecast | None":
        """Return when a growing number reaches ``limit``, at once where it has.

        ``None`` where it does not grow, or gets there beyond :data:`HORIZON_SECONDS`.
        """
        about = self._time_until(limit, self.per_second)
        earliest = self._time_until(limit, self.highest_per_second)
        if about is None or earliest is None:
            return None
        latest = self._time_until(limit, self.lowest_per_second)
        return Forecast(self.last.at_epoch_seconds, about, earliest, latest)

    def _time_until(self, limit: float, per_second: float) -> float | None:
        missing = limit - self.last.value
        if missing <= 0:
            return self.last.at_epoch_seconds
        if per_second <= 0 or missing > per_second * HORIZON_SECONDS:
            return None
        return self.last.at_epoch_seconds + missing / per_second


@dataclass(frozen=True, slots=True)
class Forecast:
    """When something happens, in seconds since the epoch, and the band of that time.

    ``latest_at`` is ``None`` where it may happen beyond the horizon or not at all;
    ``measured_at`` is the time of the newest point.
    """

    measured_at: float
    about_at: float
    earliest_at: float
    latest_at: float | None

    @property
    def seconds_left(self) -> float:
        """Time from the newest point until then."""
        return self.about_at - self.measured_at

    @property
    def in_words(self) -> str:
        """The date as part of a sentence."""
        return forecast_in_words(self.about_at, self.earliest_at, self.latest_at)

    def to_json(self, event: str) -> dict[str, Any]:
        """Return the days under the name of what happens then: ``full_about``, ``full_latest``."""
        latest = self.latest_at
        return {
            f"{event}_about": day_in_words(self.about_at),
            f"{event}_earliest": day_in_words(self.earliest_at),
            f"{event}_latest": None if latest is None else day_in_words(latest),
        }


@dataclass(frozen=True, slots=True)
class Outlook:
    """What stored values say of the future: a trend, or what ``missing`` words it needs.

    ``fell_at`` is the time of the last fall, before which nothing counts; ``None`` without one.
    """

    trend: Trend | None
    missing: str
    fell_at: float | None

    def reaches(self, limit: float) -> Forecast | None:
        """Return what :meth:`Trend.reaches` does; ``None`` also without a trend."""
        return None if self.trend is None else self.trend.reaches(limit)


def outlook_of(stored: Sequence[Point], now: Point) -> Outlook:
    """Judge the values that earlier runs stored together with the one that was measured now."""
    known = since_last_fall([*stored, now])
    trend = trend_of(known)
    fell = len(known) <= len(stored)
    fell_at = known[0].at_epoch_seconds if fell else None
    return Outlook(trend, "" if trend else needed_for_trend(known), fell_at)


def needed_for_trend(points: Sequence[Point]) -> str:
    """Say what a trend needs and what there is, as part of a sentence."""
    known = spaced(points)
    span = known[-1].at_epoch_seconds - known[0].at_epoch_seconds if known else 0.0
    there = f"there {'is' if len(known) == 1 else 'are'} {len(known)}"
    over = f" over {seconds_in_words(span)}" if len(known) > 1 else ""
    return (
        f"{MINIMUM_POINTS} measurements over {seconds_in_words(MINIMUM_SPAN_SECONDS)}"
        f" (so far {there}{over})"
    )


def trend_of(
    points: Sequence[Point],
    *,
    minimum_points: int = MINIMUM_POINTS,
    minimum_span_seconds: float = MINIMUM_SPAN_SECONDS,
) -> Trend | None:
    """Return the trend of points in any order; ``None`` where they cannot support one.

    Points closer than a :data:`MAXIMUM_POINTS`-th of their span count as one, the later: a
    difference divided by a moment is no rate. Values that are no finite numbers are left out.
    """
    known = spaced(points)
    span = known[-1].at_epoch_seconds - known[0].at_epoch_seconds if known else 0.0
    if len(known) < max(2, minimum_points) or span < minimum_span_seconds:
        return None
    slopes = sorted(
        (b.value - a.value) / (b.at_epoch_seconds - a.at_epoch_seconds)
        for a, b in combinations(known, 2)
    )
    sen, walk = _interval_of_slopes(slopes, len(known)), _interval_of_drift(known)
    lowest, highest = min(sen[0], walk[0]), max(sen[1], walk[1])
    return Trend(median(slopes), lowest, highest, known[-1], len(known), span)


def spaced(points: Sequence[Point]) -> list[Point]:
    """Return the finite points in the order of time, at most :data:`MAXIMUM_POINTS` and one."""
    ordered = sorted(
        (p for p in points if math.isfinite(p.value) and math.isfinite(p.at_epoch_seconds)),
        key=lambda p: p.at_epoch_seconds,
    )
    if not ordered:
        return []
    gap = (ordered[-1].at_epoch_seconds - ordered[0].at_epoch_seconds) / MAXIMUM_POINTS
    kept: list[Point] = []
    for point in reversed(ordered):
        moved = kept[-1].at_epoch_seconds - point.at_epoch_seconds if kept else 0.0
        if not kept or (moved > 0 and moved >= gap):
            kept.append(point)
    kept.reverse()
    return kept


def since_last_fall(points: Sequence[Point], ratio: float = FALL_RATIO) -> list[Point]:
    """Return the points, in the order of time, from the last fall by more than ``ratio`` on.

    A fall leads below both points before it: the end of a spike (an index is there twice while it
    is rebuilt) is none.
    """
    ordered = sorted(points, key=lambda p: p.at_epoch_seconds)
    return ordered[max(_falls(ordered, ratio), default=0) :]


def peaks_before_falls(points: Sequence[Point], ratio: float = FALL_RATIO) -> list[Point]:
    """Return the highest point before each such fall, and the last point where it is above all of them."""
    ordered = sorted(points, key=lambda p: p.at_epoch_seconds)
    falls = _falls(ordered, ratio)
    peaks = [max(ordered[start:end], key=lambda p: p.value) for start, end in pairwise([0, *falls])]
    if peaks and ordered[-1].value > max(peak.value for peak in peaks):
        peaks.append(ordered[-1])
    return peaks


def _falls(ordered: Sequence[Point], ratio: float) -> list[int]:
    """Return the places of the points that a fall led to."""
    found = []
    for place in range(1, len(ordered)):
        before = min(point.value for point in ordered[max(0, place - 2) : place])
        if before > 0 and ordered[place].value < before * (1 - ratio):
            found.append(place)
    return found


def _interval_of_slopes(slopes: Sequence[float], points: int) -> tuple[float, float]:
    """Return the ends of Sen's interval among the sorted slopes of so many points without ties."""
    deviation = math.sqrt(points * (points - 1) * (2 * points + 5) / 18)
    beyond = max(0, math.floor((len(slopes) - _Z * deviation) / 2))
    return slopes[beyond], slopes[len(slopes) - 1 - beyond]


def _interval_of_drift(points: Sequence[Point]) -> tuple[float, float]:
    """Return the interval of the mean rate of a random walk, on the side of 0 that was seen.

    A change over a time t has the mean ``drift * t`` and the variance ``sigma ** 2 * t``.
    """
    steps = [
        (b.value - a.value, b.at_epoch_seconds - a.at_epoch_seconds) for a, b in pairwise(points)
    ]
    rates = [change / seconds for change, seconds in steps]
    span = sum(seconds for _, seconds in steps)
    drift = sum(change for change, _ in steps) / span
    freedom = len(steps) - 1
    if freedom == 0:
        return drift, drift
    variance = (
        sum((change - drift * t) * ((change - drift * t) / t) for change, t in steps) / freedom
    )
    within = _student(freedom) * math.sqrt(variance / span)
    lowest = drift - within if min(rates) < 0 else max(0.0, drift - within)
    highest = drift + within if max(rates) > 0 else min(0.0, drift + within)
    return lowest, highest


def _student(freedom: int) -> float:
    """Return the quantile; beyond the table the first term of its expansion is exact enough."""
    return _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _Z + 2.6 / freedom
