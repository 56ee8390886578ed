"""What an error of the server says about the table that a repair was at work on."""

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.postgres.activity.sessions import lock_holder_in_words
from maintenance.postgres.connection import reason_of
from maintenance.postgres.sql_files import query


def outcome_of_error(
    conn: Connection,
    action: Action,
    table_oid: int,
    error: psycopg2.Error,
    *,
    limit: str,
    exclusive: bool = False,
) -> Outcome:
    """Return the outcome of a statement that failed, with the holder of a lock by name.

    ``limit`` names the limit of one statement, by its option where it has one; ``exclusive`` is whether
    the statement needs the table for itself.
    """
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        holders = query(conn, "lock_holders", {"oid": table_oid, "any_mode": exclusive})
        by = "; ".join(lock_holder_in_words(row) for row in holders)
        sentence = f"its lock is held by {by}" if by else "its lock was held"
        return Outcome(action, Verdict.BLOCKED, sentence)
    if isinstance(error, psycopg2.errors.UndefinedTable):
        sentence = "it was dropped or renamed since it was measured"
        return Outcome(action, Verdict.REFUSED, sentence)
    if isinstance(error, psycopg2.errors.QueryCanceled):
        return Outcome(action, Verdict.FAILED, _cancelled(reason_of(error), limit))
    return Outcome(action, Verdict.FAILED, reason_of(error))


def _cancelled(reason: str, limit: str) -> str:
    """Say what ended a statement: its limit or a person, both of whom have one SQLSTATE."""
    if "user request" in reason:
        return "somebody cancelled it (pg_cancel_backend), and it is not begun again by itself"
    if "statement timeout" in reason:
        return f"{reason} ({limit})"
    return f"{reason} ({limit}, unless somebody cancelled it)"  # the server speaks another language
