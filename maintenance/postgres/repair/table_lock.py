"""A lock for each table among maintenance runs: no two of them ever work on the same one.

It is an advisory lock of the session that works (PostgreSQL documentation, "Advisory Locks"), so
that the server gives it back whatever becomes of the worker. A pooler would share sessions and with
them such locks; :func:`connect` refuses to go through one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.sql_files import query

#: The first half of the lock's key, chosen once at random: advisory locks have no owner's name.
LOCK_CLASS = 1_835_101_812


@dataclass(frozen=True, slots=True)
class Occupant:
    """Who is at work on a table: process id, if it is still there, and whether it is autovacuum."""

    pid: int | None
    is_autovacuum: bool

    @property
    def in_words(self) -> str:
        """Why the table is left alone."""
        if self.is_autovacuum:
            return f"autovacuum (process {self.pid}) is at work on it and was left alone"
        process = "" if self.pid is None else f" (process {self.pid})"
        return f"another maintenance run{process} is at work on it"


def occupy(conn: Connection, oid: int) -> Occupant | None:
    """Take the lock of a table for this session, or return who is at work on it; never waits.

    An autovacuum worker counts: waiting for its lock would make the server cancel it.
    """
    key = {"class": LOCK_CLASS, "oid": oid}
    row = query(conn, "occupy_table", key)[0]
    if row["autovacuum_pid"] is not None:
        if row["is_ours"]:
            leave(conn, oid)
        return Occupant(row["autovacuum_pid"], is_autovacuum=True)
    if row["is_ours"]:
        return None
    holders = query(conn, "occupant_of_table", key)
    return Occupant(holders[0]["pid"] if holders else None, is_autovacuum=False)


@contextmanager
def occupied(conn: Connection, oid: int) -> Iterator[Occupant | None]:
    """Hold the lock of a table in the body, or yield who is at work on it; see :func:`occupy`."""
    occupant = occupy(conn, oid)
    try:
        yield occupant
    finally:
        if occupant is None and not conn.closed:
            leave(conn, oid)


def leave(conn: Connection, oid: int) -> None:
    """Give the lock of a table back."""
    query(conn, "leave_table", {"class": LOCK_CLASS, "oid": oid})
