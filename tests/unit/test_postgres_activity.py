"""Diagnosing sessions: blocking trees, long statements, idle transactions, connections."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Thresholds
from maintenance.core.findings import Severity
from maintenance.core.job import Point
from maintenance.postgres.activity.backends import ActivitySnapshot, Backend, visibility_findings
from maintenance.postgres.activity.blocking import BlockingTree, Wait, blocking_trees, trees_of
from maintenance.postgres.activity.blocking_findings import blocking_table, diagnose_blocking
from maintenance.postgres.activity.connection_limits import (
    ConnectionLimit,
    Peaks,
    diagnose_limits,
    diagnose_peaks,
)
from maintenance.postgres.activity.connections import (
    connection_samples,
    connections_table,
    count_connections,
    diagnose_connections,
)
from maintenance.postgres.activity.idle import diagnose_idle
from maintenance.postgres.activity.locks import Lock, conflict
from maintenance.postgres.activity.long_running import diagnose_long_running
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.activity.xmin import diagnose_holders

THRESHOLDS = Thresholds()

ROW: Mapping[str, Any] = {
    "pid": 1,
    "leader_pid": None,
    "database": "site",
    "here": True,
    "user_name": "web",
    "application_name": "gunicorn",
    "client_address": "10.0.0.7",
    "backend_type": "client backend",
    "state": "active",
    "hidden": False,
    "query_id": "77",
    "query": "UPDATE t SET a = 'secret' WHERE id = 5",
    "statement_seconds": 2.0,
    "transaction_seconds": 3.0,
    "state_seconds": 2.0,
    "statement_started_at": "2026-11-23 01:02:03.000004+00",
    "transaction_started_at": "2026-11-23 01:02:02.000004+00",
    "blocked_by": [],
    "lock_mode": None,
    "lock_on": None,
    "waited_seconds": None,
}


def backend(pid: int, **changes: Any) -> Backend:
    return Backend.from_row({**ROW, "pid": pid, **changes})


def hidden(pid: int) -> Backend:
    unseen = dict.fromkeys(("backend_type", "state", "query_id", "statement_seconds"))
    return backend(
        pid,
        **unseen,
        hidden=True,
        query="<insufficient privilege>",
        transaction_seconds=None,
        state_seconds=None,
    )


def waiting(pid: int, *blockers: int, seconds: float | None = 5.0) -> Backend:
    return backend(
        pid,
        blocked_by=list(blockers),
        lock_mode="ShareLock",
        lock_on="transactionid",
        waited_seconds=seconds,
    )


def snapshot(*backends: Backend, max_connections: int = 100) -> ActivitySnapshot:
    return ActivitySnapshot(backends, max_connections, 3, "maintenance")


# --- sessions ---------------------------------------------------------------------------------


def test_a_session_keeps_no_literal_of_its_statement() -> None:
    assert backend(1).statement == "UPDATE t SET a = ? WHERE id = ?"
    assert "secret" not in repr(backend(1))


def test_of_an_aborted_transaction_only_the_command_is_kept() -> None:
    aborted = backend(1, state="idle in transaction (aborted)", query="SELCT secret")
    assert aborted.statement == "SELCT"


def test_commands_meet_only_the_same_statement_or_transaction() -> None:
    assert backend(9).cancel_command() == (
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
        " WHERE pid = 9 AND query_start = '2026-11-23 01:02:03.000004+00';"
    )
    assert "xact_start = '2026-11-23 01:02:02.000004+00'" in backend(9).terminate_command()


# --- blocking trees ---------------------------------------------------------------------------


def test_a_chain_is_one_tree_with_the_root_blocker_at_its_top() -> None:
    (tree,) = blocking_trees({2: [1], 3: [2], 4: [3]})
    assert tree == BlockingTree(1, (Wait(2, 1, 1), Wait(3, 2, 2), Wait(4, 3, 3)))


def test_who_waits_for_several_stands_under_the_last_of_the_queue() -> None:
    (tree,) = blocking_trees({2: [1], 3: [1, 2]})
    assert tree.waits == (Wait(2, 1, 1), Wait(3, 2, 2))


def test_two_causes_are_two_trees() -> None:
    trees = blocking_trees({2: [1], 12: [11], 13: [11]})
    assert [tree.root_pid for tree in trees] == [1, 11]
    assert [wait.pid for wait in trees[1].waits] == [12, 13]


def test_a_circle_is_one_tree_that_is_called_a_deadlock() -> None:
    (tree,) = blocking_trees({1: [2], 2: [3], 3: [1], 4: [2]})
    assert tree.is_deadlock
    assert tree.root_pid == 1
    assert {wait.pid for wait in tree.waits} == {2, 3, 4}


def test_nobody_waits_for_himself() -> None:
    assert blocking_trees({5: [5], 6: []}) == ()


@given(st.dictionaries(st.integers(1, 12), st.sets(st.integers(0, 12), max_size=4), max_size=12))
def test_every_waiting_session_stands_in_one_place_below_one_it_waits_for(
    blocked_by: dict[int, set[int]],
) -> None:
    trees = blocking_trees(blocked_by)
    really = {pid: blockers - {pid} for pid, blockers in blocked_by.items() if blockers - {pid}}
    placed = [wait.pid for tree in trees for wait in tree.waits]
    circled = [tree.root_pid for tree in trees if tree.is_deadlock]
    assert sorted(placed + circled) == sorted(really)
    for tree in trees:
        depths = {tree.root_pid: 0}
        assert tree.is_deadlock == (tree.root_pid in really)
        for wait in tree.waits:
            assert wait.blocker_pid in really[wait.pid]
            assert wait.depth == depths[wait.blocker_pid] + 1
            depths[wait.pid] = wait.depth


# --- blocking findings ------------------------------------------------------------------------


def test_the_finding_names_the_root_with_its_state_and_everybody_behind_it() -> None:
    root = backend(1, state="idle in transaction", transaction_seconds=42.0)
    now = snapshot(root, waiting(2, 1, seconds=40.0), waiting(3, 2, seconds=10.0))
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    assert finding.subject == "process 1"
    assert finding.severity is Severity.WARNING
    assert finding.sentence == (
        "Process 1 (user web, application gunicorn, idle in transaction, transaction open for"
        " 42 seconds) keeps 2 sessions waiting, the longest for 40 seconds (1 of them behind"
        " another waiting one)."
    )
    assert [line.partition(" waits")[0] for line in finding.evidence["tree"][1:]] == [
        "  process 2",
        "    process 3",
    ]
    assert finding.commands == (root.terminate_command(),)


@pytest.mark.parametrize(
    ("seconds", "severity"),
    [
        (None, Severity.INFO),
        (0.9, Severity.INFO),
        (1.0, Severity.WARNING),
        (300.0, Severity.CRITICAL),
    ],
)
def test_the_longest_wait_decides_how_serious_it_is(
    seconds: float | None, severity: Severity
) -> None:
    now = snapshot(backend(1), waiting(2, 1, seconds=seconds))
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    assert finding.severity is severity


def test_a_working_root_is_cancelled_first_and_ended_second() -> None:
    now = snapshot(backend(1), waiting(2, 1))
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    assert finding.commands == (backend(1).cancel_command(), backend(1).terminate_command())
    assert "Cancelling loses the statement's work so far" in finding.advice


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("autovacuum: VACUUM public.t", "gives way by itself"),
        ("autovacuum: VACUUM public.t (to prevent wraparound)", "gives way to nobody"),
    ],
)
def test_an_autovacuum_at_the_root_is_never_ended_but_cancelled(query: str, advice: str) -> None:
    root = backend(1, backend_type="autovacuum worker", query=query)
    now = snapshot(root, waiting(2, 1))
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    assert advice in finding.advice
    assert finding.commands == (root.cancel_command(),)


def test_one_that_only_queues_ahead_of_others_is_the_first_to_cancel() -> None:
    reader = backend(1, state="idle in transaction")
    change = waiting(2, 1)
    now = replace(
        snapshot(reader, change, waiting(3, 2), waiting(4, 2)),
        locks=(
            Lock("t", 1, None, "AccessShareLock", granted=True),
            Lock("t", 2, None, "AccessExclusiveLock", granted=False),
            Lock("t", 3, None, "AccessShareLock", granted=False),
            Lock("t", 4, None, "AccessShareLock", granted=False),
        ),
    )
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    assert "2 sessions could go on at once if process 2" in finding.sentence
    assert finding.commands == (change.cancel_command(), reader.terminate_command())
    assert finding.advice.startswith("Cancel what process 2 waits to do")
    table = blocking_table(trees_of(now), now)
    assert [row[table.columns.index("because")] for row in table.rows] == [
        "",
        "holds the lock",
        "queued ahead",
        "queued ahead",
    ]


def test_lock_modes_exclude_each_other_both_ways() -> None:
    modes = [
        "AccessShare",
        "RowShare",
        "RowExclusive",
        "ShareUpdateExclusive",
        "Share",
        "ShareRowExclusive",
    ]
    modes += ["Exclusive", "AccessExclusive"]
    for one in modes:
        assert conflict(f"{one}Lock", "AccessExclusiveLock")
        assert not conflict("AccessShareLock", f"{one}Lock") or one == "AccessExclusive"
        for other in modes:
            assert conflict(one, other) == conflict(other, one)
    pairs = sum(conflict(one, other) for one in modes for other in modes)
    assert pairs == 38  # the crosses of the documentation's table
    assert conflict("SIReadLock", "ShareLock")


def test_a_deep_chain_and_a_wide_queue_cost_little() -> None:
    chain = blocking_trees({pid: [pid - 1] for pid in range(2, 3000)})
    assert [len(tree.waits) for tree in chain] == [2998]
    assert chain[0].waits[-1].depth == 2998
    # Everybody waits for all ahead, as at the lock of one row.
    queue = blocking_trees({pid: range(1, pid) for pid in range(2, 600)})
    assert [len(tree.waits) for tree in queue] == [598]
    circle = blocking_trees({pid: [pid % 2000 + 1] for pid in range(1, 2001)})
    assert [tree.is_deadlock for tree in circle] == [True]


def test_a_wide_tree_is_drawn_in_part_and_counted_whole() -> None:
    now = snapshot(backend(1), *(waiting(pid, 1) for pid in range(2, 202)))
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    drawn = finding.evidence["tree"]
    assert drawn[0] == backend(1).in_words
    assert drawn[1] == (
        "  process 2 waits for 5 seconds: ShareLock on transactionid;"
        " UPDATE t SET a = ? WHERE id = ?"
    )
    assert drawn[-1] == "... and 150 more"
    assert finding.evidence["waiting_sessions"] == 200
    assert len(blocking_table(trees_of(now), now).rows) == 201


def test_a_prepared_transaction_at_the_root_is_called_so() -> None:
    now = snapshot(waiting(2, 0))
    (finding,) = diagnose_blocking(trees_of(now), now, THRESHOLDS)
    assert finding.sentence.startswith("A prepared transaction keeps 1 session waiting")
    assert "ROLLBACK PREPARED" in finding.advice
    assert finding.commands == ()
    named = replace(
        now,
        locks=(
            Lock("t", None, "it's", "RowExclusiveLock", granted=True),
            Lock("t", None, "other", "AccessShareLock", granted=True),
            Lock("t", 2, None, "ShareLock", granted=False),
        ),
    )
    (finding,) = diagnose_blocking(trees_of(named), named, THRESHOLDS)
    assert finding.sentence.startswith('The prepared transaction "it\'s" keeps 1 session waiting')
    assert "'it''s'" in finding.advice


def test_a_worker_of_a_parallel_query_waits_as_its_leader() -> None:
    worker = replace(waiting(8, 1), leader_pid=7)
    (tree,) = trees_of(snapshot(backend(1), backend(7), worker))
    assert [wait.pid for wait in tree.waits] == [7]


def test_blocking_among_other_databases_is_left_to_their_own_reports() -> None:
    elsewhere = [replace(b, here=False) for b in (backend(1), waiting(2, 1))]
    assert trees_of(snapshot(*elsewhere)) == ()
    assert len(trees_of(snapshot(elsewhere[0], waiting(2, 1)))) == 1


def test_the_table_shows_each_root_above_those_who_wait() -> None:
    now = snapshot(backend(1), waiting(2, 1), waiting(3, 2))
    table = blocking_table(trees_of(now), now)
    shown = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(r["pid"], r["depth"], r["waits_for_pid"]) for r in shown] == [
        (1, 0, None),
        (2, 1, 1),
        (3, 2, 2),
    ]
    assert shown[1]["lock"] == "ShareLock on transactionid"


# --- long-running -----------------------------------------------------------------------------


def holder(name: str, **changes: Any) -> XminHolder:
    return replace(XminHolder("session", name, "web", "gunicorn", "active", 3.0, 10), **changes)


def test_a_statement_over_the_limit_is_a_warning_with_a_guarded_command() -> None:
    slow = backend(1, statement_seconds=301.0)
    (finding,) = diagnose_long_running(snapshot(slow, backend(2)), {}, THRESHOLDS)
    assert (finding.code, finding.severity) == ("long-running", Severity.WARNING)
    assert "has run one statement for 5 minutes: UPDATE t SET a = ?" in finding.sentence
    assert finding.commands == (slow.cancel_command(), slow.terminate_command())
    assert "takes back its whole transaction (open for 3 seconds)" in finding.advice


@pytest.mark.parametrize(
    "changes",
    [{"application_name": "maintenance:vacuum"}, {"backend_type": "autovacuum worker"}],
)
def test_upkeep_may_take_long(changes: dict[str, str]) -> None:
    slow = backend(1, statement_seconds=5000.0, **changes)
    (finding,) = diagnose_long_running(snapshot(slow), {}, THRESHOLDS)
    assert finding.severity is Severity.INFO
    assert finding.commands == ()


def test_idle_sessions_parallel_workers_and_senders_are_no_long_statements() -> None:
    old = {"statement_seconds": 9000.0}
    others = [
        backend(1, state="idle", **old),
        backend(2, leader_pid=9, **old),
        backend(3, backend_type="walsender", **old),
        backend(4, here=False, **old),
    ]
    assert list(diagnose_long_running(snapshot(*others), {}, THRESHOLDS)) == []


def test_an_idle_transaction_is_named_with_what_it_holds_back() -> None:
    idle = backend(4, state="idle in transaction", state_seconds=61.0)
    found = list(diagnose_idle(snapshot(idle), {"4": holder("4", xid_age=1234)}, THRESHOLDS))
    assert [f.code for f in found] == ["idle-in-transaction"]
    assert "has done nothing for 1 minute" in found[0].sentence
    assert "rows that died in the last 1,234 transactions" in found[0].sentence
    assert found[0].evidence["xid_age"] == 1234
    assert found[0].commands == (idle.terminate_command(),)


def test_a_transaction_that_was_idle_for_a_moment_is_none() -> None:
    idle = backend(4, state="idle in transaction", state_seconds=59.0)
    assert list(diagnose_idle(snapshot(idle), {}, THRESHOLDS)) == []


def test_what_holds_back_vacuum_without_being_a_long_statement_is_named_by_itself() -> None:
    holders = [
        holder(
            "standby",
            kind="replication slot",
            state="inactive",
            transaction_seconds=None,
            xid_age=2_000_000,
        ),
        holder("gid", kind="prepared transaction", transaction_seconds=400.0),
        holder("5", transaction_seconds=20.0),
    ]
    found = list(diagnose_holders(holders, {}, THRESHOLDS))
    assert [f.subject for f in found] == ["replication slot standby", "prepared transaction gid"]
    assert {f.severity for f in found} == {Severity.WARNING}
    assert found[0].sentence == (
        'The inactive replication slot "standby" keeps VACUUM from removing rows that died in the'
        " last 2,000,000 transactions."
    )


def test_a_holder_that_keeps_freezing_from_working_is_critical() -> None:
    slot = holder("s", kind="replication slot", transaction_seconds=None, xid_age=200_000_000)
    (finding,) = diagnose_holders([slot], {}, THRESHOLDS)
    assert finding.severity is Severity.CRITICAL


def test_a_slot_names_what_it_keeps() -> None:
    slot = holder(
        "sync",
        kind="replication slot",
        state="inactive",
        transaction_seconds=None,
        xid_age=5_000_000,
        catalogs_only=True,
        kept_wal_bytes=3 * 1024**3,
        inactive_seconds=7200.0,
    )
    (finding,) = diagnose_holders([slot], {}, THRESHOLDS)
    assert finding.sentence == (
        'The replication slot "sync" (inactive for 2 hours) keeps VACUUM from removing rows'
        " of the system catalogs that died in the last 5,000,000 transactions, and 3.0 GB of WAL"
        " from being removed."
    )


def test_a_holder_that_was_named_is_not_named_again() -> None:
    old = holder("5", transaction_seconds=400.0)
    backends = {5: backend(5, transaction_seconds=400.0)}
    (finding,) = diagnose_holders([old], backends, THRESHOLDS)
    assert finding.commands == (backends[5].cancel_command(), backends[5].terminate_command())
    assert not list(diagnose_holders([old], backends, THRESHOLDS, named={"process 5"}))


def test_a_transaction_of_short_statements_is_named_by_its_age() -> None:
    busy = backend(1, transaction_seconds=301.0)
    short_pause = backend(
        2, state="idle in transaction", state_seconds=1.0, transaction_seconds=400.0
    )
    others = [
        backend(3, statement_seconds=500.0, transaction_seconds=500.0),
        backend(4, state="idle in transaction", state_seconds=90.0, transaction_seconds=900.0),
        backend(5, transaction_seconds=299.0),
    ]
    found = list(diagnose_long_running(snapshot(busy, short_pause, *others), {}, THRESHOLDS))
    named = [f.subject for f in found if f.code == "long-transaction"]
    assert named == ["process 2", "process 1"]
    assert [f.subject for f in found if f.code == "long-running"] == ["process 3"]


# --- connections ------------------------------------------------------------------------------


def test_connections_are_counted_by_state_against_what_clients_may_use() -> None:
    now = snapshot(
        backend(1),
        backend(2, state="idle", here=False),
        backend(3, state="idle in transaction (aborted)"),
        backend(4, backend_type="autovacuum worker"),
        max_connections=13,
    )
    counts = count_connections(now)
    assert (counts.used, counts.here, counts.active, counts.idle_in_transaction) == (3, 2, 1, 1)
    assert counts.available == 10
    assert counts.used_ratio == 0.3
    table = connections_table(now)
    assert [row[0] for row in table.rows] == [1, 1, 1]
    assert len(connection_samples(counts)) == 4


@pytest.mark.parametrize(
    ("used", "severity"), [(7, None), (8, Severity.WARNING), (10, Severity.CRITICAL)]
)
def test_few_free_connections_are_a_finding(used: int, severity: Severity | None) -> None:
    idle = [backend(pid, state="idle") for pid in range(used)]
    counts = count_connections(snapshot(*idle, max_connections=13))
    found = list(diagnose_connections(counts, THRESHOLDS))
    assert [f.severity for f in found] == ([severity] if severity else [])


def test_active_connections_at_the_target_are_a_finding() -> None:
    limits = Thresholds(active_connections=2)
    one = count_connections(snapshot(backend(1)))
    two = count_connections(snapshot(backend(1), backend(2)))
    assert list(diagnose_connections(one, limits)) == []
    (finding,) = diagnose_connections(two, limits)
    assert finding.code == "connections-active"
    assert finding.sentence == (
        "2 connections run a statement at this moment; the target is fewer than 2."
    )


@pytest.mark.parametrize(
    ("used", "severity"), [(7, None), (8, Severity.WARNING), (10, Severity.CRITICAL)]
)
def test_a_limit_of_a_role_or_database_is_judged_as_the_servers(
    used: int, severity: Severity | None
) -> None:
    found = list(diagnose_limits([ConnectionLimit("role", '"App"', 10, used)]))
    assert [f.severity for f in found] == ([severity] if severity else [])
    for finding in found:
        assert finding.subject == 'role "App"'
        assert finding.sentence.startswith(
            f'{used} of the 10 connections that the role "App" may have are in use'
        )


def test_a_peak_near_the_limit_is_named_with_its_time() -> None:
    counts = count_connections(snapshot(backend(1), max_connections=13))
    peaks = Peaks(used=Point(1_790_000_000, 9), active=None)

    (finding,) = diagnose_peaks(peaks, counts, Thresholds())

    assert finding.severity is Severity.WARNING
    assert finding.sentence.startswith(
        "9 of 10 available connections were in use (90 %) at 2026-09-21 14:13 UTC, the most"
    )
    assert peaks.facts() == {
        "highest_connections": 9,
        "highest_connections_at": "2026-09-21T14:13:20+00:00",
    }


def test_a_peak_is_not_named_where_it_is_low_or_unknown_or_the_present_is_as_bad() -> None:
    quiet = count_connections(snapshot(backend(1), max_connections=13))
    busy = count_connections(snapshot(*(backend(pid) for pid in range(9)), max_connections=13))
    high = Peaks(used=Point(1_790_000_000, 9), active=None)

    assert list(diagnose_peaks(Peaks(Point(1_790_000_000, 7), None), quiet, Thresholds())) == []
    assert list(diagnose_peaks(Peaks(None, None), quiet, Thresholds())) == []
    assert list(diagnose_peaks(high, busy, Thresholds())) == []


def test_a_peak_of_active_connections_is_compared_with_the_target() -> None:
    quiet = count_connections(snapshot(backend(1), max_connections=1_000))
    peaks = Peaks(used=Point(1_790_000_000, 400), active=Point(1_790_000_000, 390))

    (finding,) = diagnose_peaks(peaks, quiet, Thresholds())

    assert (finding.code, finding.severity) == ("connections-active-peak", Severity.WARNING)
    assert finding.sentence.startswith("390 connections ran a statement at 2026-09-21 14:13 UTC")
    below = Peaks(used=None, active=Point(1_790_000_000, 99))
    assert list(diagnose_peaks(below, quiet, Thresholds())) == []
    assert list(diagnose_peaks(peaks, quiet, Thresholds(active_connections=1))) == []


def test_a_state_that_may_not_be_seen_is_withheld_not_counted_as_nothing() -> None:
    now = snapshot(backend(1), hidden(2), hidden(3))
    counts = count_connections(now)
    assert counts.used == 3
    assert not counts.is_complete
    assert [s.metric for s in connection_samples(counts)] == [
        "connections_count",
        "connections_used_ratio",
    ]
    (finding,) = visibility_findings(now)
    assert finding.sentence == (
        "unavailable: what 2 of 3 sessions do needs GRANT pg_read_all_stats TO maintenance"
    )
    assert not finding.measured


def test_sessions_that_are_not_tracked_are_withheld_too() -> None:
    now = snapshot(backend(1, state="disabled", query=""))
    (finding,) = visibility_findings(now)
    assert "track_activities = on" in finding.sentence
