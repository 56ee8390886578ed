"""The trend model: invariances, its band, and what it refuses to say."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maintenance.core.job import Point
from maintenance.core.trend import (
    DAY_SECONDS,
    HORIZON_SECONDS,
    MAXIMUM_POINTS,
    MINIMUM_POINTS,
    Forecast,
    Trend,
    since_last_fall,
    spaced,
    trend_of,
)
from maintenance.core.wording import forecast_in_words

START = 1_790_000_000.0
TIMES = st.integers(0, 400).map(lambda day: START + day * DAY_SECONDS)
VALUES = st.integers(0, 10**12).map(float)
POINTS = st.lists(st.builds(Point, TIMES, VALUES), max_size=20)

#: Points that support a trend.
SERIES = POINTS.filter(lambda points: trend_of(points) is not None)


def weekly(*values: float) -> list[Point]:
    return [Point(START + 7 * DAY_SECONDS * i, value) for i, value in enumerate(values)]


def some_trend(points: list[Point]) -> Trend:
    trend = trend_of(points)
    assert trend is not None
    return trend


@given(st.lists(st.builds(Point, st.floats(), st.floats()), max_size=30))
def test_no_points_make_it_raise(points: list[Point]) -> None:
    trend = trend_of(points, minimum_points=0, minimum_span_seconds=0)
    since_last_fall(points)
    if trend is not None:
        trend.reaches(1.0)
        trend.band_at(START)


@pytest.mark.parametrize(
    "points",
    [
        [],
        weekly(1),
        weekly(1, 2, 3),
        [Point(START, float(i)) for i in range(50)],  # one moment
        [Point(START + i * DAY_SECONDS, float(i)) for i in range(10)],  # nine days
        # Many, but all in two moments: a difference of a moment is no rate.
        [Point(START + day * DAY_SECONDS + i, float(i)) for day in (0, 30) for i in range(20)],
    ],
)
def test_too_few_points_or_days_give_no_trend(points: list[Point]) -> None:
    assert trend_of(points) is None


@given(SERIES, st.sampled_from([0.001, 0.5, 1024.0]), st.integers(-(10**9), 10**9))
def test_scale_and_shift_of_the_values(points: list[Point], scale: float, shift: int) -> None:
    trend = some_trend(points)
    moved = trend_of([replace(p, value=p.value * scale + shift) for p in points])

    assert moved is not None
    tolerance = {"rel": 1e-6, "abs": 1e-6}
    assert moved.per_second == pytest.approx(trend.per_second * scale, **tolerance)
    assert moved.lowest_per_second == pytest.approx(trend.lowest_per_second * scale, **tolerance)
    assert moved.highest_per_second == pytest.approx(trend.highest_per_second * scale, **tolerance)


@given(SERIES, st.integers(-1000, 1000), st.permutations(range(20)))
def test_neither_the_epoch_nor_the_order_of_the_points_matters(
    points: list[Point], days: int, order: list[int]
) -> None:
    assume(len({p.at_epoch_seconds for p in points}) == len(points))
    trend = some_trend(points)
    shuffled = [points[i] for i in order if i < len(points)]
    moved = trend_of(
        [replace(p, at_epoch_seconds=p.at_epoch_seconds + days * DAY_SECONDS) for p in shuffled]
    )

    assert moved is not None
    assert moved.per_second == pytest.approx(trend.per_second)
    assert moved.last.at_epoch_seconds == trend.last.at_epoch_seconds + days * DAY_SECONDS


@given(SERIES, st.integers(-1000, 1000))
def test_the_band_holds_the_line_at_every_time(points: list[Point], days: int) -> None:
    trend = some_trend(points)
    at = trend.last.at_epoch_seconds + days * DAY_SECONDS

    low, high = trend.band_at(at)

    slack = 1e-9 * max(abs(low), abs(high), 1.0)
    assert low - slack <= trend.value_at(at) <= high + slack


@given(SERIES, st.booleans())
def test_a_monotone_series_gets_no_forecast_against_its_direction(
    points: list[Point], falls: bool
) -> None:
    ordered = sorted(points, key=lambda p: p.at_epoch_seconds)
    values = sorted((p.value for p in points), reverse=falls)
    trend = some_trend([replace(p, value=value) for p, value in zip(ordered, values, strict=True)])

    ends = trend.lowest_per_second, trend.per_second, trend.highest_per_second
    assert all(end <= 0 for end in ends) if falls else all(end >= 0 for end in ends)
    if falls:
        assert trend.reaches(trend.last.value + 1) is None


@given(SERIES, st.integers(1, 1000))
def test_the_times_of_a_forecast_are_in_their_order(points: list[Point], days: int) -> None:
    ordered = sorted(points, key=lambda p: p.at_epoch_seconds)
    values = sorted(p.value for p in points)
    growing = [replace(p, value=values[i] + i) for i, p in enumerate(ordered)]
    trend = some_trend(growing)
    limit = trend.last.value + trend.per_second * days * DAY_SECONDS
    forecast = trend.reaches(limit)

    assert forecast is not None
    assert trend.last.at_epoch_seconds <= forecast.earliest_at <= forecast.about_at
    assert forecast.latest_at is None or forecast.about_at <= forecast.latest_at
    assert trend.value_at(forecast.about_at) == pytest.approx(limit, rel=1e-6)


@given(st.integers(0, 10**12), st.integers(4, 20))
def test_a_constant_never_reaches_anything_but_itself(value: int, weeks: int) -> None:
    trend = some_trend(weekly(*[float(value)] * weeks))

    assert (trend.lowest_per_second, trend.per_second, trend.highest_per_second) == (0, 0, 0)
    assert trend.reaches(value + 1.0) is None
    now = trend.last.at_epoch_seconds
    assert trend.reaches(float(value)) == Forecast(now, now, now, now)


def test_one_bulk_load_does_not_tilt_the_line() -> None:
    steady = weekly(*(10.0 * i for i in range(12)))
    with_load = [
        replace(p, value=p.value + (1000.0 if i >= 11 else 0)) for i, p in enumerate(steady)
    ]
    trend = some_trend(with_load)

    assert trend.per_second * 7 * DAY_SECONDS == pytest.approx(10)
    assert trend.last.value == 1110, "what has been loaded stays loaded"


def test_a_line_is_found_exactly_and_its_date_without_a_band() -> None:
    trend = some_trend(weekly(100, 110, 120, 130, 140))
    forecast = trend.reaches(200)

    assert forecast is not None
    expected = trend.last.at_epoch_seconds + 6 * 7 * DAY_SECONDS
    assert forecast.about_at == pytest.approx(expected)
    assert forecast.earliest_at == pytest.approx(expected)
    assert forecast.latest_at == pytest.approx(expected)


def test_what_lies_beyond_the_horizon_is_not_said() -> None:
    trend = some_trend(weekly(100, 101, 102, 103))
    weeks = HORIZON_SECONDS / (7 * DAY_SECONDS)

    assert trend.reaches(103 + 0.99 * weeks) is not None
    assert trend.reaches(103 + 1.01 * weeks) is None


@pytest.mark.parametrize(
    ("step", "mean"),
    [
        (lambda chance: max(0.0, chance.gauss(1, 0.6)), 1.03),  # the mean of what is cut off at 0
        (lambda chance: chance.expovariate(1), 1.0),
        (lambda chance: chance.gauss(1, 2), 1.0),
    ],
)
@pytest.mark.parametrize("weeks", [5, 12, 40])
def test_the_band_holds_the_true_rate_of_what_accumulates(
    step: Callable[[random.Random], float], mean: float, weeks: int
) -> None:
    chance = random.Random(20)
    held = 0
    for _ in range(200):
        values = accumulate((step(chance) for _ in range(weeks)), initial=100.0)
        trend = some_trend(weekly(*values))
        rate = mean / (7 * DAY_SECONDS)
        held += trend.lowest_per_second <= rate <= trend.highest_per_second

    assert held >= 0.85 * 200, "nominally 95 %; few points of a skewed distribution hold it less"


def test_the_band_holds_the_true_rate_of_what_scatters_around_a_line() -> None:
    chance = random.Random(20)
    held = 0
    for _ in range(200):
        trend = some_trend(weekly(*(100 + i + chance.gauss(0, 1) for i in range(12))))
        held += trend.lowest_per_second <= 1 / (7 * DAY_SECONDS) <= trend.highest_per_second

    assert held >= 0.95 * 200


def test_what_never_fell_is_not_said_to_fall_however_few_the_points() -> None:
    trend = some_trend(weekly(0, 1, 2, 9))

    assert trend.lowest_per_second == 0
    assert trend.highest_per_second * 7 * DAY_SECONDS > 7


def test_the_band_narrows_with_the_points() -> None:
    def noisy(count: int) -> Trend:
        return some_trend(weekly(*(10.0 * i + (4.0 if i % 2 else -4.0) for i in range(count))))

    few, many = noisy(6), noisy(40)
    assert many.highest_per_second - many.lowest_per_second < 0.3 * (
        few.highest_per_second - few.lowest_per_second
    )


@given(POINTS)
def test_spaced_points_are_few_in_order_and_hold_the_newest(points: list[Point]) -> None:
    kept = spaced(points)

    assert len(kept) <= MAXIMUM_POINTS + 1
    assert kept == sorted(kept, key=lambda p: p.at_epoch_seconds)
    assert set(kept) <= set(points)
    if points:
        assert kept[-1].at_epoch_seconds == max(p.at_epoch_seconds for p in points)


def test_two_looks_within_a_minute_are_one_point() -> None:
    points = weekly(10, 20, 30, 40)
    again = Point(points[-1].at_epoch_seconds + 60, 41.0)

    trend = some_trend([*points, again])

    assert trend.points == MINIMUM_POINTS
    assert trend.last == again
    assert trend.highest_per_second * 7 * DAY_SECONDS < 12, "no rate of one unit a minute"


def test_what_went_before_a_repack_does_not_count() -> None:
    points = weekly(100, 110, 120, 60, 63, 66)

    assert [p.value for p in since_last_fall(points)] == [60, 63, 66]
    assert trend_of(since_last_fall(points)) is None
    assert since_last_fall(weekly(100, 95, 101)) == weekly(100, 95, 101), "a small fall is noise"
    assert since_last_fall(weekly(100, 120, 101)) == weekly(100, 120, 101), "a spike that has ended"
    assert [p.value for p in since_last_fall(weekly(100, 120, 60))] == [60]
    assert since_last_fall([]) == []
    assert since_last_fall(weekly(0, 0, 5))[0].value == 0


@given(POINTS, st.sampled_from([0.001, 1024.0]))
def test_a_fall_is_a_fall_in_every_unit(points: list[Point], scale: float) -> None:
    scaled = [replace(p, value=p.value * scale) for p in points]
    assume(len({p.at_epoch_seconds for p in points}) == len(points))
    assert len(since_last_fall(points, 0.1003)) == len(since_last_fall(scaled, 0.1003))


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}T12:00:00+00:00").timestamp()


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (
            ("2027-03-14", "2027-02-01", "2027-05-20"),
            "about 2027-03-14, between February and May 2027",
        ),
        (
            ("2027-03-14", "2026-11-01", "2027-05-20"),
            "about 2027-03-14, between November 2026 and May 2027",
        ),
        (
            ("2027-03-14", "2027-03-10", "2027-03-20"),
            "about 2027-03-14, between 2027-03-10 and 2027-03-20",
        ),
        (("2027-03-14", "2027-03-14", "2027-03-14"), "about 2027-03-14"),
        (("2027-03-14", "2027-02-01", None), "about 2027-03-14, February 2027 at the earliest"),
    ],
)
def test_a_date_in_words(times: tuple[str, str, str | None], words: str) -> None:
    about, earliest, latest = times
    assert forecast_in_words(at(about), at(earliest), at(latest) if latest else None) == words


def test_no_number_is_lost_to_infinity() -> None:
    points = [*weekly(1, 2, 3, 4), Point(START, math.inf), Point(math.nan, 1.0)]
    assert some_trend(points) == some_trend(weekly(1, 2, 3, 4))
