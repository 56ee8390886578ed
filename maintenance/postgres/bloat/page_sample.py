"""Reading all rows of random pages: SELECT is the only privilege it needs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.bloat.packing import MOST_TUPLES_PER_PAGE, PageSample, rows_per_page
from maintenance.postgres.connection import MARKER, query

#: A value longer than this lies in the TOAST table and leaves a pointer of 18 bytes behind
#: (TOAST_TUPLE_THRESHOLD, PostgreSQL documentation, "TOAST").
TOASTED_FROM_BYTES = 2032
TOAST_POINTER_BYTES = 18
#: Up to here a variable-length value has a header of one byte and no alignment.
SHORT_VALUE_BYTES = 127
TUPLE_HEADER_BYTES = 23


@dataclass(frozen=True, slots=True)
class Column:
    """One column as a tuple stores it; ``length_bytes`` is -1 or -2 for variable length."""

    name: str
    number: int
    length_bytes: int
    alignment_bytes: int


def table_columns(conn: Connection, oid: int) -> list[Column]:
    """Return the columns of a table in their order."""
    return [Column(**row) for row in query(conn, "table_columns", {"oid": oid})]


def sample_pages(
    conn: Connection,
    table: tuple[str, str],
    columns: Sequence[Column],
    blocks: Sequence[int],
    offsets: int,
) -> list[PageSample]:
    """Read every visible row of ``blocks`` and return one sample a block, empty ones included.

    ``table`` is schema and name.     ``offsets`` bounds the line pointers that are tried on each page: see :func:`offsets_to_try`.
    Reads ``len(blocks)`` pages, however large the table is.
    """
    tids = [f"({block},{offset})" for block in blocks for offset in range(1, offsets + 1)]
    statement = sql.SQL(
        "{marker} SELECT (t.ctid::text::point)[0]::bigint, count(*), sum({size})::bigint"
        " FROM ONLY {table} AS t WHERE t.ctid = ANY({tids}::tid[]) GROUP BY 1"
    ).format(
        marker=sql.SQL(MARKER),
        size=_tuple_size(columns),
        table=sql.Identifier(*table),
        tids=sql.Placeholder(),
    )
    with conn.cursor() as cursor:
        cursor.execute(statement, (tids,))
        found = {block: PageSample(rows, size) for block, rows, size in cursor.fetchall()}
    return [found.get(block, PageSample(0, 0)) for block in blocks]


def offsets_to_try(samples: Sequence[PageSample]) -> int:
    """Return how many line pointers of a page can hold rows of the size seen in ``samples``.

    The average number of rows says nothing: after a large DELETE the survivors keep the places that
    they had on a full page. Twice a full page, because an update leaves its old line pointers
    before the new ones; where no row was seen, all that a page can have.
    """
    rows = sum(sample.rows for sample in samples)
    if rows == 0:
        return MOST_TUPLES_PER_PAGE
    mean_bytes = sum(sample.tuple_bytes for sample in samples) / rows
    return min(MOST_TUPLES_PER_PAGE, 2 * rows_per_page(mean_bytes, 1.0) + 8)


def random_blocks(pages: int, count: int, seen: set[int], rng: random.Random) -> list[int]:
    """Draw up to ``count`` block numbers below ``pages`` that are not in ``seen``, in order."""
    left = pages - len(seen)
    if count >= left:
        return [block for block in range(pages) if block not in seen]
    drawn: set[int] = set()
    while len(drawn) < count:
        block = rng.randrange(pages)
        if block not in seen:
            drawn.add(block)
    return sorted(drawn)


def _tuple_size(columns: Sequence[Column]) -> sql.Composable:
    """Compose the padded size of a row's tuple: header, null bitmap, values with alignment."""
    offset: sql.Composable = sql.SQL("0")
    for column in columns:
        offset = _end_of(column, offset)
    if not columns:
        return sql.SQL("24")
    nulls = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(_value(column)) for column in columns)
    bitmap = (max(column.number for column in columns) + 7) // 8
    return sql.SQL(
        "((CASE WHEN {nulls} THEN {with_nulls} ELSE {without} END + {data} + 7) / 8 * 8)"
    ).format(
        nulls=nulls,
        with_nulls=sql.Literal((TUPLE_HEADER_BYTES + bitmap + 7) // 8 * 8),
        without=sql.Literal((TUPLE_HEADER_BYTES + 7) // 8 * 8),
        data=offset,
    )


def _end_of(column: Column, offset: sql.Composable) -> sql.Composable:
    """Compose the offset after ``column``, whose value begins at the next aligned place.

    ``offset`` stands in it once, so that the expression grows with the number of columns only.
    """
    value = _value(column)
    if column.length_bytes >= 0:
        size: sql.Composable = sql.SQL("CASE WHEN {} IS NULL THEN 0 ELSE {} END").format(
            value, sql.Literal(column.length_bytes)
        )
        unaligned: sql.Composable = sql.SQL("{} IS NULL").format(value)
    else:
        size = sql.SQL(
            "CASE WHEN {v} IS NULL THEN 0 WHEN pg_catalog.pg_column_size({v}) > {long}"
            " THEN {pointer} ELSE pg_catalog.pg_column_size({v}) END"
        ).format(
            v=value,
            long=sql.Literal(TOASTED_FROM_BYTES),
            pointer=sql.Literal(TOAST_POINTER_BYTES),
        )
        unaligned = sql.SQL(
            "{v} IS NULL OR pg_catalog.pg_column_size({v}) <= {short}"
            " OR pg_catalog.pg_column_size({v}) > {long}"
        ).format(
            v=value,
            short=sql.Literal(SHORT_VALUE_BYTES),
            long=sql.Literal(TOASTED_FROM_BYTES),
        )
    if column.alignment_bytes == 1:
        return sql.SQL("({} + {})").format(offset, size)
    padding = sql.SQL("CASE WHEN {} THEN 1 ELSE {} END").format(
        unaligned, sql.Literal(column.alignment_bytes)
    )
    return sql.SQL("(({o} + {p} - 1) / ({p}) * ({p}) + {s})").format(o=offset, p=padding, s=size)


def _value(column: Column) -> sql.Composable:
    return sql.SQL("t.{}").format(sql.Identifier(column.name))
