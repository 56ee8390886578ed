"""Wraparound: who counts as behind, why, and when IDs would run out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Severity
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.vacuum.id_forecast import (
    LOOKS_KEPT,
    Look,
    dates_in_words,
    looks_from_state,
    looks_to_state,
    rate_of,
    with_look,
)
from maintenance.postgres.vacuum.wraparound import (
    MEMBERS_PER_SEGMENT,
    DatabaseAge,
    Obstacle,
    WraparoundState,
    diagnose_wraparound,
)
from maintenance.postgres.vacuum.wraparound_report import wraparound_facts, wraparound_table
from tests.unit.test_postgres_vacuum_health import TABLE

DAY = 86_400.0
NOW = 1_800_000_000.0  # 2027-01-15

SETTINGS = {
    "autovacuum_freeze_max_age": "200000000",
    "autovacuum_multixact_freeze_max_age": "400000000",
    "vacuum_failsafe_age": "1600000000",
    "vacuum_multixact_failsafe_age": "1600000000",
}


def state(xid_age: int = 150_000_000, **changes: object) -> WraparoundState:
    base = WraparoundState(
        databases=(DatabaseAge("site", True, xid_age, 0),),
        tables=(replace(TABLE, xid_age=xid_age),),
        holders=(),
        obstacles=(),
        settings=SETTINGS,
        looks=(Look(NOW, 10**9, 5),),
        system_identifier="1",
        member_segments=None,
        at_work=frozenset(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def weekly(*ids_a_week: int) -> tuple[Look, ...]:
    """Looks a week apart, the last of them now."""
    weeks, xid, looks = len(ids_a_week), 10**9 - sum(ids_a_week), []
    for i, used in enumerate((0, *ids_a_week)):
        xid += used
        looks.append(Look(NOW - (weeks - i) * 7 * DAY, xid, 5))
    return tuple(looks)


@pytest.mark.parametrize(
    ("age", "severity"),
    [
        (199_000_000, None),
        (239_000_000, None),  # autovacuum has begun and takes its time
        (241_000_000, Severity.WARNING),
        (1_600_000_000, Severity.CRITICAL),
        (2_100_000_000, Severity.CRITICAL),
    ],
)
def test_a_database_is_behind_only_past_the_age_at_which_autovacuum_comes(
    age: int, severity: Severity | None
) -> None:
    found = [f for f in diagnose_wraparound(state(age)) if f.measured]
    assert [f.severity for f in found] == ([severity] if severity else [])


def test_the_failsafe_never_lies_below_the_age_at_which_autovacuum_comes() -> None:
    late = {**SETTINGS, "autovacuum_freeze_max_age": "2000000000"}
    assert not [*diagnose_wraparound(state(1_700_000_000, settings=late))]


def test_multixacts_are_judged_by_their_own_limits() -> None:
    here = DatabaseAge("site", True, 10, 500_000_000)
    (finding, withheld) = diagnose_wraparound(state(databases=(here,)))
    assert finding.code == "multixact-wraparound"
    assert "500,000,000 multixacts old, 23 % of the way" in finding.sentence
    assert withheld.code == "multixact-wraparound-forecast"


def test_only_a_holder_that_is_old_enough_is_the_cause() -> None:
    old = XminHolder("session", "77", "app", "web", "idle in transaction", DAY, 250_000_000)
    (finding, _) = diagnose_wraparound(state(260_000_000, holders=(old,)))
    assert "It is held back by process 77 (user app, application web" in finding.sentence
    assert finding.commands == ()
    young = replace(old, xid_age=1_000)
    (finding, _) = diagnose_wraparound(state(260_000_000, holders=(young,)))
    assert "Nothing is seen to hold it back; the oldest tables are public.t" in finding.sentence
    assert finding.commands == ("VACUUM (FREEZE, TRUNCATE FALSE) public.t;",)


def test_slots_temporary_tables_and_a_vacuum_at_work_are_told_apart() -> None:
    slot = Obstacle("replication slot", "old", 250_000_000)
    temp = Obstacle("temporary table", "pg_temp_3.x", 250_000_000)
    for changes, said in (
        ({"obstacles": (slot,)}, 'the replication slot "old"'),
        ({"obstacles": (temp,)}, "the temporary table pg_temp_3.x"),
        ({"at_work": frozenset({1})}, "VACUUM is at work on it"),
    ):
        (finding, _) = diagnose_wraparound(state(260_000_000, **changes))
        assert said in finding.sentence


def test_the_cause_in_another_database_is_not_guessed() -> None:
    other = DatabaseAge("other", False, 300_000_000, 0)
    old = XminHolder("session", "77", "app", "web", "idle", DAY, 290_000_000)
    (finding, _) = diagnose_wraparound(state(databases=(other,), holders=(old,)))
    assert finding.subject == "other databases"
    assert "shows only from inside" in finding.sentence
    assert "web" not in finding.sentence


@pytest.mark.parametrize(
    ("ratio", "severity"), [(0.4, None), (0.6, Severity.WARNING), (0.8, Severity.CRITICAL)]
)
def test_the_members_of_multixacts_have_a_room_of_their_own(
    ratio: float, severity: Severity | None
) -> None:
    segments = int(ratio * 2**32 / MEMBERS_PER_SEGMENT)
    found = [*diagnose_wraparound(state(member_segments=segments))]
    assert [f.severity for f in found] == ([severity] if severity else [])


def test_the_forecast_is_a_band_between_the_busiest_and_the_quietest_interval() -> None:
    looks = weekly(70_000_000, 140_000_000)
    rate = rate_of(looks, "next_xid")
    assert rate is not None
    assert rate.mean * DAY == pytest.approx(15_000_000)
    assert rate.in_words == "15,000,000 a day (between 10,000,000 and 20,000,000)"
    (finding,) = diagnose_wraparound(state(260_000_000, looks=looks))
    # 2^31 - 3,000,000 - 260,000,000 IDs are left: 94 to 188 days.
    assert "between 2027-04-19 and 2027-07-22" in finding.sentence
    assert wraparound_facts(state(looks=looks))["transaction_ids_per_day"] == 15_000_000


@pytest.mark.parametrize(
    "looks",
    [
        weekly(),
        weekly(1_000),
        tuple(Look(NOW - i * 7200, 10**9 - i, 5) for i in reversed(range(5))),
        (Look(NOW - 7 * DAY, 1, 5), Look(NOW - 60, 2, 5), Look(NOW, 3, 5)),
    ],
)
def test_a_short_window_withholds_the_forecast(looks: tuple[Look, ...]) -> None:
    assert rate_of(looks, "next_xid") is None
    table = wraparound_table(state(looks=looks))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["soonest_end"] == "withheld"


def test_no_use_at_all_leads_to_no_date() -> None:
    assert dates_in_words(None, None, NOW) == "not within a hundred years"
    assert dates_in_words(DAY, None, NOW) == "2027-01-16 at the earliest"
    assert dates_in_words(DAY, DAY, NOW) == "on 2027-01-16"


def test_a_server_that_was_set_back_starts_anew() -> None:
    looks = weekly(1_000, 1_000)
    restored = Look(NOW + DAY, 10**9 - 1_500, 5)
    assert with_look(looks, restored) == (looks[0], restored)
    assert looks_from_state(looks_to_state(looks, "1"), "2") == ()
    assert looks_from_state(looks_to_state(looks, "1"), "1") == looks
    assert looks_from_state({"system_identifier": "1", "looks": "?"}, "1") == ()


@given(st.lists(st.floats(1, 40 * DAY), min_size=1, max_size=60), st.integers(0, 10**6))
def test_looks_stay_few_and_the_band_holds_the_mean(gaps: list[float], used: int) -> None:
    looks: tuple[Look, ...] = ()
    moment, xid = NOW, 1_000
    for gap in gaps:
        moment, xid = moment + gap, xid + used
        looks = with_look(looks, Look(moment, xid, 5))
        assert len(looks) <= LOOKS_KEPT
        assert looks[-1].next_xid == xid
    rate = rate_of(looks, "next_xid")
    if rate is not None:
        assert rate.lowest <= rate.mean * (1 + 1e-9)
        assert rate.mean <= rate.highest * (1 + 1e-9)
