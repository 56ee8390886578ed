"""Maintenance windows, also where the clocks change."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.windows import Window, closes_at, opens_at

MONDAY, SUNDAY = 0, 6
MINUTE = timedelta(minutes=1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
#: Days on which the clocks change in each zone: forward, then back.
CHANGES = {
    "Europe/Berlin": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/New_York": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 10, 4), date(2026, 4, 5)),
}


def window(start: str, end: str, zone: str = "UTC", days: set[int] | None = None) -> Window:
    chosen = frozenset(range(7) if days is None else days)
    return Window(time.fromisoformat(start), time.fromisoformat(end), zone, chosen)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def test_a_window_is_open_from_its_start_until_just_before_its_end() -> None:
    night = [window("01:00", "05:00")]

    assert closes_at(night, at("2026-11-25 00:59")) is None
    assert closes_at(night, at("2026-11-25 01:00")) == at("2026-11-25 05:00")
    assert closes_at(night, at("2026-11-25 04:59:59")) == at("2026-11-25 05:00")
    assert closes_at(night, at("2026-11-25 05:00")) is None
    assert opens_at(night, at("2026-11-25 01:00")) == at("2026-11-26 01:00")


def test_a_window_across_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    sunday_night = [window("22:00", "04:00", days={SUNDAY})]

    assert closes_at(sunday_night, at("2026-11-30 03:00")) == at("2026-11-30 04:00")
    assert closes_at(sunday_night, at("2026-11-29 03:00")) is None
    assert opens_at(sunday_night, at("2026-11-30 03:00")) == at("2026-12-06 22:00")


def test_equal_times_are_a_whole_day() -> None:
    monday = [window("00:00", "00:00", days={MONDAY})]

    assert closes_at(monday, at("2026-11-30 00:00")) == at("2026-12-01 00:00")
    assert closes_at(monday, at("2026-12-01 00:00")) is None


def test_windows_that_touch_or_overlap_are_one() -> None:
    night = [window("03:00", "05:00"), window("01:00", "03:00"), window("04:00", "04:30")]

    assert closes_at(night, at("2026-11-25 01:30")) == at("2026-11-25 05:00")
    assert opens_at(night, at("2026-11-25 01:30")) == at("2026-11-26 01:00")


def test_windows_that_leave_no_time_out_never_open_and_close_far_away() -> None:
    always = [window("02:30", "02:30", "Europe/Berlin")]
    now = at("2026-03-28 12:00")

    end = closes_at(always, now)

    assert end is not None
    assert end > now + timedelta(days=14)
    assert opens_at(always, now) is None


def test_without_windows_nothing_opens() -> None:
    assert closes_at([], at("2026-11-25 00:00")) is None
    assert opens_at([], at("2026-11-25 00:00")) is None


def test_a_window_is_read_on_the_clock_of_its_own_zone() -> None:
    night = [window("01:00", "02:00", "America/New_York"), window("01:00", "02:00", "Asia/Tokyo")]

    assert closes_at(night, at("2026-11-25 06:30")) == at("2026-11-25 07:00")
    assert closes_at(night, at("2026-11-25 16:30")) == at("2026-11-25 17:00")


# --- Where the clocks change ---


def test_a_start_that_is_skipped_comes_an_hour_later() -> None:
    night = [window("02:30", "05:00", "Europe/Berlin")]

    assert opens_at(night, at("2026-03-29 00:00")) == at("2026-03-29 03:30", "Europe/Berlin")


def test_an_edge_that_comes_twice_is_the_first() -> None:
    night = [window("02:30", "02:45", "Europe/Berlin")]

    opens = opens_at(night, at("2026-10-24 22:00"))

    assert opens == at("2026-10-25 00:30")
    assert closes_at(night, opens) == at("2026-10-25 00:45")
    assert closes_at(night, at("2026-10-25 01:35")) is None


def test_a_weekly_window_that_is_swallowed_opens_in_the_week_after() -> None:
    sundays = [window("02:00", "03:00", "Europe/Berlin", {SUNDAY})]

    after_the_last = opens_at(sundays, at("2026-03-22 12:00", "Europe/Berlin"))

    assert after_the_last == at("2026-04-05 02:00", "Europe/Berlin")


def test_half_an_hour_is_skipped_on_lord_howe() -> None:
    night = [window("02:10", "04:00", "Australia/Lord_Howe")]

    opens = opens_at(night, at("2026-10-04 00:00", "Australia/Lord_Howe"))

    assert opens == at("2026-10-04 02:40", "Australia/Lord_Howe")


class Clock:
    """The clock on a wall, watched minute by minute for a week around a day."""

    def __init__(self, zone: str, day: date) -> None:
        self.first = datetime.combine(day, time(), UTC) - timedelta(days=4)
        self.minutes = [self.first + n * MINUTE for n in range(8 * 1440)]
        self._seen: dict[datetime, datetime] = {}
        last: datetime | None = None
        for minute in self.minutes:
            wall = minute.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            if last is not None and wall > last + MINUTE:  # it jumped: what it skipped comes later
                jump = wall - last - MINUTE
                for n in range(int(jump / MINUTE)):
                    self._seen[last + (n + 1) * MINUTE] = minute + n * MINUTE
            self._seen.setdefault(wall, minute)
            last = wall

    def open_minutes(self, windows: Sequence[Window]) -> set[datetime]:
        """Return the minutes in which one of the windows is open."""
        found: set[datetime] = set()
        day = self.first.date() - timedelta(days=2)
        while day <= self.minutes[-1].date() + timedelta(days=1):
            for each in windows:
                if day.weekday() in each.days:
                    after = day + timedelta(days=each.end <= each.start)
                    opens = self._shows(datetime.combine(day, each.start))
                    closes = self._shows(datetime.combine(after, each.end))
                    found.update(opens + n * MINUTE for n in range(int((closes - opens) / MINUTE)))
            day += timedelta(days=1)
        return found

    def _shows(self, wall: datetime) -> datetime:
        """Return the first minute at which the clock shows a time; outside of its week, nearly."""
        if wall in self._seen:
            return self._seen[wall]
        return self.first if wall < min(self._seen) else self.minutes[-1] + MINUTE


@pytest.mark.parametrize("edge", [0, 1])
@pytest.mark.parametrize("zone", list(CHANGES))
@pytest.mark.parametrize(
    "hours",
    [
        [("01:00", "05:00")],
        [("02:15", "02:45")],
        [("02:30", "02:30")],
        [("22:00", "02:20")],
        [("00:00", "02:00"), ("02:00", "03:00"), ("23:30", "23:45")],
        [("02:00", "03:00"), ("02:29", "01:31")],
    ],
)
def test_every_minute_of_a_week_is_as_the_clock_on_the_wall_has_it(
    zone: str, edge: int, hours: list[tuple[str, str]]
) -> None:
    day = CHANGES[zone][edge]
    windows = [window(start, end, zone) for start, end in hours]
    clock = Clock(zone, day)
    is_open = clock.open_minutes(windows)

    change = datetime.combine(day, time(2), ZoneInfo(zone))
    for minute in clock.minutes[1440 : -2 * 1440]:
        before = minute - MINUTE
        is_edge = (minute in is_open) != (before in is_open)
        if not is_edge and minute.minute % 20 and abs(minute - change) > timedelta(hours=4):
            continue  # far from every edge a look in twenty minutes is enough
        assert (closes_at(windows, minute) is not None) == (minute in is_open), minute
        if minute in is_open and before not in is_open:
            assert opens_at(windows, before) == minute
        if minute not in is_open and before in is_open:
            assert closes_at(windows, before) == minute


@st.composite
def some_windows(draw: st.DrawFn) -> list[Window]:
    times = st.times().map(lambda t: t.replace(microsecond=0))
    days = st.frozensets(st.integers(0, 6), min_size=1)
    one = st.builds(Window, times, times, st.sampled_from(ZONES), days)
    return draw(st.lists(one, min_size=1, max_size=4))


moments = st.integers(0, 4 * 366 * 1440).map(
    lambda n: datetime(2026, 1, 1, tzinfo=UTC) + n * MINUTE
)


@given(some_windows(), moments)
def test_an_end_is_never_past_and_an_opening_always_to_come(
    windows: list[Window], now: datetime
) -> None:
    closes, opens = closes_at(windows, now), opens_at(windows, now)

    assert closes is None or closes > now
    assert opens is None or opens > now
    assert closes is not None or opens is not None
    if closes is not None and opens is not None:
        assert closes < opens
    if opens is not None:
        assert closes_at(windows, opens) is not None
        assert closes_at(windows, opens - timedelta(microseconds=1)) is None
