"""Which failures pass by themselves."""

import psycopg2
import redis.exceptions
from django.db import InterfaceError as LedgerInterfaceError
from django.db import InternalError as LedgerInternalError
from django.db import OperationalError as LedgerOperationalError

from maintenance.core.errors import LeaseUnknown, MaintenanceError, TargetUnavailable

# SQLSTATE classes and codes that a later attempt may not meet again (PostgreSQL documentation,
# appendix A): connection exceptions, deadlock and serialization failures; out of memory, too many
# connections, lock not available, a server that stops, crashed or starts, an idle session ended.
# Not query_canceled (57014): a statement that took too long will do so again, at the same cost to
# the site, and one that a person cancelled is not wanted.
_TRANSIENT_CLASSES = ("08", "40")
_TRANSIENT_CODES = ("53200", "53300", "55P03", "57P01", "57P02", "57P03", "57P05")

#: What the ledger raises while it is away, restarting, or read-only after a failover (the last).
LEDGER_AWAY: tuple[type[Exception], ...] = (
    LedgerOperationalError,
    LedgerInterfaceError,
    LedgerInternalError,
)

_TRANSIENT_ERRORS: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.TryAgainError,
    *LEDGER_AWAY,
)


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again can help: an outage or a held lock, not a wrong name or right."""
    if isinstance(error, psycopg2.Error):
        code = error.pgcode or ""
        if not code:  # the connection itself failed
            return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        return code.startswith(_TRANSIENT_CLASSES) or code in _TRANSIENT_CODES
    if isinstance(error, redis.exceptions.AuthenticationError):
        return False  # a subclass of ConnectionError, but the password will not change by itself
    if isinstance(error, MaintenanceError):
        return isinstance(error, TargetUnavailable | LeaseUnknown)
    return isinstance(error, _TRANSIENT_ERRORS)
