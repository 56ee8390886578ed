"""A year of measurements as the crew would have stored them, with limits that come nearer.

The memory of processes is not among them. Its course ends at what a process holds now, and of the site
no process of Gunicorn or Celery runs here; to plant it on one of the crew's own would be untrue.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from maintenance.models import Run, RunState, StoredSample, Trigger
from service.sample_site.truth import Decoy, Fault, FaultKind

DAYS: Final = 365
#: What marks the run that holds the planted samples; an earlier build's goes with its samples.
SCHEDULE: Final = "sample site"

GROWING_DISK: Final = "/srv/library"
DISK_NOW_RATIO: Final = 0.94
DISK_DAILY_RATIO: Final = 0.0012
#: It grew once, when an archive was moved there, and has stood still since.
QUIET_DISK: Final = "/srv/archive"
ARCHIVED_DAYS_AGO: Final = 150

CONNECTIONS_NOW_RATIO: Final = 0.93
CONNECTIONS_DAILY_RATIO: Final = 0.001
WEEKEND_RATIO: Final = 0.06

DEEP_QUEUE: Final = "imports"
DEEP_MESSAGES: Final = 1_600
DEEP_EVERY: Final = 3

RESPONSE_P95_SECONDS: Final = 0.14


def plant(now: datetime, seed: int) -> None:
    """Write the samples into the ledger, in the place of those of an earlier build."""
    Run.objects.filter(schedule=SCHEDULE).delete()
    run = Run.objects.create(
        task="maintenance.sample_database_load",
        target="site",
        queue="high",
        schedule=SCHEDULE,
        trigger=Trigger.API,
        state=RunState.SUCCEEDED,
        queued_at=now,
        started_at=now,
        finished_at=now,
        summary="What the crew would have measured in a year.",
    )
    StoredSample.objects.bulk_create(
        (
            StoredSample(
                run=run, target=target, metric=metric, subject=subject, value=value, measured_at=at
            )
            for target, metric, subject, value, at in samples(now, seed)
        ),
        batch_size=1000,
    )


def samples(now: datetime, seed: int) -> Iterator[tuple[str, str, str, float, datetime]]:
    """Yield target, metric, subject, value and time of each; same seed, same samples."""
    choose = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    for back in range(DAYS, -1, -1):
        at = now - timedelta(days=back)
        disk = DISK_NOW_RATIO - DISK_DAILY_RATIO * back + choose.uniform(-0.002, 0.002)
        archive = (0.62 if back < ARCHIVED_DAYS_AGO else 0.30) + choose.uniform(-0.002, 0.002)
        weekend = WEEKEND_RATIO if at.astimezone(UTC).weekday() >= 5 else 0.0
        peak = CONNECTIONS_NOW_RATIO - CONNECTIONS_DAILY_RATIO * back - weekend
        deep = DEEP_MESSAGES if back % DEEP_EVERY == 0 else 200
        p95 = RESPONSE_P95_SECONDS * choose.uniform(0.9, 1.1)
        yield "local", "disk_used_ratio", GROWING_DISK, disk, at
        yield "local", "disk_used_ratio", QUIET_DISK, archive, at
        yield "site", "connections_used_ratio", "", peak + choose.gauss(0, 0.008), at
        yield "site", "queue_depth_messages", DEEP_QUEUE, deep + choose.randrange(100), at
        yield "site", "response_p95_seconds", "", p95, at


def faults() -> tuple[Fault, ...]:
    """Return what a year of measurements says."""
    disk_days = (1 - DISK_NOW_RATIO) / DISK_DAILY_RATIO
    peak_days = (1 - CONNECTIONS_NOW_RATIO) / CONNECTIONS_DAILY_RATIO
    return (
        Fault(
            FaultKind.DISK_FILLS_UP,
            GROWING_DISK,
            "Uploads are never removed.",
            expected={"days_left": round(disk_days)},
        ),
        Fault(
            FaultKind.CONNECTIONS_RUN_OUT,
            "connections of database site",
            "Each release has opened a few more, and on weekdays there are most.",
            expected={"days_left_at_most": round(peak_days)},
        ),
        Fault(
            FaultKind.TOO_FEW_WORKERS,
            f"{DEEP_QUEUE} of site",
            "An import comes every third day.",
            expected={"deep_days_ratio": round(1 / DEEP_EVERY, 2)},
        ),
        Fault(
            FaultKind.LOOSE_TARGET,
            "response time, p95",
            "Half a second is three times what the site has taken all year.",
            expected={"p95_ms": RESPONSE_P95_SECONDS * 1000},
        ),
    )


def decoys() -> tuple[Decoy, ...]:
    """Return what only looks like a fault."""
    return (Decoy(FaultKind.DISK_FILLS_UP, QUIET_DISK, "It grew once, and not since."),)
