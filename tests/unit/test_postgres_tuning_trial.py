"""Trials of autovacuum settings: kept or taken back on what was counted, and never on a guess."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.postgres.tuning.trial import Activity, Judgement, Trial, judge

DAY = 86_400.0
BEFORE = Activity(10 * DAY, 1_000_000, 500_000, 2, 4)
TRIAL = Trial(
    oid=1,
    table="public.big",
    settings={"autovacuum_vacuum_scale_factor": 0.01},
    undo="ALTER TABLE public.big RESET (autovacuum_vacuum_scale_factor);",
    before=BEFORE,
    began_at=1000.0,
    ends_at=1000.0 + 7 * DAY,
)


def after(**counted: float) -> Activity:
    return replace(Activity(7 * DAY, 700_000, 350_000, 14, 28), **counted)  # type: ignore[arg-type]


def test_fewer_rows_that_wait_keep_a_setting() -> None:
    judgement, sentence = judge(TRIAL, after())
    assert judgement is Judgement.KEEP
    assert sentence == "50,000 dead rows wait for a VACUUM now, 500,000 did before"


def test_no_effect_takes_it_back() -> None:
    judgement, sentence = judge(TRIAL, after(vacuums=1))
    assert judgement is Judgement.REVERT
    assert sentence == "700,000 dead rows wait for a VACUUM now, 500,000 did before"


def test_where_none_came_it_is_tried_once_more_and_then_taken_back() -> None:
    judgement, sentence = judge(TRIAL, after(vacuums=0))
    assert judgement is Judgement.GO_ON
    assert sentence == "no VACUUM has come in 7 days, with 700,000 dead rows"
    longer = TRIAL.prolonged(TRIAL.ends_at)
    assert (longer.extended, longer.ends_at - TRIAL.ends_at) == (True, 7 * DAY)
    assert judge(longer, after(vacuums=0))[0] is Judgement.REVERT


def test_an_autovacuum_that_is_a_load_itself_is_taken_back_whatever_it_gained() -> None:
    often, words = judge(TRIAL, after(vacuums=7 * 49))
    assert often is Judgement.REVERT
    assert words.startswith("autovacuum came 49 times a day, which is felt itself; ")
    busy, words = judge(TRIAL, after(vacuum_seconds=2.1 * DAY))
    assert busy is Judgement.REVERT
    assert words.startswith("autovacuum was at work on it 30 % of the time; ")


def test_one_setting_without_effect_takes_all_back() -> None:
    both = {"autovacuum_vacuum_scale_factor": 0.01, "autovacuum_analyze_scale_factor": 0.01}
    trial = replace(TRIAL, settings=both)
    assert judge(trial, after())[0] is Judgement.KEEP
    assert judge(trial, after(analyzes=2))[0] is Judgement.REVERT


def test_counters_that_began_anew_count_from_their_beginning() -> None:
    early = Activity(2 * DAY, 90, 10, 1, 1)
    assert early.since(BEFORE) == early
    lost = Activity(12 * DAY, 90, 10, 1, 1)  # a crash: the window is not told, the rows are fewer
    assert lost.since(BEFORE) == replace(lost, seconds=2 * DAY)


@pytest.mark.parametrize("shrunk", ["rewritten_rows", "inserted_rows", "vacuums", "analyzes"])
def test_any_counter_that_shrinks_tells_that_all_began_anew(shrunk: str) -> None:
    grown = Activity(17 * DAY, 2_000_000, 900_000, 9, 9)
    lost = replace(grown, **{shrunk: 1})
    assert lost.since(BEFORE) == replace(lost, seconds=7 * DAY)
    assert lost.since(BEFORE, 3 * DAY) == replace(lost, seconds=3 * DAY)
    assert lost.since(BEFORE, 30 * DAY) == replace(lost, seconds=7 * DAY)
    assert grown.since(BEFORE, 3 * DAY) == grown.since(BEFORE)
    assert grown.since(BEFORE) == Activity(7 * DAY, 1_000_000, 400_000, 7, 5)


@pytest.mark.parametrize(
    ("undo", "expected"),
    [
        ('ALTER TABLE "public"."big" RESET (a);', 'ALTER TABLE "new"."name" RESET (a);'),
        ('ALTER TABLE "a"" SET ("."b SET (" SET (a = 1);', 'ALTER TABLE "new"."name" SET (a = 1);'),
    ],
)
def test_a_trial_is_taken_back_under_the_name_that_its_table_has(undo: str, expected: str) -> None:
    trial = replace(TRIAL, undo=undo).named("new.name", '"new"."name"')
    assert (trial.table, trial.undo) == ("new.name", expected)


@pytest.mark.parametrize(
    ("present", "stands"),
    [
        (["autovacuum_vacuum_scale_factor=0.01", "fillfactor=90"], True),
        (["autovacuum_vacuum_scale_factor=0.010"], True),
        (["autovacuum_vacuum_scale_factor=0.02"], False),
        (["fillfactor=90"], False),
        ([], False),
    ],
)
def test_settings_that_somebody_changed_are_not_ours(present: list[str], stands: bool) -> None:
    assert TRIAL.still_stands(present) is stands


counts = st.integers(0, 10**9)
activities = st.builds(
    Activity,
    seconds=st.floats(1, 1e8),
    rewritten_rows=counts,
    inserted_rows=counts,
    vacuums=st.integers(0, 10_000),
    analyzes=st.integers(0, 10_000),
    vacuum_seconds=st.none() | st.floats(0, 1e7),
)


@given(activities, activities)
def test_a_trial_ends_in_a_judgement_with_its_reason_at_the_second_time(
    before: Activity, seen: Activity
) -> None:
    trial = replace(TRIAL, before=before, extended=True)
    judgement, sentence = judge(trial, seen)
    assert judgement in {Judgement.KEEP, Judgement.REVERT}
    assert sentence
    if judgement is Judgement.KEEP:
        assert seen.vacuums > 0


@given(activities)
def test_a_trial_survives_its_way_through_the_ledger(before: Activity) -> None:
    trial = replace(TRIAL, before=before)
    assert Trial.from_json(trial.to_json()) == trial
