"""Other people in a database: sessions that sit and wait, and roles with few rights."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql
from psycopg2.extras import wait_select

#: Quotes of both kinds, a per cent sign, a dot, capitals, braces, an emoji; 63 bytes of UTF-8.
ODD_NAME = 'Odd "na\'me" 100% {x}.y \N{BOOKS} ' + "n" * 35
assert len(ODD_NAME.encode()) == 63


class Client:
    """A session of somebody else, which can be left in the middle of a statement."""

    def __init__(self, url: str, application_name: str = "client") -> None:
        self._connection = psycopg2.connect(url, application_name=application_name, async_=True)
        wait_select(self._connection)
        self._cursor = self._connection.cursor()
        self.pid: int = self._connection.info.backend_pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, statement: str) -> None:
        """Run a statement to its end; several in one text are one statement to the server."""
        self.start(statement)
        wait_select(self._connection)

    def start(self, statement: str) -> None:
        """Send a statement and do not wait for its end."""
        self._cursor.execute(statement)


def ask(url: str, statement: str | sql.Composable, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run one statement in a session of its own and return its rows."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []


def major_of(url: str) -> int:
    """Return the major version of a server, for what differs between versions."""
    return int(ask(url, "SHOW server_version_num")[0][0]) // 10_000


def alone(url: str) -> str:
    """Return what our statements name a table with, so that its children are left alone."""
    return "ONLY " if major_of(url) >= 18 else ""


@contextmanager
def narrow_role(url: str, *memberships: str, prefix: str = "narrow_") -> Iterator[str]:
    """Yield the URL of a new role that may connect and is a member of ``memberships`` alone."""
    name, password = prefix + secrets.token_hex(6), secrets.token_hex(16)
    role = sql.Identifier(name)
    ask(url, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
    for membership in memberships:
        ask(url, sql.SQL("GRANT {} TO {}").format(sql.Identifier(membership), role))
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    try:
        yield urlunsplit(parts._replace(netloc=f"{quote(name, safe='')}:{password}@{address}"))
    finally:
        ask(url, sql.SQL("DROP OWNED BY {}").format(role))
        ask(url, sql.SQL("DROP ROLE {}").format(role))
