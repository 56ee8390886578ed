"""Reading all rows of random pages: SELECT is the only privilege it needs."""

import random
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.bloat.packing import MOST_TUPLES_PER_PAGE, PageSample
from maintenance.postgres.bloat.tuple_size import Column, padded_rows
from maintenance.postgres.driver import MARKER

#: How often a page that was drawn before is drawn again before its neighbours are listed.
_TRIES = 8
#: A chunk's tuple header, value id and number, before its data.
CHUNK_HEADER_BYTES = 24 + 4 + 4
#: Four tuples of a full chunk fill a page (TOAST_MAX_CHUNK_SIZE).
FULL_CHUNK_BYTES = 2032


def sample_pages(
    conn: Connection,
    table: tuple[str, str],
    columns: Sequence[Column],
    blocks: Sequence[int],
    toast_target_bytes: int | None,
) -> list[PageSample]:
    """Read every visible row of ``blocks`` and return one sample a block, empty ones included.

    ``table`` is schema and name; ``toast_target_bytes`` as in :func:`padded_rows`.
    """
    rows = padded_rows(columns, rows_of_block(table), toast_target_bytes)
    inner = sql.SQL("SELECT pg_catalog.array_agg(s.tuple_bytes) FROM ({}) AS s").format(rows)
    found = read_blocks(conn, inner, blocks)
    return [PageSample(tuple(found[block] or ())) for block in blocks]


def sample_toast_values(
    conn: Connection, table: tuple[str, str], blocks: Sequence[int], *, only_whole: bool
) -> list[PageSample]:
    """Read a TOAST table's ``blocks`` as if the chunks of each value lay together, in the first.

    A rewrite of the main table writes value after value, wherever their chunks were before. With
    ``only_whole``, values that do not begin and end in ``blocks`` are left out where others do.
    """
    inner = sql.SQL(
        "SELECT pg_catalog.array_agg(ARRAY[t.chunk_id::bigint, t.chunk_seq,"
        " ({fixed} + pg_catalog.pg_column_size(t.chunk_data) + 7) / 8 * 8]) FROM {rows}"
    ).format(fixed=sql.Literal(CHUNK_HEADER_BYTES), rows=rows_of_block(table))
    found = read_blocks(conn, inner, blocks)
    chunks = sorted(tuple(chunk) for block in blocks for chunk in found[block] or ())
    values = [list(value) for _, value in groupby(chunks, key=itemgetter(0))]
    if only_whole:
        values = [value for value in values if _is_whole(value)] or values
    together = PageSample(tuple(size for value in values for _id, _number, size in value))
    return [together, *[PageSample()] * (len(blocks) - 1)]


def _is_whole(value: Sequence[tuple[int, int, int]]) -> bool:
    """Tell whether no chunk of a value is missing: all are of full size but the last."""
    numbers = [number for _id, number, _size in value]
    return numbers == list(range(len(value))) and value[-1][2] < FULL_CHUNK_BYTES


def rows_of_block(table: tuple[str, str]) -> sql.Composable:
    """Compose the FROM item ``t``: the rows of block ``b.block``, read by a TID range scan.

    It stands in a sub-select of a query over blocks: joined, it would be a scan of all the table.
    """
    return sql.SQL(
        "ONLY {} AS t WHERE t.ctid >= ('(' || b.block || ',0)')::tid"
        " AND t.ctid < ('(' || b.block + 1 || ',0)')::tid"
    ).format(sql.Identifier(*table))


def some_rows_of_block(table: tuple[str, str], one_in: int, seed: int) -> sql.Composable:
    """Compose the FROM item ``t``: one row in so many of block ``b.block``, whichever it may be.

    Which line pointers are looked at follows from a hash of their places: a fixed step would meet
    none of the rows where every second one was deleted.
    """
    if one_in <= 1:
        return rows_of_block(table)
    return sql.SQL(
        "ONLY {} AS t WHERE t.ctid = ANY(ARRAY("
        "SELECT ('(' || b.block || ',' || o.number || ')')::tid"
        " FROM pg_catalog.generate_series(1, {}) AS o (number)"
        " WHERE pg_catalog.hashint8extended(b.block * 1000 + o.number, {}) % {} = 0))"
    ).format(
        sql.Identifier(*table),
        sql.Literal(MOST_TUPLES_PER_PAGE),
        sql.Literal(seed),
        sql.Literal(one_in),
    )


def read_blocks(conn: Connection, inner: sql.Composable, blocks: Sequence[int]) -> dict[int, Any]:
    """Return the one value that the sub-select ``inner`` has for each block.

    The statement has no parameters: to psycopg2 a per cent sign in a name would be one.
    """
    statement = sql.SQL(
        "{marker} SELECT b.block, ({inner}) FROM pg_catalog.unnest({blocks}::bigint[]) AS b (block)"
    ).format(
        marker=sql.SQL(MARKER),
        inner=inner,
        # As one text: psycopg2 quotes a list number by number.
        blocks=sql.Literal(f"{{{','.join(map(str, blocks))}}}"),
    )
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return dict(cursor.fetchall())


def random_of(seed: int | None, oid: int) -> random.Random:
    """Return what draws the pages of one relation.

    Of the same ``seed`` it is the same whatever else is measured beside it; ``None`` draws anew.
    """
    return random.Random(None if seed is None else f"{seed} {oid}")  # noqa: S311 - a sample, not a secret


def random_blocks(pages: int, count: int, seen: set[int], rng: random.Random) -> list[int]:
    """Draw up to ``count`` block numbers below ``pages`` that are not in ``seen``, in order.

    One is drawn from each of ``count`` equal stretches of the table: what was deleted in one go lies
    together, and each part of it is then met in proportion to its length.
    """
    if count >= pages - len(seen):
        return [block for block in range(pages) if block not in seen]
    drawn: list[int] = []
    for number in range(count):
        start, end = number * pages // count, (number + 1) * pages // count
        block = _draw(range(start, end), seen, rng)
        if block is not None:
            drawn.append(block)
    return drawn


def _draw(stretch: range, seen: set[int], rng: random.Random) -> int | None:
    for _ in range(_TRIES):
        block = rng.choice(stretch)
        if block not in seen:
            return block
    unseen = [block for block in stretch if block not in seen]
    return rng.choice(unseen) if unseen else None
