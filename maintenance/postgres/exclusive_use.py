"""Tables that cannot be read now without waiting for somebody's lock."""

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.sql_files import query

#: What a number of such a table is unavailable for.
NEEDS = "a lock on its tables, which somebody else holds or awaits"


def tables_in_exclusive_use(conn: Connection) -> frozenset[tuple[str, str]]:
    """Return schema and name of each table whose reader would queue for a lock.

    Asked right before rows are read; a lock taken in between is met by ``lock_timeout``.
    """
    rows = query(conn, "tables_in_exclusive_use")
    return frozenset((row["schema"], row["name"]) for row in rows)
