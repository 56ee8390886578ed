"""Pages that are not ours, Django's and django-celery-beat's, under the policy that the service sends."""

from playwright.sync_api import Page, expect

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import ScheduleRow
from tests.browser.conftest import OpenPage

BEAT = "/admin/django_celery_beat"


def test_pages_of_django_are_refused_nothing(open_page: OpenPage) -> None:
    sync_schedules(configuration())
    page = open_page()

    for address in (
        "/admin/",
        "/admin/auth/group/add/",
        "/admin/auth/user/",
        "/admin/password_change/",
        f"{BEAT}/periodictask/",
        f"{BEAT}/crontabschedule/add/",
        f"{BEAT}/clockedschedule/add/",
    ):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        assert "unsafe" not in answer.headers["content-security-policy"]

    # What the browser refuses is a complaint, which fails the test at its end.
    page.goto("/admin/auth/group/add/")
    expect(page.locator(".selector-available")).to_be_visible()
    page.goto(f"{BEAT}/clockedschedule/add/")
    page.get_by_role("link", name="Today").click()
    expect(page.locator("#id_clocked_time_0")).not_to_have_value("")


def test_the_form_of_beat_says_what_a_crontab_means(open_page: OpenPage) -> None:
    sync_schedules(configuration())
    row = ScheduleRow.objects.filter(crontab__isnull=False).first()
    assert row is not None
    page = open_page()
    page.goto(f"{BEAT}/periodictask/{row.pk}/change/")

    choose_another_crontab(page)

    expect(page.locator(".field-crontab .help")).to_contain_text("Translation: ")


def choose_another_crontab(page: Page) -> None:
    chooser = page.locator("#id_crontab")
    values = chooser.locator("option").evaluate_all("all => all.map(each => each.value)")
    current = chooser.input_value()
    chooser.select_option(next(value for value in values if value not in {"", current}))
