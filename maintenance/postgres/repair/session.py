"""One session that repairs, and why its statement was ended if it was."""

import threading
from enum import Enum

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.connection import MARKER, connection_was_lost, query, reason_of
from maintenance.postgres.repair.pacing import Speed

#: A request to cancel that has not been answered after this long never will be.
CANCEL_SECONDS = 5.0


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
    """The session was ended under its statement: by an administrator, a restart, the network."""


class RepairSession:
    """A session with what it has at work. The watch may end its statement from another thread."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.pid = int(conn.info.backend_pid)
        self._speed: Speed | None = None
        self._interruption: Interrupted | None = None
        self._guard = threading.Lock()
        self._at_work = False
        self._canceller: threading.Thread | None = None

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
        with self._guard:
            self._interruption = None
            self._at_work = True
        try:
            with self.conn.cursor() as cursor:
                cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), statement))
        except psycopg2.errors.QueryCanceled:
            if self._interruption is not None:
                raise self._interruption from None
            raise
        except psycopg2.Error as error:
            if connection_was_lost(self.conn, error):
                raise SessionLost(reason_of(error)) from error
            raise
        finally:
            self._end_of_statement()
        return [str(notice) for notice in self.conn.notices]

    def _end_of_statement(self) -> None:
        with self._guard:
            self._at_work = False
            canceller, self._canceller = self._canceller, None
        if canceller is not None:
            # A request still on its way would hit the next statement.
            canceller.join(CANCEL_SECONDS)

    def interrupt(self, interruption: Interrupted) -> None:
        """Cancel the statement at work, if there is one; only that, and only once."""
        with self._guard:
            if not self._at_work or self._interruption is not None:
                return
            self._interruption = interruption
            # A request to cancel needs a connection, which may hang as the session does.
            self._canceller = threading.Thread(target=self._cancel, daemon=True)
            self._canceller.start()

    def _cancel(self) -> None:
        try:
            self.conn.cancel()
        except psycopg2.Error:
            return  # it has just ended, or the server went away: there is nothing left to cancel
