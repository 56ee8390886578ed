"""Faults of time: clocks that are wrong, weeks that pass, hours that come twice or not at all."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from faults.fire import Fire, Kind
from faults.stack import BEATS, WORKERS
from faults.waiting import eventually
from faults.zygote import FAKETIME

CLOCKS = "clock +-1 h, both DST edges, timezone edited"
ASLEEP = "workers down 7 days"

#: Eight months of hours are near six thousand rows, each with its report.
CATCH_UP_SECONDS = 180.0

BERLIN = ZoneInfo("Europe/Berlin")
#: Just before the clocks were put back, and forward, in 2026.
BEFORE_AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)
BEFORE_SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)


def _beat_with(clock: str) -> Kind:
    """Let the one beat that is left believe that it is another time."""

    def hurt(fire: Fire) -> None:
        from faults.site_rows import passed_until

        for name in BEATS:
            fire.kill(fire.stack.nodes[name])
        began = datetime.now(UTC)
        fire.stack.start(BEATS[0], clock=clock)
        fire.point = "beat.wrong_clock"
        eventually(lambda: passed_until() > began + timedelta(seconds=3), 60, "it settles slots")
        fire.fault_at = time.time()
        fire.kill(fire.stack.nodes[BEATS[0]])

    return Kind(f"beat's clock {clock}", CLOCKS, hurt, ("I1", "I2", "I3"))


def _worker_with(clock: str) -> Kind:
    """Let one of the workers believe that it is another time while it works."""

    def hurt(fire: Fire) -> None:
        node = fire.stack.nodes[WORKERS[0]]
        fire.kill(node)
        fire.stack.start(node.name, clock=clock)
        fire.point = "worker.wrong_clock"
        count = "SELECT count(*) FROM marks WHERE kind = 'end' AND node = %s"
        eventually(lambda: fire.stack.ask("target", count, node.pid)[0][0] >= 2, 60, "it works")
        fire.fault_at = time.time()
        fire.kill(node)

    return Kind(f"worker's clock {clock}", CLOCKS, hurt, ("I1", "I2", "I3"))


def _nothing_ran_since(since: Callable[[], datetime], name: str, row: str) -> Kind:
    """Let everything have been down since then, and come back.

    One schedule is due at every hour of the wall in Berlin, another at half past two of each day.
    """

    def hurt(fire: Fire) -> None:
        from faults import site_rows

        for node in (*BEATS, *WORKERS):
            fire.kill(fire.stack.nodes[node])
        start = since()
        site_rows.set_back(start)
        fire.point = "everything.down"
        fire.fault_at = time.time()
        fire.stack.heal()
        # What has passed is asked each time: an hour or half past two may come meanwhile.
        eventually(
            lambda: site_rows.slots_of("hourly") == _hours_since(start),
            CATCH_UP_SECONDS,
            "every hour has its row",
        )
        eventually(
            lambda: (
                [at.astimezone(BERLIN).date() for at in sorted(site_rows.slots_of("daily"))]
                == days_since(start, datetime.now(UTC))
            ),
            CATCH_UP_SECONDS,
            "every day has its row",
        )
        fire.notes["ran"] = max(site_rows.not_skipped("hourly"), site_rows.not_skipped("daily"))

    def one_ran(fire: Fire) -> bool:
        return fire.notes.get("ran") == 1

    return Kind(name, row, hurt, ("I1", "I2", "I3", "I4"), one_ran, needs=("wall",))


def _hours_since(start: datetime) -> set[datetime]:
    """Return every full hour since then: each of them is one of the wall, too."""
    hour = start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    now = datetime.now(UTC)
    return {hour + timedelta(hours=n) for n in range(int((now - hour) / timedelta(hours=1)) + 1)}


def days_since(start: datetime, now: datetime) -> list[date]:
    """Return every day whose half past two in Berlin has come since ``start``."""
    first = _last_half_past_two(start) + timedelta(days=1)
    return [first + timedelta(days=n) for n in range((_last_half_past_two(now) - first).days + 1)]


def _last_half_past_two(at: datetime) -> date:
    there = at.astimezone(BERLIN)
    has_come = (there.hour, there.minute) >= (2, 30)
    return there.date() if has_come else there.date() - timedelta(days=1)


def _edit_timezone(fire: Fire) -> None:
    """Move a schedule of the wall to another time zone while it runs."""
    from faults import site_rows

    fire.point = "timezone.edited"
    fire.fault_at = time.time()
    site_rows.move("hourly", fire.random.choice(["Asia/Kathmandu", "America/St_Johns", "UTC"]))
    time.sleep(1.0)


_WRONG_CLOCKS = (
    (_beat_with("+1h"), _beat_with("-1h"), _worker_with("+1h"), _worker_with("-1h"))
    if FAKETIME.exists()
    else ()
)

KINDS = (
    *_WRONG_CLOCKS,
    _nothing_ran_since(lambda: datetime.now(UTC) - timedelta(days=7), "down for a week", ASLEEP),
    _nothing_ran_since(lambda: BEFORE_AUTUMN, "down since before the clocks went back", CLOCKS),
    _nothing_ran_since(lambda: BEFORE_SPRING, "down since before the clocks went forward", CLOCKS),
    Kind("timezone edited", CLOCKS, _edit_timezone, ("I1", "I2"), needs=("wall",)),
)
