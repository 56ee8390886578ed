"""Which of several schedulers sends: one row with a lease and a token, by the clock of its database.

Whoever leads renews its lease with everything it writes. Once it has run out another scheduler takes
the row over and raises the token. A write of the leader begins by renewing under its token, in the same
transaction: one that was stopped and goes on finds that its token stands there no more, and writes
nothing. Whether a message may go out is judged by a clock of this machine that goes on while a process
is stopped: a leader sends only while nobody else can have taken over yet.

A leader that is stopped in mid-transaction holds the row. The server ends such a session
(``idle_in_transaction_session_timeout``), and the row is free.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import OperationalError

from maintenance.core.runs.lease import steady_seconds
from maintenance.core.runs.ledger_database import (
    LOCK_NOT_AVAILABLE,
    ledger_connection,
    ledger_transaction,
    sqlstate_of,
)
from maintenance.models import Leader

logger = logging.getLogger("maintenance.scheduler")

NAME = "scheduler"
#: A leader that is silent for this long is replaced. Three of its looks, so that one slow one does not
#: look like a death; a standby looks every two seconds, which makes twelve until it leads.
LEASE_SECONDS = 10.0
#: Nothing is sent in the last part of a lease: the message that is under way then has this long.
LAST_SEND_RATIO = 0.7
#: A transaction of the leader that hangs for so long is ended by the server: it holds the row. Less than
#: the lease, which has to run out anyway before another one leads.
HANGING_SECONDS = 9.0
#: How long a standby waits for a row that a leader's transaction holds. It looks again soon.
LOCK_SECONDS = 1.0

_TAKE = """
INSERT INTO {table} AS leader (name, holder, token, since, expires_at, ticked_at)
VALUES (%s, %s, 1, clock_timestamp(), clock_timestamp() + %s * interval '1 second', clock_timestamp())
ON CONFLICT (name) DO UPDATE SET
    holder = EXCLUDED.holder, token = leader.token + 1, since = EXCLUDED.since,
    expires_at = EXCLUDED.expires_at, ticked_at = EXCLUDED.ticked_at
WHERE leader.expires_at <= clock_timestamp()
RETURNING token
"""
_RENEW = """
UPDATE {table} SET
    expires_at = clock_timestamp() + %s * interval '1 second', ticked_at = clock_timestamp()
WHERE name = %s AND token = %s
RETURNING clock_timestamp(), set_config('idle_in_transaction_session_timeout', %s, true)
"""
_HOLD = """
SELECT set_config('idle_in_transaction_session_timeout', %s, true)
FROM {table} WHERE name = %s FOR NO KEY UPDATE
"""
_RELEASE = "UPDATE {table} SET expires_at = clock_timestamp() WHERE name = %s AND token = %s"


class NotLeading(Exception):
    """Another scheduler leads; nothing was written."""


class Leadership:
    """One scheduler's part in it. ``holder`` says who it is, for people."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._token: int | None = None
        self._renewed_at = 0.0
        self._clock: tuple[datetime, float] | None = None

    @property
    def is_held(self) -> bool:
        """Whether it led when it last looked."""
        return self._token is not None

    @property
    def age_seconds(self) -> float:
        """How long ago the lease was renewed."""
        return steady_seconds() - self._renewed_at

    def now(self) -> datetime:
        """Return about the database's time, as of when the lease was renewed and what passed since."""
        if self._clock is None:
            return self.renew()
        moment, read_at = self._clock
        return moment + timedelta(seconds=steady_seconds() - read_at)

    def may_send(self) -> bool:
        """Tell whether nobody else can have taken over yet, without asking the database."""
        return self.is_held and self.age_seconds < LEASE_SECONDS * LAST_SEND_RATIO

    def take(self) -> bool:
        """Take the lead where nobody has it; return whether it is held now.

        Raises Django's errors where the database is away.
        """
        asked_at = steady_seconds()
        try:
            with ledger_transaction(), ledger_connection().cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_SECONDS:g}s"]
                )
                cursor.execute(_sql(_TAKE), [NAME, self._holder, LEASE_SECONDS])
                row = cursor.fetchone()
        except OperationalError as error:
            if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
                raise
            row = None
        if row is None:
            return False
        self._token, self._renewed_at = row[0], asked_at
        logger.info("%s leads from now on (token %d)", self._holder, self._token)
        return True

    @contextmanager
    def fenced(self) -> Iterator[datetime]:
        """Renew the lease and write under its token, all in one transaction; yield the database's time.

        Raises :class:`NotLeading`, having written nothing, where another scheduler leads.
        """
        asked_at = steady_seconds()
        with ledger_transaction():
            with ledger_connection().cursor() as cursor:
                cursor.execute(
                    _sql(_RENEW),
                    [LEASE_SECONDS, NAME, self._token, f"{HANGING_SECONDS * 1000:.0f}"],
                )
                row = cursor.fetchone()
            if row is None:
                self._token = None
                raise NotLeading(f"{self._holder} does not lead any more")
            self._clock = row[0], steady_seconds()
            yield row[0]
        self._renewed_at = asked_at

    def renew(self) -> datetime:
        """Renew the lease; return the database's time. Raises as :meth:`fenced`."""
        with self.fenced() as now:
            return now

    def release(self) -> None:
        """Let another scheduler lead at once."""
        token, self._token = self._token, None
        if token is not None:
            with ledger_connection().cursor() as cursor:
                cursor.execute(_sql(_RELEASE), [NAME, token])
            logger.info("%s gives the lead away", self._holder)


def has_ever_led() -> bool:
    """Tell whether any scheduler has ever led: where none has, people run what they want by hand."""
    return Leader.objects.exists()


def hold_leader() -> None:
    """Let no leader write until the end of this transaction; wait for the one that does.

    For who writes many rows of schedules at once: a leader moves their cursors, and two that each hold a
    row which the other wants would be ended by the server. Of a transaction that hangs it is free as a
    leader's own is.
    """
    with ledger_connection().cursor() as cursor:
        cursor.execute(_sql(_HOLD), [f"{HANGING_SECONDS * 1000:.0f}", NAME])


def _sql(statement: str) -> str:
    return statement.format(table=ledger_connection().ops.quote_name(Leader._meta.db_table))
