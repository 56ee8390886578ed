"""Statistics targets: which columns are worth a trial, how far estimates are off, and the judgement."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.postgres.estimates.columns import (
    EVEN_RATIO,
    TARGETS,
    ColumnStatistics,
    Rest,
    is_cut_off,
    target_for,
)
from maintenance.postgres.estimates.misestimate import Effect, Probe, ValueSample, error_factor
from maintenance.postgres.estimates.trial import (
    MOST_ADDED_PLANNING_MS,
    WANTED_GAIN,
    Trial,
    judge,
)
from maintenance.postgres.tuning.trial import Judgement

DAY = 86_400.0

#: A hundred common values have 60 % of the rows; 3,000 others share the rest.
FULL = ColumnStatistics(
    oid=1,
    number=2,
    schema="public",
    table="events",
    name="kind",
    qualified_name="public.events.kind",
    table_name="public.events",
    type_name="integer",
    rows=100_000.0,
    pages=500,
    own_target=None,
    default_target=100,
    is_searched=True,
    is_readable=True,
    may_alter=True,
    grant="",
    distinct=3100.0,
    null_ratio=0.0,
    common_values=100,
    common_ratio=0.6,
    least_common_ratio=0.0012,
)


def test_a_full_list_whose_last_value_is_far_above_the_rest_is_cut_off() -> None:
    assert is_cut_off(FULL)
    assert is_cut_off(replace(FULL, distinct=-0.031))  # as a share of the rows


@pytest.mark.parametrize(
    "changed",
    [
        {"common_values": 99},  # ANALYZE found no further value that stands out
        {"common_values": None, "common_ratio": None, "least_common_ratio": None},
        {"distinct": None},
        {"distinct": 100.0},  # all values are in the list
        {"least_common_ratio": 0.0002},  # what follows is as frequent: 0.4 / 3,000 is 0.00013
        {"common_ratio": 0.7, "null_ratio": 0.3},  # no row is left beyond it
        {"own_target": 200},  # it had room for more
        {"own_target": 0, "common_values": None},
    ],
)
def test_a_list_that_ends_by_itself_leaves_nothing_to_gain(changed: dict[str, float]) -> None:
    assert not is_cut_off(replace(FULL, **changed))  # type: ignore[arg-type]


def test_the_smallest_target_that_leaves_an_even_rest_is_tried() -> None:
    uneven, even = (80.0, 40_000.0, 3000.0), (10.0, 20_000.0, 2500.0)
    rests = [Rest(100, *uneven), Rest(200, *uneven), Rest(500, *even), Rest(1000, *even)]
    assert target_for(100, rests) == 500


def test_where_no_rest_is_even_the_largest_target_is_tried() -> None:
    assert target_for(100, [Rest(t, 80.0, 40_000.0, 3000.0) for t in (100, *TARGETS)]) == 1000


def test_an_even_rest_and_the_largest_target_are_left_alone() -> None:
    assert target_for(100, [Rest(t, 14.0, 40_000.0, 3000.0) for t in (100, *TARGETS)]) is None
    assert target_for(1000, [Rest(1000, 80.0, 40_000.0, 3000.0)]) is None


counts = st.lists(st.integers(1, 10_000), min_size=1, max_size=2000)


@given(counts, st.integers(1, 1200))
def test_a_target_is_larger_than_the_present_one_and_never_larger_than_needed(
    frequencies: list[int], present: int
) -> None:
    frequencies.sort(reverse=True)
    targets = [present, *(t for t in TARGETS if t > present)]
    rests = [
        Rest(t, max(beyond, default=0), sum(beyond), len(beyond))
        for t in targets
        for beyond in [frequencies[t:]]
    ]
    chosen = target_for(present, rests)
    beyond = frequencies[present:]
    if not beyond or max(beyond) <= EVEN_RATIO * sum(beyond) / len(beyond):
        assert chosen is None
    elif chosen is not None:
        assert chosen in targets[1:]
        assert all(not rest.is_even for rest in rests if rest.target < chosen)


SAMPLE = ValueSample(1000.0, (Probe(10.0, 1.0), Probe(40.0, 3.0)), ())


def test_the_error_is_the_mean_factor_weighted_by_draws() -> None:
    # Of 5,000 rows the true numbers are 50 and 200: off 4-fold once, and 2-fold three times.
    assert error_factor(SAMPLE, [200.0, 100.0], 5000.0) == pytest.approx((4 * 2**3) ** 0.25)


def test_no_probe_is_no_error() -> None:
    with pytest.raises(ValueError, match="no value was drawn"):
        error_factor(ValueSample(1000.0, (), ()), [], 5000.0)


probes = st.builds(Probe, rows=st.floats(1, 1e6), weight=st.floats(1, 40))


@given(st.lists(probes, min_size=1, max_size=40), st.floats(1e3, 1e9), st.floats(0.01, 100))
def test_what_is_off_by_a_factor_is_measured_as_that_factor_either_way(
    drawn: list[Probe], whole: float, factor: float
) -> None:
    sample = ValueSample(1e6, tuple(drawn), ())
    estimates = [factor * probe.rows / sample.rows * whole for probe in drawn]
    assert error_factor(sample, estimates, whole) == pytest.approx(max(factor, 1 / factor))


TRIAL = Trial(
    oid=1,
    number=2,
    column="public.events.kind",
    table="public.events",
    earlier=None,
    beyond=100,
    target=1000,
    undo="ALTER TABLE public.events ALTER COLUMN kind SET STATISTICS DEFAULT;",
    before=Effect(3.0, 0.2),
    before_analyze_seconds=0.1,
    analyzes=5,
    began_at=1000.0,
    ends_at=1000.0 + 7 * DAY,
    after=Effect(1.1, 0.3),
    analyze_seconds=0.4,
)


def judged(seen: Effect | None, trial: Trial = TRIAL, analyzes: int = 8) -> tuple[Judgement, str]:
    return judge(trial, seen, analyzes=analyzes, seconds=7 * DAY)


def test_estimates_that_came_nearer_keep_a_target() -> None:
    judgement, sentence = judged(Effect(1.2, 0.3))
    assert judgement is Judgement.KEEP
    assert sentence == (
        "estimates of values beyond the 100 most common are off 1.2-fold now, 3.0-fold before;"
        " planning takes 0.30 ms, 0.20 ms before; ANALYZE takes 400 ms, 100 ms before"
    )


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Effect(2.1, 0.3), "off 2.1-fold now, 3.0-fold before"),
        (Effect(1.1, 2.3), "planning takes too much longer"),
        (None, "no value beyond the earlier list is frequent enough to measure"),
    ],
)
def test_what_gains_too_little_or_costs_too_much_is_taken_back(
    seen: Effect | None, words: str
) -> None:
    judgement, sentence = judged(seen)
    assert judgement is Judgement.REVERT
    assert words in sentence


def test_an_analyze_that_is_at_work_all_the_time_takes_it_back() -> None:
    busy = replace(TRIAL, analyze_seconds=30.0)
    assert judged(Effect(1.1, 0.3), busy, analyzes=1000)[0] is Judgement.KEEP
    judgement, sentence = judged(Effect(1.1, 0.3), busy, analyzes=2000)
    assert judgement is Judgement.REVERT
    assert sentence.startswith("ANALYZE is at work 10 % of the time; ")


def test_a_target_that_never_came_to_act_is_taken_back() -> None:
    unused = replace(TRIAL, after=None, analyze_seconds=None)
    assert judged(Effect(1.1, 0.3), unused, analyzes=0)[0] is Judgement.REVERT
    assert judged(Effect(1.1, 0.3), unused, analyzes=1)[0] is Judgement.KEEP
    failed = unused.failed("ANALYZE was canceled", 2000.0)
    assert failed.ends_at == 2000.0
    assert judged(Effect(1.1, 0.3), failed) == (Judgement.REVERT, "ANALYZE was canceled")


def test_a_trial_without_effect_ends_at_once_and_one_with_effect_goes_on() -> None:
    begun = replace(TRIAL, after=None, analyze_seconds=None)
    assert begun.with_statistics(Effect(1.1, 0.3), 0.4, 2000.0) == TRIAL
    useless = begun.with_statistics(Effect(2.9, 0.3), 0.4, 2000.0)
    assert (useless.after, useless.ends_at) == (Effect(2.9, 0.3), 2000.0)


effects = st.builds(Effect, error_factor=st.floats(1, 1e6), planning_ms=st.floats(0, 1e4))


@given(effects, effects, st.integers(0, 10_000))
def test_only_what_gains_enough_at_a_bearable_price_is_kept(
    before: Effect, seen: Effect, analyzes: int
) -> None:
    trial = replace(TRIAL, before=before)
    judgement, sentence = judged(seen, trial, analyzes)
    assert sentence
    assert judgement in {Judgement.KEEP, Judgement.REVERT}
    if judgement is Judgement.KEEP:
        assert seen.error_factor * WANTED_GAIN <= before.error_factor
        assert seen.planning_ms - before.planning_ms <= MOST_ADDED_PLANNING_MS


@given(effects, st.none() | effects, st.none() | st.integers(0, 10_000))
def test_a_trial_survives_its_way_through_the_ledger(
    before: Effect, after: Effect | None, earlier: int | None
) -> None:
    trial = replace(TRIAL, before=before, after=after, earlier=earlier)
    assert Trial.from_json(trial.to_json()) == trial
