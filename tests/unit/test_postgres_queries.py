"""Differences of statement counters, and what is said about them, without a server."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Severity
from maintenance.core.statement_text import shown_text
from maintenance.postgres.queries import statement_counters
from maintenance.postgres.queries.changes import Periods, Usual, by_shape, change_between, shapes_of
from maintenance.postgres.queries.cost import QueryCost, costs_of
from maintenance.postgres.queries.report import advice_for, slow_query_report
from maintenance.postgres.queries.review import StatementStatistics
from maintenance.postgres.queries.rules import SlowQueryRules
from maintenance.postgres.queries.statement_counters import (
    Snapshot,
    StatementCounters,
    StatementUse,
    by_query,
    use_between,
)

RESET = 1_000.0


def counters(query_id: str = "1", **changes: Any) -> StatementCounters:
    statement = StatementCounters(
        user_oid=10,
        query_id=query_id,
        is_top_level=True,
        text=f"SELECT $1 AS c{query_id}",
        calls=10,
        total_ms=1000.0,
        rows=20,
        hit_blocks=90,
        read_blocks=10,
        temp_blocks=0,
        wal_bytes=0,
    )
    return replace(statement, **changes)


def snapshot(*statements: StatementCounters, taken_at: float = 2_000.0, **changes: Any) -> Snapshot:
    taken = Snapshot(
        statements=statements, server_major=16, reset_at=RESET, evictions=0, taken_at=taken_at
    )
    return replace(taken, **changes)


def state_of(taken: Snapshot) -> Any:
    return json.loads(json.dumps(taken.to_state()))


def test_the_first_review_counts_since_the_statistics_began() -> None:
    use = use_between({}, snapshot(counters()))
    assert not use.follows_previous
    assert (use.started_at, use.seconds) == (RESET, 1_000.0)
    assert use.statements == (counters(),)


def test_the_next_review_counts_only_what_was_added() -> None:
    before = snapshot(counters(), counters("2"))
    after = snapshot(counters(calls=13, total_ms=1600.0, rows=26), counters("2"), taken_at=2_060.0)
    use = use_between(state_of(before), after)
    (added,) = use.statements
    assert use.follows_previous
    assert use.seconds == 60.0
    assert (added.calls, added.total_ms, added.rows, added.hit_blocks) == (3, 600.0, 6, 0)


@pytest.mark.parametrize(
    "changes", [{"reset_at": 1_500.0}, {"server_major": 17}, {"taken_at": 1_999.0}]
)
def test_after_a_reset_or_an_upgrade_everything_since_then_counts(changes: dict[str, Any]) -> None:
    use = use_between(state_of(snapshot(counters())), snapshot(counters(calls=2), **changes))
    assert not use.follows_previous
    assert use.statements == (counters(calls=2),)


def test_a_statement_that_was_evicted_and_came_back_counts_from_zero() -> None:
    use = use_between(state_of(snapshot(counters())), snapshot(counters(calls=4, total_ms=7.0)))
    assert use.statements == (counters(calls=4, total_ms=7.0),)


def test_a_statement_counted_since_a_later_time_is_taken_as_it_is() -> None:
    later = counters(calls=11, total_ms=1001.0, counted_since=2_010.0)
    use = use_between(state_of(snapshot(counters())), snapshot(later, taken_at=2_060.0))
    assert use.statements == (later,)


def test_a_new_statement_is_left_out_where_the_state_had_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statement_counters, "KEPT_STATEMENTS", 1)
    state = state_of(snapshot(counters("1", total_ms=5.0), counters("2", total_ms=9.0)))
    assert list(state["statements"]) == ["10/2/t"]
    use = use_between(state, snapshot(counters("1", total_ms=5.0), counters("2", total_ms=9.0)))
    assert use.statements == ()
    assert (use.unknown, use.unknown_ms) == (1, 5.0)


def test_a_new_statement_counts_with_what_it_took_beyond_all_that_there_was_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statement_counters, "KEPT_STATEMENTS", 1)
    known = (counters("1", total_ms=5.0), counters("2", total_ms=9.0))
    heavy = counters("3", calls=1000, total_ms=50_000.0)
    use = use_between(state_of(snapshot(*known)), snapshot(*known, heavy))
    (added,) = use.statements
    assert (added.query_id, added.calls, added.total_ms) == ("3", 999, 49_950.0)
    assert use.unknown == 1
    assert "1 statement that took 5 ms at most" in report_of(use).summary


def test_a_state_of_before_says_nothing_of_what_there_was_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statement_counters, "KEPT_STATEMENTS", 1)
    state = state_of(snapshot(counters("1", total_ms=5.0), counters("2", total_ms=9.0)))
    del state["left_out_ms"]
    assert use_between(state, snapshot(counters("3", total_ms=50_000.0))).unknown == 1


def test_the_state_holds_no_text() -> None:
    assert "SELECT" not in json.dumps(snapshot(counters()).to_state())


amounts = st.integers(0, 10**9)
statements = st.builds(
    StatementCounters,
    user_oid=st.integers(1, 2),
    query_id=st.sampled_from("abc"),
    is_top_level=st.booleans(),
    text=st.just("SELECT 1"),
    calls=st.integers(1, 10**6),
    total_ms=st.integers(0, 10**9).map(float),
    rows=amounts,
    hit_blocks=amounts,
    read_blocks=amounts,
    temp_blocks=amounts,
    wal_bytes=amounts,
)
snapshots = st.lists(statements, max_size=6, unique_by=lambda s: s.key).map(
    lambda found: snapshot(*found)
)


@given(snapshots)
def test_nothing_happened_between_two_equal_snapshots(taken: Snapshot) -> None:
    assert use_between(state_of(taken), taken).statements == ()


@given(snapshots, snapshots)
def test_what_was_added_never_exceeds_what_is_there(before: Snapshot, after: Snapshot) -> None:
    there = {s.key: s for s in after.statements}
    for added in use_between(state_of(before), after).statements:
        pairs = zip(added.values, there[added.key].values, strict=True)
        assert all(0 <= value <= total for value, total in pairs)


@given(st.lists(statements, max_size=6))
def test_adding_up_by_query_loses_no_time(found: list[StatementCounters]) -> None:
    merged = by_query(found)
    assert len({s.query_id for s in merged}) == len(merged)
    assert sum(s.total_ms for s in merged) == pytest.approx(sum(s.total_ms for s in found))


@given(st.lists(statements, max_size=6))
def test_adding_up_by_shape_loses_no_time(found: list[StatementCounters]) -> None:
    merged = by_shape(found, shapes_of(found))
    assert len({used.shape for used in merged}) == len(merged)
    assert sum(u.counters.total_ms for u in merged) == pytest.approx(sum(s.total_ms for s in found))


def use_of(*found: StatementCounters, **changes: Any) -> StatementUse:
    use = StatementUse(found, 0.0, 3600.0, follows_previous=True, evictions=0)
    return replace(use, **changes)


def costs(use: StatementUse, state: Any = None) -> list[QueryCost]:
    used = Periods(state or {}, snapshot(*use.statements)).used(use)
    return costs_of(used, use, block_bytes=8192, reset_at=RESET)


def report_of(
    use: StatementUse, minimum_mean_ms: float = 100, limit: int = 20, state: Any = None
) -> Any:
    rules = SlowQueryRules(minimum_mean_ms, limit)
    return slow_query_report(use, costs(use, state), rules, extra=(), state={})


def test_a_slow_statement_is_named_with_its_cost() -> None:
    slow = counters("-42", text="SELECT  *\n FROM t WHERE a = $1", calls=4, total_ms=800.0)
    (finding,) = report_of(use_of(slow, counters("2", calls=100, total_ms=200.0))).findings
    assert finding.subject == "query -42"
    assert finding.severity is Severity.WARNING
    assert finding.sentence == (
        "200 ms a call, 4 calls in 1 hour, 80 % of all statement time: SELECT * FROM t WHERE a = $1"
    )
    assert finding.evidence["query"] == "SELECT * FROM t WHERE a = $1"
    assert (finding.evidence["mean_ms"], finding.evidence["total_ms"]) == (200.0, 800.0)


def test_the_mean_decides_from_the_minimum_on() -> None:
    use = use_of(counters("1", total_ms=1000.0), counters("2", total_ms=999.9))
    assert [f.subject for f in report_of(use).findings] == ["query 1"]


def test_the_limit_bounds_findings_and_rows_and_the_summary_says_so() -> None:
    use = use_of(*(counters(str(n), total_ms=1000.0 + n) for n in range(5)))
    report = report_of(use, limit=2)
    assert [f.subject for f in report.findings] == ["query 4", "query 3"]
    assert len(report.tables[0].rows) == 2
    assert report.summary.startswith("5 of 5 statements")
    assert report.summary.endswith("the 2 slowest are named.")


def test_a_slow_utility_statement_is_in_the_table_by_its_command_word_only() -> None:
    vacuum = counters("1", text="VACUUM secret_table", total_ms=99_000.0)
    report = report_of(use_of(vacuum))
    assert report.findings == ()
    table = report.tables[0]
    assert table.rows[0][table.columns.index("query")] == "VACUUM ..."


def test_a_nested_statement_does_not_add_to_all_time() -> None:
    outer = counters("1", total_ms=500.0)
    inner = counters("2", is_top_level=False, total_ms=400.0)
    ratios = {c.query_id: c.time_ratio for c in costs(use_of(outer, inner))}
    assert ratios == {"1": 1.0, "2": 0.8}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CREATE ROLE bob PASSWORD 'hunter2'", "CREATE ..."),
        ("SET app.token = hunter2", "SET ..."),
        ("SELECT 'hunter2', $1, 5", "SELECT ?, $1, ?"),
        ("/* hunter2 */ select a -- hunter2\n from t", "select a from t"),
        ("(SELECT 'hunter2')", "(SELECT ?)"),
        ("", "(a statement of another kind)"),
    ],
)
def test_no_literal_is_shown(text: str, shown: str) -> None:
    assert shown_text(text) == shown


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="'\\")))
def test_no_quoted_text_survives(secret: str) -> None:
    marked = f"zq{secret}qz"
    assert marked not in shown_text(f"SELECT * FROM t WHERE a = '{marked}' AND b = $1")


def test_advice_follows_what_the_counters_show() -> None:
    heavy = counters(temp_blocks=128, hit_blocks=1, read_blocks=9, rows=50_000, calls=10)
    (cost,) = costs(use_of(heavy))
    advice = advice_for(cost)
    assert "1.0 MB of temporary files" in advice
    assert "Only 10 % of its pages" in advice
    assert "5,000 rows a call" in advice
    (plain,) = costs(use_of(counters()))
    assert advice_for(plain).startswith("Run it under EXPLAIN")


def test_evictions_are_said_because_statements_are_missing() -> None:
    (finding,) = report_of(use_of(evictions=3)).findings
    assert finding.code == "statements-evicted"
    assert "pg_stat_statements.max" in finding.advice


# --- what changed since the period before -------------------------------------------------------


def with_spread(calls: int, mean_ms: float, deviation_ms: float = 0.0) -> dict[str, float]:
    return {
        "calls": calls,
        "total_ms": calls * mean_ms,
        "squares_ms2": calls * (mean_ms**2 + deviation_ms**2),
    }


def left_by(*found: StatementCounters, state: Any = None, **changes: Any) -> Any:
    """Return the state that a review leaves which counted these."""
    taken = snapshot(*found, **changes)
    periods = Periods(state or {}, taken)
    return json.loads(json.dumps({"shapes": periods.to_state(periods.used(use_of(*found)))}))


def test_a_statement_that_became_slower_is_named_with_its_change() -> None:
    state = left_by(counters(**with_spread(1000, 2.1)))
    (finding,) = report_of(use_of(counters(**with_spread(1200, 48.0))), state=state).findings
    assert (finding.code, finding.severity) == ("query-slower", Severity.WARNING)
    assert finding.sentence.startswith(
        "2.1 ms -> 48 ms a call, 23 times slower than before, 1,200 calls in 1 hour,"
    )
    assert finding.evidence["mean_before_ms"] == 2.1


def test_a_slow_statement_that_became_slower_is_named_once_with_its_change() -> None:
    state = left_by(counters(**with_spread(100, 50.0)))
    (finding,) = report_of(use_of(counters(**with_spread(100, 150.0))), state=state).findings
    assert finding.code == "slow-query"
    assert finding.sentence.startswith("50 ms -> 150 ms a call, 3.0 times slower than before")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((9, 2.0, 0.0), (1000, 50.0, 0.0), id="few calls before"),
        pytest.param((1000, 2.0, 0.0), (9, 500.0, 0.0), id="few calls now"),
        pytest.param((1000, 25.0, 0.0), (1000, 49.9, 0.0), id="less than twice"),
        pytest.param((1000, 0.1, 0.0), (1000, 1.0, 0.0), id="less than a second in all"),
        pytest.param((10, 20.0, 5.0), (10, 150.0, 200.0), id="within its own spread"),
    ],
)
def test_noise_is_no_change(
    before: tuple[int, float, float], after: tuple[int, float, float]
) -> None:
    state = left_by(counters(**with_spread(*before)))
    (cost,) = costs(use_of(counters(**with_spread(*after))), state)
    assert cost.change is None


def test_what_adds_less_than_a_hundredth_of_all_time_is_no_change() -> None:
    state = left_by(counters(**with_spread(1000, 1.0)), counters("2"))
    large = counters("2", calls=10, total_ms=1_000_000.0)
    found = {c.query_id: c for c in costs(use_of(counters(**with_spread(1000, 9.0)), large), state)}
    assert found["1"].change is None


@given(
    st.tuples(st.integers(1, 10**6), st.floats(0, 10**6), st.floats(0, 10**6)),
    st.tuples(st.integers(1, 10**6), st.floats(0, 10**6), st.floats(0, 10**6)),
    st.floats(0, 10**9),
)
def test_a_change_is_twofold_at_least_and_nothing_changes_against_itself(
    one: tuple[int, float, float], other: tuple[int, float, float], total_ms: float
) -> None:
    first, second = (
        Usual(calls, calls * mean, calls * (mean**2 + spread**2))
        for calls, mean, spread in (one, other)
    )
    change = change_between(first, second, total_ms)
    assert change_between(first, first, total_ms) is None
    if change is not None:
        assert max(change.times, 1 / change.times) >= 2


def test_a_statement_is_known_by_its_shape_after_an_upgrade_and_lists_are_squashed() -> None:
    before = [
        counters(
            str(n),
            text=f"SELECT a FROM t WHERE b IN ({', '.join(['$1'] * n)})",
            **with_spread(10, 2.0),
        )
        for n in (2, 3, 5)
    ]
    state = left_by(*before)
    after = counters(
        "99", text="SELECT a FROM t WHERE b IN ($1 /*, ... */)", **with_spread(100, 48.0)
    )
    taken = snapshot(after, server_major=18, reset_at=5_000.0, taken_at=6_000.0)
    (used,) = Periods(state, taken).used(use_of(after))
    assert not used.is_new
    assert used.change is not None
    assert used.change.times == pytest.approx(24)


def test_after_an_upgrade_nothing_is_called_new() -> None:
    state = left_by(counters())
    use = use_of(counters("7", **with_spread(100, 90.0)))
    assert [c.is_new for c in costs(use, state)] == [True]
    upgraded = Periods(state, snapshot(*use.statements, server_major=17)).used(use)
    assert [used.is_new for used in upgraded] == [False]
    assert [c.is_new for c in costs(use)] == [False]  # a first review knows no other period


def test_a_new_statement_is_named_where_it_costs_something() -> None:
    state = left_by(counters())
    use = use_of(counters("7", **with_spread(100, 90.0)), counters("8", **with_spread(100, 0.1)))
    (finding,) = report_of(use, state=state).findings
    assert (finding.code, finding.subject) == ("query-new", "query 7")
    assert finding.sentence.startswith("New in this period: 90 ms a call, 100 calls in 1 hour")


def test_a_statement_that_rested_for_a_period_is_compared_with_the_one_before() -> None:
    state = left_by(counters(**with_spread(100, 2.0)))
    rested = left_by(state=state)
    few = left_by(counters(**with_spread(2, 90.0)), state=rested)
    (cost,) = costs(use_of(counters(**with_spread(100, 80.0))), few)
    assert cost.change is not None
    assert cost.change.before_ms == 2.0


def test_the_state_of_periods_holds_no_text() -> None:
    assert "AS c" not in json.dumps(left_by(counters()))


def test_a_fast_statement_that_keeps_the_server_busy_is_named() -> None:
    busy = counters(**with_spread(1_000_000, 0.4))
    (finding,) = report_of(use_of(busy, counters("2", total_ms=900.0))).findings
    assert (finding.code, finding.severity) == ("query-load", Severity.INFO)
    assert finding.sentence.startswith("Fast, but often: 0.4 ms a call, 1,000,000 calls")
    assert report_of(use_of(counters(**with_spread(10, 0.4)))).findings == ()


def test_each_ranking_has_its_leaders_and_none_that_use_nothing() -> None:
    heavy = {
        "total": counters("1", total_ms=990.0, calls=100, read_blocks=0, worst_ms=5.0),
        "worst": counters("2", total_ms=10.0, read_blocks=0, worst_ms=9.0, is_worst_recent=False),
        "calls": counters("3", calls=10_000, total_ms=20.0, read_blocks=0),
        "read": counters("4", total_ms=10.0, read_blocks=4),
        "temp": counters("5", total_ms=10.0, read_blocks=0, temp_blocks=7),
        "wal": counters("6", total_ms=10.0, read_blocks=0, wal_bytes=9),
    }
    tables = {t.title: t for t in report_of(use_of(*heavy.values())).tables[1:]}
    first = {
        title: dict(zip(table.columns, table.rows[0], strict=True))
        for title, table in tables.items()
    }
    assert {title: row["query_id"] for title, row in first.items()} == {
        "Most time in all": "1",
        "Most calls": "3",
        "Most read from outside shared_buffers": "4",
        "Most temporary files": "5",
        "Most WAL": "6",
        "Worst single calls (each since the time in its row)": "2",
    }
    assert first["Most read from outside shared_buffers"]["read_bytes"] == 4 * 8192
    worst = first["Worst single calls (each since the time in its row)"]
    assert (worst["since"], worst["in_this_period"]) == ("1970-01-01 00:16 UTC", "no")


def test_the_worst_call_is_recent_where_it_is_longer_than_the_one_before() -> None:
    before = snapshot(counters(worst_ms=5.0), counters("2", worst_ms=5.0))
    after = snapshot(
        counters(calls=20, worst_ms=5.0), counters("2", calls=20, worst_ms=6.0), taken_at=2_060.0
    )
    added = {s.query_id: s.is_worst_recent for s in use_between(state_of(before), after).statements}
    assert added == {"1": False, "2": True}


READABLE = StatementStatistics(
    version="1.12",
    schema="public",
    is_loaded=True,
    track="top",
    compute_query_id="auto",
    is_installed=True,
    may_use_schema=True,
    may_select=True,
    quoted_schema="public",
    role="crew",
    block_bytes=8192,
)


def test_nothing_is_missing_where_everything_is_there() -> None:
    assert READABLE.needs() == ""
    assert replace(READABLE, version="1.10").needs() == ""


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"is_installed": False, "version": None}, "postgresql-contrib"),
        (
            {"is_loaded": False, "version": None},
            (
                "shared_preload_libraries = 'pg_stat_statements' in postgresql.conf and a restart,"
                " then CREATE EXTENSION pg_stat_statements"
            ),
        ),
        ({"is_loaded": False}, "shared_preload_libraries = 'pg_stat_statements'"),
        ({"version": None}, "CREATE EXTENSION pg_stat_statements in this database"),
        ({"version": "1.8"}, "ALTER EXTENSION pg_stat_statements UPDATE"),
        ({"may_use_schema": False}, "GRANT USAGE ON SCHEMA public TO crew"),
        ({"may_select": False}, "GRANT SELECT ON public.pg_stat_statements,"),
        ({"track": "none"}, "pg_stat_statements.track = 'top'"),
        ({"compute_query_id": "off"}, "compute_query_id = 'auto'"),
    ],
)
def test_what_is_missing_is_named_exactly(changes: dict[str, Any], needs: str) -> None:
    assert needs in replace(READABLE, **changes).needs()
