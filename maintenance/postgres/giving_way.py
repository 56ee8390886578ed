"""Reading statements give way to whoever of the site waits for their locks.

Whatever reads a table keeps it from being altered, and a statement that waits to alter it keeps all
others from the table. So a thread looks at each reading session four times a second, at a clock only.
Beside a statement that lasts it opens a second session, which sees who waits, and closes it after it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import psycopg2.errors

from maintenance.conf import Pacing
from maintenance.core.run_marks import current_mark, marked
from maintenance.postgres.at_work import CANCEL_SECONDS
from maintenance.postgres.driver import WatchedSession

if TYPE_CHECKING:
    from maintenance.postgres.repair.waiters import Waiter

#: Our statement ends after this part of what others may wait: to end it takes a moment, too.
GIVING_WAY_RATIO = 0.6
#: Somebody who waits is seen after this part of it, and after a quarter of a second at the latest.
LOOK_RATIO = 0.125
LONGEST_LOOK_SECONDS = 0.25
#: A statement that has lasted for so many looks gets a session beside it.
LOOKS_BEFORE = 2

#: Opens a session beside ours, and yields what returns who waits for ours.
LookBeside = Callable[[], AbstractContextManager[Callable[[], "Sequence[Waiter]"]]]


def look_seconds(limits: Pacing) -> float:
    """Return how often to look at who waits."""
    return min(LONGEST_LOOK_SECONDS, limits.blocked_limit_seconds * LOOK_RATIO)


def waits_too_long(waiter: "Waiter", limits: Pacing) -> bool:
    """Tell whether our statement has to end now, for the waiter to get through within its limit."""
    return waiter.waited_seconds >= limits.blocked_limit_seconds * GIVING_WAY_RATIO


def gave_way_to(waiter: "Waiter") -> str:
    """Return why our statement ended."""
    return f"gave way to {waiter.in_words}, which waited for its lock"


class GaveWay(psycopg2.errors.QueryCanceled):
    """A reading statement of ours was ended for somebody of the site; the message says for whom."""

    @property
    def needs(self) -> str:
        """What the number that the statement was to give is unavailable for."""
        return f"a moment in which nobody waits for what it reads (it {self})"


@contextmanager
def giving_way(conn: WatchedSession, limits: Pacing, look_beside: LookBeside) -> Iterator[None]:
    """Have statements of the body end with :class:`GaveWay` before anybody waits too long for them.

    One that nobody can watch, because there is no second session, ends as early.
    """
    watch = _ReadingWatch(conn, limits, look_beside)
    thread = threading.Thread(target=watch.keep_looking, name="lookout", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.off_duty.set()
        if watch.has_session:  # it ends with ours; else there is nothing to wait for
            thread.join(CANCEL_SECONDS)


class _ReadingWatch:
    def __init__(self, conn: WatchedSession, limits: Pacing, look_beside: LookBeside) -> None:
        self._conn = conn
        self._limits = limits
        self._look_beside = look_beside
        self._look_seconds = look_seconds(limits)
        self._mark = current_mark()  # a thread has a context of its own
        self.off_duty = threading.Event()
        self.has_session = False

    def keep_looking(self) -> None:
        """Look at the clock, until the session is no longer used."""
        with nullcontext() if self._mark is None else marked(self._mark):
            while not self.off_duty.wait(self._look_seconds):
                number = self._conn.statement.number
                if number is None or not self._lasts_for(LOOKS_BEFORE * self._look_seconds):
                    continue
                try:
                    self._watch(number)
                except Exception as error:  # noqa: BLE001 - whatever it is: nobody sees who waits
                    self._end_unwatched(number, error)

    def _lasts_for(self, seconds: float) -> bool:
        return self._conn.statement.seconds >= seconds

    def _watch(self, number: int) -> None:
        """Look at who waits for one statement, until it ends."""
        self.has_session = True
        try:
            with self._look_beside() as waiters:
                while self._conn.statement.number == number:
                    self._look(waiters, number)
                    if self.off_duty.wait(self._look_seconds):
                        return
        finally:
            self.has_session = False

    def _look(self, waiters: "Callable[[], Sequence[Waiter]]", number: int) -> None:
        for waiter in waiters():
            if waits_too_long(waiter, self._limits):
                reason = GaveWay(gave_way_to(waiter))
                self._conn.statement.cancel(self._conn, reason, number)

    def _end_unwatched(self, number: int, error: Exception) -> None:
        if self._lasts_for(self._limits.blocked_limit_seconds * GIVING_WAY_RATIO):
            reason = GaveWay(f"it could not be seen who waits for it: {error}".rstrip())
            self._conn.statement.cancel(self._conn, reason, number)
