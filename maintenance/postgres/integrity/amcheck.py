"""Corruption: what amcheck finds in btrees and, where asked for, in tables.

Sources: PostgreSQL documentation, "amcheck". ``bt_index_check`` and ``verify_heapam`` take the locks
of a reader only; ``bt_index_parent_check``, which would stop writers, is never called.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Progress
from maintenance.core.wording import counted
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.driver import MARKER
from maintenance.postgres.integrity.options import Scope
from maintenance.postgres.sql_files import query
from maintenance.postgres.time_budget import TimeBudget

#: Of a corrupted table verify_heapam names every tuple; so many say enough.
MOST_TUPLES_NAMED = 20

#: Where the next run goes on is kept under these names.
_AFTER = {True: "amcheck_index_after", False: "amcheck_table_after"}


@dataclass(frozen=True, slots=True)
class Relation:
    """A btree or a table that amcheck can look at; a row of ``sql/amcheck_relations.sql``."""

    oid: int
    schema: str
    name: str
    qualified_name: str
    is_index: bool
    is_unique: bool
    backs_constraint: bool


@dataclass(frozen=True, slots=True)
class Amcheck:
    """Whether amcheck can be called; a row of ``sql/amcheck_extension.sql``."""

    role: str
    schema: str | None
    quoted_schema: str | None
    may_use_schema: bool
    may_check_indexes: bool
    may_check_tables: bool
    compares_unique_keys: bool

    def needs(self, *, of_indexes: bool) -> str:
        """Say what must be created or granted first; empty where nothing is missing."""
        function = "bt_index_check(regclass, boolean)" if of_indexes else "verify_heapam"
        if self.schema is None:
            return "CREATE EXTENSION amcheck in this database"
        if not self.may_use_schema:
            return f"GRANT USAGE ON SCHEMA {self.quoted_schema} TO {self.role}"
        if of_indexes and self.compares_unique_keys:
            function = "bt_index_check(regclass, boolean, boolean)"
        if not (self.may_check_indexes if of_indexes else self.may_check_tables):
            return f"GRANT EXECUTE ON FUNCTION {self.quoted_schema}.{function} TO {self.role}"
        return ""


@dataclass(frozen=True, slots=True)
class Corruption:
    """A relation that is damaged, and what amcheck said of it."""

    relation: Relation
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at. ``total`` relations can be, ``verified`` were, by this run.

    ``unfinished`` ones took too long or stood behind a lock, each with the reason. ``state`` says
    where the next run goes on. ``missing`` are sentences on what it needs, by what is not known.
    """

    total: int = 0
    verified: int = 0
    corruptions: tuple[Corruption, ...] = ()
    unfinished: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def verify(
    conn: Connection,
    target: DatabaseTarget,
    scope: Scope,
    previous_state: Mapping[str, Any],
    *,
    budget: TimeBudget,
    progress: Progress,
) -> Verification:
    """Check btrees, and with ``heap`` tables, until the ``budget`` is spent.

    A run goes on where the one before stopped, so that every relation gets its turn however
    many there are. Each is one statement, within the session's limits.
    """
    if scope == "off":
        return Verification()
    extension = Amcheck(**query(conn, "amcheck_extension")[0])
    relations: list[Relation] | None = None
    parts = []
    for of_indexes in (True, False) if scope == "heap" else (True,):
        what = "whether btrees are sound" if of_indexes else "whether tables are sound"
        if needs := extension.needs(of_indexes=of_indexes):
            parts.append(Verification(missing={what: needs}))
            continue
        if relations is None:
            parameters = {"exclude_schemas": list(target.exclude_schemas)}
            relations = [Relation(**row) for row in query(conn, "amcheck_relations", parameters)]
        chosen = [relation for relation in relations if relation.is_index == of_indexes]
        key = _AFTER[of_indexes]
        ordered = in_turn(chosen, previous_state.get(key))
        parts.append(_verify_all(conn, extension, ordered, key, budget=budget, progress=progress))
    return _joined(parts)


def in_turn(relations: Sequence[Relation], after: int | None) -> list[Relation]:
    """Return the relations beginning behind oid ``after``, and then those up to it."""
    if after is None:
        return list(relations)
    behind = [relation for relation in relations if relation.oid > after]
    return behind + [relation for relation in relations if relation.oid <= after]


def _verify_all(
    conn: Connection,
    extension: Amcheck,
    relations: Sequence[Relation],
    state_key: str,
    *,
    budget: TimeBudget,
    progress: Progress,
) -> Verification:
    corruptions: list[Corruption] = []
    unfinished: dict[str, str] = {}
    done = 0
    for relation in relations:
        if budget.is_spent:
            break
        progress.update(done, len(relations), phase=relation.qualified_name, unit="relations")
        try:
            reason = _damage(conn, extension, relation)
        except psycopg2.errors.UndefinedTable:
            reason = ""  # dropped since the list was made: nothing is left to check
        except psycopg2.InternalError as error:  # the corruption itself, or a page it cannot read
            if connection_was_lost(conn, error):
                raise
            reason = reason_of(error)
        except psycopg2.Error as error:
            if connection_was_lost(conn, error):
                raise
            unfinished[relation.qualified_name] = reason_of(error)
            reason = ""
        if reason:
            corruptions.append(Corruption(relation, reason))
        done += 1
    return Verification(
        total=len(relations),
        verified=done - len(unfinished),
        corruptions=tuple(corruptions),
        unfinished=unfinished,
        state={state_key: relations[done - 1].oid} if 0 < done < len(relations) else {},
    )


def _damage(conn: Connection, extension: Amcheck, relation: Relation) -> str:
    """Return what verify_heapam says of a table, an empty text where it finds nothing.

    ``bt_index_check`` says nothing and raises an error at the first damage.
    """
    # No parameters: a % in the schema's name is itself.
    schema, oid = sql.Identifier(extension.schema or ""), sql.Literal(relation.oid)
    if relation.is_index:
        # Rows with equal keys below a unique index are looked for where the version can.
        unique = f", {str(relation.is_unique).lower()}" if extension.compares_unique_keys else ""
        call = sql.SQL("SELECT {}.bt_index_check({}::oid::regclass, false{})").format(
            schema, oid, sql.SQL(unique)
        )
    else:
        call = sql.SQL(
            "SELECT blkno, offnum, attnum, msg FROM {}.verify_heapam({}::oid::regclass) LIMIT {}"
        ).format(schema, oid, sql.Literal(MOST_TUPLES_NAMED))
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), call))
        found = [] if relation.is_index else cursor.fetchall()
    return "; ".join(
        f"block {block}, item {item}{'' if column is None else f', column {column}'}: {message}"
        for block, item, column, message in found
    )


def _joined(parts: Sequence[Verification]) -> Verification:
    return Verification(
        total=sum(part.total for part in parts),
        verified=sum(part.verified for part in parts),
        corruptions=tuple(c for part in parts for c in part.corruptions),
        unfinished={name: why for part in parts for name, why in part.unfinished.items()},
        state={key: value for part in parts for key, value in part.state.items()},
        missing={what: needs for part in parts for what, needs in part.missing.items()},
    )


def diagnose_verification(conn: Connection, verification: Verification) -> Iterator[Finding]:
    """Judge what amcheck found; ``conn`` only quotes names."""
    for corruption in verification.corruptions:
        yield _corruption_finding(conn, corruption)
    for what, needs in verification.missing.items():
        yield unavailable("corruption", "amcheck", what, needs)
    yield from _unfinished(verification.unfinished.items())


def _corruption_finding(conn: Connection, corruption: Corruption) -> Finding:
    relation = corruption.relation
    rebuild = sql.SQL("REINDEX INDEX CONCURRENTLY {};").format(
        sql.Identifier(relation.schema, relation.name)
    )
    if relation.is_index:
        advice = (
            "Take a backup and keep the old ones; look for failing disks, a changed collation (an"
            " upgrade of the operating system) or a server bug. Then rebuild the index; where it is"
            " unique, remove duplicate rows first."
        )
    else:
        advice = (
            "Stop what writes to this table, take a copy of the data folder, keep the old backups,"
            " and look for failing disks or memory. Restore the table from a backup, or salvage its"
            " rows by hand."
        )
    return Finding(
        code="corruption",
        severity=Severity.CRITICAL,
        subject=relation.qualified_name,
        sentence=f"{relation.qualified_name} is corrupted: {corruption.reason}.",
        evidence={
            "kind": "btree index" if relation.is_index else "table",
            "backs_constraint": relation.backs_constraint,
        },
        advice=advice,
        commands=(rebuild.as_string(conn),) if relation.is_index else (),
        runbook="https://www.postgresql.org/docs/current/amcheck.html",
    )


def _unfinished(unfinished: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """One finding for all: they have one cause, a limit that is too short for them."""
    names = dict(unfinished)
    if not names:
        return
    first = next(iter(names))
    yield unavailable(
        "corruption",
        first if len(names) == 1 else f"{first} and {counted(len(names) - 1, 'other')}",
        f"whether {counted(len(names), 'relation')} {'is' if len(names) == 1 else 'are'} sound",
        f"more time or a lock that is free ({names[first]})",
    )
