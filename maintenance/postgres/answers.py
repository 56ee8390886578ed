"""Answers to a query of the operator's own: one column, read as it comes."""

from collections.abc import Iterator

import psycopg2

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import ConfigurationError
from maintenance.postgres.connection import connect, connection_was_lost, reason_of
from maintenance.postgres.giving_way import GaveWay

#: Rows that are fetched at once: some hundred kilobytes of ids.
ROWS_AT_ONCE = 10_000

_DECLARE = "DECLARE owners NO SCROLL CURSOR WITH HOLD FOR"
_FETCH = f"FETCH {ROWS_AT_ONCE} FROM owners"


def first_column(target: DatabaseTarget, sql: str) -> Iterator[str]:
    """Yield the only column of what ``sql`` selects, as text; NULL is left out.

    The session is read only and has the target's time limits; the server keeps the answer, we hold
    a part of it. A policy that would hide rows is an error. Raises :class:`ConfigurationError` where the query fails or has more columns than
    one, and as :func:`maintenance.postgres.connection.connect`.
    """
    with connect(target, purpose="owners") as connection:
        try:
            with connection.cursor() as cursor:
                # The query is written for the role's own search path, unlike those of ours.
                cursor.execute("RESET search_path")
                # Held beyond its statement, because the session commits each one by itself.
                cursor.execute(f"{_DECLARE} {sql.strip().rstrip(';')}")
                while True:
                    cursor.execute(_FETCH)
                    rows = cursor.fetchall()
                    if not rows:
                        return
                    if len(rows[0]) != 1:
                        raise ConfigurationError(
                            f"The query must select one column, the ids, and selects"
                            f" {len(rows[0])}: {sql}"
                        )
                    yield from (str(value) for (value,) in rows if value is not None)
        except (psycopg2.errors.InsufficientPrivilege, GaveWay):
            raise  # said by the connection, with the grant that is missing; or tried again
        except psycopg2.Error as error:
            if connection_was_lost(connection, error):
                raise
            raise ConfigurationError(
                f"The query failed: {reason_of(error)}. It is: {sql}"
            ) from None
