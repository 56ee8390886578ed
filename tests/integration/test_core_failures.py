"""Which errors of real servers are tried again, and how that shows on the run."""

import secrets
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import redis
from django.db import connection

from maintenance.conf import DatabaseTarget
from maintenance.core.backoff import RetryPolicy
from maintenance.core.errors import MaintenanceError
from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.core.runs.failures import is_transient
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TargetKind
from maintenance.models import RunState, Trigger
from maintenance.postgres.connection import connect
from tests.made_tasks import TaskFactory
from tests.postgres_clients import ask


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    ask(url, "CREATE TABLE held (id int)")
    return url


def error_of(statement: str, target: DatabaseTarget, **limits: Any) -> BaseException:
    """Return what a statement in a session of ours raises, as a run would meet it."""
    with (
        pytest.raises((psycopg2.Error, MaintenanceError)) as raised,
        connect(target, read_only=False, **limits) as conn,
        conn.cursor() as cursor,
    ):
        cursor.execute(statement)
    return raised.value


@pytest.mark.parametrize(
    ("statement", "again"),
    [
        ("SELECT * FROM public.held", True),  # somebody has it, for longer than we wait
        ("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())", True),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", True),  # a deadlock
        ("DO $$ BEGIN RAISE SQLSTATE '53300'; END $$", True),  # too many connections
        ("SELEC 1", False),
        ("SELECT * FROM public.nothing", False),
        ("SELECT pg_catalog.pg_sleep(60)", False),  # took too long, and will again
    ],
)
def test_what_may_pass_by_itself_is_tried_again_and_a_mistake_is_not(
    url: str, statement: str, again: bool
) -> None:
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE held")
        limits = {"lock_timeout_seconds": 0.2, "statement_timeout_seconds": 0.5}
        error = error_of(statement, DatabaseTarget(url=url), **limits)

    assert is_transient(error) is again


def test_a_missing_right_is_not_tried_again(url: str) -> None:
    role = f"narrow_{secrets.token_hex(4)}"
    ask(url, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        place = url.partition("@")[2]
        target = DatabaseTarget(url=f"postgres://{role}:x@{place}")
        assert not is_transient(error_of("DROP TABLE public.held", target))
        wrong = DatabaseTarget(url=f"postgres://{role}:x@127.0.0.1:1/none")
        assert is_transient(error_of("SELECT 1", wrong)), "nobody answers there: an outage"
    finally:
        ask(url, f"DROP ROLE {role}")


def test_a_redis_that_is_away_is_tried_again_and_a_wrong_command_is_not(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, pytest.raises(redis.RedisError) as wrong:
        client.execute_command("NOSUCHCOMMAND")
    with redis.Redis(port=1) as nobody, pytest.raises(redis.RedisError) as away:
        nobody.ping()

    assert not is_transient(wrong.value)
    assert is_transient(away.value)


@pytest.mark.django_db(transaction=True)
def test_a_held_lock_is_tried_again_until_it_is_free_and_each_attempt_shows_on_the_run(
    task_that: TaskFactory,
) -> None:
    settings = connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**settings)

    def take_the_lock(job: Any) -> Report:
        with connect(job.target, read_only=False, lock_timeout_seconds=0.1) as conn:
            conn.cursor().execute("SELECT * FROM public.maintenance_leader")
        return Report("Lock", "Taken.")

    spec = task_that(
        take_the_lock,
        target_kind=TargetKind.DATABASE,
        retry=RetryPolicy(max_attempts=4, base_seconds=0.1, ceiling_seconds=0.2),
    )
    run = ledger.create_run(spec, "default", {}, Origin(Trigger.CLI))
    waits: list[float] = []
    with closing(psycopg2.connect(url)) as holder:
        holder.cursor().execute("LOCK TABLE maintenance_leader")

        def on_wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                holder.rollback()

        run = work_here(run, on_wait)

    assert (run.state, run.attempt, run.deaths) == (RunState.SUCCEEDED, 3, 0)
    assert [failure["attempt"] for failure in run.failures] == [1, 2]
    assert all("lock timeout" in failure["reason"] for failure in run.failures)
    assert all(0 <= wait <= 0.2 for wait in waits)
