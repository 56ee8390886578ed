"""The pure parts of vacuum health: triggers, who is overdue, table settings, workers, horizon."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Severity
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules, vacuum_trigger_rows
from maintenance.postgres.vacuum.column_statistics import (
    MissingStatistics,
    diagnose_column_statistics,
)
from maintenance.postgres.vacuum.horizon import Fruitless, diagnose_horizon, fruitless
from maintenance.postgres.vacuum.id_forecast import Look
from maintenance.postgres.vacuum.overdue import (
    NAMED_TABLES,
    Circumstances,
    Upkeep,
    diagnose_overdue,
    diagnose_switched_off,
    overdue,
    upkeep_of,
)
from maintenance.postgres.vacuum.table_settings import advise_table_settings
from maintenance.postgres.vacuum.table_state import TableKind, TableState
from maintenance.postgres.vacuum.triggers import Rule, is_switched_off, triggers_of
from maintenance.postgres.vacuum.workers import (
    WorkerUse,
    bytes_due,
    diagnose_workers,
    pace_of,
    worker_use,
)

NOW = 1_800_000_000.0
DAY = 86_400.0
MONTH = CounterWindow(NOW - 30 * DAY, NOW)
RULES = AutovacuumRules()

TABLE = TableState(
    oid=1,
    schema="public",
    name="t",
    qualified_name="public.t",
    kind=TableKind.TABLE,
    toast_oid=0,
    parent_oid=None,
    pages=100,
    tuples=10_000,
    all_visible_pages=0,
    all_frozen_pages=0,
    storage_parameters=(),
    xid_age=10,
    multixact_age=0,
    inserted_rows=0,
    updated_rows=0,
    deleted_rows=0,
    live_rows=10_000,
    dead_rows=0,
    inserted_since_vacuum=0,
    modified_since_analyze=0,
    vacuum_count=1,
    analyze_count=1,
    last_vacuum_at=NOW - DAY,
    last_manual_analyze_at=NOW - DAY,
    last_autoanalyze_at=None,
    has_statistics=True,
    may_maintain=True,
)

SETTINGS = {
    "autovacuum_vacuum_cost_delay": "2",
    "autovacuum_vacuum_cost_limit": "-1",
    "vacuum_cost_delay": "0",
    "vacuum_cost_limit": "200",
    "vacuum_cost_page_miss": "2",
    "vacuum_cost_page_dirty": "20",
    "block_size": "8192",
    "autovacuum_max_workers": "3",
}


def circumstances(**changes: object) -> Circumstances:
    base = Circumstances(window=MONTH, autovacuum_is_on=True, overdue_ratio=2)
    return replace(base, **changes)  # type: ignore[arg-type]


def upkeep(*tables: TableState, rules: AutovacuumRules = RULES) -> tuple[Upkeep, ...]:
    return upkeep_of(tables, rules, ())


def settings_advised(table: TableState, window: CounterWindow = MONTH) -> dict[str, float]:
    found = [*advise_table_settings([table], RULES, window, 1_000_000)]
    return dict(found[0].evidence["settings"]) if found else {}


@pytest.mark.parametrize(
    ("table", "rules", "setting"),
    [
        (TABLE, RULES, "autovacuum_vacuum_scale_factor = 0.2"),
        (replace(TABLE, tuples=100), RULES, "autovacuum_vacuum_threshold = 50"),
        (
            replace(TABLE, tuples=1e9),
            replace(RULES, vacuum_max_threshold=100_000_000),
            "autovacuum_vacuum_max_threshold = 100000000",
        ),
    ],
)
def test_a_trigger_names_the_setting_that_decides(
    table: TableState, rules: AutovacuumRules, setting: str
) -> None:
    dead = triggers_of(table, rules, ())[0]
    assert dead.rule is Rule.DEAD_ROWS
    assert dead.setting == setting
    assert not dead.is_own


def test_a_table_s_own_setting_is_called_its_own_unless_it_is_negative() -> None:
    own = triggers_of(TABLE, RULES, ("autovacuum_vacuum_scale_factor=0.5",))[0]
    assert (own.is_own, own.due_above) == (True, 5_050)
    as_server = triggers_of(TABLE, RULES, ("autovacuum_vacuum_scale_factor=-1",))[0]
    assert (as_server.is_own, as_server.due_above) == (False, 2_050)


def test_a_frozen_share_lowers_the_insert_trigger_and_minus_one_removes_it() -> None:
    half = replace(TABLE, all_frozen_pages=50)
    assert triggers_of(half, RULES, ())[1].due_above == 1_000 + 0.2 * 10_000 * 0.5
    off = triggers_of(TABLE, RULES, ("autovacuum_vacuum_insert_threshold=-1",))
    assert Rule.INSERTED_ROWS not in {t.rule for t in off}


@pytest.mark.parametrize("value", ["off", "OF", "false", "F", "no", "0"])
def test_what_the_server_reads_as_off_is_off(value: str) -> None:
    assert is_switched_off((f"autovacuum_enabled={value}",))


@pytest.mark.parametrize("value", ["on", "true", "1", "yes", "T"])
def test_what_it_reads_as_on_is_not(value: str) -> None:
    assert not is_switched_off((f"autovacuum_enabled={value}",))


def test_a_toast_table_without_parameters_follows_its_table() -> None:
    table = replace(TABLE, toast_oid=2, storage_parameters=("autovacuum_enabled=off",))
    toast = replace(
        TABLE, oid=2, schema="pg_toast", kind=TableKind.TOAST, qualified_name="pg_toast.x"
    )
    _, behind = upkeep(table, toast)
    assert behind.subject == "public.t (TOAST)"
    assert behind.is_switched_off
    # It is said once, with the table; with a switch of its own, in the same command.
    (only,) = diagnose_switched_off(upkeep(table, toast), circumstances())
    assert only.commands == ("ALTER TABLE public.t RESET (autovacuum_enabled);",)
    own = replace(toast, storage_parameters=("autovacuum_enabled=false",))
    (only,) = diagnose_switched_off(upkeep(table, own), circumstances())
    assert only.undo == (
        "ALTER TABLE public.t SET (autovacuum_enabled = off, toast.autovacuum_enabled = false);",
    )
    set_on = replace(toast, storage_parameters=("autovacuum_enabled=true",))
    assert not upkeep(table, set_on)[1].is_switched_off


@pytest.mark.parametrize(
    ("table", "because"),
    [
        (replace(TABLE, dead_rows=4_000), "due, but not twice over"),
        (
            replace(TABLE, dead_rows=9_000, storage_parameters=("autovacuum_enabled=off",)),
            "switched off, which has a finding of its own",
        ),
        (replace(TABLE, last_vacuum_at=None, vacuum_count=0), "never vacuumed and never changed"),
        (replace(TABLE, kind=TableKind.PARTITIONED, dead_rows=10**6), "partitioned"),
        (replace(TABLE, tuples=-1, live_rows=40, inserted_since_vacuum=40), "young and small"),
    ],
)
def test_what_only_looks_neglected_is_not_overdue(table: TableState, because: str) -> None:
    assert overdue(upkeep(table), circumstances()) == [], because


def test_the_age_of_the_vacuum_is_said_or_that_there_was_none() -> None:
    dead = replace(TABLE, dead_rows=9_000)
    (finding,) = diagnose_overdue(upkeep(dead), circumstances())
    assert finding.sentence.endswith("it was last vacuumed 1 day ago.")
    never = replace(dead, last_vacuum_at=None)
    (finding,) = diagnose_overdue(upkeep(never), circumstances())
    assert "it was not vacuumed in 30 days (since" in finding.sentence


def test_tables_at_work_or_held_back_are_left_to_their_own_findings() -> None:
    dead = replace(TABLE, dead_rows=9_000)
    assert overdue(upkeep(dead), circumstances(at_work=frozenset({1}))) == []
    assert overdue(upkeep(dead), circumstances(held_back=frozenset({1}))) == []


def test_ten_thousand_overdue_tables_make_few_findings() -> None:
    tables = [
        replace(TABLE, oid=i, qualified_name=f"public.t{i}", dead_rows=9_000)
        for i in range(1, 10_001)
    ]
    late = overdue(upkeep(*tables), circumstances())
    findings = [*diagnose_overdue(late, circumstances())]
    assert len(findings) == NAMED_TABLES + 1
    assert f"{10_000 - NAMED_TABLES:,} other tables" in findings[-1].sentence


def test_without_autovacuum_an_overdue_table_is_a_warning_at_once() -> None:
    late = upkeep(replace(TABLE, dead_rows=9_000))
    (finding,) = diagnose_overdue(late, circumstances(autovacuum_is_on=False))
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("tuples", "scale_factor"), [(6e6, 0.1), (50e6, 0.01), (900e6, 0.001), (50e9, 0.001)]
)
def test_a_large_table_s_scale_factor_is_lowered_to_a_round_value(
    tuples: float, scale_factor: float
) -> None:
    advised = settings_advised(replace(TABLE, tuples=tuples, updated_rows=1))
    assert advised["autovacuum_vacuum_scale_factor"] == scale_factor


def test_static_small_and_switched_off_tables_get_no_settings() -> None:
    assert settings_advised(replace(TABLE, updated_rows=1)) == {}
    assert settings_advised(replace(TABLE, tuples=50e6)) == {}
    off = ("autovacuum_enabled=off",)
    assert (
        settings_advised(replace(TABLE, tuples=50e6, updated_rows=1, storage_parameters=off)) == {}
    )


def test_an_insert_only_table_is_one_only_after_a_week() -> None:
    table = replace(TABLE, tuples=50e6, inserted_rows=10**6, updated_rows=100)
    assert "autovacuum_vacuum_insert_scale_factor" in settings_advised(table)
    short = CounterWindow(NOW - DAY, NOW)
    assert "autovacuum_vacuum_insert_scale_factor" not in settings_advised(table, short)
    disabled = replace(table, storage_parameters=("autovacuum_vacuum_insert_threshold=-1",))
    assert settings_advised(disabled)["autovacuum_vacuum_insert_threshold"] == 1_000


@given(st.floats(1e6, 1e12), st.floats(0.01, 1.0))
def test_what_is_advised_is_stricter_and_never_advised_twice(tuples: float, present: float) -> None:
    parameters = (f"autovacuum_vacuum_scale_factor={present}",)
    table = replace(TABLE, tuples=tuples, updated_rows=1, storage_parameters=parameters)
    advised = settings_advised(table).get("autovacuum_vacuum_scale_factor")
    if advised is None:
        assert vacuum_trigger_rows(RULES.for_table(parameters), tuples) <= 1_000_000
        return
    assert advised < present
    followed = replace(table, storage_parameters=(f"autovacuum_vacuum_scale_factor={advised}",))
    again = settings_advised(followed).get("autovacuum_vacuum_scale_factor")
    assert again is None


def test_the_undo_sets_back_what_was_set_and_resets_the_rest() -> None:
    table = replace(
        TABLE,
        tuples=50e6,
        updated_rows=1,
        storage_parameters=("autovacuum_analyze_scale_factor=0.3",),
    )
    (finding,) = advise_table_settings([table], RULES, MONTH, 1_000_000)
    assert finding.undo == (
        (
            "ALTER TABLE public.t SET (autovacuum_analyze_scale_factor = 0.3),"
            " RESET (autovacuum_vacuum_scale_factor);"
        ),
    )


def test_statistics_that_autovacuum_is_about_to_renew_are_not_called_missing() -> None:
    missing = [MissingStatistics(1, 2, ("a",))]
    assert [*diagnose_column_statistics(missing, upkeep(TABLE), RULES)]
    due = replace(TABLE, modified_since_analyze=5_000)
    assert not [*diagnose_column_statistics(missing, upkeep(due), RULES)]
    small = replace(TABLE, tuples=50, live_rows=50)
    assert not [*diagnose_column_statistics(missing, upkeep(small), RULES)]


def test_statistics_that_may_not_be_seen_are_not_called_missing() -> None:
    hidden = [MissingStatistics(1, 0, ())]
    (finding,) = diagnose_column_statistics(hidden, upkeep(TABLE), RULES)
    assert not finding.measured
    assert "public.t" in finding.sentence


HOLDER = XminHolder("session", "77", "app", "web", "idle in transaction", 2 * DAY, 500)


#: The last VACUUM of TABLE lies between these two looks, and a million IDs in each of the two days.
LOOKS = (Look(NOW - 2 * DAY, 8_000_000, 5), Look(NOW, 10_000_000, 5))


def test_a_vacuum_was_in_vain_only_if_the_holder_stood_before_it() -> None:
    dead = upkeep(replace(TABLE, dead_rows=9_000))
    found = fruitless(dead, [HOLDER], LOOKS)
    assert found is not None
    assert found.tables == dead
    younger = replace(HOLDER, transaction_seconds=60.0)
    assert fruitless(dead, [younger], LOOKS) is None
    assert fruitless(dead, [], LOOKS) is None
    never = upkeep(replace(TABLE, dead_rows=9_000, last_vacuum_at=None))
    assert fruitless(never, [HOLDER], LOOKS) is None


STANDBY = XminHolder("standby", "78", "app", "copy", "active", None, 0)


@pytest.mark.parametrize(
    "holder",
    [
        STANDBY,
        replace(STANDBY, transaction_seconds=9 * DAY),
        XminHolder("replication slot", "copy", "", "", "active", None, 0),
        XminHolder("replication slot", "old", "", "", "inactive", None, 0),
        replace(HOLDER, transaction_seconds=None),
    ],
)
def test_a_holder_that_does_not_say_since_when_is_judged_by_its_age_in_transactions(
    holder: XminHolder,
) -> None:
    dead = upkeep(replace(TABLE, dead_rows=9_000))
    for xid_age in (0, 1_999_999):
        assert fruitless(dead, [replace(holder, xid_age=xid_age)], LOOKS) is None
    old = replace(holder, xid_age=2_000_000)
    assert fruitless(dead, [old], LOOKS) == Fruitless(old, 0, dead)
    assert fruitless(dead, [old], LOOKS[1:]) is None


def test_a_slot_that_says_since_when_it_is_inactive_needs_no_look() -> None:
    dead = upkeep(replace(TABLE, dead_rows=9_000))
    slot = XminHolder("replication slot", "old", "", "", "inactive", None, 9, inactive_seconds=DAY)
    assert fruitless(dead, [slot], LOOKS[1:]) is None
    slot = replace(slot, inactive_seconds=DAY + 1)
    assert fruitless(dead, [slot], LOOKS[1:]) is not None


def test_the_oldest_holder_that_stood_then_is_named_with_its_remedy() -> None:
    dead = upkeep(replace(TABLE, dead_rows=9_000))
    unproved = replace(STANDBY, xid_age=600)
    slot = XminHolder("replication slot", "old", "", "", "inactive", None, 9_000_000)
    (finding,) = diagnose_horizon(fruitless(dead, [slot, unproved, HOLDER], LOOKS), NOW)
    assert finding.subject == "replication slot old"
    assert "9,000 dead rows in public.t" in finding.sentence
    assert "2 younger holders" in finding.sentence
    assert slot.remedy in finding.advice
    (finding,) = diagnose_horizon(fruitless(dead, [unproved, HOLDER], LOOKS), NOW)
    assert finding.subject == "session 77"
    assert "younger" not in finding.sentence


def test_the_pace_follows_the_documented_costs() -> None:
    pace = pace_of(SETTINGS)
    # 200 points in 2 ms are 100,000 a second: 50,000 pages read or 5,000 pages dirtied.
    assert pace.read_bytes_per_second == 50_000 * 8192
    assert pace.dirtied_bytes_per_second == 5_000 * 8192
    assert pace_of({**SETTINGS, "autovacuum_vacuum_cost_delay": "0"}).read_bytes_per_second is None
    fallback = pace_of({**SETTINGS, "autovacuum_vacuum_cost_delay": "-1"})
    assert fallback.dirtied_bytes_per_second is None


def due_tables(count: int, pages: int = 100) -> tuple[Upkeep, ...]:
    return upkeep(
        *(replace(TABLE, oid=i, dead_rows=9_000, pages=pages) for i in range(1, count + 1))
    )


@pytest.mark.parametrize(
    ("busy", "due", "found"), [(3, 4, True), (3, 3, False), (2, 9, False), (None, 9, False)]
)
def test_workers_are_saturated_when_all_are_busy_and_more_tables_wait(
    busy: int | None, due: int, found: bool
) -> None:
    use = worker_use(SETTINGS, busy)
    findings = [*diagnose_workers(use, pace_of(SETTINGS), due_tables(due), frozenset())]
    assert [f.code for f in findings] == (["autovacuum-workers-saturated"] if found else [])


def test_from_18_on_workers_are_raised_without_a_restart() -> None:
    (finding,) = diagnose_workers(
        WorkerUse(3, 3, 16), pace_of(SETTINGS), due_tables(9), frozenset()
    )
    assert finding.commands[0] == "ALTER SYSTEM SET autovacuum_max_workers = 6;"
    (finding,) = diagnose_workers(
        WorkerUse(3, 3, None), pace_of(SETTINGS), due_tables(9), frozenset()
    )
    assert finding.commands == ()
    assert "needs a restart" in finding.advice


def test_a_pass_of_more_than_a_day_is_throttled() -> None:
    pace = pace_of(SETTINGS)
    day_of_pages = int(5_000 * DAY)
    late = due_tables(1, pages=day_of_pages + 1)
    assert bytes_due(late, 8192) == (day_of_pages + 1) * 8192
    (finding,) = diagnose_workers(WorkerUse(0, 3, None), pace, late, frozenset())
    assert finding.code == "autovacuum-throttled"
    assert "39 MB a second" in finding.sentence
    assert not [
        *diagnose_workers(
            WorkerUse(0, 3, None), pace, due_tables(1, pages=day_of_pages), frozenset()
        )
    ]
