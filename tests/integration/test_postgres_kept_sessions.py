"""Analyses of one look share a session, which is as good as new each time."""

from collections.abc import Callable
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import TargetUnavailable
from maintenance.postgres.connection import connect, kept_sessions
from tests.polling import eventually
from tests.postgres_clients import ask


def end_in_use(target: DatabaseTarget, pid: int) -> None:
    """End a session while it is used."""
    with connect(target) as conn:
        ask(target.url or "", "SELECT pg_terminate_backend(%s, 10000)", pid)
        value(conn, "1")


@pytest.fixture
def target(make_database: Callable[[], str]) -> DatabaseTarget:
    return DatabaseTarget(url=make_database())


def value(conn: Any, expression: str) -> Any:
    with conn.cursor() as cursor:
        cursor.execute(f"SELECT {expression}")
        return cursor.fetchone()[0]


def test_one_session_serves_what_follows_one_another(target: DatabaseTarget) -> None:
    with kept_sessions():
        with connect(target, purpose="first", statement_timeout_seconds=5) as conn:
            first = value(conn, "pg_backend_pid()")
            value(conn, "set_config('work_mem', '64kB', false)")
            value(conn, "pg_advisory_lock(7) IS NULL")
        with connect(target, purpose="second", read_only=False) as conn:
            assert value(conn, "pg_backend_pid()") == first
            assert value(conn, "current_setting('application_name')") == "maintenance:second"
            assert value(conn, "current_setting('statement_timeout')") == "1min"
            assert value(conn, "current_setting('default_transaction_read_only')") == "off"
            assert value(conn, "current_setting('work_mem')") != "64kB"
            assert value(conn, "count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    eventually(lambda: ask(target.url or "", gone, first) == [(0,)], 10, "the session is gone")


def test_without_a_look_each_has_a_session_of_its_own(target: DatabaseTarget) -> None:
    with connect(target) as conn:
        first = value(conn, "pg_backend_pid()")
    with connect(target) as conn:
        assert value(conn, "pg_backend_pid()") != first


def test_two_at_a_time_have_two_sessions(target: DatabaseTarget) -> None:
    with kept_sessions(), connect(target) as one, connect(target) as other:
        assert value(one, "pg_backend_pid()") != value(other, "pg_backend_pid()")


def test_a_session_that_must_not_be_kept_is_not(target: DatabaseTarget) -> None:
    with kept_sessions():
        with connect(target, may_be_kept=False) as conn:
            first = value(conn, "pg_backend_pid()")
        with connect(target) as conn:
            assert value(conn, "pg_backend_pid()") != first


def test_another_target_gets_another_session(
    target: DatabaseTarget, make_database: Callable[[], str]
) -> None:
    with kept_sessions():
        with connect(target) as conn:
            first = value(conn, "current_database()")
        with connect(DatabaseTarget(url=make_database())) as conn:
            assert value(conn, "current_database()") != first


def test_a_session_that_was_ended_is_replaced(target: DatabaseTarget) -> None:
    with kept_sessions():
        with connect(target) as conn:
            first = value(conn, "pg_backend_pid()")
        ask(target.url or "", "SELECT pg_terminate_backend(%s, 10000)", first)
        with connect(target) as conn:
            second = value(conn, "pg_backend_pid()")
        assert second != first
        with pytest.raises(TargetUnavailable):
            end_in_use(target, second)
        with connect(target) as conn:
            assert value(conn, "1") == 1


def test_a_session_left_in_a_transaction_is_not_used_again(target: DatabaseTarget) -> None:
    with kept_sessions():
        with connect(target) as conn:
            first = value(conn, "pg_backend_pid()")
            with conn.cursor() as cursor:
                cursor.execute("BEGIN")
        with connect(target) as conn:
            assert value(conn, "pg_backend_pid()") != first
