"""What the driver writes to and reads from the ledger of the site under fire. Needs Django to be set up."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from django.db.models import Count, Max
from django_celery_beat.models import (
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
)

from faults.invariants import LedgerRow, SlotKey
from faults.site.marks import TABLE
from faults.site.stock import INTENTS
from faults.stack import Stack
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.scheduling.schedule_versions import due_slots as version_slots
from maintenance.core.scheduling.schedule_versions import stored_versions
from maintenance.models import TERMINAL_STATES, Run, RunState, ScheduleVersion, Trigger

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One schedule of the site: its task every so many seconds on one target."""

    name: str
    task: str
    target: str
    every_seconds: int
    options: dict[str, Any] = field(default_factory=dict)
    queue: str = "medium"
    crontab: str = ""


MARKS = tuple(
    Line(f"marks on {target}", "maintenance.leave_a_mark", target, 2)
    for target in ("library", "archive", "museum")
)
SLOW_MARKS = tuple(
    Line(line.name, line.task, line.target, 6, {"work_seconds": 4.0}) for line in MARKS
)
VACUUM = Line(
    "vacuum library",
    "maintenance.vacuum_under_fire",
    "library",
    3,
    {"mode": "all", "tables": ["public.heavy"]},
    "low",
)
TRIM = Line("trim main", "maintenance.trim_under_fire", "main", 3, {}, "low")
#: The same work as plain Celery tasks, for stock beat.
PLAIN_MARKS = tuple(
    Line(f"plain marks on {target}", "faults.plain_mark", target, 2)
    for target in ("library", "archive", "museum")
)
#: Due at times of the wall, and too rarely to be waited for.
WALL = (
    Line("hourly", "maintenance.leave_a_mark", "gallery", 0, crontab="0 * * * *"),
    Line("daily", "maintenance.leave_a_mark", "theatre", 0, crontab="30 2 * * *"),
)
#: What a soak runs: five runs a second, and the retention of what they leave.
SOAK = (
    *(
        Line(f"soak {target}", "maintenance.leave_a_mark", target, 1, {"work_seconds": 0.02})
        for target in ("library", "archive", "museum", "gallery", "theatre")
    ),
    VACUUM,
    TRIM,
    Line("retention", "maintenance.trim_reports", "", 5, {}, "low"),
)
LINES = {"marks": MARKS, "slow marks": SLOW_MARKS, "vacuum": (VACUUM,), "trim": (TRIM,)}
LINES["plain marks"] = PLAIN_MARKS
LINES["wall"] = WALL
LINES["soak"] = SOAK
OURS = frozenset(line.name for lines in LINES.values() for line in lines)


def write_lines(lines: Iterable[Line]) -> None:
    """Write the schedules of the site."""
    for line in lines:
        PeriodicTask.objects.create(
            name=line.name,
            task=line.task,
            **_due_times(line),
            queue=line.queue,
            kwargs=json.dumps(
                {"target": line.target}
                if line.task == "faults.plain_mark"
                else {"target": line.target, "options": line.options}
            ),
        )
    PeriodicTasks.update_changed()


def _due_times(line: Line) -> dict[str, Any]:
    if line.crontab:
        return {"crontab": _crontab(line.crontab, "Europe/Berlin")}
    every, _made = IntervalSchedule.objects.get_or_create(
        every=line.every_seconds, period="seconds"
    )
    return {"interval": every}


def _crontab(text: str, timezone: str) -> CrontabSchedule:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    fields = dict(zip(names, text.split(), strict=True))
    found, _made = CrontabSchedule.objects.get_or_create(**fields, timezone=timezone)
    return found


def move(name: str, timezone: str) -> None:
    """Give a schedule of the wall another time zone, as the admin would."""
    row = PeriodicTask.objects.get(name=name)
    text = next(line.crontab for line in WALL if line.name == name)
    row.crontab = _crontab(text, timezone)
    row.save()


def set_back(start: datetime) -> None:
    """Let the schedules of the wall have been as they are since then, and nothing of them have run since."""
    for line in WALL:
        Run.objects.filter(schedule=line.name).delete()
        versions = ScheduleVersion.objects.filter(schedule=line.name)
        first = versions.earliest("since")
        versions.exclude(id=first.id).delete()
        versions.update(since=start)
        PeriodicTask.objects.filter(name=line.name).update(
            crontab=_crontab(line.crontab, "Europe/Berlin"), last_run_at=start, date_changed=start
        )


def slots_of(name: str) -> set[datetime]:
    """Return the times of a schedule that have a row that has ended."""
    found = Run.objects.filter(schedule=name, state__in=TERMINAL_STATES)
    return {at for at in found.values_list("scheduled_for", flat=True) if at is not None}


def not_skipped(name: str) -> int:
    """Return how many slots of a schedule were run."""
    return Run.objects.filter(schedule=name).exclude(state="skipped").count()


def prepare_target(stack: Stack) -> None:
    """Create the tables of the target: marks, and one whose ANALYZE can be made to last."""
    stack.ask("target", TABLE)
    stack.ask("target", INTENTS)
    stack.ask("target", "CREATE TABLE slowly (seconds float NOT NULL)")
    stack.ask("target", "INSERT INTO slowly VALUES (0)")
    stack.ask(
        "target",
        "CREATE FUNCTION slow(n integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM pg_catalog.pg_sleep(seconds) FROM public.slowly WHERE seconds > 0;"
        " RETURN n; END $$",
    )
    stack.ask("target", "CREATE TABLE heavy AS SELECT generate_series(1, 50) AS n")
    stack.ask("target", "CREATE INDEX heavy_slow ON heavy (public.slow(n))")


def plant_old_runs(number: int = 50) -> None:
    """Write runs of long ago, for the retention to delete."""
    long_ago = ledger_now() - timedelta(days=1)
    Run.objects.bulk_create(
        Run(
            task="maintenance.leave_a_mark",
            target=target,
            queue="low",
            trigger=Trigger.CLI,
            state=RunState.SUCCEEDED,
            queued_at=long_ago,
            started_at=long_ago,
            finished_at=long_ago,
        )
        for target in ("library", "archive")
        for _ in range(number // 2)
    )


def passed_until() -> datetime:
    """Return up to when every enabled schedule has its rows: the earliest of their newest slots."""
    often = PeriodicTask.objects.filter(enabled=True, name__in=OURS).exclude(interval=None)
    names = list(often.values_list("name", flat=True))
    found = dict(
        Run.objects.filter(schedule__in=names)
        .values_list("schedule")
        .annotate(newest=Max("scheduled_for"))
    )
    return min((found.get(name, BEGINNING) for name in names), default=BEGINNING)


def open_runs(due_by: datetime) -> list[Run]:
    """Return runs of slots up to then that have not ended."""
    return list(
        Run.objects.filter(scheduled_for__lte=due_by).exclude(state__in=TERMINAL_STATES)[:5]
    )


def ledger_rows(since: datetime) -> list[LedgerRow]:
    """Return the rows of slots since then, with what is stored of their reports."""
    runs = (
        Run.objects.filter(scheduled_for__gt=since)
        .select_related("report")
        .annotate(found=Count("findings", distinct=True))
    )
    return [_ledger_row(run) for run in runs]


def _ledger_row(run: Any) -> LedgerRow:
    report = getattr(run, "report", None)
    return LedgerRow(
        run=run.id.hex,
        task=run.task,
        slot=(run.schedule, run.target, run.scheduled_for),
        state=run.state,
        is_finished=run.is_finished,
        finished_at=run.finished_at,
        reports=int(report is not None),
        findings=run.found,
        findings_in_report=len(report.body.get("findings", ())) if report is not None else 0,
    )


def marks_since(stack: Stack, since: datetime) -> list[dict[str, Any]]:
    """Return the marks of the target since then, in the order of their times."""
    conn = psycopg2.connect(stack.postgres.url("target"))
    try:
        with conn.cursor() as cursor:
            cursor.execute("SELECT * FROM marks WHERE at > %s ORDER BY at, id", [since])
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        conn.close()


def due_slots(since: datetime, until: datetime) -> Iterator[SlotKey]:
    """Yield every slot that was due after ``since`` and up to ``until``, whether it has a row or not.

    They are computed from what the schedules were, not from what was sent.
    """
    first, end = since + INSTANT, until + INSTANT
    for versions in stored_versions(first, end):
        for at, definition in version_slots(versions, first, end):
            yield versions[0].schedule, definition.target, at
