"""SQL that makes two roles with the least rights: one that reads, one that vacuums as well.

The rights of PostgreSQL's documentation, "Predefined Roles": ``pg_monitor`` (statistics, settings, the
log), ``pg_read_all_data`` (sizes and rows), ``pg_maintain`` (VACUUM, ANALYZE, REINDEX; from 17 on).
Before 17 the owner of a table alone may vacuum it, so that the role becomes a member of each owner;
never of a superuser.
"""

from collections.abc import Iterator, Sequence

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.sql_files import query, server_major

READER = "maintenance_reader"
VACUUMER = "maintenance_vacuumer"


def role_statements(
    conn: Connection, *, reader: str = READER, vacuumer: str = VACUUMER
) -> tuple[str, ...]:
    """Return the statements for this database, each whole, in their order; they may be run twice.

    No password stands in them: a role without one cannot log in by password until somebody gives it
    one (psql: ``\\password``).
    """
    return tuple(
        statement.as_string(conn)
        for statement in _statements(conn, reader=reader, vacuumer=vacuumer)
    )


def _statements(conn: Connection, *, reader: str, vacuumer: str) -> Iterator[sql.Composable]:
    for name in (reader, vacuumer):
        yield _created(conn, name)
    database = sql.Identifier(conn.info.dbname)
    both = sql.SQL(", ").join(map(sql.Identifier, (reader, vacuumer)))
    yield sql.SQL("GRANT CONNECT ON DATABASE {} TO {};").format(database, both)
    yield sql.SQL("GRANT pg_monitor, pg_read_all_data TO {};").format(both)
    for right in _rights_to_vacuum(conn):
        yield sql.SQL("GRANT {} TO {};").format(right, sql.Identifier(vacuumer))


def _created(conn: Connection, name: str) -> sql.Composable:
    """Create a role that is not there; CREATE ROLE has no IF NOT EXISTS."""
    body = sql.SQL("BEGIN CREATE ROLE {} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END")
    text = body.format(sql.Identifier(name)).as_string(conn)
    # As a literal: no name can end it, as a dollar-quoted body could be by a name with that tag.
    return sql.SQL("DO LANGUAGE plpgsql {};").format(sql.Literal(text))


def _rights_to_vacuum(conn: Connection) -> Sequence[sql.Composable]:
    if server_major(conn) >= 17:
        return (sql.SQL("pg_maintain"),)
    owners = query(conn, "table_owners")
    return [sql.Identifier(row["owner"]) for row in owners if not row["is_superuser"]]


def left_out(conn: Connection) -> tuple[str, ...]:
    """Return the quoted names of superusers who own tables, which the role may then not vacuum."""
    if server_major(conn) >= 17:
        return ()
    return tuple(
        sql.Identifier(row["owner"]).as_string(conn)
        for row in query(conn, "table_owners")
        if row["is_superuser"]
    )
