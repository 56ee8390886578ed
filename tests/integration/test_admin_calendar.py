"""The calendar's page and file: who sees them, what they count, and addresses that mean nothing."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from maintenance.admin import calendar_page
from maintenance.admin.calendar_page import MONTHS_AHEAD, MOST_IN_FILE, MOST_SLOTS, SHOWN_A_DAY
from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from tests.admin_clients import ClientFactory

CALENDAR = "/admin/maintenance/schedulerow/calendar/"
FILE = "/admin/maintenance/schedulerow/calendar.ics"


@pytest.fixture
def viewer(client_with: ClientFactory) -> Client:
    return client_with("view_schedulerow")


def schedule(name: str, **crontab: str) -> PeriodicTask:
    hours = CrontabSchedule.objects.create(**crontab, timezone=timezone.get_current_timezone_name())
    row: PeriodicTask = PeriodicTask.objects.create(name=name, task="news.send", crontab=hours)
    return row


def month_after(today: date) -> date:
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1)


def days(answer: Any) -> Iterable[Any]:
    return (day for week in answer.context["weeks"] for day in week if day.is_in_month)


def test_every_run_of_a_month_stands_on_its_day(viewer: Client) -> None:
    schedule("nightly", minute="30", hour="23")
    schedule("hourly", minute="0")
    month = month_after(timezone.localdate())

    answer = viewer.get(CALENDAR, {"month": f"{month:%Y-%m}"})

    found = {
        day.date: [(e.name, f"{e.at:%H:%M}", e.times) for e in day.shown] for day in days(answer)
    }
    last = month_after(month) - timedelta(days=1)
    assert set(found) == {month.replace(day=n) for n in range(1, last.day + 1)}
    assert all(entries[-1] == ("nightly", "23:30", 1) for entries in found.values())
    assert {entries[0][0] for entries in found.values()} == {"hourly"}
    assert sum(entries[0][2] for entries in found.values()) == answer.context["runs"] - last.day


def test_a_day_has_all_its_runs_and_a_month_counts_what_it_has_no_room_for(viewer: Client) -> None:
    for number in range(SHOWN_A_DAY + 3):
        schedule(f"number {number}", minute=f"{number}", hour="12", day_of_month="15")
    day = month_after(timezone.localdate()).replace(day=15)

    month = viewer.get(CALENDAR, {"month": f"{day:%Y-%m}"})
    [field] = [each for each in days(month) if each.date == day]
    assert (len(field.shown), field.more) == (SHOWN_A_DAY, 3)
    assert f"?day={day}" in month.content.decode()
    entries = viewer.get(CALENDAR, {"day": f"{day}"}).context["entries"]
    assert [entry.name for entry in entries] == [f"number {n}" for n in range(SHOWN_A_DAY + 3)]


def test_an_outage_stays_while_one_turns_the_pages(viewer: Client) -> None:
    schedule("nightly", minute="30", hour="3")
    month = month_after(timezone.localdate())
    outage = {"down_from": f"{month}T00:00", "down_to": f"{month + timedelta(days=2)}T12:00"}

    answer = viewer.get(CALENDAR, {"month": f"{month:%Y-%m}", **outage})

    late = [r for r in answer.context["remarks"] if r.words.startswith("late, after the outage")]
    assert [remark.words for remark in late] == ["late, after the outage: one run for 3 slots"]
    assert f"down_from={month}T00%3A00" in answer.content.decode()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"down_from": "2030-01-02T00:00", "down_to": "2030-01-01T00:00"}, "has to end after it"),
        ({"down_from": "2030-01-02T00:00"}, "Give both times of the outage"),
        (
            {"down_from": "2030-01-02T00:00", "down_to": "9999-12-31T23:59"},
            "has to end within the 24 months",
        ),
        ({"down_from": "sunday", "down_to": "2030-01-01T00:00"}, "Enter a valid date/time."),
    ],
)
def test_an_outage_that_cannot_be_is_refused_and_the_month_stands(
    viewer: Client, given: dict[str, str], sentence: str
) -> None:
    answer = viewer.get(CALENDAR, given)
    assert sentence in answer.content.decode()
    assert not answer.context["is_played_through"]


def test_an_outage_may_have_begun_at_any_time(viewer: Client) -> None:
    schedule("nightly", minute="30", hour="3")
    tomorrow = timezone.localdate() + timedelta(days=1)

    answer = viewer.get(CALENDAR, {"down_from": "0001-01-01T00:00", "down_to": f"{tomorrow}T12:00"})

    assert answer.context["is_played_through"]
    assert viewer.get(CALENDAR, {"down_from": "0001-01-01T00:00"}).status_code == 200


@pytest.mark.parametrize("month", ["1970-01", "9999-12", "2026-13", "x", ""])
def test_a_month_that_is_past_too_far_or_none_is_one_that_can_be_shown(
    viewer: Client, month: str
) -> None:
    today = timezone.localdate().replace(day=1)
    shown = viewer.get(CALENDAR, {"month": month}).context["month"]
    months = (shown.year - today.year) * 12 + shown.month - today.month
    assert months == (MONTHS_AHEAD if month == "9999-12" else 0)
    assert viewer.get(CALENDAR, {"day": "1970-01-01"}).status_code == 200
    assert viewer.get(CALENDAR, {"day": "9999-12-31"}).status_code == 200


def test_the_file_has_a_year_of_runs_of_what_was_searched_for(viewer: Client) -> None:
    sync_schedules(configuration())
    schedule("newsletter", minute="0", hour="3", day_of_month="1")
    answer = viewer.get(FILE, {"q": "NEWS"})
    assert answer.headers["Content-Type"].startswith("text/calendar")
    assert answer.content.decode().count("SUMMARY:newsletter\r\n") == 12
    assert answer.content.decode().count("BEGIN:VEVENT") == 12
    assert viewer.get(FILE).content.decode().count("BEGIN:VEVENT") > 300


def description(answer: Any) -> str:
    text = answer.content.decode().replace("\r\n ", "")
    return str(text.partition("X-WR-CALDESC:")[2].partition("\r\n")[0].replace("\\,", ","))


def test_the_file_says_what_it_has_no_room_for(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule("nightly", minute="30", hour="23")
    assert description(viewer.get(FILE)) == ""
    for name in ("hourly", "hourly too"):
        schedule(name, minute="0")
    schedule("minutely")
    monkeypatch.setattr(calendar_page, "MOST_IN_FILE", 100)
    monkeypatch.setattr(calendar_page, "MOST_SCHEDULES", 3)

    answer = viewer.get(FILE)

    assert 90 < answer.content.decode().count("BEGIN:VEVENT") <= 100
    ends = description(answer).removeprefix("Ends at ").partition(" UTC")[0]
    ahead = datetime.fromisoformat(f"{ends}Z") - timezone.now()
    assert timedelta(hours=48) < ahead < timedelta(hours=51), "two runs an hour"
    assert "a file has 100 runs at most. Due more often than each hour, and left out: " in (
        description(answer)
    )
    assert "minutely. Left out: 1 more schedules." in description(answer)
    searched = viewer.get(FILE, {"q": "nightly"})
    assert searched.content.decode().count("BEGIN:VEVENT") == 100
    assert "left out" not in description(searched)


def test_a_thousand_hourly_schedules_make_no_file_without_end(viewer: Client) -> None:
    hours = CrontabSchedule.objects.create(minute="0")
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"hourly {number}", task="news.send", crontab=hours)
        for number in range(1000)
    )

    answer = viewer.get(FILE)

    assert answer.content.count(b"BEGIN:VEVENT") == MOST_IN_FILE


def test_whoever_may_not_look_at_schedules_sees_neither(client_with: ClientFactory) -> None:
    other = client_with("view_run")
    for url in (CALENDAR, FILE):
        answer = other.get(url)
        assert answer.status_code == 403
        assert "You may not look at schedules." in answer.content.decode()
        assert Client().get(url).status_code == 302


def test_a_name_is_never_markup(viewer: Client) -> None:
    schedule("<script>alert(1)</script>_x", minute="0", hour="3")
    month = f"{month_after(timezone.localdate()):%Y-%m}"
    text = viewer.get(CALENDAR, {"month": month}).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;_<wbr>x" in text


def test_a_month_of_more_slots_than_a_page_works_out_has_the_rare_ones(viewer: Client) -> None:
    hours = CrontabSchedule.objects.create(minute="0")
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"hourly {number}", task="news.send", crontab=hours)
        for number in range(500)
    )
    schedule("nightly", minute="30", hour="23")
    month = month_after(timezone.localdate())

    answer = viewer.get(CALENDAR, {"month": f"{month:%Y-%m}"})

    assert MOST_SLOTS // 2 < answer.context["runs"] <= MOST_SLOTS
    assert answer.context["left_out"] == 501 - answer.context["schedules"] > 0
    assert "more schedules are not shown" in answer.content.decode()
    named = {entry.name for day in days(answer) for entry in day.shown}
    assert "nightly" in named, "the rare one comes last by its name"
    one_day = viewer.get(CALENDAR, {"day": f"{month}"})
    assert one_day.context["left_out"] == 0
    assert one_day.context["runs"] == 500 * 24 + 1
