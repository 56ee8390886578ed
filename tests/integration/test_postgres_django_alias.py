"""A target that is a connection of Django's: what its settings say holds for our sessions as well."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from psycopg2 import sql

from maintenance.conf import DatabaseTarget
from maintenance.postgres.connection import connect, kept_sessions

pytestmark = pytest.mark.django_db(transaction=True)

ROLE = "reader \\ of 'all'"


@pytest.fixture
def role() -> Iterator[str]:
    """A role whose name needs care wherever it is written."""
    name = sql.Identifier(ROLE)
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
    yield ROLE
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The ``OPTIONS`` of Django's connection, for one test."""
    options = dict(connection.settings_dict["OPTIONS"])
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    return options


def value(conn: Any, expression: str) -> Any:
    with conn.cursor() as cursor:
        cursor.execute(f"SELECT {expression}")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("others", ["", "-c work_mem=65kB"])
def test_sessions_assume_the_role_that_django_assumes(
    role: str, options: dict[str, Any], others: str
) -> None:
    options["assume_role"] = role
    if others:
        options["options"] = others
    target = DatabaseTarget(alias="default")

    with kept_sessions():
        for _first_and_reset in range(2):
            with connect(target) as conn:
                assert value(conn, "current_user") == role
                assert (value(conn, "current_setting('work_mem')") == "65kB") is bool(others)


def test_without_one_the_session_is_of_the_user_who_logs_in(options: dict[str, Any]) -> None:
    with connect(DatabaseTarget(alias="default")) as conn:
        assert value(conn, "current_user = session_user")


def test_a_time_limit_that_the_target_names_goes_before_that_of_the_connection(
    options: dict[str, Any],
) -> None:
    options["connect_timeout"] = 5
    assert DatabaseTarget(alias="default").connection_parameters()["connect_timeout"] == 5
    named = DatabaseTarget(alias="default", connect_timeout_seconds=3)
    assert named.connection_parameters()["connect_timeout"] == 3
