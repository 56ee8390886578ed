"""One look at a database: what several analyses read alike is read once."""

import gc
from types import SimpleNamespace
from typing import Any, cast

import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.one_look import one_look, seen_once


def session(dbname: str = "site", user: str = "reader") -> Connection:
    info = SimpleNamespace(host="localhost", port=5432, dbname=dbname, user=user)
    return cast("Connection", SimpleNamespace(info=info))


class Counting:
    """A measurement that tells how often it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self) -> int:
        self.taken += 1
        return self.taken


def test_within_one_look_a_measurement_is_taken_once_a_database_role_and_subject() -> None:
    measure = Counting()
    with one_look():
        assert [seen_once(session(), "indexes", measure) for _ in range(3)] == [1, 1, 1]
        assert seen_once(session(), ("indexes", ("audit",)), measure) == 2
        assert seen_once(session(dbname="other"), "indexes", measure) == 3
        assert seen_once(session(user="owner"), "indexes", measure) == 4
        assert seen_once(session(), "indexes", measure) == 1


def test_without_a_look_and_in_the_next_one_it_is_taken_again() -> None:
    measure = Counting()
    assert seen_once(session(), "indexes", measure) == 1
    assert seen_once(session(), "indexes", measure) == 2
    for expected in (3, 4):
        with one_look():
            assert seen_once(session(), "indexes", measure) == expected


def test_a_measurement_that_failed_is_tried_again() -> None:
    def fail() -> Any:
        raise TimeoutError

    with one_look():
        with pytest.raises(TimeoutError):
            seen_once(session(), "indexes", fail)
        assert seen_once(session(), "indexes", Counting()) == 1


def test_looks_within_one_another_leave_the_collector_of_cycles_as_it_was() -> None:
    usual = gc.get_threshold()
    with one_look():
        rare = gc.get_threshold()
        with pytest.raises(ValueError, match="within"), one_look():
            raise ValueError("within")
        assert gc.get_threshold() == rare != usual
    assert gc.get_threshold() == usual
