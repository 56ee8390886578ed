"""The size of a heap tuple as SQL: what a row would take if it were written anew.

Rules of the PostgreSQL documentation, "Database Page Layout" and "TOAST", and of
``heap_compute_data_size`` and ``heap_toast_insert_or_update``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.sql_files import query

#: A longer tuple has its longest values compressed and moved out, until it is no longer than this
#: (TOAST_TUPLE_THRESHOLD and TOAST_TUPLE_TARGET), and leaves a pointer of 18 bytes for each.
TOAST_TUPLE_BYTES = 2032
TOAST_POINTER_BYTES = 18
#: No value is moved out for less than its pointer, aligned.
TOAST_VALUE_BYTES = 24
#: Up to here a variable-length value has a header of one byte and no alignment.
SHORT_VALUE_BYTES = 127
TUPLE_HEADER_BYTES = 23
#: ``attlen`` of text that ends with a zero byte.
CSTRING = -2


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``length_bytes`` is -1 or -2 for variable length, ``storage`` as in the catalog.

    A column that is not ``stored`` is dropped or virtual: null in every tuple. Of an index,
    ``expression`` is what it holds, in the server's own quoting; a ``computed`` one is not in the
    table, and is measured before it is stored.
    """

    name: str
    length_bytes: int
    alignment_bytes: int
    storage: str
    stored: bool = True
    expression: str = ""
    computed: bool = False
    is_text: bool = False

    @property
    def may_be_toasted(self) -> bool:
        """Whether a long value is moved out; MAIN is only where nothing else helps."""
        return self.length_bytes == -1 and self.storage in {"x", "e"}

    @property
    def value(self) -> sql.Composable:
        """The column of the table named ``t``, or the index's expression over it."""
        if self.expression:
            return sql.SQL("(" + self.expression + ")")
        return sql.SQL("t.{}").format(sql.Identifier(self.name))


def table_columns(conn: Connection, oid: int) -> list[Column]:
    """Return the columns of a table in their order."""
    return [Column(**row) for row in query(conn, "table_columns", {"oid": oid})]


def padded_rows(
    columns: Sequence[Column], source: sql.Composable, toast_target_bytes: int | None
) -> sql.Composable:
    """Compose a SELECT of ``tuple_bytes``, the padded size of each row of ``source``.

    ``source`` is what follows FROM, with the table named ``t``. ``toast_target_bytes`` is ``None``
    for a table that has no TOAST table.
    """
    stored = [column for column in columns if column.stored]
    sizes = [_column_size(column) for column in stored if column.may_be_toasted]
    if toast_target_bytes is None or not sizes:
        return sql.SQL("SELECT ({size} + 7) / 8 * 8 AS tuple_bytes FROM {source}").format(
            size=_whole_size(columns, stored, toasted=False), source=source
        )
    named = [sql.SQL(f"r.s{number}") for number in range(len(sizes))]
    # OFFSET 0 keeps the sizes from being computed again for each use of them. What long rows need
    # is looked at for those alone.
    return sql.SQL(
        "SELECT (r.size + 7 - CASE"
        " WHEN r.size > {target} AND (r.size > {threshold} OR {longest} > {threshold})"
        " THEN {moved} ELSE 0 END) / 8 * 8 AS tuple_bytes"
        " FROM (SELECT {size} AS size, {sizes} FROM {source} OFFSET 0) AS r"
    ).format(
        size=_whole_size(columns, stored, toasted=True),
        sizes=sql.SQL(", ").join(
            sql.SQL(f"{{}} AS s{number}").format(size) for number, size in enumerate(sizes)
        ),
        longest=sql.SQL("GREATEST({})").format(sql.SQL(", ").join(named)),
        target=sql.Literal(toast_target_bytes),
        threshold=sql.Literal(TOAST_TUPLE_BYTES),
        moved=_moved_out(named, toast_target_bytes),
        source=source,
    )


def _moved_out(sizes: Sequence[sql.Composable], target_bytes: int) -> sql.Composable:
    """Compose what is saved by moving out the longest values until the tuple is short enough.

    Values that are too long by themselves are out already: see :func:`_end_of`.
    """
    return sql.SQL(
        "(SELECT coalesce(sum(v.saved), 0)::bigint FROM ("
        "SELECT s - {pointer} AS saved, sum(s - {pointer}) OVER (ORDER BY s DESC"
        " ROWS UNBOUNDED PRECEDING) - (s - {pointer}) AS before"
        " FROM pg_catalog.unnest(ARRAY[{sizes}]) AS u (s)"
        " WHERE s > {least} AND s <= {threshold}) AS v"
        " WHERE r.size - v.before > {target})"
    ).format(
        sizes=sql.SQL(", ").join(sizes),
        pointer=sql.Literal(TOAST_POINTER_BYTES),
        least=sql.Literal(TOAST_VALUE_BYTES),
        threshold=sql.Literal(TOAST_TUPLE_BYTES),
        target=sql.Literal(target_bytes),
    )


def _whole_size(
    columns: Sequence[Column], stored: Sequence[Column], *, toasted: bool
) -> sql.Composable:
    """Compose header, null bitmap and values, not yet padded."""
    with_nulls = _aligned_header(len(columns))
    data = values_size(stored, toasted=toasted)
    if len(stored) < len(columns) or not stored:
        header: sql.Composable = sql.Literal(with_nulls if columns else _aligned_header(0))
    else:
        nulls = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(c.value) for c in stored)
        header = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
            nulls, sql.Literal(with_nulls), sql.Literal(_aligned_header(0))
        )
    return sql.SQL("({} + {})").format(header, data)


def values_size(columns: Sequence[Column], *, toasted: bool) -> sql.Composable:
    """Compose the bytes of the values with their alignment."""
    data: sql.Composable = sql.SQL("0")
    for column in columns:
        data = _end_of(column, data, toasted=toasted)
    return data


def _aligned_header(bitmap_columns: int) -> int:
    return (TUPLE_HEADER_BYTES + (bitmap_columns + 7) // 8 + 7) // 8 * 8


def _column_size(column: Column) -> sql.Composable:
    if column.length_bytes == CSTRING:  # a btree keeps a name without its padding
        return sql.SQL("(pg_catalog.octet_length(({})::text) + 1)").format(column.value)
    if column.computed and column.length_bytes == -1:
        whole = "pg_catalog.pg_column_size({v})"
        if column.is_text:
            whole = "(pg_catalog.octet_length(({v})::text) + 4)"
        # Stored, a short value has a header of one byte instead of four.
        return sql.SQL(
            f"({whole} - CASE WHEN {whole} <= {SHORT_VALUE_BYTES + 3} THEN 3 ELSE 0 END)"
        ).format(v=column.value)
    return sql.SQL("pg_catalog.pg_column_size({})").format(column.value)


def _end_of(column: Column, offset: sql.Composable, *, toasted: bool) -> sql.Composable:
    """Compose the offset after ``column``, whose value begins at the next aligned place.

    ``offset`` stands in it once, so that the expression grows with the number of columns only. It is
    computed for every row that is read: places are aligned by masks, and NULL falls through.
    """
    value = column.value
    is_null = sql.SQL("{} IS NULL").format(value)
    mask = sql.Literal(column.alignment_bytes - 1)
    if column.length_bytes >= 0:
        size: sql.Composable = sql.SQL("CASE WHEN {} THEN 0 ELSE {} END").format(
            is_null, sql.Literal(column.length_bytes)
        )
        slack = sql.SQL("CASE WHEN {} THEN 0 ELSE {} END").format(is_null, mask)
    else:
        stored = _column_size(column)
        moves = toasted and column.may_be_toasted
        size = stored if not moves else _in_line_size(stored)
        size = sql.SQL("coalesce({}, 0)").format(size)
        slack = sql.SQL("CASE WHEN {} THEN {} ELSE 0 END").format(
            _is_aligned(column, stored, moves=moves), mask
        )
    if column.alignment_bytes == 1:
        return sql.SQL("({} + {})").format(offset, size)
    return sql.SQL("((({o} + {m}) & ~ ({m})) + {s})").format(o=offset, m=slack, s=size)


def _in_line_size(stored: sql.Composable) -> sql.Composable:
    """Compose what of a value stays in its row: all of it, or a pointer to the TOAST table."""
    return sql.SQL("CASE WHEN {s} > {long} THEN {pointer} ELSE {s} END").format(
        s=stored, long=sql.Literal(TOAST_TUPLE_BYTES), pointer=sql.Literal(TOAST_POINTER_BYTES)
    )


def _is_aligned(column: Column, stored: sql.Composable, *, moves: bool) -> sql.Composable:
    """Compose whether a value of varying length begins at an aligned place: one of full header."""
    least = 0 if column.storage == "p" else SHORT_VALUE_BYTES + 1
    if not moves:
        return sql.SQL("{} >= {}").format(stored, sql.Literal(least))
    return sql.SQL("{} BETWEEN {} AND {}").format(
        stored, sql.Literal(least), sql.Literal(TOAST_TUPLE_BYTES)
    )
