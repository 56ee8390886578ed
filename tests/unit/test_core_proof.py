"""Every due slot and its row, against a calendar that is searched minute by minute."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.core.cron import Cron
from maintenance.core.proof import (
    DueTimes,
    Proved,
    SlotRow,
    Verdict,
    Version,
    due_slots,
    prove,
)

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
HOURLY = Cron({0}, set(range(24)), set(range(1, 32)), set(range(1, 13)), set(range(7)), UTC)


def row(hour: int, **more: object) -> SlotRow:
    at = NOON + hour * HOUR
    given = {"state": "succeeded", "target": "site", "started_at": at, **more}
    return SlotRow(scheduled_for=at, **given)  # type: ignore[arg-type]


def proof(rows: Sequence[SlotRow], hours: int = 3, **more: datetime) -> list[Proved]:
    """Prove the hours from noon on: with a scheduler that has passed them all."""
    until = NOON + hours * HOUR
    times = {"settled_until": until, "overdue_before": until, **more}
    return list(prove([Version(NOON, HOURLY, "site")], rows, NOON, until, **times))


def verdicts(found: list[Proved]) -> list[Verdict]:
    return [each.verdict for each in found]


def test_a_slot_whose_row_is_missing_is_lost() -> None:
    found = proof([row(0), row(2)])
    assert verdicts(found) == [Verdict.ON_TIME, Verdict.LOST, Verdict.ON_TIME]
    assert found[1].due_at == NOON + HOUR


def test_what_no_scheduler_has_come_to_is_overdue_and_what_is_due_just_now_waits() -> None:
    found = proof([], settled_until=NOON, overdue_before=NOON + 2 * HOUR)
    assert verdicts(found) == [Verdict.LOST, Verdict.OVERDUE, Verdict.WAITING]


def test_how_late_it_started_is_counted_from_its_slot() -> None:
    [found] = proof([row(0, started_at=NOON + timedelta(minutes=5))], hours=1)
    assert (found.verdict, found.late_seconds) == (Verdict.LATE, 300.0)
    [early] = proof([row(0, started_at=NOON - timedelta(seconds=1))], hours=1)
    assert (early.verdict, early.late_seconds) == (Verdict.ON_TIME, 0.0)


@pytest.mark.parametrize(
    ("state", "started", "verdict"),
    [
        ("queued", False, Verdict.WAITING),
        ("queued", True, Verdict.WAITING),  # another attempt
        ("running", True, Verdict.ON_TIME),
        ("failed", True, Verdict.ON_TIME),
        ("cancelled", True, Verdict.ON_TIME),
        ("sent", False, Verdict.ON_TIME),
        ("skipped", False, Verdict.SKIPPED),
        ("skipped", True, Verdict.SKIPPED),  # by its own conditions
        ("failed", False, Verdict.SKIPPED),  # its target is not configured any more
        ("cancelled", False, Verdict.SKIPPED),
    ],
)
def test_what_did_no_work_was_skipped(state: str, started: bool, verdict: Verdict) -> None:
    [found] = proof([row(0, state=state, started_at=NOON if started else None)], hours=1)
    assert found.verdict is verdict


def test_a_row_at_another_time_or_on_another_target_stands_for_no_slot() -> None:
    beside = SlotRow(NOON + MINUTE, "site", "succeeded", started_at=NOON + MINUTE)
    elsewhere = row(1, target="other")
    found = proof([row(0), beside, elsewhere], hours=2)
    assert [(each.target, each.verdict) for each in found] == [
        ("site", Verdict.ON_TIME),
        ("site", Verdict.UNEXPECTED),
        ("other", Verdict.UNEXPECTED),
        ("site", Verdict.LOST),
    ]


def test_a_second_row_of_one_slot_is_one_too_many() -> None:
    assert verdicts(proof([row(0), row(0)], hours=1)) == [Verdict.ON_TIME, Verdict.UNEXPECTED]


def test_a_slot_at_the_moment_of_an_edit_belongs_to_the_new_version() -> None:
    versions = [Version(NOON, HOURLY, "old"), Version(NOON + HOUR, HOURLY, "new")]
    assert list(due_slots(versions, NOON, NOON + 2 * HOUR)) == [(NOON, "old"), (NOON + HOUR, "new")]


def test_nothing_is_due_before_the_first_version_and_while_a_schedule_is_off() -> None:
    versions = [
        Version(NOON + HOUR, HOURLY),
        Version(NOON + 2 * HOUR, None),
        Version(NOON + 4 * HOUR, HOURLY),
    ]
    assert [at for at, _target in due_slots(versions, NOON, NOON + 5 * HOUR)] == [
        NOON + HOUR,
        NOON + 4 * HOUR,
    ]


# --- Against a search of every minute ---


@dataclass(frozen=True)
class EveryMinutes:
    """Due at every ``step``-th minute since 1970."""

    step: int

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        at = since.replace(second=0, microsecond=0)
        while at <= until:
            if at > since and self.has(at):
                yield at
            at += MINUTE

    def has(self, at: datetime) -> bool:
        return int(at.timestamp() / 60) % self.step == 0


@st.composite
def histories(draw: st.DrawFn) -> list[Version]:
    times = sorted(draw(st.sets(st.integers(-60, 200), min_size=1, max_size=5)))
    due = st.none() | st.builds(EveryMinutes, st.integers(1, 30))
    targets = st.sampled_from(["", "site", "other"])
    return [Version(NOON + n * MINUTE, draw(due), draw(targets)) for n in times]


def in_force(versions: list[Version], at: datetime) -> Version | None:
    return max((v for v in versions if v.since <= at), key=lambda v: v.since, default=None)


def is_due(version: Version | None, at: datetime) -> bool:
    due: DueTimes | None = version.due if version else None
    return isinstance(due, EveryMinutes) and due.has(at)


@settings(max_examples=150, deadline=None)
@given(
    histories(),
    st.dictionaries(st.integers(0, 180), st.sampled_from(["", "site"]), max_size=60),
    st.integers(0, 180),
    st.integers(0, 180),
)
def test_each_minute_is_judged_as_by_hand(
    versions: list[Version], rows: dict[int, str], settled: int, overdue: int
) -> None:
    until = NOON + 180 * MINUTE
    expected: Counter[tuple[datetime, str, Verdict]] = Counter()
    for minute in range(180):
        at, target = NOON + minute * MINUTE, rows.get(minute)
        version = in_force(versions, at)
        due = is_due(version, at)
        if target is not None:
            fits = due and version is not None and version.target == target
            expected[at, target, Verdict.ON_TIME if fits else Verdict.UNEXPECTED] += 1
        if due and version is not None and version.target != target:
            missing = (
                Verdict.LOST if minute <= settled else
                Verdict.OVERDUE if minute < overdue else
                Verdict.WAITING
            )  # fmt: skip
            expected[at, version.target, missing] += 1

    found = list(
        prove(
            versions,
            [
                SlotRow(NOON + n * MINUTE, target, "succeeded", started_at=NOON + n * MINUTE)
                for n, target in sorted(rows.items())
                if n < 180
            ],
            NOON,
            until,
            settled_until=NOON + settled * MINUTE,
            overdue_before=NOON + overdue * MINUTE,
        )
    )

    assert Counter((each.due_at, each.target, each.verdict) for each in found) == expected
    assert [each.due_at for each in found] == sorted(each.due_at for each in found)
