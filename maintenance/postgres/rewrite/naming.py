"""The tables that a person names: those that can be measured, and those that somebody locks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.wording import listed
from maintenance.postgres.activity.sessions import lock_holder_in_words
from maintenance.postgres.bloat.exact import named
from maintenance.postgres.inheritance import only
from maintenance.postgres.rewrite.plan import KIND
from maintenance.postgres.sql_files import query, server_major


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table by its oid and its quoted name."""

    oid: int
    qualified_name: str
    is_locked: bool


def tables_named(conn: Connection, names: Sequence[str]) -> list[NamedTable]:
    """Return the tables of these names, of a partitioned table its partitions.

    Raises :class:`UnknownName` for a table that does not exist: one that is locked does.
    """
    rows = query(conn, "rewrite_names")
    roots = {row["oid"]: row["root_name"] for row in query(conn, "partition_roots")}
    known = [row | {"partition_of": roots.get(row["oid"], "")} for row in rows]
    return [
        NamedTable(row["oid"], row["qualified_name"], row["is_locked"])
        for row in named("table", known, names)
    ]


def not_measured(
    conn: Connection, tables: Sequence[NamedTable], measured: Collection[int]
) -> list[Outcome]:
    """Say of each table that is not among those ``measured`` who locks it."""
    return [_locked(conn, table) for table in tables if table.oid not in measured]


def _locked(conn: Connection, table: NamedTable) -> Outcome:
    holders: list[dict[str, Any]] = query(
        conn, "lock_holders", {"oid": table.oid, "any_mode": False}
    )
    who = listed([lock_holder_in_words(row) for row in holders], 3)
    action = Action(
        kind=KIND,
        subject=table.qualified_name,
        statement=f"VACUUM (FULL, ANALYZE, VERBOSE) {only(server_major(conn))}{table.qualified_name}",
        reason="it is named",
    )
    why = (
        f"its lock is held by {who}" if who else "somebody locks it or an index of it, or waits to"
    )
    return Outcome(
        action, Verdict.BLOCKED, f"{why}: it could not be measured, and waits for another run"
    )
