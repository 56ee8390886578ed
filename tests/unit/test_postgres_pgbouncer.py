"""PgBouncer: sizes that fit, planted faults, and statements that its mode does not bear."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Finding, Severity
from maintenance.postgres.pgbouncer.configuration_file import (
    GUIDE_SETTINGS,
    KEPT_DIRECT,
    PoolFacts,
    clients_for,
    guide_rows,
    pgbouncer_ini,
    sizes_for,
)
from maintenance.postgres.pgbouncer.console import Console, Pool, PooledDatabase, Traffic
from maintenance.postgres.pgbouncer.diagnosis import (
    ServerRoom,
    Situation,
    diagnose,
    most_connections,
)
from maintenance.postgres.pgbouncer.session_features import features_used
from maintenance.postgres.queries.statement_counters import StatementCounters

#: "PgBouncer Configuration" of the guide, as SHOW CONFIG has it.
GUIDE = {
    "pool_mode": "transaction",
    "max_client_conn": "100",
    "default_pool_size": "20",
    "reserve_pool_size": "5",
    "reserve_pool_timeout": "5",
    "query_wait_timeout": "120",
    "server_reset_query": "DISCARD ALL",
    "max_prepared_statements": "200",
    "max_user_connections": "0",
}
SITE = PooledDatabase("site", "db", 5432, "site", 20, 5, "transaction", 0)
ROOM = ServerRoom(max_connections=100, reserved=3)


def pool(user: str = "site", **changes) -> Pool:
    return replace(Pool("site", user, 5, 0, 3, 1, 0.0, "transaction"), **changes)


def console(*pools: Pool, settings=None, database=SITE, version=(1, 24, 1)) -> Console:
    pools = pools or (pool(),)
    return Console(version, {**GUIDE, **(settings or {})}, (database,), pools, Traffic(0, 0))


def situation(seen: Console | None = None, **changes) -> Situation:
    known = {"room": ROOM, "server_side_cursors": False, "features": ()}
    return Situation(seen or console(), "site", Traffic(0, 0), **{**known, **changes})


def found(of: Situation) -> dict[str, Finding]:
    return {finding.code: finding for finding in diagnose("site", of)}


def test_the_guides_settings_on_a_usual_server_are_no_fault():
    assert found(situation()) == {}


@pytest.mark.parametrize(
    ("planted", "code", "severity"),
    [
        ({"room": ServerRoom(20, 3)}, "pgbouncer-pools-too-large", Severity.WARNING),
        ({"demand": 101}, "pgbouncer-too-few-clients", Severity.WARNING),
        ({"server_side_cursors": True}, "pgbouncer-server-side-cursors", Severity.WARNING),
        ({"traffic": Traffic(1000, 20_000_000)}, "pgbouncer-waits", Severity.WARNING),
        (
            {"console": console(pool(clients_waiting=9, longest_wait_seconds=2.5))},
            "pgbouncer-clients-wait",
            Severity.WARNING,
        ),
        ({"console": console(pool(clients_active=90))}, "pgbouncer-clients-near-limit", Severity.WARNING),
        (
            {"console": console(database=replace(SITE, pool_mode="statement"))},
            "pgbouncer-mode",
            Severity.CRITICAL,
        ),
        (
            {"console": console(settings={"server_reset_query": ""}, database=replace(SITE, pool_mode="session"))},
            "pgbouncer-no-reset",
            Severity.WARNING,
        ),
        ({"console": console(settings={"query_wait_timeout": "0"})}, "pgbouncer-waits-for-ever", Severity.WARNING),
        ({"console": console(settings={"reserve_pool_timeout": "200"})}, "pgbouncer-reserve-unused", Severity.WARNING),
        ({"console": console(settings={"auth_type": "trust", "listen_addr": "0.0.0.0"})}, "pgbouncer-open", Severity.CRITICAL),
        ({"console": console(settings={"server_reset_query_always": "1"})}, "pgbouncer-resets-always", Severity.INFO),
        ({"console": console(version=(1, 18, 0))}, "pgbouncer-prepared-statements", Severity.INFO),
        ({"console": console(settings={"max_prepared_statements": "0"})}, "pgbouncer-prepared-statements", Severity.INFO),
    ],
)  # fmt: skip
def test_a_planted_fault_is_named_alone(planted, code, severity):
    of = replace(situation(), **planted)
    assert {c: f.severity for c, f in found(of).items() if c != "pgbouncer-mode" or c == code} == {
        code: severity
    }


def test_what_cannot_be_known_is_withheld():
    of = situation(room=None, server_side_cursors=None, features=None)
    assert {code for code, finding in found(of).items() if not finding.measured} == {
        "pgbouncer-room",
        "pgbouncer-server-side-cursors",
        "pgbouncer-session-features",
    }


def test_pools_are_counted_for_each_user_up_to_the_databases_limit():
    two = console(pool("site"), pool("jobs"))
    assert most_connections(two, two.databases) == 50
    capped = console(pool("site"), pool("jobs"), database=replace(SITE, max_connections=30))
    assert most_connections(capped, capped.databases) == 30


def statement(text: str, calls: int = 3, user: str = "site") -> StatementCounters:
    return StatementCounters(1, "1", True, text, calls, 1.0, 0, 0, 0, 0, 0, user_name=user)


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("LISTEN channel", "LISTEN"),
        ("SELECT pg_advisory_lock($1)", "session advisory locks"),
        ("select pg_try_advisory_lock_shared($1, $2)", "session advisory locks"),
        ("PREPARE x AS SELECT 1", "PREPARE"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursors WITH HOLD"),
        ("SET statement_timeout = 5", "session settings (SET)"),
        ("SET SESSION work_mem = '1GB'", "session settings (SET)"),
        ("CREATE TEMP TABLE t (id int)", "temporary tables"),
        ("SELECT pg_advisory_xact_lock($1)", None),
        ("SET LOCAL statement_timeout = 5", None),
        ("SET TIME ZONE 'UTC'", None),
        ("SET client_encoding TO 'UTF8'", None),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", None),
        ("PREPARE TRANSACTION 'x'", None),
        ("CREATE TEMP TABLE t (id int) ON COMMIT DROP", None),
        ("SELECT 'LISTEN'", None),
    ],
)
def test_what_transaction_mode_cannot_keep_is_seen_in_statements(text, feature):
    assert [f.name for f in features_used([statement(text)], {"site"})] == (
        [feature] if feature else []
    )


def test_only_users_of_the_pool_count():
    assert list(features_used([statement("LISTEN c", user="other")], {"site"})) == []


@given(
    most=st.integers(5, 5000),
    reserved=st.integers(0, 3),
    pools=st.integers(1, 20),
    cpus=st.none() | st.integers(1, 128),
)
def test_pools_that_are_advised_fit_the_server(most, reserved, pools, cpus):
    room = ServerRoom(most, reserved)
    sizes = sizes_for(PoolFacts("s", "h", 1, "d", room=room, pools=pools, cpu_count=cpus))
    assert sizes is not None
    assert sizes.pool >= 1
    assert sizes.reserve >= 1
    if room.free_for_all - KEPT_DIRECT >= 2 * pools:
        assert pools * (sizes.pool + sizes.reserve) <= room.free_for_all - KEPT_DIRECT


def test_clients_have_room_for_a_deploy():
    assert [clients_for(n) for n in (1, 50, 51, 340)] == [100, 100, 200, 700]


def test_each_setting_of_the_guide_is_known_and_judged():
    facts = PoolFacts("site", "db", 5432, "site", room=ROOM, cpu_count=2, demand=120)
    rows = {row["setting"]: row for row in guide_rows(console(), facts)}
    assert list(rows) == list(GUIDE_SETTINGS)
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "pool_mode": "fits",
        "max_client_conn": "change",
        "default_pool_size": "change",
        "reserve_pool_size": "fits",
        "reserve_pool_timeout": "fits",
    }


def test_a_file_withholds_what_nobody_knows():
    text = pgbouncer_ini(PoolFacts("site", "db", 5432, "site"), "Test.").text
    assert "default_pool_size =" not in text
    assert "max_client_conn =" not in text
    assert "max_prepared_statements =" not in text
    new = pgbouncer_ini(PoolFacts("site", "db", 5432, "site", version=(1, 24)), "Test.").text
    assert "\nmax_prepared_statements = 200\n" in new


def test_odd_names_are_quoted():
    text = pgbouncer_ini(PoolFacts('My "site"', "db", 5432, "it's mine"), "Test.").text
    assert '"My ""site""" = host=db port=5432 dbname=\'it\'\'s mine\'' in text
