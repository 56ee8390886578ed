"""The database that the ledger lies in: the default one, or where the project's routers lead its models.

Statements and transactions of ours have to go where the queries of the models go: a slot, its run and
the cursor of its schedule are written together. That the routers have one answer for all of these models
is a system check (``maintenance.E009``).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from maintenance.models import Run

#: As long as the lease of a run: whoever says nothing for so long has lost it.
ABANDONED_SECONDS = 30.0
_ENDS_WHERE_ABANDONED = (
    "SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', %s, true)"
)

#: What :func:`sqlstate_of` says where somebody has locked what was waited for (PostgreSQL documentation, appendix A).
LOCK_NOT_AVAILABLE = "55P03"


def ledger_alias() -> str:
    """Return Django's alias of that database."""
    return router.db_for_write(Run)


def ledger_connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to that database."""
    return connections[ledger_alias()]


@contextmanager
def ledger_transaction() -> Iterator[None]:
    """Do all or nothing of a block, or of a function that this decorates, in that database.

    Where the process hangs in it, or its host is gone, the server ends it after
    :data:`ABANDONED_SECONDS`, and what it has locked is free. A transaction of the site's own around it is left as it is.
    """
    alias = ledger_alias()
    is_outermost = not connections[alias].in_atomic_block
    with transaction.atomic(using=alias):
        if is_outermost:
            with connections[alias].cursor() as cursor:
                cursor.execute(_ENDS_WHERE_ABANDONED, [f"{ABANDONED_SECONDS * 1000:.0f}"])
        yield


def sqlstate_of(error: BaseException) -> str:
    """Return the code of a database's error, as psycopg 2 or 3 has it under Django's; empty for none."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
