"""A day of the site's own schedules as a scheduler would have recorded it, with one slot that it lost."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from maintenance.core.scheduling.definitions import Definition
from maintenance.models import Run, RunState, ScheduleVersion, Trigger
from service.sample_site.truth import Decoy, Fault, FaultKind

HOURS: Final = 24
#: Taken away since, as an old backup of the ledger would have it.
LOSING: Final = "library import covers"
LOST_HOUR: Final = 7
#: Was paused for some hours: each slot has its row, which says so.
PAUSED: Final = "library send newsletter"
PAUSED_HOURS: Final = range(9, 13)

_TASKS: Final = {LOSING: "library.import_covers", PAUSED: "library.send_newsletter"}
_LATE: Final = timedelta(seconds=2)


def plant(now: datetime) -> None:
    """Write a day that ends with this hour into the ledger, in the place of that of an earlier build.

    Since then both schedules are off, so that a scheduler that comes finds nothing to make up for.
    """
    Run.objects.filter(schedule__in=_TASKS).delete()
    ScheduleVersion.objects.filter(schedule__in=_TASKS).delete()
    off_since = now.replace(minute=0, second=0, microsecond=0)
    since = off_since - timedelta(hours=HOURS)
    for schedule, task in _TASKS.items():
        hourly = Definition(task=task, crontab="0 * * * *", timezone="UTC")
        ScheduleVersion.objects.create(schedule=schedule, since=since, definition=hourly.to_json())
        ScheduleVersion.objects.create(schedule=schedule, since=off_since)
        Run.objects.bulk_create(_runs(schedule, task, since))


def _runs(schedule: str, task: str, since: datetime) -> Iterator[Run]:
    for hour in range(HOURS):
        at = since + timedelta(hours=hour)
        if schedule == LOSING and hour == LOST_HOUR:
            continue
        is_paused = schedule == PAUSED and hour in PAUSED_HOURS
        yield Run(
            task=task,
            queue="low",
            schedule=schedule,
            scheduled_for=at,
            trigger=Trigger.BEAT,
            # Somebody else's task: what its worker made of it is not told to the ledger.
            state=RunState.SKIPPED if is_paused else RunState.SENT,
            reason="paused by ann: a holiday" if is_paused else "",
            queued_at=at,
            published_at=None if is_paused else at,
            finished_at=at + _LATE,
        )


def faults() -> tuple[Fault, ...]:
    """Return what the record of the schedules holds."""
    return (
        Fault(
            FaultKind.LOST_SLOT,
            LOSING,
            "A scheduler has passed the slot, and no row says that it ran or why not.",
            expected={"lost": 1, "slots": HOURS},
        ),
    )


def decoys() -> tuple[Decoy, ...]:
    """Return what only looks like a fault."""
    return (Decoy(FaultKind.LOST_SLOT, PAUSED, "Somebody paused it, and each slot says so."),)
