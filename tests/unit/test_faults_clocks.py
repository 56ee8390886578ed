"""What the faults of clocks expect: right at every hour at which somebody runs them."""

from datetime import UTC, date, datetime, timedelta

import pytest

from faults.clocks import BERLIN, days_since

WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("now", "first", "last"),
    [
        (datetime(2026, 11, 27, 1, 0, tzinfo=BERLIN), date(2026, 11, 20), date(2026, 11, 26)),
        (datetime(2026, 11, 27, 2, 29, tzinfo=BERLIN), date(2026, 11, 20), date(2026, 11, 26)),
        (datetime(2026, 11, 27, 2, 30, tzinfo=BERLIN), date(2026, 11, 21), date(2026, 11, 27)),
        (datetime(2026, 11, 27, 23, 30, tzinfo=UTC), date(2026, 11, 21), date(2026, 11, 27)),
    ],
)
def test_a_week_has_seven_days_whose_time_has_come(now: datetime, first: date, last: date) -> None:
    days = days_since(now - WEEK, now)

    assert (days[0], days[-1], len(days)) == (first, last, 7)


def test_none_has_come_within_an_hour() -> None:
    now = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    assert days_since(now - timedelta(hours=1), now) == []
