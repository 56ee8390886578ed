"""Where a number that is measured about daily will be, how sure that is, and how well it was foretold.

Weeks and not days are followed. What the days of the week differ by is taken out first: the median,
over all weeks, of how far each Monday, Tuesday ... lies from the mean of the seven days around it
(classical decomposition, with a median in place of its mean). Then each week is the median of its
days, and the slope is Theil and Sen's of the weeks (:mod:`maintenance.core.trend`).

Which way of foretelling fits a number is not assumed but tried: six ways (no growth, the slope of the
whole history, that of its last quarter; each from the last week, or from the median of the last three)
foretell known weeks from those before them only (a rolling origin: Tashman, "Out-of-sample tests of
forecasting accuracy", 2000). Growth has to beat standing still by a tenth to be believed. The errors of
the way that was chosen are printed, and they make the interval: nineteen of twenty lie within it, it
widens with the root of the time as far as it was tried, and in proportion beyond. Of what comes it holds
somewhat less, since the way was chosen by the same errors: 87 % in ``bench/forecasts.py``.

Pure and without a library: see ARCHITECTURE.md for why. A year of days takes about four milliseconds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import fmean, median

from maintenance.core.job import Point
from maintenance.core.trend import (
    DAY_SECONDS,
    MINIMUM_POINTS,
    Forecast,
    Trend,
    peaks_before_falls,
    since_last_fall,
    trend_of,
)
from maintenance.core.wording import day_in_words

WEEK_DAYS = 7
#: Whole weeks around a day that say how its weekday differs: four of each, as a month has.
MINIMUM_SEASON_WEEKS = 4
#: A pattern of weekdays that explains less than this of the scatter is scatter itself.
SEASON_GAIN_RATIO = 0.10

#: Weeks that have to lie before the first one that is foretold, and at least as many after it.
BACKTEST_MINIMUM_WEEKS = 4
#: From so many weeks the past was foretold, and so far ahead: a quarter, which the next review is at.
BACKTEST_ORIGINS = 10
BACKTEST_WEEKS_AHEAD = (1, 2, 4, 8, 13)
RECENT_WEEKS = 13
#: Weeks whose slopes are compared pair by pair in a backtest; more change little but the time.
SLOPE_POINTS = 20
#: Growth is believed where it foretold the past by so much better than standing still.
BELIEF_RATIO = 0.90
#: Share of the past errors that lie within the interval.
COVERED_RATIO = 0.95

#: Nothing is foretold beyond twice the time that was measured, but for a quarter always, nor beyond
#: two years: a plan of hardware reaches no further.
SPAN_FACTOR = 2
MINIMUM_HORIZON_DAYS = 90
MAXIMUM_HORIZON_DAYS = 730


@dataclass(frozen=True, slots=True)
class Backtest:
    """How well the past was foretold. Errors are absolute, in the number's own unit.

    ``error`` is the median error ``days_ahead`` days ahead, ``still_error`` that of standing still.
    ``spread`` times the root of the days ahead held :data:`COVERED_RATIO` of all errors.
    """

    error: float
    still_error: float
    days_ahead: int
    tried: int
    spread: float
    longest_days: int


@dataclass(frozen=True, slots=True)
class Prospect:
    """A forecast that starts at ``level`` on day 0, which is ``last_at`` in seconds since the epoch.

    ``offsets`` are what each weekday adds, Monday first; all 0 where they do not differ. Without a
    ``backtest`` the interval is that of the slope alone.
    """

    last_at: float
    level: float
    per_day: float
    lowest_per_day: float
    highest_per_day: float
    offsets: tuple[float, ...]
    backtest: Backtest | None
    weeks: int
    span_days: float

    @property
    def horizon_days(self) -> int:
        """How far ahead anything is said."""
        reach = max(MINIMUM_HORIZON_DAYS, SPAN_FACTOR * self.span_days)
        return int(min(MAXIMUM_HORIZON_DAYS, reach))

    @property
    def has_season(self) -> bool:
        """Whether weekdays differ."""
        return any(self.offsets)

    def value_in(self, days: float) -> float:
        """Return the value so many days after the last one, of an average day of the week."""
        return self.level + self.per_day * days

    def band_in(self, days: float) -> tuple[float, float]:
        """Return the interval that holds the value then, by what the past was off by."""
        lowest = self.level + self.lowest_per_day * days
        highest = self.level + self.highest_per_day * days
        if self.backtest is None:
            return lowest, highest
        middle, within = self.value_in(days), self._within(self.backtest, days)
        return middle - within, middle + within

    def reaches(self, limit: float) -> Forecast | None:
        """Return when the highest weekday reaches ``limit``, at once where it has.

        ``None`` where it does not grow or gets there beyond :attr:`horizon_days`.
        """
        about = self._first_day(limit, 0)
        if about is None:
            return None
        earliest = self._first_day(limit, 1)
        latest = self._first_day(limit, -1)
        return Forecast(
            self.last_at,
            self._at(about),
            self._at(about if earliest is None else earliest),
            None if latest is None else self._at(latest),
        )

    def _first_day(self, limit: float, side: int) -> int | None:
        for day in range(self.horizon_days + 1):
            value = self.value_in(day) if side == 0 else self.band_in(day)[side > 0]
            if value + self.offsets[_weekday(self.last_at + day * DAY_SECONDS)] >= limit:
                return day
            if day == 0 and side == 0 and self.per_day <= 0 and not self.has_season:
                return None
        return None

    def _at(self, day: int) -> float:
        return self.last_at + day * DAY_SECONDS

    @staticmethod
    def _within(backtest: Backtest, days: float) -> float:
        if days <= backtest.longest_days:
            return backtest.spread * math.sqrt(days)
        return backtest.spread * days / math.sqrt(backtest.longest_days)


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why nothing is foretold: ``needs`` says what is missing, as part of a sentence."""

    needs: str


def foretell(points: Sequence[Point], *, accumulates: bool) -> Prospect | Withheld:
    """Foretell a number from its values, one a day at the most, in the order of time.

    ``accumulates`` says that a fall is somebody's work (a disk that was cleaned) after which the
    history begins anew; what scatters anyway (connections, latencies) is followed through all of it.
    """
    known = [point for point in points if math.isfinite(point.value)]
    offsets = weekday_offsets(known)
    plain = _without(known, offsets)
    since = since_last_fall(plain) if accumulates else plain
    weeks = _weeks(since)
    trend = trend_of(weeks)
    if trend is None:
        has_fallen = len(since) < len(plain)
        fell = f" since it fell on {day_in_words(since[0].at_epoch_seconds)}" if has_fallen else ""
        return Withheld(f"{MINIMUM_POINTS} weeks with measurements (so far {len(weeks)}){fell}")
    # Where a step that was made stays made, the last value knows of it before its week does.
    last = since[-1] if accumulates else weeks[-1]
    return _prospect(weeks, last, since[-1].at_epoch_seconds, trend, offsets)


def foretell_peaks(points: Sequence[Point]) -> Prospect | Withheld:
    """Foretell a number that its own server brings down again and again.

    A climb that lasts is followed like that of what accumulates: nothing brings it down any more.
    Where none does, it is followed by its peaks.
    """
    climbing = foretell(points, accumulates=True)
    if isinstance(climbing, Prospect):
        return climbing
    known = [point for point in points if math.isfinite(point.value)]
    at_peaks = foretell(peaks_before_falls(known), accumulates=False)
    return at_peaks if isinstance(at_peaks, Prospect) else climbing


def weekday_offsets(points: Sequence[Point]) -> tuple[float, ...]:
    """Return what Monday to Sunday differ by from an average day; zeros where they do not.

    Of values that are there every day; the mean of seven days in a row knows no weekday, and a
    steady growth cancels out in it.
    """
    none = (0.0,) * WEEK_DAYS
    by_day = {int(point.at_epoch_seconds // DAY_SECONDS): point for point in points}
    found: list[list[float]] = [[] for _ in range(WEEK_DAYS)]
    for number, point in by_day.items():
        around = [by_day.get(number + shift) for shift in range(-3, 4)]
        if all(around):
            mean = fmean(other.value for other in around if other)
            found[_weekday(point.at_epoch_seconds)].append(point.value - mean)
    if min(map(len, found)) < MINIMUM_SEASON_WEEKS:
        return none
    medians = [median(values) for values in found]
    offsets = tuple(value - fmean(medians) for value in medians)
    scatter = median(abs(value) for values in found for value in values)
    rest = median(
        abs(value - offset)
        for offset, values in zip(offsets, found, strict=True)
        for value in values
    )
    return offsets if rest < scatter * (1 - SEASON_GAIN_RATIO) else none


def _without(points: Sequence[Point], offsets: Sequence[float]) -> list[Point]:
    if not any(offsets):
        return list(points)
    return [
        Point(p.at_epoch_seconds, p.value - offsets[_weekday(p.at_epoch_seconds)]) for p in points
    ]


def _weekday(at_epoch_seconds: float) -> int:
    """Return 0 for Monday; 1970-01-01 was a Thursday."""
    return int(at_epoch_seconds // DAY_SECONDS + 3) % WEEK_DAYS


def _weeks(points: Sequence[Point]) -> list[Point]:
    """Return the median of each seven days, counted back from the last one, in the order of time."""
    found: dict[int, list[Point]] = {}
    for point in points:
        days_back = (points[-1].at_epoch_seconds - point.at_epoch_seconds) / DAY_SECONDS
        found.setdefault(int(days_back + 0.5) // WEEK_DAYS, []).append(point)
    return [
        Point(
            fmean(point.at_epoch_seconds for point in week), median(point.value for point in week)
        )
        for _, week in sorted(found.items(), reverse=True)
    ]


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of foretelling: by the slope of no, all or the recent weeks; from the last or three."""

    slope: str
    from_last: bool


#: The simplest first: of two that are equally good it is taken.
_WAYS = tuple(
    _Way(slope, from_last) for slope, from_last in product(("none", "all", "recent"), (False, True))
)


def _prospect(
    weeks: Sequence[Point],
    last: Point,
    last_at: float,
    trend: Trend,
    offsets: tuple[float, ...],
) -> Prospect:
    way, backtest = _tried(weeks)
    slopes = {"none": 0.0, "all": trend.per_second, "recent": _slope(weeks[-RECENT_WEEKS:])}
    per_second = slopes[way.slope]
    return Prospect(
        last_at=last_at,
        level=_level([last] if way.from_last else weeks[-3:], per_second, last_at),
        per_day=per_second * DAY_SECONDS,
        lowest_per_day=min(trend.lowest_per_second, per_second) * DAY_SECONDS,
        highest_per_day=max(trend.highest_per_second, per_second) * DAY_SECONDS,
        offsets=offsets,
        backtest=backtest,
        weeks=len(weeks),
        span_days=trend.span_seconds / DAY_SECONDS,
    )


def _tried(weeks: Sequence[Point]) -> tuple[_Way, Backtest | None]:
    """Return the way that foretold the past best, and its errors; the slope of all where none can."""
    errors: dict[_Way, list[tuple[float, float]]] = {way: [] for way in _WAYS}
    for origin in _origins(len(weeks)):
        for way, made in _errors_from(weeks, origin):
            errors[way] += made
    if not errors[_WAYS[0]]:
        return _Way("all", from_last=True), None
    scores = {
        way: fmean(abs(error) / math.sqrt(days) for days, error in made)
        for way, made in errors.items()
    }
    still = min((way for way in _WAYS if way.slope == "none"), key=scores.__getitem__)
    best = min(_WAYS, key=scores.__getitem__)
    chosen = best if scores[best] < scores[still] * BELIEF_RATIO else still
    return chosen, _backtest(errors[chosen], errors[still])


def _origins(weeks: int) -> Sequence[int]:
    """Return the numbers of weeks that are taken as known, the last ones and evenly spread."""
    possible = range(BACKTEST_MINIMUM_WEEKS, weeks)
    if weeks < 2 * BACKTEST_MINIMUM_WEEKS:
        return ()
    step = max(1, math.ceil(len(possible) / BACKTEST_ORIGINS))
    return sorted(possible[::-1][::step])


def _errors_from(
    weeks: Sequence[Point], origin: int
) -> Iterator[tuple[_Way, list[tuple[float, float]]]]:
    """Yield the errors of each way, as days ahead and error, had the first ``origin`` weeks been all."""
    known = weeks[:origin]
    ahead = [weeks[origin - 1 + k] for k in BACKTEST_WEEKS_AHEAD if origin - 1 + k < len(weeks)]
    slopes = {"none": 0.0, "all": _slope(known), "recent": _slope(known[-RECENT_WEEKS:])}
    end = known[-1].at_epoch_seconds
    for way in _WAYS:
        slope = slopes[way.slope]
        level = _level(known[-1:] if way.from_last else known[-3:], slope, end)
        yield (
            way,
            [
                (
                    (point.at_epoch_seconds - end) / DAY_SECONDS,
                    point.value - level - slope * (point.at_epoch_seconds - end),
                )
                for point in ahead
            ],
        )


def _level(points: Sequence[Point], slope: float, at_epoch_seconds: float) -> float:
    return median(p.value + slope * (at_epoch_seconds - p.at_epoch_seconds) for p in points)


def _slope(points: Sequence[Point]) -> float:
    """Return the median slope between all pairs, of evenly chosen points where there are many."""
    if len(points) < 2:
        return 0.0
    step = math.ceil(len(points) / SLOPE_POINTS)
    chosen = points[::-1][::step]
    return median(
        (a.value - b.value) / (a.at_epoch_seconds - b.at_epoch_seconds)
        for a, b in combinations(chosen, 2)
    )


def _backtest(
    errors: Sequence[tuple[float, float]], still: Sequence[tuple[float, float]]
) -> Backtest:
    longest = max(days for days, _ in errors)
    said = max((d for d, _ in errors if d <= 4 * WEEK_DAYS + 1), default=longest)
    at = [abs(error) for days, error in errors if abs(days - said) < 1]
    still_at = [abs(error) for days, error in still if abs(days - said) < 1]
    scaled = sorted(abs(error) / math.sqrt(days) for days, error in errors)
    return Backtest(
        error=median(at),
        still_error=median(still_at),
        days_ahead=round(said),
        tried=len(errors),
        spread=scaled[min(len(scaled) - 1, math.ceil(COVERED_RATIO * len(scaled)) - 1)],
        longest_days=round(longest),
    )
