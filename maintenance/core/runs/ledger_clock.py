"""The one clock by which leases, waits and retries are judged: the ledger database's own.

Machines disagree about the time of day, by an hour where somebody set one wrongly. Whoever writes
when something may happen and whoever judges it may be two of them.
"""

from datetime import datetime

from maintenance.core.runs.ledger_database import ledger_connection


def ledger_now() -> datetime:
    """Return the ledger's time. One round trip; raises Django's ``OperationalError``."""
    with ledger_connection().cursor() as cursor:
        cursor.execute("SELECT pg_catalog.statement_timestamp()")
        (now,) = cursor.fetchone()
    moment: datetime = now
    return moment
