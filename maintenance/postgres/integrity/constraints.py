"""Constraints that nobody has proved: what they promise, and how many rows break the promise."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Table
from maintenance.core.wording import counted
from maintenance.postgres.connection import connection_was_lost
from maintenance.postgres.driver import MARKER
from maintenance.postgres.exclusive_use import NEEDS, tables_in_exclusive_use
from maintenance.postgres.integrity.failed_looks import needs_of
from maintenance.postgres.sql_files import query
from maintenance.postgres.time_budget import TimeBudget

#: Counting stops here: whether ten thousand or a million rows are wrong changes nothing in what
#: has to be done next.
ORPHANS_COUNTED = 10_000

#: What an operator's name consists of (PostgreSQL documentation, CREATE OPERATOR). It is no
#: identifier that could be quoted.
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|`?]+")

_KINDS = {"c": "check constraint", "f": "foreign key", "n": "not-null constraint"}


@dataclass(frozen=True, slots=True)
class UnprovedConstraint:
    """A constraint that some row may break. ``owner_name`` is its table or, rarely, domain.

    Names that begin with ``qualified`` are quoted as SQL needs them. For a foreign key ``operators`` are schema and name of what compares each pair of columns.
    """

    oid: int
    kind: str
    schema: str
    owner_name: str
    name: str
    qualified_name: str
    qualified_owner: str
    qualified_columns: str | None
    qualified_referenced: str | None
    is_on_domain: bool
    is_enforced: bool
    is_temporal: bool
    is_match_full: bool
    is_partitioned: bool
    columns: tuple[str, ...]
    referenced_schema: str | None
    referenced_table: str | None
    is_referenced_partitioned: bool
    referenced_columns: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    is_row_security_active: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "UnprovedConstraint":
        """Build from a row of ``sql/not_validated_constraints.sql``."""
        lists = {name: tuple(row[name]) for name in ("columns", "referenced_columns")}
        operators = tuple((schema, name) for schema, name in row["operators"])
        return cls(**{**row, **lists, "operators": operators})

    @property
    def is_foreign_key(self) -> bool:
        """Whether rows without a partner are what breaks it."""
        return self.kind == "f"

    @property
    def kind_in_words(self) -> str:
        """``foreign key``, ``check constraint`` or ``not-null constraint``."""
        return _KINDS[self.kind]


@dataclass(frozen=True, slots=True)
class OrphanCount:
    """Rows that break a foreign key; ``rows`` is ``None`` where ``needs`` says what is missing.

    ``is_at_least`` says that counting stopped at :data:`ORPHANS_COUNTED`.
    """

    rows: int | None
    is_at_least: bool = False
    needs: str = ""

    @property
    def in_words(self) -> str:
        """The number of rows in words."""
        return f"{'at least ' if self.is_at_least else ''}{counted(self.rows or 0, 'row')}"


def unproved_constraints(conn: Connection, target: DatabaseTarget) -> list[UnprovedConstraint]:
    """Return the constraints that were never validated, or that the server does not enforce."""
    rows = query(
        conn, "not_validated_constraints", {"exclude_schemas": list(target.exclude_schemas)}
    )
    return [UnprovedConstraint.from_row(row) for row in rows]


def orphan_condition(key: UnprovedConstraint) -> sql.Composed:
    """Return the part of a query from FROM on that yields the rows that break a foreign key.

    As the server checks it: a row with a NULL breaks no key, unless the key is MATCH FULL and the
    row has a value as well (PostgreSQL documentation, CREATE TABLE, "REFERENCES").
    """
    given = sql.SQL(" OR " if key.is_match_full else " AND ").join(
        sql.SQL("r.{} IS NOT NULL").format(sql.Identifier(column)) for column in key.columns
    )
    pairs = zip(key.columns, key.referenced_columns, key.operators, strict=True)
    same = sql.SQL(" AND ").join(
        sql.SQL("p.{} OPERATOR({}.{}) r.{}").format(
            sql.Identifier(referenced),
            sql.Identifier(operator_schema),
            _operator(operator_name),
            sql.Identifier(column),
        )
        for column, referenced, (operator_schema, operator_name) in pairs
    )
    return sql.SQL("FROM {} AS r WHERE ({}) AND NOT EXISTS (SELECT FROM {} AS p WHERE {})").format(
        _table(key.schema, key.owner_name, is_partitioned=key.is_partitioned),
        given,
        _table(
            key.referenced_schema or "",
            key.referenced_table or "",
            is_partitioned=key.is_referenced_partitioned,
        ),
        same,
    )


def _table(schema: str, name: str, *, is_partitioned: bool) -> sql.Composed:
    # A foreign key looks at no heirs of its tables, but at all partitions.
    return sql.SQL("{}{}").format(
        sql.SQL("" if is_partitioned else "ONLY "), sql.Identifier(schema, name)
    )


def _operator(name: str) -> sql.SQL:
    if not _OPERATOR.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an operator")
    return sql.SQL(name)


def count_orphans(conn: Connection, key: UnprovedConstraint, budget: TimeBudget) -> OrphanCount:
    """Count the rows that break a foreign key, up to :data:`ORPHANS_COUNTED`.

    The session's own limits end a count that takes long or would wait for a lock.
    """
    if key.is_temporal:
        return OrphanCount(None, needs="a check by hand, because it is a key over periods")
    if key.is_row_security_active:
        return OrphanCount(
            None, needs="a role with BYPASSRLS, because policies hide rows from ours"
        )
    if budget.is_spent:
        return OrphanCount(None, needs=f"more than {budget.seconds:.0f} seconds for all keys")
    tables = {(key.schema, key.owner_name), (key.referenced_schema, key.referenced_table)}
    if tables & tables_in_exclusive_use(conn):
        return OrphanCount(None, needs=NEEDS)
    statement = sql.SQL("{} SELECT count(*) FROM (SELECT {} LIMIT {}) AS orphans").format(
        sql.SQL(MARKER), orphan_condition(key), sql.Literal(ORPHANS_COUNTED + 1)
    )
    try:
        with conn.cursor() as cursor:
            cursor.execute(statement)
            (found,) = cursor.fetchone() or (0,)
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        names = filter(None, (key.qualified_owner, key.qualified_referenced))
        return OrphanCount(None, needs=needs_of(error, names))
    return OrphanCount(min(found, ORPHANS_COUNTED), is_at_least=found > ORPHANS_COUNTED)


def diagnose_constraints(
    conn: Connection,
    constraints: Sequence[UnprovedConstraint],
    orphans: Mapping[int, OrphanCount],
) -> Iterator[Finding]:
    """Judge each constraint, and the rows behind it; ``conn`` only quotes names."""
    for constraint in constraints:
        count = orphans.get(constraint.oid)
        yield _constraint_finding(conn, constraint, count)
        if count is None:
            continue
        if count.rows is None:
            yield unavailable(
                "orphaned-rows",
                constraint.qualified_columns or constraint.qualified_name,
                f"counting rows that break {constraint.qualified_name}",
                count.needs,
            )
        elif count.rows:
            yield _orphans_finding(conn, constraint, count)


def _constraint_finding(
    conn: Connection, constraint: UnprovedConstraint, count: OrphanCount | None
) -> Finding:
    kind, name = constraint.kind_in_words, constraint.qualified_name
    evidence = {
        "kind": kind,
        "enforced": constraint.is_enforced,
        "orphaned_rows": count.rows if count else None,
    }
    if not constraint.is_enforced:
        return Finding(
            code="not-enforced-constraint",
            severity=Severity.INFO,
            subject=name,
            sentence=f"The {kind} {name} is NOT ENFORCED: the server lets any row break it.",
            evidence=evidence,
            advice="Somebody chose so; see that the application keeps the promise by itself.",
        )
    broken = count is not None and bool(count.rows)
    return Finding(
        code="not-validated-constraint",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"The {kind} {name} was never validated: it holds for new rows, and"
            f" {_older_rows(count)}."
        ),
        evidence=evidence,
        advice=(
            "Repair or delete the rows that break it, then validate it."
            if broken
            else "Validate it: reads and writes go on meanwhile."
        ),
        commands=(_validate_command(conn, constraint),),
    )


def _older_rows(count: OrphanCount | None) -> str:
    if count is None or count.rows is None:
        return "older ones may break it"
    return (
        f"{count.in_words} {'breaks' if count.rows == 1 else 'break'} it"
        if count.rows
        else ("no older one breaks it")
    )


def _validate_command(conn: Connection, constraint: UnprovedConstraint) -> str:
    statement = sql.SQL("ALTER {} {} VALIDATE CONSTRAINT {};").format(
        sql.SQL("DOMAIN" if constraint.is_on_domain else "TABLE"),
        sql.Identifier(constraint.schema, constraint.owner_name),
        sql.Identifier(constraint.name),
    )
    return statement.as_string(conn)


def _orphans_finding(conn: Connection, key: UnprovedConstraint, count: OrphanCount) -> Finding:
    look = sql.SQL("SELECT r.* {} LIMIT 100;").format(orphan_condition(key)).as_string(conn)
    return Finding(
        code="orphaned-rows",
        severity=Severity.WARNING,
        subject=key.qualified_columns or key.qualified_name,
        sentence=(
            f"{count.in_words[:1].upper()}{count.in_words[1:]} of {key.qualified_owner}"
            f" {'refers' if count.rows == 1 else 'refer'} to a row of {key.qualified_referenced}"
            f" that does not exist, by {', '.join(key.columns)}."
        ),
        evidence={
            "constraint": key.name,
            "orphaned_rows": count.rows,
            "counted_all": not count.is_at_least,
        },
        advice=(
            "Look at them with the command, decide whether to delete them or to bring back what"
            " they point to, then validate the constraint."
        ),
        commands=(look,),
    )


def constraints_table(
    constraints: Sequence[UnprovedConstraint], orphans: Mapping[int, OrphanCount]
) -> Table:
    """Return each constraint with the rows that break it; no number where none was counted."""
    return Table.of(
        "Constraints that were never proved",
        [
            {
                "constraint": constraint.qualified_name,
                "kind": constraint.kind_in_words,
                "enforced": constraint.is_enforced,
                "references": constraint.qualified_referenced,
                "orphaned_rows": orphans[constraint.oid].rows
                if constraint.oid in orphans
                else None,
            }
            for constraint in constraints
        ],
    )
