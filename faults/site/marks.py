"""What a run has really done, noted on its target and not in the ledger.

Each execution has a token of its own, so that two of one run are told apart without asking the ledger
which attempts there were.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from maintenance.conf import DatabaseTarget
from maintenance.postgres.connection import connect

TABLE = """
CREATE TABLE marks (
    id bigserial PRIMARY KEY,
    run text NOT NULL,
    task text NOT NULL,
    target text NOT NULL,
    execution text NOT NULL,
    node integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('begin', 'effect', 'end')),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_NOTE = """
INSERT INTO public.marks (run, task, target, execution, node, kind)
VALUES (%s, %s, %s, %s, %s, %s)
"""


class Marks:
    """The marks of one execution."""

    def __init__(self, conn: Any, run: str, task: str, target: str) -> None:
        self._conn = conn
        self._head = (run, task, target, secrets.token_hex(8), os.getpgid(0))

    def note(self, kind: str) -> None:
        """Note, in a transaction of its own, that this execution has come so far."""
        with self._conn.cursor() as cursor:
            cursor.execute(_NOTE, [*self._head, kind])

    def sleep(self, seconds: float) -> None:
        """Be in the middle of a statement for so long, then note an effect, in one transaction."""
        with self._conn.cursor() as cursor:
            cursor.execute(
                "INSERT INTO public.marks (run, task, target, execution, node, kind)"
                " SELECT %s, %s, %s, %s, %s, 'effect' FROM pg_catalog.pg_sleep(%s)",
                [*self._head, seconds],
            )


@contextmanager
def marks_of(
    target: DatabaseTarget, run: str, task: str, name: str, check: Callable[[], None] = lambda: None
) -> Iterator[Marks]:
    """Open the session in which an execution works: one of the product's own.

    ``check`` is asked before the first statement, as the product's tasks ask before theirs.
    """
    with connect(target, purpose="mark", read_only=False) as conn:
        marks = Marks(conn, run, task, name)
        check()
        marks.note("begin")
        yield marks
        marks.note("end")


def read_marks(url: str) -> list[dict[str, Any]]:
    """Return all marks in the order of their times."""
    conn = psycopg2.connect(url)
    try:
        with conn.cursor() as cursor:
            cursor.execute("SELECT * FROM marks ORDER BY at, id")
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        conn.close()
