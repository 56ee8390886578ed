"""Forecasts: what they follow, what they ignore, how sure they say they are, what they withhold."""

import random
from collections.abc import Callable
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.capacity.forecast import (
    MAXIMUM_HORIZON_DAYS,
    Prospect,
    Withheld,
    foretell,
    foretell_peaks,
    weekday_offsets,
)
from maintenance.core.job import Point
from maintenance.core.trend import DAY_SECONDS
from maintenance.core.wording import day_in_words

#: A Monday: 2024-10-07.
FIRST_DAY = 20_003


def daily(value: Callable[[int], float], days: int = 365) -> list[Point]:
    return [Point((FIRST_DAY + day + 0.5) * DAY_SECONDS, value(day)) for day in range(days)]


def prospect_of(points: list[Point], *, accumulates: bool = False) -> Prospect:
    found = foretell(points, accumulates=accumulates)
    assert isinstance(found, Prospect), found
    return found


def test_a_straight_line_is_followed_to_its_limit() -> None:
    prospect = prospect_of(daily(lambda day: 100 + 0.5 * day), accumulates=True)
    forecast = prospect.reaches(100 + 0.5 * 364 + 30)
    assert prospect.per_day == pytest.approx(0.5)
    assert forecast is not None
    assert forecast.seconds_left == pytest.approx(60 * DAY_SECONDS)
    assert forecast.earliest_at == forecast.about_at == forecast.latest_at


def test_weekdays_are_told_apart_and_do_not_tilt_the_line() -> None:
    def value(day: int) -> float:
        return 100 + 0.1 * day - (20 if day % 7 >= 5 else 0)

    prospect = prospect_of(daily(value))
    working, weekend = prospect.offsets[:5], prospect.offsets[5:]
    assert fmean(working) - fmean(weekend) == pytest.approx(20)
    assert prospect.per_day == pytest.approx(0.1)
    # The limit is met by a working day, before an average day does.
    limit = value(364) + 12
    met = prospect.reaches(limit)
    assert met is not None
    assert met.seconds_left < (limit - prospect.level) / 0.1 * DAY_SECONDS - 40 * DAY_SECONDS


def test_steady_growth_is_no_pattern_of_weekdays() -> None:
    assert not any(weekday_offsets(daily(lambda day: 3.0 * day)))


def test_outliers_do_not_tilt_the_line() -> None:
    points = daily(lambda day: 100 + 0.2 * day + (5000 if day % 31 == 0 else 0))
    assert prospect_of(points).per_day == pytest.approx(0.2, rel=0.05)


def test_what_does_not_grow_gets_no_date() -> None:
    choose = random.Random(1)
    prospect = prospect_of(daily(lambda _: 50 + choose.gauss(0, 5)))
    assert prospect.per_day == 0
    assert prospect.reaches(1000) is None
    lowest, highest = prospect.band_in(90)
    assert lowest < 50 < highest < 150


def test_a_step_that_was_made_stays_made_and_is_no_growth() -> None:
    choose = random.Random(2)
    points = daily(lambda day: (60 if day > 200 else 30) + choose.uniform(-0.2, 0.2))
    prospect = prospect_of(points, accumulates=True)
    assert prospect.value_in(0) == pytest.approx(60, abs=1)
    assert prospect.reaches(100) is None


def test_a_disk_that_was_cleaned_begins_anew() -> None:
    points = daily(lambda day: 40 + 0.2 * day if day < 360 else 50.0)
    found = foretell(points, accumulates=True)
    assert isinstance(found, Withheld)
    assert f"since it fell on {day_in_words(points[360].at_epoch_seconds)}" in found.needs


def frozen_at(limit: float, day: int) -> float:
    """12 million transactions a day, frozen down to 50 million at ``limit``."""
    return 50e6 + 12e6 * day % (limit - 50e6)


def test_what_its_server_brings_down_again_and_again_is_followed_by_its_peaks() -> None:
    points = daily(lambda day: frozen_at(200e6, day), 360)
    assert isinstance(foretell(points, accumulates=True), Withheld)
    prospect = foretell_peaks(points)
    assert isinstance(prospect, Prospect)
    assert prospect.value_in(90) == pytest.approx(195e6, rel=0.05)
    assert prospect.reaches(2**31) is None


def test_a_climb_that_nothing_ends_any_more_is_followed_to_its_limit() -> None:
    points = daily(lambda day: frozen_at(200e6, day) if day < 240 else 50e6 + 12e6 * (day - 240))
    prospect = foretell_peaks(points)
    assert isinstance(prospect, Prospect)
    assert prospect.per_day == pytest.approx(12e6, rel=0.01)
    forecast = prospect.reaches(2**31)
    assert forecast is not None
    assert forecast.seconds_left == pytest.approx(50 * DAY_SECONDS, rel=0.02)


@pytest.mark.parametrize("days", [0, 1, 13, 40])
def test_peaks_of_a_short_history_are_withheld(days: int) -> None:
    assert isinstance(foretell_peaks(daily(lambda day: frozen_at(200e6, day), days)), Withheld)


@pytest.mark.parametrize("days", [0, 1, 3, 13])
def test_a_short_history_is_withheld_with_what_it_needs(days: int) -> None:
    found = foretell(daily(float, days), accumulates=True)
    assert isinstance(found, Withheld)
    assert "4 weeks with measurements" in found.needs


def test_the_error_is_withheld_before_the_past_can_be_foretold() -> None:
    prospect = prospect_of(daily(float, 40), accumulates=True)
    assert prospect.backtest is None
    assert prospect.horizon_days == 90


def test_nothing_is_said_beyond_twice_of_what_was_measured() -> None:
    prospect = prospect_of(daily(lambda day: 0.01 * day, 100), accumulates=True)
    assert prospect.horizon_days < 200
    assert prospect.reaches(0.01 * 99 + 0.01 * 250) is None


def test_growth_has_to_foretell_the_past_better_than_standing_still() -> None:
    choose = random.Random(3)
    walk = [0.0]
    for _ in range(364):
        walk.append(walk[-1] + choose.gauss(0, 1))
    prospect = prospect_of(daily(lambda day: 500 + walk[day]))
    assert prospect.backtest is not None
    if prospect.per_day:
        assert prospect.backtest.error < prospect.backtest.still_error


def test_nine_intervals_of_ten_hold_what_comes() -> None:
    inside = asked = 0
    for seed in range(60):
        choose = random.Random(seed)
        slope, walk = choose.choice((0, 0.05, 0.2)), 0.0
        values = []
        for day in range(365 + 91):
            walk += choose.gauss(0, 0.3)
            values.append(100 + slope * day + walk + choose.gauss(0, 2))
        prospect = prospect_of(daily(values.__getitem__))
        for week in range(13):
            truth = fmean(values[365 + 7 * week : 372 + 7 * week])
            lowest, highest = prospect.band_in(7 * week + 4)
            inside += lowest <= truth <= highest
            asked += 1
    assert 0.8 < inside / asked < 0.99


VALUES = st.floats(-1e9, 1e9)


@given(
    st.lists(st.tuples(st.integers(0, 800), VALUES), max_size=60, unique_by=lambda pair: pair[0]),
    st.booleans(),
)
@settings(max_examples=60)
def test_no_history_makes_it_raise_and_no_date_lies_in_the_past(
    given_: list[tuple[int, float]], accumulates: bool
) -> None:
    points = [Point((FIRST_DAY + day + 0.5) * DAY_SECONDS, value) for day, value in sorted(given_)]
    found = foretell(points, accumulates=accumulates)
    if isinstance(found, Prospect):
        forecast = found.reaches(1e9)
        lowest, highest = found.band_in(30)
        assert lowest <= highest
        assert found.horizon_days <= MAXIMUM_HORIZON_DAYS
        if forecast is not None:
            assert forecast.measured_at <= forecast.earliest_at <= forecast.about_at
            assert forecast.latest_at is None or forecast.latest_at >= forecast.about_at


@given(st.floats(0.001, 1000), st.integers(-5, 5))
@settings(max_examples=30)
def test_the_unit_of_a_number_does_not_matter(scale: float, slope: int) -> None:
    choose = random.Random(7)
    noise = [choose.gauss(0, 1) for _ in range(200)]
    plain = prospect_of(daily(lambda day: 100 + 0.1 * slope * day + noise[day], 200))
    scaled = prospect_of(daily(lambda day: scale * (100 + 0.1 * slope * day + noise[day]), 200))
    assert scaled.value_in(30) == pytest.approx(scale * plain.value_in(30), rel=1e-6)
