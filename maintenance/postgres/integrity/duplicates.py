"""Rows that a unique index should have kept apart: looked for where the index cannot be trusted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.driver import MARKER
from maintenance.postgres.sql_files import query
from maintenance.postgres.time_budget import TimeBudget

#: Counting stops here: whoever has so many keys to sort out looks for the cause first.
DUPLICATES_COUNTED = 10_000

#: A broken index must not answer the question whether it is broken.
_SCANS_BY_INDEX = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")


@dataclass(frozen=True, slots=True)
class DoubtfulIndex:
    """A unique index that may not keep its promise; a row of ``sql/unique_indexes.sql``.

    ``keys`` and ``predicate`` are SQL in the server's own words.
    """

    oid: int
    schema: str
    table_name: str
    qualified_table: str
    qualified_name: str
    tuples: float
    is_valid: bool
    keys: tuple[str, ...]
    predicate: str | None
    nulls_are_equal: bool
    has_own_equality: bool
    is_row_security_active: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "DoubtfulIndex":
        """Build from a row of ``sql/unique_indexes.sql``."""
        return cls(**{**row, "keys": tuple(row["keys"])})


@dataclass(frozen=True, slots=True)
class DuplicateCount:
    """Keys that occur more than once; ``keys`` is ``None`` where ``needs`` says what is missing."""

    index: DoubtfulIndex
    keys: int | None
    needs: str = ""

    @property
    def is_at_least(self) -> bool:
        """Whether counting stopped at :data:`DUPLICATES_COUNTED`."""
        return self.keys is not None and self.keys > DUPLICATES_COUNTED


def count_duplicates(
    conn: Connection, target: DatabaseTarget, budget: TimeBudget
) -> list[DuplicateCount]:
    """Count the duplicate keys below each doubtful index, the smallest tables first.

    Reads each table once, without any index, within the session's limits and the ``budget``.
    """
    rows = query(conn, "unique_indexes", {"exclude_schemas": list(target.exclude_schemas)})
    with _without_indexes(conn):
        return [_count(conn, DoubtfulIndex.from_row(row), budget) for row in rows]


@contextmanager
def _without_indexes(conn: Connection) -> Iterator[None]:
    def choose(value: str) -> None:
        calls = ", ".join(
            f"pg_catalog.set_config('{s}', '{value}', false)" for s in _SCANS_BY_INDEX
        )
        with conn.cursor() as cursor:
            cursor.execute(f"{MARKER} SELECT {calls}")

    choose("off")
    try:
        yield
    finally:
        if not conn.closed:
            choose("on")


def duplicates_query(index: DoubtfulIndex) -> sql.Composed:
    """Return the query for the keys that occur more than once, and how often.

    As the index sees it: rows outside its predicate do not count, and a NULL equals nothing unless
    the index says NULLS NOT DISTINCT (PostgreSQL documentation, CREATE INDEX).
    """
    keys = [sql.SQL(key) for key in index.keys]
    conditions: list[sql.Composable] = []
    if index.predicate:
        conditions.append(sql.SQL(f"({index.predicate})"))
    if not index.nulls_are_equal:
        conditions += [sql.SQL("({}) IS NOT NULL").format(key) for key in keys]
    return sql.SQL(
        "SELECT {}, count(*) AS occurrences FROM ONLY {}{}{} GROUP BY {} HAVING count(*) > 1"
    ).format(
        sql.SQL(", ").join(keys),
        sql.Identifier(index.schema, index.table_name),
        sql.SQL(" WHERE " if conditions else ""),
        sql.SQL(" AND ").join(conditions),
        sql.SQL(", ").join(sql.SQL(str(number + 1)) for number in range(len(keys))),
    )


def _count(conn: Connection, index: DoubtfulIndex, budget: TimeBudget) -> DuplicateCount:
    if index.is_row_security_active:
        return DuplicateCount(index, None, "a role with BYPASSRLS, because policies hide rows")
    if index.has_own_equality:
        return DuplicateCount(
            index, None, "a look by hand, because its operator class has an equality of its own"
        )
    if budget.is_spent:
        return DuplicateCount(index, None, f"more than {budget.seconds:.0f} seconds for all checks")
    statement = sql.SQL("{} SELECT count(*) FROM ({} LIMIT {}) AS repeated").format(
        sql.SQL(MARKER), duplicates_query(index), sql.Literal(DUPLICATES_COUNTED + 1)
    )
    try:
        with conn.cursor() as cursor:
            cursor.execute(statement)  # without parameters: a % in an expression is itself
            (found,) = cursor.fetchone() or (0,)
    except psycopg2.errors.InsufficientPrivilege:
        return DuplicateCount(
            index, None, f"GRANT SELECT ON {index.qualified_table} (or GRANT pg_read_all_data)"
        )
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        return DuplicateCount(index, None, f"another attempt ({reason_of(error)})")
    return DuplicateCount(index, found)


def diagnose_duplicates(conn: Connection, counts: Sequence[DuplicateCount]) -> Iterator[Finding]:
    """Judge each count; ``conn`` only quotes names."""
    for count in counts:
        if count.keys is None:
            yield unavailable(
                "duplicate-rows",
                count.index.qualified_name,
                f"whether rows of {count.index.qualified_table} are unique",
                count.needs,
            )
        elif count.keys:
            yield _finding(conn, count)


def _finding(conn: Connection, count: DuplicateCount) -> Finding:
    index = count.index
    shown = (
        f"More than {DUPLICATES_COUNTED:,} keys"
        if count.is_at_least
        else counted(count.keys or 0, "key")
    )
    occurs = "occurs" if count.keys == 1 else "occur"
    why = (
        "its collation has changed, so that the index lets equal values in"
        if index.is_valid
        else "it is invalid and keeps nothing apart"
    )
    look = sql.SQL("{} ORDER BY occurrences DESC LIMIT 100;").format(duplicates_query(index))
    return Finding(
        code="duplicate-rows",
        severity=Severity.CRITICAL if index.is_valid else Severity.WARNING,
        subject=index.qualified_name,
        sentence=(
            f"{shown} of {index.qualified_table} {occurs} more than once below the unique index"
            f" {index.qualified_name}: {why}."
        ),
        evidence={
            "table": index.qualified_table,
            "duplicate_keys": min(count.keys or 0, DUPLICATES_COUNTED),
            "counted_all": not count.is_at_least,
        },
        advice=(
            "Look at the rows with the command, decide which of them to keep, then build the index"
            " again."
        ),
        commands=(look.as_string(conn),),
    )
