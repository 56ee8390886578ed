"""What is planned for a table: its turn, its statement on each version, how long it will take."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.job import NoHistory, Point
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.postgres.bloat.packing import PageSample, packed_size
from maintenance.postgres.bloat.table_report import TableBloat
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules
from maintenance.postgres.vacuum.duration import (
    BLOCK_BYTES,
    Durations,
    duration_samples,
    work_bytes,
)
from maintenance.postgres.vacuum.lost_counters import reasons, reasons_by_visibility
from maintenance.postgres.vacuum.output import parse_vacuum_output
from maintenance.postgres.vacuum.plan import Learned, TableTask, VacuumPlan, plan_vacuum
from maintenance.postgres.vacuum.run import bypassed_after
from maintenance.postgres.vacuum.space import space_of
from maintenance.postgres.vacuum.statements import Server, statement_of
from maintenance.postgres.vacuum.table_state import TableKind, TableState
from tests.unit.test_postgres_vacuum_health import NOW, RULES, TABLE


def table(oid: int, **changes: object) -> TableState:
    name = f"t{oid}"
    named = replace(TABLE, oid=oid, name=name, qualified_name=f"public.{name}")
    return replace(named, **changes)  # type: ignore[arg-type]


def plan(*tables: TableState, major: int = 18, **options: object) -> VacuumPlan:
    return plan_vacuum(tables, RULES, server_major=major, **options)  # type: ignore[arg-type]


def turns(*tables: TableState, **options: object) -> list[str]:
    return [task.table.name for task in plan(*tables, **options).tasks]


def test_freezing_comes_first_then_what_is_urgent_then_what_takes_longest() -> None:
    old = table(1, xid_age=300_000_000, pages=1)
    urgent = table(2, dead_rows=9_000, pages=10)
    small, large = table(3, dead_rows=3_000, pages=20), table(4, dead_rows=3_000, pages=200)

    assert turns(small, large, urgent, old) == ["t1", "t2", "t4", "t3"]


def test_what_takes_longest_is_known_from_the_past_rather_than_from_the_size() -> None:
    quick, slow = table(1, dead_rows=3_000, pages=200), table(2, dead_rows=3_000, pages=100)
    durations = Durations({"public.t1": 100e6, "public.t2": 1e6}, 50e6)

    tasks = plan(quick, slow, learned=Learned(durations)).tasks

    assert [t.table.name for t in tasks] == ["t2", "t1"]
    assert tasks[0].predicted_seconds == pytest.approx(100 * BLOCK_BYTES / 1e6)


def test_a_partitioned_table_has_its_turn_after_all_partitions() -> None:
    parent = table(9, kind=TableKind.PARTITIONED, has_statistics=False, xid_age=None)
    partition = table(1, parent_oid=9, dead_rows=3_000)

    tasks = plan(parent, partition, table(2, dead_rows=9_000)).tasks

    assert [task.stage for task in tasks] == [0, 0, 1]
    assert tasks[-1].table is parent


def test_in_mode_all_what_is_due_comes_before_what_is_only_requested() -> None:
    assert turns(table(1, pages=900), table(2, dead_rows=3_000), mode="all") == ["t2", "t1"]


def statement(task: TableTask, major: int, **server: bool) -> str:
    composed = statement_of(task, Server(major, **server))
    text = ""
    for part in composed.seq:
        inner = getattr(part, "seq", None)
        strings = getattr(part, "strings", None)
        if inner is not None:
            text += "".join(p.string for p in inner)
        else:
            text += ".".join(strings) if strings else part.string
    return text


@pytest.fixture
def task() -> TableTask:
    return plan(table(1, dead_rows=9_000, modified_since_analyze=9_000)).tasks[0]


@pytest.mark.parametrize(
    ("major", "expected"),
    [
        (14, "VACUUM (VERBOSE, TRUNCATE FALSE, ANALYZE, PARALLEL 0) public.t1"),
        (
            16,
            (
                "VACUUM (VERBOSE, TRUNCATE FALSE, ANALYZE, PARALLEL 0, BUFFER_USAGE_LIMIT '4MB',"
                " SKIP_DATABASE_STATS) public.t1"
            ),
        ),
        (
            18,
            (
                "VACUUM (VERBOSE, TRUNCATE FALSE, ANALYZE, PARALLEL 0, BUFFER_USAGE_LIMIT '4MB',"
                " SKIP_DATABASE_STATS) ONLY public.t1"
            ),
        ),
    ],
)
def test_a_statement_has_the_options_that_its_server_knows(
    task: TableTask, major: int, expected: str
) -> None:
    assert statement(task, major) == expected


def test_a_vacuum_alone_may_use_the_workers_of_the_server(task: TableTask) -> None:
    assert "PARALLEL" not in statement(task, 18, alone=True)


def test_dead_item_pointers_left_by_the_last_vacuum_are_taken_away(task: TableTask) -> None:
    learned = Learned(bypassed={"public.t1"})
    (again,) = plan(task.table, learned=learned).tasks
    assert "INDEX_CLEANUP ON" in statement(again, 18)
    assert "INDEX_CLEANUP" not in statement(task, 18)


def test_an_analyze_alone_is_no_vacuum() -> None:
    changed = table(1, modified_since_analyze=9_000)
    (task,) = plan(changed, learned=Learned(bypassed={"public.t1"})).tasks
    assert statement(task, 17) == "ANALYZE public.t1"
    assert statement(task, 18) == "ANALYZE ONLY public.t1"


def test_a_toast_table_alone_is_named_itself_before_16() -> None:
    owner = table(1, toast_oid=2)
    toast = table(2, kind=TableKind.TOAST, schema="pg_toast", dead_rows=9_000)
    (task,) = plan(owner, toast).tasks
    assert statement(task, 15).endswith(" pg_toast.t2")
    assert statement(task, 15, may_name_toast=False).endswith(") public.t1")
    assert "PROCESS_MAIN FALSE" in statement(task, 16)
    assert statement(task, 16).endswith(" public.t1")


def with_toast(owner: dict[str, object], toast: dict[str, object]) -> list[TableState]:
    behind = table(2, kind=TableKind.TOAST, schema="pg_toast", **toast)
    return [table(1, toast_oid=2, **owner), behind]


@pytest.mark.parametrize("major", [14, 15, 16, 17, 18])
def test_a_toast_table_that_needs_nothing_is_left_alone(major: int) -> None:
    (task,) = plan(*with_toast({"dead_rows": 9_000}, {}), major=major).tasks
    assert "PROCESS_TOAST FALSE" in statement(task, major)


@pytest.mark.parametrize("major", [14, 15, 16, 17, 18])
@pytest.mark.parametrize(
    ("owner", "toast", "options"),
    [
        ({"dead_rows": 9_000}, {"dead_rows": 9_000}, {}),
        ({"dead_rows": 9_000}, {"xid_age": 300_000_000}, {}),
        ({"dead_rows": 9_000}, {"multixact_age": 500_000_000}, {}),
        ({"dead_rows": 9_000, "xid_age": 300_000_000}, {}, {}),
        ({}, {}, {"mode": "all"}),
        ({"dead_rows": 9_000}, {}, {"learned": Learned(bypassed={"public.t1"})}),
        ({}, {}, {"learned": Learned(hidden_dead_rows={1: "a sample shows dead rows"})}),
    ],
)
def test_a_toast_table_that_may_need_something_is_done_with_its_table(
    major: int, owner: dict[str, object], toast: dict[str, object], options: dict[str, object]
) -> None:
    (task,) = plan(*with_toast(owner, toast), major=major, **options).tasks
    assert task.needs.vacuum
    assert "PROCESS_TOAST" not in statement(task, major)
    assert "PROCESS_MAIN" not in statement(task, major)


def test_an_old_toast_table_is_frozen_whatever_its_table_needs() -> None:
    old = {"xid_age": 300_000_000}
    assert "FREEZE" in statement(plan(*with_toast({"dead_rows": 9_000}, old)).tasks[0], 18)
    (alone,) = plan(*with_toast({}, old)).tasks
    assert alone.toast_only
    assert "FREEZE" in statement(alone, 18)


class Earlier(NoHistory):
    """A history with these rates."""

    def __init__(self, rates: Mapping[str, Sequence[float]]) -> None:
        self._rates = rates

    def series_by_subject(self, metric: str, *_: object, **__: object) -> dict[str, list[Point]]:
        assert metric == "vacuum_bytes_per_second"
        return {s: [Point(float(n), v) for n, v in enumerate(r)] for s, r in self._rates.items()}


def test_a_table_goes_by_its_last_time_and_others_by_the_rate_of_all() -> None:
    durations = Durations.from_history(Earlier({"": [5e6, 20e6], "public.a": [1e6, 2e6]}))
    assert durations.predict("public.a", 10_000_000) == 5
    assert durations.predict("public.b", 10_000_000) == 0.5


def test_nothing_is_predicted_before_anything_was_timed() -> None:
    assert Durations.from_history(NoHistory()).predict("public.a", 10**9) is None


def vacuumed(name: str, pages: int, seconds: float, verdict: Verdict = Verdict.WORKED) -> Outcome:
    action = Action("vacuum", f"public.{name}", "VACUUM", "a test")
    return Outcome(action, verdict, before={"pages": pages}, duration_seconds=seconds)


def test_only_what_took_a_second_is_kept_of_a_table() -> None:
    samples = [
        *duration_samples(
            [
                vacuumed("long", 2_000, 2.0),
                vacuumed("short", 2_000, 0.5),
                vacuumed("tiny", 1, 0.9),
                vacuumed("stopped", 9_000, 3.0, Verdict.FAILED),
            ]
        )
    ]
    assert {(s.metric, s.subject): s.value for s in samples} == {
        ("vacuum_seconds", "public.long"): 2.0,
        ("vacuum_bytes_per_second", "public.long"): 1_000 * BLOCK_BYTES,
        ("vacuum_bytes_per_second", ""): 4_000 * BLOCK_BYTES / 2.5,
    }


def test_of_ten_thousand_small_tables_no_sample_is_kept() -> None:
    assert not [*duration_samples(vacuumed(f"t{n}", 1, 0.001) for n in range(10_000))]


@given(st.integers(1, 10**7), st.floats(0.1, 1e5))
def test_what_was_measured_is_what_is_predicted_for_the_same_size(
    pages: int, seconds: float
) -> None:
    (*_, sample) = [*duration_samples([vacuumed("a", pages + 1_024, seconds)])]
    durations = Durations({}, sample.value)
    size_bytes = work_bytes(pages + 1_024, vacuum=True)
    assert durations.predict("public.b", size_bytes) == pytest.approx(seconds)


def test_analyze_reads_no_more_than_its_sample() -> None:
    assert work_bytes(10**6, vacuum=False) == 30_000 * BLOCK_BYTES
    assert work_bytes(10**6, vacuum=True) == 10**6 * BLOCK_BYTES


BYPASS_16 = (
    'INFO:  finished vacuuming "d.public.t": index scans: 0\ntuples: 5 removed, 9995 remain, 0 are'
    " dead but not yet removable\nindex scan bypassed: 1 pages from table (0.50% of total) have 5"
    " dead item identifiers\n"
)


def test_a_bypassed_index_scan_is_read_from_the_messages() -> None:
    output = parse_vacuum_output([BYPASS_16])
    assert (output.removed_rows, output.bypassed_identifiers) == (5, 5)
    assert parse_vacuum_output([BYPASS_16.replace("bypassed", "needed")]).bypassed_identifiers == 0


def test_who_was_bypassed_is_carried_on_until_a_vacuum_has_cleaned_up() -> None:
    def after(name: str, **figures: int) -> Outcome:
        return replace(vacuumed(name, 1, 1.0), after=figures)

    state = {"bypassed": ["public.cleaned", "public.untouched"]}
    outcomes = [
        after("cleaned", removed_rows=5),
        after("left", removed_rows=5, bypassed_identifiers=5),
        after("analyzed"),
    ]
    assert bypassed_after(outcomes, state) == ["public.left", "public.untouched"]


def sample_of(pages: int, rows_a_page: int) -> TableBloat:
    """All pages alike: rows of 76 padded bytes, 102 of which fill a page."""
    samples = [PageSample((76,) * rows_a_page)] * 200
    return TableBloat("public.t1", "public.t1", pages * BLOCK_BYTES, packed_size(samples, pages))


MONTH = CounterWindow(NOW - 86_400, NOW)


def test_dead_rows_that_the_counters_forgot_are_a_reason_when_the_pages_show_them() -> None:
    lost = table(1, tuples=100_000, live_rows=0, pages=2_000)
    ((oid, reason),) = reasons({1: lost}, {1: sample_of(2_000, 51)}, RULES, MONTH)
    assert oid == 1
    assert "a sample of 200 pages shows dead rows or free space for at least" in reason
    assert "(due above 20,050)" in reason
    assert "cover only 1 day" in reason
    assert not [*reasons({1: lost}, {1: sample_of(2_000, 100)}, RULES, MONTH)]


def test_a_table_in_which_no_row_is_seen_may_be_full_of_dead_ones() -> None:
    lost = table(1, tuples=100_000, live_rows=0, pages=2_000)
    assert [*reasons({1: lost}, {1: sample_of(2_000, 0)}, RULES, MONTH)]


def test_forgotten_inserts_are_a_reason_where_the_map_shows_no_vacuum_since() -> None:
    lost = table(1, tuples=100_000, live_rows=0, pages=2_000, all_visible_pages=999)
    ((oid, reason),) = reasons_by_visibility([lost], RULES, MONTH)
    assert oid == 1
    assert reason.startswith("50 % of its pages are marked as visible to all, which index-only")
    assert "by which inserts make it due, cover only 1 day" in reason
    seen = replace(lost, all_visible_pages=1_000)
    never = replace(lost, storage_parameters=("autovacuum_vacuum_insert_threshold=-1",))
    assert not [*reasons_by_visibility([seen, never], RULES, MONTH)]


def test_the_room_in_tables_is_summed_and_dead_rows_are_no_room() -> None:
    tables = {1: table(1, pages=2_000), 2: table(2, pages=500)}
    space = space_of(tables, {1: sample_of(2_000, 51)})
    (measured,) = space.tables
    assert measured.rewrite_bytes == 1_000 * BLOCK_BYTES
    assert measured.free_bytes == 2_000 * (BLOCK_BYTES - 24 - 51 * 80)
    assert (space.unseen_tables, space.unseen_bytes) == (1, 500 * BLOCK_BYTES)
    assert "(not looked at, for want of time or rights: 1 table of 3.9 MB)" in space.in_words
    dead = {1: replace(tables[1], dead_rows=10_000)}
    assert space_of(dead, {1: sample_of(2_000, 51)}).free_bytes == measured.free_bytes - 800_000


def test_every_reason_of_the_rules_makes_a_table_due() -> None:
    rules = AutovacuumRules()
    due = [
        table(1, dead_rows=2_051),
        table(2, inserted_since_vacuum=3_001),
        table(3, modified_since_analyze=1_051),
    ]
    for each in due:
        (task,) = plan_vacuum([each], rules, server_major=18).tasks
        assert task.needs.times_due > 1
    assert not plan(table(4, dead_rows=2_050, modified_since_analyze=1_050)).tasks
