"""The calendar as a person sees it: empty and full, a day of it, and an outage played through."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from playwright.sync_api import Page, expect

from maintenance.conf import configuration
from maintenance.core.scheduling.pausing import pause
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import Blackout, Run, RunState, SchedulePolicy, Trigger
from tests.browser.conftest import OpenPage

CALENDAR = "/admin/maintenance/schedulerow/calendar/"
PHONE = 390


def a_full_calendar() -> None:
    """The four checklists, learned durations, a pause, a blackout, jitter and a site's own work."""
    sync_schedules(configuration())
    now = timezone.now()
    seconds = {"vacuum_analyze": 5400, "report_table_bloat": 900, "report_index_bloat": 1800}
    for row in PeriodicTask.objects.filter(name__startswith="maintenance: "):
        task = row.task.removeprefix("maintenance.")
        Run.objects.create(
            task=row.task,
            target="default" if "default" in row.name else "",
            queue="low",
            trigger=Trigger.CLI,
            state=RunState.SUCCEEDED,
            queued_at=now,
            started_at=now - timedelta(seconds=seconds.get(task, 75)),
            finished_at=now,
        )
    nights = CrontabSchedule.objects.create(minute="30", hour="3", timezone="UTC")
    often = CrontabSchedule.objects.create(minute="*/5", timezone="UTC")
    newsletter = PeriodicTask.objects.create(name="newsletter", task="n.send", crontab=nights)
    invoices = PeriodicTask.objects.create(name="invoices", task="shop.bill", crontab=nights)
    PeriodicTask.objects.create(name="poll the bank", task="shop.poll", crontab=often)
    pause(newsletter, "ann", "holidays")
    SchedulePolicy.objects.create(row=invoices, days="last friday", jitter_seconds=1200)
    starts_at = datetime.combine(blackout_day(), time(hour=2), tzinfo=UTC)
    Blackout.objects.create(
        reason="stocktaking", starts_at=starts_at, ends_at=starts_at + timedelta(days=1)
    )


def blackout_day() -> date:
    """The eighth of the next month: at whatever moment this runs, its page shows the same."""
    first = timezone.localdate().replace(day=1)
    return (first + timedelta(days=32)).replace(day=8)


def next_month() -> str:
    return f"{blackout_day():%Y-%m}"


def test_a_month_leads_to_its_days(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    a_full_calendar()
    page = open_page()
    page.goto("/admin/maintenance/schedulerow/")
    keep_picture(page, "schedules-with-leader")
    expect(page.get_by_text("No scheduler has ever led: nothing is sent.")).to_be_visible()
    page.get_by_role("link", name="Calendar").click()
    page.locator("a[rel=next]").click()
    expect(page.locator(".maintenance-month")).to_contain_text("trim_streams")
    expect(page.get_by_text("and left out: poll the bank")).to_be_visible()
    expect(page.get_by_text("paused by ann: holidays").first).to_be_visible()
    keep_picture(page, "calendar-full")

    page.locator(".maintenance-more").first.click()
    expect(page.locator(".maintenance-day tbody tr").nth(6)).to_be_visible()
    expect(page.locator(".maintenance-day")).to_contain_text("daily trim_streams on main")
    keep_picture(page, "calendar-day")


def test_an_outage_is_played_through_and_a_senseless_one_refused(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    sync_schedules(configuration())
    page = open_page()
    month = next_month()
    page.goto(f"{CALENDAR}?month={month}")
    page.get_by_label("beat is down from").fill(f"{month}-05T00:00")
    page.locator("#id_down_to").fill(f"{month}-07T12:00")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("with the outage played through")).to_be_visible()
    expect(page.get_by_text("late, after the outage").first).to_be_attached()
    expect(page).to_have_url(re.compile(f"month={month}"))
    keep_picture(page, "calendar-outage")

    page.locator("#id_down_to").fill(f"{month}-01T12:00")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("The outage has to end after it begins.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_the_calendar_fits_every_screen_empty_and_full(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None], width: int, scheme: str
) -> None:
    page = open_page(width=width, scheme=scheme)
    page.goto(CALENDAR)
    expect(page.get_by_text("0 runs of 0 schedules")).to_be_visible()
    keep_picture(page, f"calendar-empty-{scheme}-{width}")
    a_full_calendar()
    urls = {
        "month": f"{CALENDAR}?month={next_month()}",
        "day": f"{CALENDAR}?day={blackout_day()}",
        "policies": "/admin/maintenance/schedulepolicy/",
        "blackouts": "/admin/maintenance/blackout/",
    }
    for name, url in urls.items():
        answer = page.goto(url)
        assert answer is not None
        assert answer.ok
        keep_picture(page, f"calendar-{name}-{scheme}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
