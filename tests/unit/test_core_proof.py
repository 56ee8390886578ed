"""Every due slot and its row, against a search of every minute."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.core.evidence.proof import Due, Proved, SlotRow, Verdict, prove

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def slot(at: datetime, target: str = "site") -> Due:
    return Due(at, target, at)


def row(hour: int, **more: object) -> SlotRow:
    at = NOON + hour * HOUR
    given = {"state": "succeeded", "target": "site", "started_at": at, **more}
    return SlotRow(scheduled_for=at, **given)  # type: ignore[arg-type]


def proof(rows: Sequence[SlotRow], hours: int = 3, **more: datetime) -> list[Proved]:
    """Prove the hours from noon on: with a scheduler that has passed them all."""
    until = NOON + hours * HOUR
    times = {"settled_until": until, "overdue_before": until, **more}
    return list(prove([slot(NOON + n * HOUR) for n in range(hours)], rows, **times))


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


def test_its_jitter_makes_no_run_late() -> None:
    begins = NOON + timedelta(minutes=10)
    [found] = prove(
        [Due(NOON, "site", begins)],
        [row(0, started_at=begins + timedelta(seconds=2))],
        settled_until=NOON,
        overdue_before=NOON,
    )
    assert (found.verdict, found.late_seconds) == (Verdict.ON_TIME, 2.0)


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
        ("failed", False, Verdict.FAILED_TO_START),  # its target is not configured any more
        ("cancelled", False, Verdict.SKIPPED),
    ],
)
def test_what_became_of_a_slot_is_read_off_its_row(
    state: str, started: bool, verdict: Verdict
) -> None:
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
    assert verdicts(proof([row(0), row(0)], hours=1)) == [Verdict.UNEXPECTED, Verdict.ON_TIME]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.integers(0, 40), st.sampled_from(["", "site", "other"])),
    st.sets(st.tuples(st.integers(0, 40), st.sampled_from(["", "site"]))),
    st.integers(0, 41),
    st.integers(0, 41),
)
def test_each_minute_is_judged_as_by_hand(
    due: dict[int, str], rows: set[tuple[int, str]], settled: int, overdue: int
) -> None:
    expected: Counter[tuple[datetime, str, Verdict]] = Counter()
    for minute in range(41):
        at, there = NOON + minute * MINUTE, {target for when, target in rows if when == minute}
        for target in there:
            fits = due.get(minute) == target
            expected[at, target, Verdict.ON_TIME if fits else Verdict.UNEXPECTED] += 1
        if minute in due and due[minute] not in there:
            missing = (
                Verdict.LOST if minute <= settled else
                Verdict.OVERDUE if minute < overdue else
                Verdict.WAITING
            )  # fmt: skip
            expected[at, due[minute], missing] += 1

    found = list(
        prove(
            [slot(NOON + n * MINUTE, target) for n, target in sorted(due.items())],
            [
                SlotRow(NOON + n * MINUTE, target, "succeeded", started_at=NOON + n * MINUTE)
                for n, target in sorted(rows)
            ],
            settled_until=NOON + settled * MINUTE,
            overdue_before=NOON + overdue * MINUTE,
        )
    )

    assert Counter((each.due_at, each.target, each.verdict) for each in found) == expected
    assert [each.due_at for each in found] == sorted(each.due_at for each in found)
