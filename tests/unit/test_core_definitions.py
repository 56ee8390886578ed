"""Which slots a schedule has, as its stored definition says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import InvalidOptions
from maintenance.core.scheduling.definitions import UNREADABLE, Definition
from maintenance.core.scheduling.policies import Overlap, Policy
from maintenance.core.scheduling.schedule_versions import Version, due_slots

START = datetime(2026, 11, 23, 3, tzinfo=UTC)


def after(definition: Definition, moment: datetime, count: int = 3) -> list[datetime]:
    slots = definition.after(moment)
    return [slot for slot, _ in zip(slots, range(count), strict=False)]


@pytest.mark.parametrize(
    "definition",
    [
        Definition("t"),
        Definition("t", "shop", crontab="0 3 * * 1", timezone="Europe/Berlin", days="last"),
        Definition("t", every_seconds=30.0, counted_from=START, starts_at=START, expires_at=START),
        Definition("t", at=START, counted_from=START, once=True),
        Definition("t", solar=("sunrise", 52.5, 13.4)),
        Definition("t", policy=Policy(overlap=Overlap.ALLOW, pause="by eva", jitter_seconds=3)),
    ],
)
def test_a_definition_comes_back_from_json(definition: Definition) -> None:
    assert Definition.from_json(definition.to_json()) == definition


@given(st.integers(-5000, 500_000), st.integers(1, 5000))
def test_an_interval_is_due_every_so_often_whenever_one_looks(moment: int, every: int) -> None:
    interval = Definition("t", every_seconds=float(every), counted_from=START)
    at = START + timedelta(seconds=moment)

    first, second = after(interval, at, 2)

    assert first > at
    assert second - first == timedelta(seconds=every)
    assert (first - START).total_seconds() % every == 0
    assert first > START, "the first slot lies an interval after the start"
    assert first - at <= timedelta(seconds=every) or moment < 0


def test_an_interval_with_a_start_begins_there() -> None:
    later = START + timedelta(days=1)
    interval = Definition("t", every_seconds=60.0, counted_from=later, starts_at=later)

    assert after(interval, START, 2) == [later, later + timedelta(seconds=60)]
    assert after(interval, later, 1) == [later + timedelta(seconds=60)]


def test_no_interval_is_shorter_than_a_second() -> None:
    assert after(Definition("t", every_seconds=0.001, counted_from=START), START, 1) == [
        START + timedelta(seconds=1)
    ]


def test_a_crontab_keeps_to_its_start_and_its_end() -> None:
    noon = Definition(
        "t",
        crontab="0 12 * * *",
        timezone="UTC",
        starts_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
        expires_at=datetime(2026, 11, 26, 12, tzinfo=UTC),
    )

    assert [slot.day for slot in after(noon, START, 9)] == [24, 25]


def test_one_moment_is_due_once_and_at_once_where_it_was_past_when_it_became_known() -> None:
    past, ahead = START - timedelta(hours=1), START + timedelta(hours=1)

    assert after(Definition("t", at=ahead, counted_from=START), past) == [ahead]
    assert after(Definition("t", at=past, counted_from=START), past) == [START]
    assert after(Definition("t", at=past, counted_from=START), START) == []


def test_days_that_name_none_are_an_error_of_the_definition() -> None:
    with pytest.raises(InvalidOptions):
        Definition("t", crontab="0 12 * * *", days="lst").after(START)


def test_versions_leave_no_slot_out_and_count_none_twice() -> None:
    hourly = Definition("t", crontab="0 * * * *", timezone="UTC")
    half_past = Definition("t", crontab="30 * * * *", timezone="UTC")
    versions = [
        Version("s", START, hourly),
        Version("s", START + timedelta(hours=2), half_past),
        Version("s", START + timedelta(hours=4), None),
        Version("s", START + timedelta(hours=6), hourly),
    ]

    slots = [slot for slot, _ in due_slots(versions, START, START + timedelta(hours=8))]

    assert [f"{slot:%H:%M}" for slot in slots] == [
        "03:00", "04:00", "05:30", "06:30", "09:00", "10:00",
    ]  # fmt: skip


def test_a_version_of_one_slot_has_only_that() -> None:
    once = Version("s", START, Definition("t", crontab="0 * * * *", timezone="UTC", once=True))

    found = list(due_slots([once], START, START + timedelta(hours=8)))

    assert [slot for slot, _ in found] == [START]


@pytest.mark.parametrize(
    ("cron", "after_it", "due"),
    [
        ("30 3 * * *", "2026-11-23T02:00", "2026-11-23T03:30"),
        ("30 3 * * *", "2026-11-23T03:30", "2026-11-24T03:30"),
        ("0 4 * * 1", "2026-11-24T00:00", "2026-11-30T04:00"),
        ("0 3 1 * *", "2026-11-23T00:00", "2026-12-01T03:00"),
        ("0 3 2 1,4,7,10 *", "2026-11-23T00:00", "2027-01-02T03:00"),
    ],
)
def test_a_slot_is_due_at_the_first_time_after_the_last(cron: str, after_it: str, due: str) -> None:
    last = datetime.fromisoformat(after_it).replace(tzinfo=UTC)

    (found,) = after(Definition("t", crontab=cron, timezone="UTC"), last, 1)

    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_daily_slot_keeps_its_local_hour_over_the_change_to_winter_time() -> None:
    nightly = Definition("t", crontab="30 3 * * *", timezone="Europe/Berlin")

    slots = after(nightly, datetime(2026, 10, 24, tzinfo=UTC), 2)

    assert [slot.hour for slot in slots] == [1, 2], "an hour later in UTC than the day before"


def test_the_hour_that_comes_twice_has_the_slots_of_an_hourly_schedule_twice() -> None:
    hourly = Definition("t", crontab="30 * * * *", timezone="Europe/Berlin")

    slots = after(hourly, datetime(2026, 10, 24, 23, 45, tzinfo=UTC), 3)

    assert [f"{slot:%H:%M}" for slot in slots] == ["00:30", "01:30", "02:30"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "America", "../etc", "a" * 300])
def test_a_time_zone_that_this_machine_does_not_know_is_unreadable(zone: str) -> None:
    hourly = Definition("maintenance.note", crontab="0 * * * *", timezone=zone)
    with pytest.raises(ValueError, match=r"not known to this machine|must refer to subdirectories"):
        next(hourly.after(datetime(2026, 1, 1, tzinfo=UTC)))


def test_a_crontab_of_nothing_is_unreadable() -> None:
    odd = Definition("maintenance.note", crontab="1,,2 * * * *")
    with pytest.raises(UNREADABLE):
        next(odd.after(datetime(2026, 1, 1, tzinfo=UTC)))
