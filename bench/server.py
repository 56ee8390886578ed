"""A PostgreSQL server of a bench's own, gone with all its data when the bench ends."""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from service.embedded.postgres import EmbeddedPostgres

#: What a crash would cost is of no interest in a bench; the time to write it is.
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

GONE_DEADLINE_SECONDS = 30.0

#: Runs one statement in autocommit and returns its rows.
Run = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def postgres_server(**settings: str) -> Iterator[EmbeddedPostgres]:
    """Start a server with these settings and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-postgres-") as folder:
        Path(folder).chmod(0o711)  # root's servers run under another account, which has to pass
        with EmbeddedPostgres(
            Path(folder) / "postgres", secrets.token_hex(16), settings=THROW_AWAY | settings
        ) as server:
            yield server


@contextmanager
def session(url: str) -> Iterator[Run]:
    """Give a function that runs a statement in autocommit and returns its rows."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

        yield run


def wait_until_gone(run: Run, application_name: str) -> None:
    """Wait until no session has such a name: only then are its counters complete."""
    deadline = time.monotonic() + GONE_DEADLINE_SECONDS
    while run(
        "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s LIMIT 1", application_name
    ):
        if time.monotonic() > deadline:
            raise RuntimeError(f"A session {application_name} is still there.")
        time.sleep(0.02)
