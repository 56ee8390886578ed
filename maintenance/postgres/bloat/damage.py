"""Relations whose pages cannot be read: each is a finding of its own, and no end of a report."""

from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, Severity
from maintenance.postgres.connection import connection_was_lost, reason_of

#: A page or a file is not what it should be, or the disk does not give it.
_DAMAGE = (
    psycopg2.errors.DataCorrupted,
    psycopg2.errors.IndexCorrupted,
    psycopg2.errors.IoError,
    psycopg2.errors.UndefinedFile,
)


def unreadable(conn: Connection, error: psycopg2.DatabaseError) -> dict[str, Any]:
    """Return the fields ``missing`` and, in the server's words, ``damage`` of what was not measured.

    Raises ``error`` where it is not about this relation: a lost connection, a missing right.
    """
    if connection_was_lost(conn, error) or isinstance(error, psycopg2.errors.InsufficientPrivilege):
        raise error
    words = reason_of(error)
    if isinstance(error, _DAMAGE):
        return {"missing": f"pages that can be read ({words})", "damage": words}
    return {"missing": f"a server that answers: PostgreSQL ended it ({words})"}


def damaged(subject: str, place: str, words: str) -> Finding:
    """Return the finding of a table that the server refuses to read, there or in its indexes."""
    return Finding(
        code="corruption",
        severity=Severity.CRITICAL,
        subject=subject,
        sentence=f"{place} cannot be read: {words}.",
        advice=(
            "Take a copy of the data folder, keep the old backups, and look for failing disks or"
            " memory. check_data_integrity with amcheck heap says what is damaged: rebuild an index"
            " (REINDEX); restore a table from a backup, or salvage its rows by hand."
        ),
        runbook="https://www.postgresql.org/docs/current/amcheck.html",
    )
