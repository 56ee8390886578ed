"""Reading many relations in few statements, so that one that fails costs itself alone."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.driver import MARKER
from maintenance.postgres.time_budget import TimeBudget

#: Items in one statement: few round trips, and a plan that is still made in milliseconds.
BATCH = 100

T = TypeVar("T")
#: Builds the SELECT for one item; ``place`` has to be its first column.
Select = Callable[[T, sql.Composable], sql.Composable]


def read_in_batches(
    conn: Connection, items: Sequence[T], select: Select[T], budget: TimeBudget
) -> tuple[list[tuple[T, tuple[Any, ...]]], list[tuple[T, str]]]:
    """Return each item's rows without their place, and the items that failed with what they need.

    A statement that fails (a right, a lock, a time limit, a table that was dropped meanwhile) is
    halved until the item at fault stands alone. What the budget leaves no time for fails as well.
    """
    read: list[tuple[T, tuple[Any, ...]]] = []
    failed: list[tuple[T, str]] = []
    waiting = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    waiting.reverse()
    while waiting:
        batch = waiting.pop()
        if budget.is_spent:
            failed += [(item, f"more than {budget.seconds:.0f} seconds") for item in batch]
            continue
        try:
            rows = _rows(conn, batch, select)
        except psycopg2.Error as error:
            if connection_was_lost(conn, error):
                raise
            if len(batch) == 1:
                failed.append((batch[0], f"another attempt ({reason_of(error)})"))
            else:
                half = len(batch) // 2
                waiting += [batch[half:], batch[:half]]
            continue
        read += [(batch[row[0]], row[1:]) for row in rows]
    return read, failed


def _rows(conn: Connection, batch: Sequence[T], select: Select[T]) -> list[tuple[Any, ...]]:
    selects = [select(item, sql.Literal(place)) for place, item in enumerate(batch)]
    with conn.cursor() as cursor:
        cursor.execute(
            sql.SQL("{} {}").format(sql.SQL(MARKER), sql.SQL(" UNION ALL ").join(selects))
        )
        return list(cursor.fetchall())
