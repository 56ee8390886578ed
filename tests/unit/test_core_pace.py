"""How quickly a run gets on, and how that is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.pace import FEWEST_UNITS, SHORTEST_SECONDS, Pace, pace
from maintenance.reports.progress import (
    amount_in_words,
    pace_in_words,
    rate_in_words,
    share_done,
)

counts = st.integers(0, 2**62)


@pytest.mark.parametrize(
    ("done", "total", "began_with", "elapsed", "expected"),
    [
        (400, 1000, 100, 30.0, Pace(10.0, 60.0)),
        (400, None, 100, 30.0, Pace(10.0, None)),
        (31, 31, 0, 62.0, Pace(0.5, 0.0)),
        (40, 31, 0, 80.0, Pace(0.5, 0.0)),  # more was found than was there at first
        (400, 1000, 100, SHORTEST_SECONDS - 0.1, None),
        (100 + FEWEST_UNITS - 1, 1000, 100, 3600.0, None),
        (0, 1000, 100, 30.0, None),
    ],
)
def test_a_pace_is_told_once_enough_was_seen(
    done: int, total: int | None, began_with: int, elapsed: float, expected: Pace | None
) -> None:
    assert pace(done, total, began_with, elapsed) == expected


@given(counts, st.none() | counts, counts, st.floats(-10, 1e9))
def test_a_pace_that_is_told_is_positive_and_can_be_written(
    done: int, total: int | None, began_with: int, elapsed: float
) -> None:
    found = pace(done, total, began_with, elapsed)
    words = pace_in_words(found, "keys")
    if found is None:
        assert words == ""
    else:
        assert found.per_second > 0
        assert found.seconds_left is None or found.seconds_left >= 0
        assert "keys/" in words


@given(counts, st.none() | counts)
def test_a_share_is_never_more_than_all(done: int, total: int | None) -> None:
    share = share_done(done, total)
    assert (share is None) == (not total)
    assert share is None or 0 <= share <= 1


@pytest.mark.parametrize(
    ("per_second", "unit", "written"),
    [
        (12.34, "keys", "12 keys/s"),
        (1.25, "keys", "1.25 keys/s"),
        (0.2, "tables", "12 tables/min"),
        (0.01, "tables", "36 tables/h"),
        (0.0001, "tables", "8.64 tables/d"),
        (0.000001, "tables", "0.086 tables/d"),
        (3 * 2**20, "bytes", "3072 kB/s"),
        (200.0, "", "200/s"),
    ],
)
def test_a_rate_is_written_by_the_first_period_in_which_something_happens(
    per_second: float, unit: str, written: str
) -> None:
    assert rate_in_words(per_second, unit) == written


@pytest.mark.parametrize(
    ("done", "total", "unit", "written"),
    [
        (7, 31, "indexes", "7 of 31 indexes (22.6 %)"),
        (1200, None, "keys", "1,200 keys"),
        (0, None, "keys", ""),
        (0, 31, "indexes", "0 of 31 indexes (0.0 %)"),
        (3, 4, "", "3 of 4 (75.0 %)"),
        (50 * 2**20, 100 * 2**20, "bytes", "50 MB of 100 MB (50.0 %)"),
    ],
)
def test_an_amount_says_how_much_of_how_much(
    done: int, total: int | None, unit: str, written: str
) -> None:
    assert amount_in_words(done, total, unit) == written


def test_the_time_left_is_rounded_and_never_nothing() -> None:
    assert pace_in_words(Pace(10.0, 0.2), "keys") == "10 keys/s, about 1 s left"
    assert pace_in_words(Pace(10.0, 133.7), "keys") == "10 keys/s, about 2 min 14 s left"
    assert pace_in_words(Pace(10.0, 0.0), "keys") == "10 keys/s"
