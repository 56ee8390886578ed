"""Days that a crontab cannot name, against a calendar that is counted through."""

from calendar import Calendar
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import InvalidOptions
from maintenance.core.scheduling.day_rules import DayRule, parse_days
from maintenance.core.scheduling.definitions import Definition
from maintenance.core.windows import WEEKDAYS

ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "last")


def days_of(month: date) -> list[date]:
    return [
        day
        for day in Calendar().itermonthdates(month.year, month.month)
        if day.month == month.month
    ]


@given(
    month=st.dates(date(2000, 1, 1), date(2099, 12, 1)),
    ordinal=st.sampled_from(ORDINALS),
    weekday=st.sampled_from(WEEKDAYS),
)
def test_a_rule_names_what_one_counts_on_a_calendar(
    month: date, ordinal: str, weekday: str
) -> None:
    rule = parse_days(f"{ordinal} {weekday}")
    assert rule is not None
    those = [day for day in days_of(month) if WEEKDAYS[day.weekday()] == weekday]
    wanted = those[-1:] if ordinal == "last" else those[int(ordinal[0]) - 1 :][:1]

    assert [day for day in days_of(month) if rule.fits(day)] == wanted


@given(month=st.dates(date(2000, 1, 1), date(2099, 12, 1)))
def test_the_last_day_is_one_a_month(month: date) -> None:
    assert [day for day in days_of(month) if DayRule().fits(day)] == days_of(month)[-1:]


def test_days_are_written_in_several_ways() -> None:
    assert parse_days("") is None
    assert parse_days(" ") is None
    assert parse_days("Last") == parse_days("last day") == DayRule()
    assert parse_days("second Tue") == parse_days("2nd tuesday") == DayRule(2, 1)


@pytest.mark.parametrize("text", ["lst", "6th monday", "2nd", "tuesday", "last last", "2 tuesday"])
def test_what_names_no_days_is_refused_with_what_would(text: str) -> None:
    with pytest.raises(InvalidOptions, match=r'names no days. Write "last"'):
        parse_days(text)


def test_a_rule_leaves_those_days_of_a_crontab_that_fit_it() -> None:
    monthly = Definition("t", crontab="30 2 * * *", timezone="Europe/Berlin", days="last friday")
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 30, tzinfo=UTC)

    assert [f"{slot:%d.%m. %H:%M}" for slot in monthly.between(since, until)] == [
        "30.01. 01:30",
        "27.02. 01:30",
        "27.03. 01:30",
        "24.04. 00:30",
    ]


def test_a_rule_that_no_day_of_the_crontab_fits_is_never_due() -> None:
    never = Definition("t", crontab="0 3 1 * *", timezone="UTC", days="last")

    assert next(never.after(datetime(2026, 1, 1, tzinfo=UTC)), None) is None
