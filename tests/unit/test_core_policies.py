"""What becomes of due slots: golden cases, and invariants over all policies."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maintenance.core.scheduling.policies import (
    MISSED_SECONDS,
    Circumstances,
    Closure,
    Decision,
    Misfire,
    Outcome,
    Overlap,
    Policy,
    UnendedRun,
    decide,
    jitter,
    pauses,
)

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
RUN, WAIT, SKIP = Outcome.RUN, Outcome.WAIT, Outcome.SKIP
AT_WORK = UnendedRun("a1", is_at_work=True, since=NOW - timedelta(hours=1))
QUEUED = UnendedRun("b2", is_at_work=False, since=NOW - timedelta(minutes=5))


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


HOURLY = [ago(hours=3), ago(hours=2), ago(hours=1), ago(seconds=1)]


def decided(
    slots: list[datetime], policy: Policy | None = None, **circumstances: Any
) -> list[Decision]:
    return decide(slots, policy or Policy(), NOW, Circumstances("s", **circumstances))


def outcomes(found: list[Decision]) -> list[Outcome]:
    return [decision.outcome for decision in found]


# --- Missed slots ---


def test_a_slot_on_time_runs() -> None:
    (found,) = decided([ago(seconds=1)])

    assert (found.outcome, found.reason, found.stands_for) == (RUN, "", 1)
    assert (found.begins_at, found.deadline_at) == (ago(seconds=1), None)


def test_the_latest_of_missed_slots_runs_and_stands_for_all_of_them() -> None:
    found = decided(HOURLY)

    assert outcomes(found) == [SKIP, SKIP, SKIP, RUN]
    assert found[-1].stands_for == 4
    assert found[0].reason == "missed by 3 hours; the slot of 2026-11-26 11:59:59 UTC stands for it"


def test_slots_that_are_decided_in_several_parts_end_in_one_run() -> None:
    first = decided(HOURLY[:2], later=HOURLY[2:])
    then = decided(HOURLY[2:], carried=2)

    assert outcomes(first + then) == [SKIP, SKIP, SKIP, RUN]
    assert "a later slot, which was missed, too, stands for it" in first[0].reason
    assert then[-1].stands_for == 4


def test_missed_slots_are_skipped_where_the_schedule_says_so_but_the_last_is_on_time() -> None:
    found = decided(HOURLY, Policy(misfire=Misfire.SKIP))

    assert outcomes(found) == [SKIP, SKIP, SKIP, RUN]
    assert found[2].reason == "missed by 1 hour, and its schedule skips what it misses"
    assert found[-1].stands_for == 1


def test_each_missed_slot_runs_one_after_the_other() -> None:
    found = decided(HOURLY, Policy(misfire=Misfire.EACH))

    assert outcomes(found) == [RUN, WAIT, WAIT, WAIT]
    assert found[1].reason == "waits for the slot of 2026-11-26 09:00:00 UTC"
    assert [decision.stands_for for decision in found] == [1, 1, 1, 1]


def test_each_missed_slot_runs_at_once_where_runs_may_overlap() -> None:
    each = Policy(misfire=Misfire.EACH, overlap=Overlap.ALLOW)

    assert outcomes(decided(HOURLY, each)) == [RUN] * 4


def test_what_was_missed_by_longer_than_the_catch_up_window_is_skipped() -> None:
    found = decided(HOURLY[:3], Policy(catch_up_seconds=7200))

    assert outcomes(found) == [SKIP, SKIP, RUN]
    assert found[0].reason == "missed by 3 hours, and its schedule catches up within 2 hours only"
    assert found[-1].stands_for == 2


def test_another_scheduler_that_takes_over_has_missed_nothing() -> None:
    strict = Policy(misfire=Misfire.SKIP, catch_up_seconds=1)

    assert outcomes(decided([ago(seconds=30)], strict)) == [RUN]


def test_a_deadline_is_kept_to_the_second() -> None:
    strict = Policy(deadline_seconds=20)

    (late,) = decided([ago(seconds=30)], strict)
    (found,) = decided([ago(seconds=5)], strict)

    assert late.reason == "missed by 30 seconds, and it had to start within 20 seconds"
    assert (found.outcome, found.deadline_at) == (RUN, NOW + timedelta(seconds=15))


# --- The run before ---


def test_a_slot_is_skipped_while_the_run_before_lasts() -> None:
    (found,) = decided([NOW], earlier=[AT_WORK])

    assert found.outcome is SKIP
    assert found.reason == "its run before (a1) has been at work since 2026-11-26 11:00:00 UTC"


def test_what_the_skipped_slot_stood_for_says_why_too() -> None:
    found = decided(HOURLY, earlier=[QUEUED])

    assert outcomes(found) == [SKIP] * 4
    assert found[0].reason == (
        "missed by 3 hours; its run before (b2) has been waiting to start"
        " since 2026-11-26 11:55:00 UTC"
    )


def test_one_run_waits_for_the_run_before_and_no_second_one() -> None:
    one = Policy(overlap=Overlap.QUEUE_ONE)

    (waiting,) = decided([NOW], one, earlier=[AT_WORK])
    (second,) = decided([NOW], one, earlier=[AT_WORK, QUEUED])

    assert (waiting.outcome, waiting.reason) == (WAIT, "waits for run a1")
    assert second.outcome is SKIP
    assert "has been waiting to start" in second.reason


def test_runs_overlap_where_they_may() -> None:
    assert outcomes(decided([NOW], Policy(overlap=Overlap.ALLOW), earlier=[AT_WORK])) == [RUN]


# --- Pauses, blackouts, jitter ---


def test_a_paused_schedule_skips_with_who_paused_it_and_why() -> None:
    (found,) = decided([NOW], Policy(pause="by eva: the disk is full"))

    assert (found.outcome, found.reason) == (SKIP, "paused by eva: the disk is full")


def test_a_blackout_of_the_target_or_of_all_skips_what_lies_in_it() -> None:
    def closed(target: str) -> list[Closure]:
        return [Closure(ago(minutes=5), NOW + timedelta(hours=1), "release day", target)]

    assert outcomes(decided([NOW], target="shop", closures=closed("other"))) == [RUN]
    for target in ("", "shop"):
        (found,) = decided([NOW], target="shop", closures=closed(target))
        assert found.outcome is SKIP
        assert found.reason == "blackout until 2026-11-26 13:00:00 UTC: release day"


def test_no_missed_slot_is_caught_up_in_a_blackout() -> None:
    closures = [Closure(ago(minutes=5), NOW + timedelta(hours=1), "release day")]

    assert outcomes(decided([ago(hours=2)], closures=closures)) == [SKIP]
    assert outcomes(decided([ago(hours=2)], closures=[])) == [RUN]


def test_a_slot_within_a_past_blackout_stays_skipped_and_the_one_before_runs() -> None:
    closures = [Closure(ago(minutes=90), ago(minutes=30), "release day")]

    found = decided(HOURLY[1:3], closures=closures)

    assert outcomes(found) == [RUN, SKIP]
    assert found[0].stands_for == 1


@given(seconds=st.integers(1, 86_400), minute=st.integers(0, 10_000))
def test_jitter_lies_within_its_bounds_and_is_the_same_again(seconds: int, minute: int) -> None:
    slot, policy = NOW + timedelta(minutes=minute), Policy(jitter_seconds=seconds)

    found = jitter("s", slot, policy)

    assert timedelta(0) <= found <= timedelta(seconds=seconds)
    assert found == jitter("s", slot, policy)


def test_jitter_spreads_the_schedules_of_one_moment() -> None:
    spread = {jitter(str(n), NOW, Policy(jitter_seconds=600)).seconds // 60 for n in range(200)}

    assert spread == set(range(10))


def test_a_run_begins_its_jitter_later() -> None:
    policy = Policy(jitter_seconds=600)

    (found,) = decided([NOW], policy)

    assert found.begins_at == NOW + jitter("s", NOW, policy)
    assert found.begins_at > NOW


# --- Pause on failure ---


@pytest.mark.parametrize(
    ("limit", "states", "is_paused"),
    [
        (0, ["failed"] * 9, False),
        (3, ["failed"] * 2, False),
        (3, ["failed", "failed", "succeeded", "failed"], False),
        (3, ["failed", "failed", "failed", "succeeded"], True),
        (1, ["failed"], True),
    ],
)
def test_a_schedule_is_paused_after_failures_in_a_row(
    limit: int, states: list[str], is_paused: bool
) -> None:
    assert bool(pauses(Policy(pause_after_failures=limit), states)) is is_paused


def test_the_reason_of_a_pause_counts_the_failures() -> None:
    reason = pauses(Policy(pause_after_failures=3), ["failed"] * 3)

    assert reason == "3 runs in a row failed"


# --- Invariants ---

POLICIES = st.builds(
    Policy,
    misfire=st.sampled_from(Misfire),
    catch_up_seconds=st.none() | st.integers(0, 100_000),
    overlap=st.sampled_from(Overlap),
    jitter_seconds=st.integers(0, 600),
    deadline_seconds=st.none() | st.integers(0, 100_000),
    priority=st.none() | st.integers(0, 9),
    pause=st.just("") | st.just("by eva"),
)
SLOTS = st.lists(st.integers(0, 200_000), max_size=12, unique=True).map(
    lambda ages: [ago(seconds=age) for age in sorted(ages, reverse=True)]
)


def _by_hand(slots: list[datetime], policy: Policy) -> list[datetime]:
    """Say which slots may run, from what each setting means on its own; nothing else is in the way."""

    def is_open(slot: datetime) -> bool:
        late = (NOW - slot).total_seconds()
        if policy.pause or (policy.deadline_seconds is not None and late > policy.deadline_seconds):
            return False
        if late <= MISSED_SECONDS:
            return True
        is_in_time = policy.catch_up_seconds is None or late <= policy.catch_up_seconds
        return policy.misfire is not Misfire.SKIP and is_in_time

    started = [slot for slot in slots if is_open(slot)]
    return started if policy.misfire is Misfire.EACH else started[-1:]


@given(slots=SLOTS, policy=POLICIES)
def test_each_slot_ends_in_one_decision_and_a_skipped_one_has_a_reason(
    slots: list[datetime], policy: Policy
) -> None:
    found = decided(slots, policy)

    assert [decision.slot for decision in found] == slots
    assert all(decision.reason for decision in found if decision.outcome is not RUN)
    assert [d.slot for d in found if d.outcome is not SKIP] == _by_hand(slots, policy)


@given(slots=SLOTS, policy=POLICIES, earlier=st.lists(st.sampled_from([AT_WORK, QUEUED])))
def test_no_two_runs_of_a_schedule_start_together_unless_they_may(
    slots: list[datetime], policy: Policy, earlier: list[UnendedRun]
) -> None:
    found = outcomes(decided(slots, policy, earlier=earlier))

    if policy.overlap is not Overlap.ALLOW:
        assert found.count(RUN) <= (0 if earlier else 1)
    else:
        assert WAIT not in found


CLOSURES = st.lists(
    st.builds(
        lambda age, seconds: Closure(ago(seconds=age), ago(seconds=age - seconds), "release day"),
        st.integers(0, 200_000),
        st.integers(1, 100_000),
    ),
    max_size=3,
)


@given(slots=SLOTS, policy=POLICIES, closures=CLOSURES, cut=st.integers(0, 12))
@example(
    slots=HOURLY[:3],
    policy=Policy(),
    closures=[Closure(ago(minutes=90), ago(minutes=30), "release day")],
    cut=2,
)
def test_slots_decided_in_two_parts_start_the_same_runs(
    slots: list[datetime], policy: Policy, closures: list[Closure], cut: int
) -> None:
    whole = decided(slots, policy, closures=closures)
    if policy.misfire is Misfire.EACH or not 0 < cut < len(slots):
        return
    first = decided(slots[:cut], policy, closures=closures, later=slots[cut:])
    left = sum(d.is_left for d in first)
    rest = decided(slots[cut:], policy, closures=closures, carried=left)

    def started(found: list[Decision]) -> list[tuple[datetime, int]]:
        return [(d.slot, d.stands_for) for d in found if d.outcome is not SKIP]

    assert started(first + rest) == started(whole)


@given(policy=POLICIES)
def test_a_policy_comes_back_from_json(policy: Policy) -> None:
    assert Policy.from_json(policy.to_json()) == policy
