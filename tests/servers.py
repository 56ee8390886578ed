"""Fixtures: real PostgreSQL and Valkey servers, one of each for the whole session."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis
from psycopg2 import sql

from service.embedded.binaries import locate_postgres
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from tests.postgres_clients import ask, major_of

# What a crash would cost is of no interest in a test; the time to write it is.
#: Without crash safety, and without an autovacuum that comes upon a test's tables by chance.
FAST_POSTGRES = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "1d",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the PostgreSQL under test is too old for."""
    marked = {item: mark for item in items if (mark := item.get_closest_marker("since_postgres"))}
    if not marked:
        return
    major = locate_postgres().major
    too_new = [item for item, mark in marked.items() if mark.args[0] > major]
    if too_new:
        config.hook.pytest_deselected(items=too_new)
        items[:] = [item for item in items if item not in too_new]


@pytest.fixture(scope="session")
def session_root() -> Iterator[Path]:
    """A folder that the servers' account can pass, which pytest's own folders do not allow."""
    folder = Path(tempfile.mkdtemp(prefix="maintenance-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server_root(session_root: Path) -> Path:
    """A folder like the session's for one module, whose names no other module can have taken."""
    # A short name: sockets lie in these folders, and their paths have 107 bytes at most.
    folder = session_root / str(len(list(session_root.iterdir())))
    folder.mkdir()
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="session")
def postgres_server(session_root: Path) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL with pg_stat_statements loaded; its user is the superuser."""
    with EmbeddedPostgres(
        session_root / "postgres", secrets.token_hex(16), settings=FAST_POSTGRES
    ) as server:
        stand_in_for_flush(server)
        yield server


def stand_in_for_flush(server: EmbeddedPostgres) -> None:
    """Give 14, whose counters travel to a collector, the function with which 15 flushes them.

    There a session reports when it becomes idle half a second after its last report, and readers
    take what was written for one of them in the last half second (PGSTAT_STAT_INTERVAL). After a
    pause longer than both, the next reader sees what this session did: autovacuum, which reads
    at any time, sleeps (FAST_POSTGRES).
    """
    if major_of(server.url()) >= 15:
        return
    function = (
        "CREATE FUNCTION pg_stat_force_next_flush() RETURNS void LANGUAGE sql"
        " AS 'SELECT pg_catalog.pg_sleep(0.6)'"
    )
    for database in ("template1", "postgres"):  # databases that tests create have template1's
        ask(server.url(database), function)


@pytest.fixture(scope="session")
def valkey_server(session_root: Path) -> Iterator[EmbeddedValkey]:
    """A running Valkey of the session."""
    with EmbeddedValkey(
        session_root / "valkey", secrets.token_hex(16), settings={"appendonly": "no"}
    ) as server:
        yield server


@pytest.fixture
def make_database(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a new, empty database; all are dropped after the test."""
    names: list[str] = []

    def make() -> str:
        name = f"test_{os.getpid()}_{secrets.token_hex(6)}"
        postgres_server.ensure_database(name)
        names.append(name)
        return postgres_server.url(name)

    yield make
    with closing(psycopg2.connect(postgres_server.url())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name in names:
                cursor.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def redis_url(valkey_server: EmbeddedValkey) -> str:
    """The URL of database 0 of an emptied Valkey with fresh statistics."""
    url = valkey_server.url()
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.config_resetstat()
        client.slowlog_reset()
    return url
