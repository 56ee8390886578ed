"""The right of one attempt to work on its run, and what ends the work when that right is gone.

A run is held by the attempt that its row names, for as long as the last heartbeat is younger than
the lease by the ledger's clock. No other attempt can begin before. What follows from it here:

- Every renewal notes a reading of this machine's own clock taken *before* the renewal was sent. The
  ledger's time of it is later, so that until a whole lease after that reading nobody else can hold
  the run, whatever became of this process since. That clock goes on while the process is stopped
  (SIGSTOP, a debugger, a machine that sleeps) and does not follow the time of day.
- Before each table and each batch (:meth:`Lease.check`) the reading is looked at, which costs no more
  than that. Where it is older than half of the lease, the row itself decides: a process that went on
  after a stop learns there that it lost the run. While the ledger does not answer, work goes on for
  two thirds of the lease; the last third is what a statement has to leave the process in.
- A process that is stopped between the look and the statement is the rest. On PostgreSQL its session
  was open at the time of the look, and a successor ends such sessions before it begins
  (:mod:`maintenance.core.runs.sessions`). On Redis each batch states its rule anew and takes no longer
  than milliseconds: one batch late changes nothing that the rule would not change.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, InterfaceError

from maintenance.core.errors import Cancelled, LeaseUnknown, LostLease, MaintenanceError
from maintenance.core.redaction import redact
from maintenance.core.runs import ledger
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.sessions import Interruption
from maintenance.models import Run

logger = logging.getLogger("maintenance.lease")

#: From this part of the lease on, its age is not trusted and the row is asked.
TRUSTED_RATIO = 1 / 2
#: While the ledger is away, new work begins up to this part of the lease, and not after it.
LAST_START_RATIO = 2 / 3

#: How often the ledger is asked whether somebody wants the run to stop: reading a row by its key.
LOOK_SECONDS = 1.0
#: How often a thread of the work looks whether the lease was renewed that it found old.
RENEWAL_POLL_SECONDS = 0.02
#: A run that has to stop gets so long to come to its next batch, and to end its statements itself.
STOP_SECONDS = 1.0
#: After so long its sessions are ended, whatever they do. With the look before and the time to
#: connect that is less than the five seconds that a person waits who asked it to stop.
END_SECONDS = 2.5


def steady_seconds() -> float:
    """Return a clock that nobody sets and that goes on while the process, or the machine, sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Lease:
    """One attempt's hold on its run. Safe to use from several threads."""

    def __init__(self, run: Run, granted_at: float) -> None:
        """Hold ``run``, which was claimed after ``granted_at`` by :func:`steady_seconds`."""
        self._run = run
        self._owner = threading.get_ident()
        self._confirmed_at = granted_at
        self._stop: MaintenanceError | None = None

    @property
    def age_seconds(self) -> float:
        """How long ago the run was last known to be ours."""
        return steady_seconds() - self._confirmed_at

    @property
    def stop(self) -> MaintenanceError | None:
        """Why the work has to end: lost, cancelled, or unknown for too long."""
        return self._stop

    def check(self) -> None:
        """Raise unless the run is ours for long enough to begin the next piece of work.

        Raises ``LostLease``, ``LeaseUnknown``, and ``Cancelled`` for a run that is certainly ours.
        """
        if isinstance(self._stop, LostLease):
            raise self._stop
        if self._is_old:
            if threading.get_ident() == self._owner:
                self.renew()
            else:
                self._await_renewal()
        if self._stop is not None:
            raise self._stop

    @property
    def _is_old(self) -> bool:
        return self.age_seconds > ledger.LEASE_SECONDS * TRUSTED_RATIO

    def _await_renewal(self) -> None:
        """Wait for the thread that keeps the lease: a pool of threads opens no connection of its own."""
        give_up_at = steady_seconds() + ledger.HEARTBEAT_SECONDS
        while self._is_old and self._stop is None:
            if steady_seconds() > give_up_at:
                raise LeaseUnknown(
                    "The ledger has not confirmed for too long that the run is ours."
                )
            time.sleep(RENEWAL_POLL_SECONDS)

    def renew(self, **progress: Any) -> None:
        """Write a heartbeat with ``progress`` fields of the row. Raises as :meth:`check`."""
        asked_at = steady_seconds()
        try:
            actor = ledger.heartbeat(self._run, **progress)
        except LostLease as lost:
            self._stop = lost
            raise
        except LEDGER_AWAY as error:
            ledger_connection().close()
            reason = redact(str(error))
            if self.age_seconds > ledger.LEASE_SECONDS * LAST_START_RATIO:
                raise LeaseUnknown(f"The ledger is away: {reason}") from error
            logger.warning("Run %s could not be noted to be at work: %s", self._run.id, reason)
            return
        self._confirmed_at = max(self._confirmed_at, asked_at)
        if actor is not None:
            self._stop = ledger.cancelled_at_work(actor)
            raise self._stop

    def look(self, *, renew: bool) -> None:
        """Renew, or ask only whether the run is to stop; note why it has to. Raises nothing."""
        try:
            if renew:
                self.renew()
            elif (actor := ledger.who_asked_to_stop(self._run)) is not None:
                self._stop = ledger.cancelled_at_work(actor)
        except Cancelled:
            return  # noted by the renewal
        except (LostLease, LeaseUnknown) as stop:
            self._stop = stop
        except (DatabaseError, InterfaceError):
            ledger_connection().close()


class _Keeper:
    """What the thread beside the work does until the work ends."""

    def __init__(self, lease: Lease, interruption: Interruption | None) -> None:
        self._lease = lease
        self._interruption = interruption
        self._ended = threading.Event()
        self._stops_since: float | None = None

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        next_renewal_at = steady_seconds() + ledger.HEARTBEAT_SECONDS
        try:
            while not self._ended.wait(min(LOOK_SECONDS, ledger.HEARTBEAT_SECONDS)):
                due = steady_seconds() >= next_renewal_at
                if due:
                    next_renewal_at = steady_seconds() + ledger.HEARTBEAT_SECONDS
                self._lease.look(renew=due)
                if self._lease.stop is not None and self._interruption is not None:
                    self._interrupt(self._interruption)
        finally:
            ledger_connection().close()

    def _interrupt(self, interruption: Interruption) -> None:
        """End what the work waits for, once it had the time to end it by itself."""
        now = steady_seconds()
        if self._stops_since is None:
            self._stops_since = now
        stopping_seconds = now - self._stops_since
        if stopping_seconds >= END_SECONDS:
            interruption.end()
        elif stopping_seconds >= STOP_SECONDS:
            # Younger statements tidy up after the ones that were cancelled.
            interruption.cancel(stopping_seconds)


@contextmanager
def kept(lease: Lease, interruption: Interruption | None = None) -> Iterator[None]:
    """Keep the lease from a thread while the body works, and end the body's work when it is gone.

    Raises the lease's ``stop`` in place of whatever the body raised over it, and where the body's
    statements were ended. Without an ``interruption`` the body goes on to its own end.
    """
    keeper = _Keeper(lease, interruption)
    thread = threading.Thread(target=keeper.run, name="lease", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        if interruption is not None and lease.stop is not None and error is not lease.stop:
            raise lease.stop from error
        raise
    finally:
        keeper.end()
        thread.join(timeout=ledger.HEARTBEAT_SECONDS)
    if lease.stop is not None and interruption is not None and interruption.struck:
        raise lease.stop
