"""One session that repairs, and why its statement was ended if it was."""

import os
import socket
from enum import Enum
from typing import Self

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.at_work import StatementAtWork
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.driver import MARKER
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.sql_files import query


class End(Enum):
    """Why a statement of ours was ended by ourselves."""

    GAVE_WAY = "gave way"  # to somebody of the site who waited for it
    OUT_OF_TIME = "out of time"
    STOPPED = "stopped"  # the whole run is cancelled, or lost


class Interrupted(Exception):
    """Our own watch ended the statement; the message says for whom or for what."""

    def __init__(self, end: End, reason: str) -> None:
        super().__init__(reason)
        self.end = end
        self.reason = reason


class SessionLost(Exception):
    """The session was ended under its statement: by an administrator, a restart, the network.

    ``farewell`` is what the server said as it ended the session; empty where the connection was cut.
    """

    def __init__(self, reason: str, farewell: str = "") -> None:
        super().__init__(farewell or reason)
        self.farewell = farewell

    @classmethod
    def of(cls, conn: Connection, error: psycopg2.Error) -> Self:
        """Read the farewell off the connection: psycopg2 passes on the last error alone, which is libpq's."""
        said = (conn.info.error_message or "").removesuffix(str(error))
        _severity, _, farewell = said.partition(":")
        return cls(reason_of(error), " ".join(farewell.split()))


class RepairSession:
    """A session with what it has at work. The watch may end its statement from another thread."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.pid = int(conn.info.backend_pid)
        self._speed: Speed | None = None
        self._statement = StatementAtWork()

    @property
    def statement_at_work(self) -> int | None:
        """The number of the statement that is at work, for :meth:`interrupt`; ``None`` without one."""
        return self._statement.number

    def work_at(self, speed: Speed) -> None:
        """Set the cost limits that the next VACUUM or ANALYZE begins with, where they differ."""
        if speed is self._speed:
            return
        query(self.conn, "cost_limits", speed.settings)
        self._speed = speed

    def execute(self, statement: sql.Composable) -> list[str]:
        """Run one statement and return the messages that the server sent with it.

        Raises :class:`Interrupted` where our watch ended it, :class:`SessionLost` where the session
        is gone, and psycopg2's errors as they come for everything else.
        """
        self.conn.notices.clear()
        self._statement.begin()
        try:
            with self.conn.cursor() as cursor:
                cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), statement))
        except psycopg2.errors.QueryCanceled:
            if self._statement.reason is not None:
                raise self._statement.reason from None
            raise
        except psycopg2.Error as error:
            if connection_was_lost(self.conn, error):
                raise SessionLost.of(self.conn, error) from error
            raise
        finally:
            self._statement.end()
        return [str(notice) for notice in self.conn.notices]

    def interrupt(self, interruption: Interrupted, number: int | None = None) -> None:
        """Cancel the statement at work, if there is one; only that, and only once.

        With a ``number`` of :attr:`statement_at_work`, only while it is still that one.
        """
        self._statement.cancel(self.conn, interruption, number)

    def abandon(self) -> None:
        """Cut the connection under a statement that nothing ends; its thread takes that for a loss.

        To close it would wait for the statement: psycopg2 keeps others from the connection until then.
        """
        try:
            with socket.socket(fileno=os.dup(self.conn.fileno())) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        except (psycopg2.InterfaceError, OSError):
            return  # it has just ended by itself
