"""The statement that a session has at work, which a thread beside it may cancel: that and no other."""

import threading
import time

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

#: A request to cancel that has not been answered after this long never will be.
CANCEL_SECONDS = 5.0


class StatementAtWork:
    """What one session has at work. The session's own thread begins and ends, others cancel."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._number = 0
        self._began_at: float | None = None
        self._reason: Exception | None = None
        self._canceller: threading.Thread | None = None

    @property
    def number(self) -> int | None:
        """The number of the statement at work, counted from 1; ``None`` without one."""
        with self._guard:
            return None if self._began_at is None else self._number

    @property
    def seconds(self) -> float:
        """How long the statement has been at work; 0 without one."""
        began_at = self._began_at
        return 0.0 if began_at is None else time.monotonic() - began_at

    @property
    def reason(self) -> Exception | None:
        """Why the statement was cancelled from beside; ``None`` where it was not."""
        return self._reason

    def begin(self) -> None:
        """Note that a statement is about to leave."""
        with self._guard:
            self._reason = None
            self._number += 1
            self._began_at = time.monotonic()

    def end(self) -> None:
        """Note that it has ended. Waits for a request to cancel, which would hit the next one."""
        with self._guard:
            self._began_at = None
            canceller, self._canceller = self._canceller, None
        if canceller is not None:
            canceller.join(CANCEL_SECONDS)

    def cancel(self, conn: Connection, reason: Exception, number: int | None = None) -> None:
        """Cancel what is at work, if anything is, and only once; with ``number``, only that one."""
        with self._guard:
            if self._began_at is None or self._reason is not None:
                return
            if number is not None and number != self._number:
                return
            self._reason = reason
            # A request to cancel needs a connection, which may hang as the session does.
            self._canceller = threading.Thread(target=_cancel, args=(conn,), daemon=True)
            self._canceller.start()


def _cancel(conn: Connection) -> None:
    try:
        conn.cancel()
    except psycopg2.Error:
        return  # it has just ended, or the server went away: there is nothing left to cancel
