"""What will run when: slots, windows, outages, and what meets on a target."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.scheduling.calendar import (
    Appointment,
    Planned,
    appointments,
    horizon,
    meetings,
)
from maintenance.core.scheduling.cron import Cron
from maintenance.core.scheduling.policies import Closure, Misfire, Overlap, Policy, jitter
from maintenance.core.windows import Window

SUNDAY = datetime(2026, 11, 29, tzinfo=UTC)
NIGHT = Window(time(1), time(5), "UTC")


def plan(name: str, cron: str, zone: str = "UTC", **more: Any) -> Planned:
    parsed = crontab.from_string(cron)
    fields = Cron(
        parsed.minute,
        parsed.hour,
        parsed.day_of_month,
        parsed.month_of_year,
        parsed.day_of_week,
        ZoneInfo(zone),
    )
    return Planned(name, name, more.pop("target", "database site"), fields, fields, **more)


def begins(found: list[Appointment]) -> list[str | None]:
    return [a.begins_at and f"{a.begins_at:%d %H:%M}" for a in found]


def days(count: int) -> tuple[datetime, datetime]:
    return SUNDAY, SUNDAY + timedelta(days=count)


def test_every_slot_of_the_time_stands_in_the_order_of_its_run() -> None:
    found = appointments([plan("b", "0 4 * * *"), plan("a", "30 3 * * 0")], *days(2))
    assert [a.plan.name for a in found] == ["a", "b", "b"]
    assert begins(found) == ["29 03:30", "29 04:00", "30 04:00"]
    assert {a.remark for a in found} == {""}


def test_the_time_is_cut_before_the_slot_that_would_be_one_too_many() -> None:
    plans = [plan("a", "0 * * * *"), plan("b", "0 */6 * * *"), plan("c", "30 3 29 2 *")]
    since, until = days(2)
    slots = [a.due_at for a in appointments(plans, since, until)]

    for most in (1, 5, 6, 7, 8, len(slots) - 1):
        cut = horizon(plans, since, until, most)
        assert cut < until
        found = [a.due_at for a in appointments(plans, since, cut)]
        assert len(found) <= most
        assert found == [slot for slot in slots if slot < slots[most]], "nothing is left out within"
    assert horizon(plans, since, until, len(slots)) == until
    assert horizon([], since, until, 0) == until


def test_what_writes_outside_of_its_window_waits_for_it() -> None:
    [found] = appointments([plan("a", "0 12 * * *", windows=(NIGHT,))], *days(1))
    assert begins([found]) == ["30 01:00"]
    assert found.remark == "waits for its window"


def test_one_run_waits_for_a_window_and_no_second_one() -> None:
    found = appointments([plan("a", "0 6,12,18 * * *", windows=(NIGHT,))], *days(1))
    assert begins(found) == [None, None, "30 01:00"]
    assert {a.remark for a in found if a.begins_at is None} == {
        "its run before waits for the same window"
    }


def test_a_run_that_is_longer_than_its_window_is_named() -> None:
    [found] = appointments([plan("a", "0 4 * * *", windows=(NIGHT,), seconds=2 * 3600)], *days(1))
    assert found.remark == "longer than its window: goes on in the next"
    [short] = appointments([plan("a", "0 4 * * *", windows=(NIGHT,), seconds=60)], *days(1))
    assert short.remark == ""


def test_after_an_outage_each_schedule_runs_once_and_late() -> None:
    outage = SUNDAY, SUNDAY + timedelta(hours=12)
    found = appointments(
        [plan("hourly", "0 * * * *"), plan("at noon", "0 12 * * *")],
        SUNDAY - timedelta(minutes=1),
        SUNDAY + timedelta(hours=13),
        outage=outage,
    )
    hourly = [a for a in found if a.plan.name == "hourly"]
    late = [a for a in hourly if a.remark.startswith("late, after the outage")]
    assert begins(late) == ["29 12:00"]
    assert late[0].due_at == SUNDAY + timedelta(hours=11), "the latest stands for all"
    assert late[0].remark == "late, after the outage: one run for 12 slots"
    assert sum(a.begins_at is None for a in hourly) == 11
    assert begins([a for a in found if a.plan.name == "at noon"]) == ["29 12:00"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(misfire=Misfire.SKIP), [None, None, None]),
        (Policy(misfire=Misfire.EACH), ["29 06:00", "29 06:10", "29 06:20"]),
        (Policy(misfire=Misfire.EACH, overlap=Overlap.ALLOW), ["29 06:00"] * 3),
        (Policy(catch_up_seconds=2 * 3600), [None, None, "29 06:00"]),
        (Policy(deadline_seconds=1800), [None, None, None]),
    ],
)
def test_what_an_outage_missed_is_dealt_with_by_the_policy(
    policy: Policy, expected: list[str | None]
) -> None:
    missed = plan("a", "0 1,3,5 * * *", seconds=600.0, policy=policy)
    outage = SUNDAY, SUNDAY + timedelta(hours=6)
    found = appointments([missed], SUNDAY, SUNDAY + timedelta(hours=7), outage=outage)
    in_order = sorted(found, key=lambda a: a.due_at)
    assert begins(in_order) == expected
    assert all(a.remark for a in found)


def test_a_blackout_a_pause_and_a_run_that_is_not_over_keep_slots_from_running() -> None:
    stocktaking = Closure(
        SUNDAY + timedelta(hours=2), SUNDAY + timedelta(hours=4), "stocktaking", "site"
    )
    hourly = plan("a", "0 * * * *", target_name="site")
    found = appointments([hourly], *days(1), closures=[stocktaking])
    blacked_out = [a for a in found if a.begins_at is None]
    assert [a.due_at.hour for a in blacked_out] == [2, 3]
    assert blacked_out[0].remark == (
        "will be skipped: blackout until 2026-11-29 04:00:00 UTC: stocktaking"
    )
    elsewhere = plan("b", "0 * * * *", target_name="other")
    assert all(a.begins_at for a in appointments([elsewhere], *days(1), closures=[stocktaking]))

    paused = plan("c", "0 3 * * *", policy=Policy(pause="by ann: holidays"))
    [found_paused] = appointments([paused], *days(1))
    assert found_paused.begins_at is None
    assert found_paused.remark == "will be skipped: paused by ann: holidays"

    long = plan("d", "0,30 3 * * *", seconds=3600.0)
    [first, second] = sorted(appointments([long], *days(1)), key=lambda a: a.due_at)
    assert begins([first, second]) == ["29 03:00", None]
    assert second.remark == "its run before will be at work still"
    queued = replace(long, policy=Policy(overlap=Overlap.QUEUE_ONE))
    assert begins(appointments([queued], *days(1))) == ["29 03:00", "29 04:00"]


def test_jitter_moves_the_beginning_and_not_the_slot() -> None:
    spread = plan("a", "0 3 * * *", policy=Policy(jitter_seconds=1800))
    [found] = appointments([spread], *days(1))
    assert found.begins_at is not None
    late = found.begins_at - found.due_at
    assert timedelta(0) < late < timedelta(seconds=1800)
    assert late == jitter("a", found.due_at, spread.policy)


def test_a_time_that_the_clocks_skip_is_named() -> None:
    spring = datetime(2026, 3, 29, tzinfo=UTC)
    [found] = appointments(
        [plan("a", "30 2 * * *", "Europe/Berlin")], spring, spring + timedelta(hours=12)
    )
    assert begins([found]) == ["29 01:30"]
    assert found.remark == "at 03:30: the clocks skip its time on this day"


def test_schedules_that_are_at_work_on_one_target_at_once_meet() -> None:
    vacuum = plan("vacuum", "0 3 * * *", seconds=3600)
    bloat = plan("bloat", "30 3 * * *", seconds=60)
    after = plan("after", "0 4 * * *")
    elsewhere = plan("elsewhere", "30 3 * * *", target="redis site")
    off = plan("off", "30 3 * * *", idle="will be skipped: not allowed")
    met = meetings(appointments([vacuum, bloat, after, elsewhere, off], *days(3)))
    assert [(m.first.name, m.second.name, m.times) for m in met] == [("vacuum", "bloat", 3)]
    assert met[0].at == SUNDAY + timedelta(hours=3, minutes=30)


def test_two_that_begin_together_meet_though_nobody_knows_how_long_they_take() -> None:
    met = meetings(appointments([plan("a", "0 3 * * *"), plan("b", "0 3 * * *")], *days(1)))
    assert [(m.first.name, m.second.name, m.times) for m in met] == [("a", "b", 1)]


@given(
    st.lists(st.tuples(st.integers(0, 23), st.integers(0, 7200)), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_meetings_are_those_of_every_pair(given: list[tuple[int, int]], count: int) -> None:
    plans = [
        plan(f"{number}", f"0 {hour} * * *", seconds=float(seconds))
        for number, (hour, seconds) in enumerate(given)
    ]
    found = appointments(plans, *days(count))
    pairs = 0
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            assert one.begins_at is not None
            assert one.ends_at is not None
            assert other.begins_at is not None
            pairs += one.begins_at == other.begins_at or one.ends_at > other.begins_at
    assert sum(meeting.times for meeting in meetings(found)) == pairs
