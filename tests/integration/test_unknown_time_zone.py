"""A schedule in a time zone that this machine does not know: no page and no command fails for it."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import differences, sync_schedules
from tests.admin_clients import ClientFactory

ODD = "maintenance: daily review_slow_queries on default"


@pytest.fixture(autouse=True)
def odd(db: None) -> PeriodicTask:
    """One of the schedules of the checklists, as a ledger of another machine may have it."""
    sync_schedules(configuration())
    row = PeriodicTask.objects.get(name=ODD)
    row.crontab = CrontabSchedule.objects.create(minute="7", hour="7", timezone="Asia/Tokyo")
    row.save()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus' WHERE id = %s",
            [row.crontab_id],
        )
    return row


@pytest.fixture
def viewer(client_with: ClientFactory) -> Client:
    return client_with("view_schedulerow", "view_run", "view_storedfinding")


def test_the_list_of_schedules_says_what_is_wrong_with_it(viewer: Client) -> None:
    text = viewer.get(
        "/admin/maintenance/schedulerow/", {"q": "review_slow_queries"}
    ).content.decode()
    assert "At 07:07" in text
    assert "The time zone &quot;Mars/Olympus&quot; is not known to this machine." in text


def test_the_calendar_and_the_dashboard_have_all_others(viewer: Client) -> None:
    month = f"{timezone.localdate() + timedelta(days=31):%Y-%m}"
    calendar = viewer.get("/admin/maintenance/schedulerow/calendar/", {"month": month})
    others = PeriodicTask.objects.filter(enabled=True).count() - 1
    assert calendar.context["schedules"] + len(calendar.context["frequent"]) == others
    dashboard = viewer.get("/admin/maintenance/")
    assert dashboard.status_code == 200
    assert "review_slow_queries" not in dashboard.content.decode()


def test_the_command_lists_it_without_a_due_time() -> None:
    out = StringIO()
    call_command("maintenance", "schedules", stdout=out)
    text = " ".join(out.getvalue().split())
    assert "(Mars/Olympus)" in text


def test_what_synchronises_keeps_it_as_an_edit_and_goes_on() -> None:
    PeriodicTask.objects.exclude(name=ODD).filter(name__startswith="maintenance: monthly").update(
        description="of an older version"
    )

    result = sync_schedules(configuration())

    kept = {(each.field, each.in_row) for each in result.kept if each.schedule == ODD}
    assert kept == {("cron", "7 7 * * *"), ("timezone", "Mars/Olympus")}
    assert {str(each) for each in differences(configuration())} >= {
        str(each) for each in result.kept
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT timezone FROM django_celery_beat_crontabschedule ORDER BY id DESC")
        assert cursor.fetchone() == ("Mars/Olympus",), "nothing was written over it"
