"""Since when counters count: never since before their database was made."""

from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest

from maintenance.postgres.counters import measure_window
from tests.polling import eventually
from tests.postgres_clients import ask, narrow_role

#: Files bear whole seconds.
_SECOND_AFTER_THE_START = """
SELECT floor(extract(epoch FROM clock_timestamp()))::float8
FROM pg_stat_bgwriter WHERE stats_reset < date_trunc('second', clock_timestamp())
"""


@pytest.fixture
def made_after(make_database: Callable[[], str]) -> tuple[str, float]:
    """A database, and a moment between the start of its cluster and its own, in seconds since the epoch."""
    cluster = make_database()
    eventually(lambda: ask(cluster, _SECOND_AFTER_THE_START) != [], 5, "a second has passed")
    ((moment,),) = ask(cluster, _SECOND_AFTER_THE_START)
    return make_database(), moment


def started_at(url: str) -> float:
    with closing(psycopg2.connect(url)) as connection:
        found = measure_window(connection).started_at
    assert found is not None
    return found


def test_it_does_not_begin_before_the_database_was_made(made_after: tuple[str, float]) -> None:
    url, moment = made_after
    assert started_at(url) >= moment


@pytest.mark.since_postgres(15)
def test_a_role_that_may_not_look_at_files_is_told_what_the_server_says(
    made_after: tuple[str, float],
) -> None:
    url, moment = made_after
    with narrow_role(url, "pg_monitor") as theirs:
        assert started_at(theirs) < moment
        ask(url, "GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO PUBLIC")
        assert started_at(theirs) >= moment
