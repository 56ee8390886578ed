"""Sessions that carry their run's name, and the ending of those that a lost worker left."""

import secrets
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack

import psycopg2.errors
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.run_marks import RunMark, marked
from maintenance.postgres.connection import connect
from maintenance.postgres.run_sessions import DatabaseSessions
from tests.polling import eventually
from tests.postgres_clients import ask

RUN = secrets.token_hex(16)
OTHER_RUN = secrets.token_hex(16)


@pytest.fixture
def target(make_database: Callable[[], str]) -> DatabaseTarget:
    return DatabaseTarget(url=make_database())


def sessions(stack: ExitStack, target: DatabaseTarget, *marks: RunMark) -> list[Connection]:
    opened = []
    for mark in marks:
        with marked(mark):
            opened.append(stack.enter_context(connect(target, purpose="redundant-indexes")))
    return opened


def is_alive(target: DatabaseTarget, conn: Connection) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    return bool(ask(str(target.url), query, conn.info.backend_pid))


def test_a_session_is_named_after_its_purpose_and_the_attempt_of_its_run(
    target: DatabaseTarget,
) -> None:
    with ExitStack() as stack:
        (conn,) = sessions(stack, target, RunMark(RUN, 12))
        with conn.cursor() as cursor:
            cursor.execute("SHOW application_name")
            (name,) = cursor.fetchone()
    assert name == f"maintenance:redundant-index:{RUN}:12"
    assert len(name) == 63
    assert RunMark.at_end_of(name) == RunMark(RUN, 12)
    with connect(target, purpose="look") as conn, conn.cursor() as cursor:
        cursor.execute("SHOW application_name")
        assert cursor.fetchone() == ("maintenance:look",)


def test_chosen_attempts_lose_their_sessions_and_nobody_else(target: DatabaseTarget) -> None:
    old, new, others = RunMark(RUN, 1), RunMark(RUN, 2), RunMark(OTHER_RUN, 1)
    seen: set[RunMark] = set()

    def choose(marks: Collection[RunMark]) -> Collection[RunMark]:
        seen.update(marks)
        return [old]

    with ExitStack() as stack:
        conns = sessions(stack, target, old, old, new, others)
        with connect(target, purpose="unmarked") as unmarked:
            found = DatabaseSessions().end(target, choose)

            assert {old, new, others} <= seen
            assert sorted(found.ended) == [f"maintenance:redundant-indexe:{RUN}:1"] * 2
            assert found.left == ()
            assert [is_alive(target, conn) for conn in [*conns, unmarked]] == [
                False,
                False,
                True,
                True,
                True,
            ]


def test_what_may_not_be_ended_is_named_with_the_reason(target: DatabaseTarget) -> None:
    url = str(target.url)
    role = f"crew_{secrets.token_hex(4)}"
    ask(url, f"CREATE ROLE {role} LOGIN PASSWORD 'x' IN ROLE pg_read_all_stats")
    head, _, place = url.partition("@")
    weak = DatabaseTarget(url=f"{head.partition('://')[0]}://{role}:x@{place}")
    mark = RunMark(RUN, 1)
    try:
        with ExitStack() as stack:
            (conn,) = sessions(stack, target, mark)
            found = DatabaseSessions().end(weak, lambda marks: {mark} & set(marks))

            assert found.left == (f"maintenance:redundant-indexe:{RUN}:1",)
            assert found.refusal
            assert is_alive(target, conn)
    finally:
        ask(url, f"DROP ROLE {role}")


def test_statements_of_one_attempt_are_cancelled_if_they_are_old_enough(
    target: DatabaseTarget,
) -> None:
    mark = RunMark(RUN, 1)
    ended: list[type[BaseException]] = []

    def work(conn: Connection) -> None:
        try:
            with conn.cursor() as cursor:
                cursor.execute("SELECT pg_catalog.pg_sleep(60)")
        except psycopg2.Error as error:
            ended.append(type(error))

    with ExitStack() as stack:
        (conn,) = sessions(stack, target, mark)
        thread = threading.Thread(target=work, args=(conn,))
        thread.start()
        at_work = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        eventually(lambda: ask(str(target.url), at_work, conn.info.backend_pid) != [], 10, "work")

        cancel = DatabaseSessions().cancel
        assert cancel(target, RunMark(RUN, 2), older_than_seconds=0) == 0
        assert cancel(target, mark, older_than_seconds=3600) == 0
        assert cancel(target, mark, older_than_seconds=0) == 1
        thread.join(10)

        assert ended == [psycopg2.errors.QueryCanceled]
        assert cancel(target, mark, older_than_seconds=0) == 0, "an idle session has none"
