"""When a crontab is due, against a calendar that walks through every minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.core.scheduling.cron import Cron
from maintenance.core.scheduling.day_rules import DayRule

#: Half and whole hours of change, north and south, at midnight, none, a skipped day, negative summer.
ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo",
    "America/St_Johns", "America/Santiago", "America/Havana", "America/Scoresbysund", "Asia/Kolkata",
    "Asia/Kathmandu", "Asia/Tehran", "Asia/Beirut", "Asia/Gaza", "Africa/Casablanca", "Africa/Cairo",
    "Australia/Lord_Howe", "Australia/Sydney", "Pacific/Apia", "Pacific/Chatham", "Antarctica/Troll",
)  # fmt: skip


def cron(text: str, zone: str = "UTC") -> Cron:
    fields = crontab.from_string(text)
    return Cron(
        fields.minute,
        fields.hour,
        fields.day_of_month,
        fields.month_of_year,
        fields.day_of_week,
        ZoneInfo(zone),
    )


def by_hand(spec: Cron, since: datetime, until: datetime) -> set[datetime]:
    """Walk through every minute: what the clock shows is due, and what it skips with the jump."""
    due, minute = set(), timedelta(minutes=1)
    seen: set[datetime] = set()
    moment = since - timedelta(days=2)
    shown = moment.astimezone(spec.zone).replace(tzinfo=None)
    while moment <= until:
        expected, shown = shown, moment.astimezone(spec.zone).replace(tzinfo=None)
        # The wall times that the clock jumps over come as much later as it jumps.
        jump = shown - expected
        for skipped in _minutes(expected, shown):
            if _fits(spec, skipped):
                due.add(moment - (shown - skipped) + jump)
        is_again = shown in seen and len(spec.hours) < 24
        if _fits(spec, shown) and not is_again:
            due.add(moment)
        seen.add(shown)
        moment += minute
        if moment <= until:
            shown += minute
    return {at for at in due if since < at <= until}


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += timedelta(minutes=1)


def _fits(spec: Cron, wall: datetime) -> bool:
    return (
        wall.minute in spec.minutes
        and wall.hour in spec.hours
        and wall.day in spec.days_of_month
        and wall.month in spec.months
        and wall.isoweekday() % 7 in spec.weekdays
        and (spec.days is None or spec.days.fits(wall.date()))
    )


def fields(least: int, most: int, *, count: int = 3) -> st.SearchStrategy[set[int]]:
    every = st.just(set(range(least, most + 1)))
    return every | st.sets(st.integers(least, most), min_size=1, max_size=count)


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    return Cron(
        draw(fields(0, 59)),
        draw(fields(0, 23)),
        draw(fields(1, 31, count=12)),
        draw(fields(1, 12, count=8)),
        draw(fields(0, 6)),
        ZoneInfo(draw(st.sampled_from(ZONES))),
        draw(st.none() | st.builds(DayRule, st.none() | st.integers(1, 5), st.integers(0, 6))),
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """A zone, and a moment at which its clocks changed within these ten years."""
    zone = ZoneInfo(draw(st.sampled_from([name for name in ZONES if name != "UTC"])))
    day = datetime(2011, 1, 1, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 3652)))
    offset = day.astimezone(zone).utcoffset()
    for _ in range(366):
        following = day + timedelta(days=1)
        if following.astimezone(zone).utcoffset() != offset:
            return zone, following
        day = following
    return zone, day


@settings(max_examples=60, deadline=None)
@given(crons(), st.integers(0, 3652 * 1440))
def test_every_due_minute_of_ten_years_is_found_and_no_other(spec: Cron, minutes: int) -> None:
    since = datetime(2011, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    until = since + timedelta(days=3)
    assert list(spec.between(since, until)) == sorted(by_hand(spec, since, until))


@settings(max_examples=60, deadline=None)
@given(crons(), changes())
def test_the_days_on_which_the_clocks_change_are_no_exception(
    spec: Cron, change: tuple[ZoneInfo, datetime]
) -> None:
    zone, moment = change
    spec = Cron(spec.minutes, spec.hours, spec.days_of_month, spec.months, spec.weekdays, zone)
    since, until = moment - timedelta(days=2), moment + timedelta(days=1)
    assert list(spec.between(since, until)) == sorted(by_hand(spec, since, until))


@given(crons(), st.integers(0, 3652 * 1440))
def test_the_moment_after_a_due_one_is_later(spec: Cron, minutes: int) -> None:
    at = datetime(2011, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    found = list(islice(spec.between(at, at + timedelta(days=400)), 5))
    assert found == sorted(set(found))
    assert all(due > at for due in found)


@pytest.mark.parametrize(
    ("text", "zone", "at", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:30"),  # skipped: 03:30
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),  # the first 02:30
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),  # and not again
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:00",
            "2026-10-25T01:00",
        ),  # every hour goes on
        ("0 3 1 1,4,7,10 *", "UTC", "2026-11-26T00:00", "2027-01-01T03:00"),
        ("0 0 29 2 *", "UTC", "2026-11-26T00:00", "2028-02-29T00:00"),
        ("0 0 29 2 0", "UTC", "2026-11-26T00:00", "2032-02-29T00:00"),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-29T23:00", "2011-12-30T22:00"),  # no such day
    ],
)
def test_days_that_are_known_for_it(text: str, zone: str, at: str, expected: str) -> None:
    after = cron(text, zone).after(datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert after == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_day_that_no_calendar_has_is_never_due() -> None:
    never = Cron({0}, {0}, {30}, {2}, set(range(7)), UTC)
    assert never.after(datetime(2026, 11, 26, tzinfo=UTC)) is None
