"""``maintenance calendar``: the schedules of the ledger, read ahead."""

import json
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from maintenance.conf import configuration
from maintenance.core.scheduling.pausing import pause
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX, sync_schedules
from maintenance.core.scheduling.schedule_versions import defined
from maintenance.models import Blackout, Run, RunState, Trigger

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def schedules() -> None:
    sync_schedules(configuration())


def calendar(*words: str) -> str:
    out = StringIO()
    call_command("maintenance", "calendar", *words, stdout=out)
    return out.getvalue()


def as_data(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(calendar("--format", "json", *words))
    return found


def rows_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    table = document["report"]["tables"][0]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def test_every_schedule_of_a_year_stands_at_the_slots_that_beat_will_send() -> None:
    before = timezone.now()

    firsts: dict[str, str] = {}
    for row in rows_of(as_data("--days", "366")):
        name, due = row["schedule"], row["due_at"]
        firsts[name] = min(firsts.get(name, due), due)

    expected = {
        row.name.removeprefix(NAME_PREFIX): next(defined(row, before, None).after(before))
        for row in PeriodicTask.objects.filter(name__startswith=NAME_PREFIX, enabled=True)
    }
    assert {name: datetime.fromisoformat(due) for name, due in firsts.items()} == expected


def test_a_run_is_expected_to_take_what_the_last_ones_took() -> None:
    name = rows_of(as_data("--days", "1"))[0]["schedule"]
    row = next(r for r in PeriodicTask.objects.all() if r.name.endswith(name))
    now = timezone.now()
    for seconds in (10, 20, 600):
        Run.objects.create(
            task=row.task,
            target=json.loads(row.kwargs)["target"],
            queue="low",
            trigger=Trigger.CLI,
            state=RunState.SUCCEEDED,
            queued_at=now,
            started_at=now - timedelta(seconds=seconds),
            finished_at=now,
        )

    first = rows_of(as_data("--days", "1"))[0]

    assert first["takes_seconds"] == 20
    assert "takes 20 s" in calendar("--days", "1")


def test_an_outage_is_played_through() -> None:
    tomorrow = timezone.localtime() + timedelta(days=1)
    start, end = tomorrow, tomorrow + timedelta(days=1)

    text = calendar("--days", "3", "--down", f"{start:%Y-%m-%dT%H:%M}", f"{end:%Y-%m-%dT%H:%M}")

    assert "late, after the outage" in text
    assert "with a remark" in text


def test_the_calendar_of_a_person_gets_every_run(tmp_path: Path) -> None:
    runs = [row for row in rows_of(as_data("--days", "30")) if row["begins_at"]]
    file = tmp_path / "maintenance.ics"

    calendar("--days", "30", "--ics", "--output", str(file))

    body = file.read_bytes().decode()
    assert body.count("BEGIN:VEVENT\r\n") == len([r for r in runs if "skipped" not in r["remark"]])
    assert body.endswith("END:VCALENDAR\r\n")
    assert calendar("--days", "30", "--ics").startswith("BEGIN:VCALENDAR\r\n")


def test_policies_blackouts_and_the_sites_own_schedules_stand_in_it() -> None:
    hours = CrontabSchedule.objects.create(minute="15", hour="1", timezone="UTC")
    paused = PeriodicTask.objects.create(name="newsletter", task="news.send", crontab=hours)
    closed = PeriodicTask.objects.create(name="invoices", task="shop.bill", crontab=hours)
    each = IntervalSchedule.objects.create(every=5, period=IntervalSchedule.MINUTES)
    PeriodicTask.objects.create(name="poll", task="shop.poll", interval=each)
    pause(paused, "ann", "holidays")
    now = timezone.now()
    Blackout.objects.create(reason="stocktaking", starts_at=now, ends_at=now + timedelta(days=9))

    found = as_data("--days", "2")
    remarks = {row["schedule"]: row["remark"] for row in rows_of(found)}

    assert remarks[paused.name] == "will be skipped: paused by ann: holidays"
    assert remarks[closed.name].endswith(": stocktaking")
    assert "Due more often than each hour, and left out: poll." in found["report"]["summary"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--down", "2026-11-30", "2026-11-29"), "ends before it begins"),
        (("--down", "sunday", "2026-11-29"), "'sunday' is no time"),
        (("--down", "2026-02-31", "2026-11-29"), "'2026-02-31' is no time"),
        (("--days", "0"), "must be from 1 to 3660"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    words: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(CommandError, match=reason):
        calendar(*words)
