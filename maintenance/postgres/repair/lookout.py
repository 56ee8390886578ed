"""Lets whoever waits for a session of ours through, from a thread that nothing else holds up.

The thread that leads a repair writes to the ledger and the broker, opens sessions and verifies: each
of that may hang for half a minute, and somebody of the site who waits for a lock of ours must not
hang with it. So this has a thread and a session of its own, and does nothing but look and cancel.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Pacing
from maintenance.postgres.giving_way import gave_way_to, look_seconds, waits_too_long
from maintenance.postgres.repair.session import End, Interrupted, RepairSession
from maintenance.postgres.repair.waiters import Waiter, waiters_for


class Lookout:
    """Watches over the sessions that it is given. ``conn`` belongs to its thread alone."""

    def __init__(self, conn: Connection, limits: Pacing) -> None:
        self._conn = conn
        self._limits = limits
        self._look_seconds = look_seconds(limits)
        self._guard = threading.Lock()
        self._sessions: dict[int, RepairSession] = {}
        self._off_duty = threading.Event()
        self._failure: Exception | None = None
        #: Who waited longest for one of ours, as far as anybody did.
        self.longest: Waiter | None = None

    def watch_over(self, session: RepairSession) -> None:
        """Look after this session as well, whenever it has a statement at work."""
        with self._guard:
            self._sessions[session.pid] = session

    @contextmanager
    def on_duty(self, time_is_over: Callable[[], str], *, gives_way: bool) -> Iterator[None]:
        """Look after the sessions beside the body; end their statements when time is over, too.

        ``time_is_over`` returns why, or nothing. It is called in the other thread.
        """
        self._off_duty.clear()
        thread = threading.Thread(
            target=self._keep_looking, args=(time_is_over, gives_way), name="lookout", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._off_duty.set()
            thread.join()

    def check(self) -> None:
        """Raise what has made it blind. All statements have been cancelled by then."""
        if self._failure is not None:
            raise self._failure

    def _keep_looking(self, time_is_over: Callable[[], str], gives_way: bool) -> None:
        while not self._off_duty.wait(self._look_seconds):
            with self._guard:
                sessions = {n: s for n, s in self._sessions.items() if not s.conn.closed}
            reason = time_is_over()
            if reason:
                _interrupt_all(sessions, Interrupted(End.OUT_OF_TIME, reason))
            if self._failure is None:
                try:
                    self._look(sessions, gives_way)
                except Exception as failure:  # noqa: BLE001 - whatever it is: nobody would look any more
                    self._failure = failure
            if self._failure is not None:
                reason = "it could not be seen any more who waits for it"
                _interrupt_all(sessions, Interrupted(End.STOPPED, reason))

    def _look(self, sessions: dict[int, RepairSession], gives_way: bool) -> None:
        at_work = {pid: session.statement_at_work for pid, session in sessions.items()}
        if not any(at_work.values()):
            return
        for waiter in waiters_for(self._conn, list(sessions)):
            if self.longest is None or waiter.waited_seconds > self.longest.waited_seconds:
                self.longest = waiter
            number = at_work[waiter.our_pid]
            if gives_way and number is not None and waits_too_long(waiter, self._limits):
                # The statement that was waited for, and not the one that may have followed it.
                interruption = Interrupted(End.GAVE_WAY, gave_way_to(waiter))
                sessions[waiter.our_pid].interrupt(interruption, number)


def _interrupt_all(sessions: dict[int, RepairSession], interruption: Interrupted) -> None:
    for session in sessions.values():
        session.interrupt(interruption)
