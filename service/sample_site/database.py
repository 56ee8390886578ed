"""The sample site's PostgreSQL database: connecting, refusing what is not ours, running scripts."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from service.sample_site.errors import SampleSiteError
from service.sample_site.vocabulary import entries

HERE: Final = Path(__file__).parent

MARKER: Final = (
    "celery-maintenance sample site, built by manage.py sample_site; rebuilt without asking"
)
"""The comment on each table of ours. A relation without it is somebody else's."""

_BUILD_LOCK: Final = 0x5A_3B_1E_51
"""Advisory lock key: one build at a time in a database."""

_END_OF_STATEMENT: Final = re.compile(r";[ \t]*(?:\n|\Z)")

# Tables, views, sequences and foreign tables outside the system's own schemas that carry no marker.
# Sequences of identity columns follow their table; what an extension brought belongs to it.
_FOREIGN_RELATIONS: Final = """
    SELECT format('%%I.%%I', n.nspname, c.relname)
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM %(marker)s
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i')
      )
    ORDER BY 1
"""

_OWN_TABLES: Final = """
    SELECT n.nspname, c.relname
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_'
      AND obj_description(c.oid, 'pg_class') = %(marker)s
    ORDER BY c.relname
"""

_OTHER_SNAPSHOTS: Final = """
    SELECT pid, coalesce(nullif(application_name, ''), backend_type), state
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
      AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
"""


@contextmanager
def site_connection(url: str) -> Iterator[Connection]:
    """Open an autocommit connection that is alone at building in its database.

    Raises SampleSiteError where the server cannot be reached, is older than PostgreSQL 15
    (pg_stat_force_next_flush), refuses a step, or another build holds the database.
    """
    try:
        connection = psycopg2.connect(url, application_name="sample_site", connect_timeout=10)
    except psycopg2.ProgrammingError:
        # libpq repeats a malformed URL in its message, with the password in it.
        raise SampleSiteError(
            "The database URL cannot be read: it should look like "
            "postgresql://user:password@host:5432/database, with special characters percent-encoded."
        ) from None
    except psycopg2.OperationalError as error:
        raise SampleSiteError(
            f"The sample site's database does not answer: {str(error).strip()}"
        ) from None
    try:
        connection.autocommit = True
        _prepare_session(connection)
        yield connection
    except psycopg2.Error as error:
        reason = (error.diag.message_primary or str(error)).strip()
        hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
        raise SampleSiteError(
            f'PostgreSQL refused a step of the build in the database "{connection.info.dbname}": {reason}.{hint} '
            "What was built so far is replaced by the next build."
        ) from error
    finally:
        connection.close()


def _prepare_session(connection: Connection) -> None:
    if connection.server_version < 150000:
        major = connection.server_version // 10000
        raise SampleSiteError(
            f"The sample site needs PostgreSQL 15 or newer, this server is version {major}."
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_BUILD_LOCK])
        if cursor.fetchone() != (True,):
            raise SampleSiteError(
                f'Another build is at work in the database "{connection.info.dbname}": wait for its end.'
            )
        # One process and one order of rows, so that a seed always gives the same pages.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SET max_parallel_maintenance_workers = 0")
        cursor.execute("SET synchronize_seqscans = off")
        cursor.execute("SET jit = off")
        cursor.execute("SET work_mem = '128MB'")
        cursor.execute("SET temp_buffers = '256MB'")
        cursor.execute("SET maintenance_work_mem = '256MB'")
        # A crash costs a rebuild, nothing else.
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute("SET search_path = public")


def rows(
    connection: Connection,
    statement: str | sql.Composable,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
) -> list[tuple[Any, ...]]:
    """Execute one query and return all of its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def own_tables(connection: Connection) -> list[tuple[str, str]]:
    """Schema and name of each table that carries the marker."""
    return [(schema, name) for schema, name in rows(connection, _OWN_TABLES, {"marker": MARKER})]


def refuse_foreign_relations(connection: Connection) -> None:
    """Raise SampleSiteError where the database holds what the sample site did not make."""
    foreign = [name for (name,) in rows(connection, _FOREIGN_RELATIONS, {"marker": MARKER})]
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise SampleSiteError(
            f'The database "{connection.info.dbname}" holds {len(foreign)} relation(s) that the sample site '
            f"did not make ({shown}). Nothing was changed. Give the sample site a database of its own."
        )


def drop_own_tables(connection: Connection) -> None:
    """Drop the tables of an earlier build."""
    tables = own_tables(connection)
    if tables:
        names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP TABLE {} CASCADE").format(names))


def create_tables(connection: Connection) -> None:
    """Run schema.sql and mark each table as ours, all or nothing."""
    mark = sql.SQL("COMMENT ON TABLE {} IS {}")
    connection.autocommit = False
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute((HERE / "schema.sql").read_text(encoding="utf-8"))
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(mark.format(sql.Identifier("public", table), sql.Literal(MARKER)))
    finally:
        connection.autocommit = True


def load_vocabulary(connection: Connection) -> dict[str, int]:
    """Copy names, titles and sentences to a temporary table; return the number of each kind."""
    counts: dict[str, int] = {}
    lines = io.StringIO()
    for entry in entries():
        counts[f"{entry.kind}s"] = entry.number + 1
        lines.write(f"{entry.kind}\t{entry.number}\t{entry.text}\t{entry.slug}\t{entry.language}\n")
    lines.seek(0)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE vocabulary "
            "(kind text, id integer, text text, slug text, language text, PRIMARY KEY (kind, id))"
        )
        cursor.copy_expert("COPY pg_temp.vocabulary FROM STDIN", lines)
        cursor.execute("ANALYZE pg_temp.vocabulary")
    return counts


def statements(script: str) -> list[str]:
    """Split a script of this package: a statement ends with a semicolon at the end of a line."""
    text = (HERE / script).read_text(encoding="utf-8")
    return [part.strip() for part in _END_OF_STATEMENT.split(text) if part.strip()]


def run_script(
    connection: Connection, script: str, parameters: Mapping[str, Any] | None = None
) -> Iterator[tuple[int, int]]:
    """Execute a script statement by statement; yield how many of how many are done."""
    parts = statements(script)
    with connection.cursor() as cursor:
        for done, statement in enumerate(parts, start=1):
            cursor.execute(statement, parameters)
            yield done, len(parts)


def wait_for_other_snapshots(connection: Connection, deadline_seconds: float = 20.0) -> None:
    """Wait until no other session could keep VACUUM from removing what was just deleted.

    Raises SampleSiteError naming the session that outlasts the deadline.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() + make_interval(secs => %s)", [deadline_seconds])
        (deadline,) = cursor.fetchone() or (None,)
        while True:
            cursor.execute(_OTHER_SNAPSHOTS)
            holders = cursor.fetchall()
            if not holders:
                return
            cursor.execute("SELECT clock_timestamp() > %s, pg_sleep(0.05)", [deadline])
            if (cursor.fetchone() or (True,))[0]:
                pid, name, state = holders[0]
                raise SampleSiteError(
                    f"Session {pid} ({name}, {state}) keeps a snapshot open in this database, so that VACUUM "
                    "cannot remove deleted rows. End it and build again."
                )
