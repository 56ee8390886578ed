"""The one statement of each task, with the options that its server knows, and its description."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.plans import Action
from maintenance.postgres.inheritance import only
from maintenance.postgres.vacuum.plan import TableTask

#: The ring of buffers that a VACUUM may use for its pages: enough that it need not flush WAL for
#: every page that it writes, and so little that what a site has cached stays cached beside several
#: of them (documentation of VACUUM; the default is 256 kB on 16 and 2 MB from 17 on).
BUFFER_USAGE_LIMIT = "4MB"

LOCK = "ShareUpdateExclusive: blocks DDL and other maintenance of it, not reads and writes"

#: Moves the database's own horizon after its tables were vacuumed, once instead of for each.
DATABASE_STATISTICS = "VACUUM (ONLY_DATABASE_STATS)"


@dataclass(frozen=True, slots=True)
class Server:
    """What a statement depends on: the major version, and whether it runs ``alone``.

    One VACUUM alone may use the server's parallel workers for its indexes; beside others it would
    take their processors. ``may_name_toast`` is the right USAGE on the schema of TOAST tables: without
    it a server before 16 vacuums one only with its table.
    """

    major: int
    alone: bool = False
    may_name_toast: bool = True


def statement_of(task: TableTask, server: Server) -> sql.Composed:
    """Build the one statement of a task."""
    table = sql.Identifier(task.table.schema, task.table.name)
    # Children and partitions that need it have their own task.
    alone = sql.SQL(only(server.major))
    if not task.needs.vacuum:
        return sql.SQL("ANALYZE {}{}").format(alone, table)
    names_toast = server.major < 16 and server.may_name_toast
    if task.toast_only and task.toast is not None and names_toast:
        table = sql.Identifier(task.toast.schema, task.toast.name)
    options = sql.SQL(", ".join(_vacuum_options(task, server)))
    return sql.SQL("VACUUM ({}) {}{}").format(options, alone, table)


def _vacuum_options(task: TableTask, server: Server) -> Iterator[str]:
    """Yield the options of a VACUUM (PostgreSQL documentation, VACUUM, of each version).

    TRUNCATE is off: cutting the file needs an exclusive lock that replays on standbys.
    """
    yield "VERBOSE"
    yield "TRUNCATE FALSE"
    if task.needs.freeze:
        yield "FREEZE"
    if task.needs.analyze:
        yield "ANALYZE"
    if task.with_index_cleanup:
        yield "INDEX_CLEANUP ON"
    if task.skips_toast:
        yield "PROCESS_TOAST FALSE"
    if not server.alone:
        yield "PARALLEL 0"
    if server.major >= 16:
        if task.toast_only:
            yield "PROCESS_MAIN FALSE"
        yield f"BUFFER_USAGE_LIMIT '{BUFFER_USAGE_LIMIT}'"
        yield "SKIP_DATABASE_STATS"


def action_of(task: TableTask, server: Server, conn: Connection) -> Action:
    """Describe a task as it will be run; ``statement`` is its exact text."""
    state = task.measured
    predicted: dict[str, Any] = {"pages": state.pages}
    if task.needs.vacuum:
        predicted["dead_rows"] = state.dead_rows
        if state.dead_rows and task.dead_bytes is not None:
            predicted["reusable_bytes"] = task.dead_bytes
    if task.predicted_seconds is not None:
        predicted["duration_seconds"] = round(task.predicted_seconds, 1)
    predicted["lock"] = LOCK
    return Action(
        kind=task.kind,
        subject=task.subject,
        statement=statement_of(task, server).as_string(conn),
        reason=task.needs.in_words,
        predicted=predicted,
    )


def database_action(conn: Connection) -> Action:
    """Describe the statement that follows all VACUUMs of a database (16 and later)."""
    return Action(
        kind="vacuum",
        subject=f"database {conn.info.dbname}",
        statement=DATABASE_STATISTICS,
        reason="its tables were vacuumed without it, which costs once instead of for each",
    )
