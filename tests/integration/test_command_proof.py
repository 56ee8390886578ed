"""``maintenance proof``: versions and runs of a ledger, against counts that were planted."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from pytest_django import DjangoAssertNumQueries

from maintenance.core.evidence.proof import Verdict
from maintenance.core.evidence.slot_history import slot_histories
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.scheduling.definitions import Definition
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.models import Run, RunState, ScheduleVersion, Trigger

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
HOURLY = Definition("maintenance.trim_streams", target="main", crontab="0 * * * *", timezone="UTC")


@pytest.fixture
def midnight() -> datetime:
    """The last midnight that lies two days back: all slots of that day are long past."""
    day = ledger_now().astimezone(UTC) - timedelta(days=2)
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def version(schedule: str, since: datetime, definition: Definition | None = HOURLY) -> None:
    stored = definition.to_json() if definition is not None else {}
    ScheduleVersion.objects.create(schedule=schedule, since=since, definition=stored)


def run(schedule: str, at: datetime, **more: Any) -> Run:
    given = {
        "task": "maintenance.trim_streams",
        "target": "main",
        "queue": "high",
        "trigger": Trigger.BEAT,
        "state": RunState.SUCCEEDED,
        "queued_at": at,
        "started_at": at + timedelta(seconds=1),
        "finished_at": at + timedelta(seconds=2),
        **more,
    }
    return Run.objects.create(schedule=schedule, scheduled_for=at, **given)


def proof(*words: str) -> tuple[int, str]:
    out, code = StringIO(), 0
    try:
        call_command("maintenance", "proof", *words, stdout=out, stderr=StringIO())
    except SystemExit as end:
        code = int(end.code or 0)
    return code, out.getvalue()


def facts(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(proof("--format", "json", *words)[1])["report"]["facts"]
    return found


def of_day(midnight: datetime) -> tuple[str, ...]:
    end = midnight + timedelta(days=1)
    return "--since", midnight.isoformat(), "--until", end.isoformat()


def planted(midnight: datetime, name: str = f"{NAME_PREFIX}daily trim_streams on main") -> str:
    """A day of an hourly schedule: 19 on time, one each late, skipped, waiting, failed and lost."""
    version(name, midnight - timedelta(minutes=1))
    version(name, midnight + timedelta(days=1), None)
    for hour in range(24):
        at = midnight + hour * HOUR
        if hour == 3:
            run(name, at, started_at=at + timedelta(minutes=7))
        elif hour == 4:
            reason = "Another run has been at work since 02:30."
            run(name, at, state=RunState.SKIPPED, reason=reason, started_at=None)
        elif hour == 5:
            run(name, at, state=RunState.QUEUED, started_at=None, finished_at=None)
        elif hour == 6:
            run(name, at, state=RunState.FAILED, reason="The table is gone.")
        elif hour != 7:
            run(name, at)
    return name


def test_a_lost_slot_is_named_and_ends_the_command_with_1(midnight: datetime) -> None:
    planted(midnight)

    code, text = proof(*of_day(midnight))

    assert code == 1
    assert "24 slots of 1 schedule" in text
    assert "20 on time, 1 skipped, 1 late, 1 waiting, 1 lost." in " ".join(text.split())
    at = f"{timezone.localtime(midnight + 7 * HOUR):%Y-%m-%d %H:%M %Z}"
    assert f"lost 1 slot: no row says that it ran or why not, first at {at}." in " ".join(
        text.split()
    )
    assert "Another run has been at work since 02:30." in text
    assert text.index("failed runs") < text.index("not on time") < text.index("Schedules")


def test_a_day_without_a_gap_is_proved(midnight: datetime) -> None:
    name = planted(midnight)
    run(name, midnight + 7 * HOUR)
    code, text = proof(*of_day(midnight))
    assert code == 0
    assert "0 lost" in text


def test_slots_that_failed_before_they_began_end_the_command_with_1(midnight: datetime) -> None:
    name = planted(midnight)
    run(name, midnight + 7 * HOUR, state=RunState.FAILED, reason="Unknown target", started_at=None)

    code, text = proof(*of_day(midnight))

    assert code == 1
    said = " ".join(text.split())
    assert "1 skipped, 1 late, 1 waiting, 1 failed to start, 0 lost." in said
    assert "1 slot failed before anything was started: daily trim_streams on main." in said


def test_every_slot_comes_as_csv_when_asked_for(midnight: datetime, tmp_path: Path) -> None:
    planted(midnight)
    planted(midnight, "=a formula")
    file = tmp_path / "slots.csv"

    proof(*of_day(midnight), "--slots", str(file))

    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 48
    assert Counter(row["verdict"] for row in rows) == {
        "on time": 40, "late": 2, "skipped": 2, "waiting": 2, "lost": 2,
    }  # fmt: skip
    assert {row["schedule"] for row in rows} == {"daily trim_streams on main", "'=a formula"}
    late = next(row for row in rows if row["verdict"] == "late")
    assert (late["late_seconds"], late["state"]) == ("420.0", "succeeded")


@pytest.mark.parametrize("format_name", ["text", "json", "csv", "markdown", "html"])
def test_every_format_has_the_sums(midnight: datetime, format_name: str) -> None:
    planted(midnight)
    assert "24 slots of 1 schedule" in proof(*of_day(midnight), "--format", format_name)[1]


def test_schedules_are_chosen_by_a_pattern(midnight: datetime) -> None:
    planted(midnight)
    planted(midnight, "send the newsletter")
    assert facts(*of_day(midnight))["schedules"] == 2
    assert facts(*of_day(midnight), "--schedule", "daily *")["schedules"] == 1
    assert facts(*of_day(midnight), "--schedule", "send *")["lost"] == 1
    assert facts(*of_day(midnight), "--schedule", "weekly *")["slots"] == 0


def test_slots_that_no_scheduler_has_come_to_are_overdue_and_not_lost(midnight: datetime) -> None:
    name = "hourly"
    version(name, midnight)
    PeriodicTask.objects.create(
        name=name,
        task="maintenance.trim_streams",
        crontab=CrontabSchedule.objects.create(minute="0"),
        last_run_at=midnight + 2 * HOUR,
    )
    run(name, midnight)
    run(name, midnight + 2 * HOUR)

    found = facts(*of_day(midnight))

    assert (found["on_time"], found["lost"], found["overdue"]) == (2, 1, 21)
    code, text = proof(*of_day(midnight))
    assert code == 1
    assert "has 21 slots that no scheduler has come to" not in text, "what is lost is worse"
    assert "hourly lost 1 slot" in text


def test_an_edit_divides_the_slots_of_old_and_new(midnight: datetime) -> None:
    daily = Definition("maintenance.trim_streams", target="other", crontab="30 12 * * *")
    version("edited", midnight)
    version("edited", midnight + 12 * HOUR, daily)
    version("edited", midnight + 24 * HOUR, None)
    for hour in range(12):
        run("edited", midnight + hour * HOUR)
    run("edited", midnight + 12 * HOUR)  # the old version has no slot any more
    run("edited", midnight + 12.5 * HOUR, target="other")

    found = facts(*of_day(midnight))

    assert (found["slots"], found["on_time"], found["unexpected"]) == (13, 13, 1)


def test_what_lies_before_the_record_or_was_removed_is_not_called_lost(
    midnight: datetime, settings: Any
) -> None:
    planted(midnight)
    start = (midnight - timedelta(days=100)).isoformat()

    code, text = proof("--since", start, "--until", (midnight + 3 * HOUR).isoformat())
    assert code == 0
    assert "unavailable: the proof of slots before" in text
    assert "needs versions of schedules" in text

    settings.MAINTENANCE = {**settings.MAINTENANCE, "reports": {"retention_days": 1}}
    with pytest.raises(CommandError, match="There is no time to prove"):
        proof(*of_day(midnight))
    text = proof("--since", start)[1]
    assert "rows that the retention has removed" in text


def test_a_ledger_without_a_record_is_refused_and_so_is_no_time(midnight: datetime) -> None:
    with pytest.raises(CommandError, match="No scheduler has recorded any schedule yet"):
        proof()
    planted(midnight)
    with pytest.raises(CommandError, match="'sunday' is no time"):
        proof("--since", "sunday")
    with pytest.raises(CommandError, match="cannot be written to /nowhere/"):
        proof(*of_day(midnight), "--slots", "/nowhere/slots.csv")


def test_runs_of_schedules_that_nobody_recorded_are_counted(midnight: datetime) -> None:
    planted(midnight)
    run("sent by another beat", midnight + HOUR)
    assert "1 runs of slots belong to schedules that no version describes" in " ".join(
        proof(*of_day(midnight))[1].split()
    )


def test_a_schedule_that_cannot_be_read_is_named_and_hides_no_other(midnight: datetime) -> None:
    planted(midnight)
    version("broken", midnight, Definition("maintenance.trim_streams", crontab="61 * * * *"))
    text = " ".join(proof(*of_day(midnight))[1].split())
    assert "When broken is due cannot be computed" in text
    assert "24 slots of 2 schedules" in text


def verdicts(found: Iterable[Any]) -> Counter[Verdict]:
    return Counter(slot.verdict for history in found for slot in history.slots)


def test_the_number_of_queries_does_not_follow_that_of_schedules(
    midnight: datetime, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        version(f"{'ÄäZz-_'[number % 6]} {number}", midnight)
        run(f"{'ÄäZz-_'[number % 6]} {number}", midnight)
    with django_assert_num_queries(4):
        found = verdicts(slot_histories(midnight, midnight + HOUR, midnight + 2 * HOUR))
    assert found == {Verdict.ON_TIME: 60}


def test_a_time_that_cannot_be_read_hides_no_other_and_is_a_finding(midnight: datetime) -> None:
    unreadable = Definition(HOURLY.task, target="main", crontab="0 3 31 4 *", timezone="UTC")
    version("broken", midnight)
    version("broken", midnight + 4 * HOUR, unreadable)
    version("broken", midnight + 8 * HOUR)
    version("sound", midnight)
    for hour in (0, 1, *range(3, 12)):  # 4 to 7 by another machine, which could read it
        run("broken", midnight + hour * HOUR)
    for hour in range(12):
        run("sound", midnight + hour * HOUR)
    until = midnight + 12 * HOUR
    counts, unread = {}, {}
    for each in slot_histories(midnight, until, ledger_now()):
        counts[each.schedule] = Counter(slot.verdict for slot in each.slots)
        unread[each.schedule] = [(one.since, one.until) for one in each.unread]
    assert counts == {
        "broken": {Verdict.ON_TIME: 7, Verdict.LOST: 1},
        "sound": {Verdict.ON_TIME: 12},
    }
    assert unread == {"broken": [(midnight + 4 * HOUR, midnight + 8 * HOUR)], "sound": []}

    span = ("--since", (midnight + 3 * HOUR).isoformat(), "--until", until.isoformat())
    code, text = proof(*span, "--schedule", "broken")
    assert code == 1, "though no slot is missing"
    assert "When broken is due cannot be computed" in " ".join(text.split())
    assert "0 lost" in text
