"""Entries of an index as its table's rows would make them: sizes, nulls, rows that share a key.

SELECT on the table is the only privilege it needs. Nothing is evaluated that somebody wrote: an
index whose expressions or predicate call other than built-in functions is left to its statistics.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.bloat.btree_model import (
    TUPLE_HEADER_BYTES,
    TUPLE_HEADER_WITH_NULLS_BYTES,
    Entry,
    bytes_per_row,
)
from maintenance.postgres.bloat.interval import Z, mean_limits
from maintenance.postgres.bloat.options import FIRST_SAMPLE_PAGES
from maintenance.postgres.bloat.page_sample import (
    random_blocks,
    read_blocks,
    rows_of_block,
    some_rows_of_block,
)
from maintenance.postgres.bloat.sampling_error import (
    error_by_page,
    error_of_mean,
    error_of_strata,
    evenly,
)
from maintenance.postgres.bloat.tuple_size import Column, values_size
from maintenance.postgres.driver import MARKER
from maintenance.postgres.sql_files import query

#: Rows whose keys are read: their sizes and nulls are then known to a per cent or so.
WANTED_KEYS = 2500
#: They come from so many pages, some of each: rows that lie together are often alike. Those written
#: before a column was added are all null in it.
KEY_PAGES = 200
#: More pages are counted while the rows of the table are known to less than this, as a share of
#: what its fullest page would make of it.
WANTED_ERROR_RATIO = 0.01
#: So many at most: reading keys and looking them up takes as much again, and all of it together is
#: not to be more than what the report on the table itself may read (a hundredth of a large one).
MOST_COUNTED_PAGES = 1000
#: A key met on so many pages has so many rows that its exact number is of no matter.
FREQUENT_PAGES = 10
#: Other keys are looked up, these many at a time, to see how many rows share them.
PROBES_FIRST, PROBES_MOST = 50, 800
#: Of keys with the same columns null, so many at least: they are unlike the others.
PROBES_OF_ALIKE = 15
#: From this many rows on, a key takes the same room a row, to a few per cent.
ROWS_COUNTED = 200
#: Rows that all look-ups of one index may touch, and how long they may take: dead rows are not
#: counted, but passed over.
PROBED_ROWS = 4000
PROBE_TIME_LIMIT_MS = 1000
#: A longer value is compressed in an index (TOAST_INDEX_TARGET); how well, only the index knows.
COMPRESSED_FROM_BYTES = 508


class WouldBeCounted(Exception):
    """Keys would be looked up by an index that nobody has read, and that would pass for used."""


class Key(NamedTuple):
    """One row's key: where the row lies, the padded bytes of its index tuple, which of its columns
    are null (a bit each), and what equal keys share."""

    block: int
    offset: int
    tuple_bytes: int
    nulls: int
    digest: int


@dataclass(frozen=True, slots=True)
class IndexSample:
    """What the table says of an index. ``rows`` it must hold, of which ``entries`` are a sample.

    ``error_ratio`` is the standard error of the rows and of their sizes together, as a share.
    ``compressed_ratio`` is the share of keys with a value that an index compresses.
    """

    rows: float
    entries: Sequence[Entry]
    error_ratio: float
    sampled_pages: int
    compressed_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class KeyReader:
    """Reads one index's keys from its table, in one session."""

    conn: Connection
    row: Mapping[str, Any]
    columns: Sequence[Mapping[str, Any]]
    rng: random.Random
    normal_limit_seconds: float
    _values: tuple[Column, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_values", tuple(_column(c) for c in self.columns))

    @property
    def table(self) -> tuple[str, str]:
        """Schema and name."""
        return self.row["table_schema"], self.row["table_relname"]

    @property
    def _predicate(self) -> sql.Composable:
        text = self.columns[0]["predicate"]
        return sql.SQL(f" AND ({text})") if text else sql.SQL("")

    @property
    def can_count(self) -> bool:
        """Whether its rows can be counted on pages of the table, with built-in means alone."""
        first = self.columns[0]
        return (
            bool(first["table_pages"])
            and self.row["readable"]
            and not self.row["hidden_by_policy"]
            and (not self.row["partial"] or (first["is_built_in"] and first["predicate"]))
        )

    def count(self) -> tuple[float, float, int]:
        """Return the rows that the index must hold, their error as a share, and the pages read."""
        counts = self._count_rows()
        return (*self._estimated_rows(counts), len(counts))

    def sample(self) -> IndexSample:
        """Count rows on random pages, read the keys of some, and look up how often keys occur.

        Raises :class:`WouldBeCounted` where looking them up would leave a trace.
        """
        counts = self._count_rows()
        total = sum(counts.values())
        rows, row_error = self._estimated_rows(counts)
        if not total:
            return IndexSample(0.0, (), 0.0, len(counts))
        rows_of_page = max(1.0, total / len(counts))
        wanted = max(KEY_PAGES, math.ceil(WANTED_KEYS / rows_of_page))
        blocks = evenly(sorted(counts), wanted)
        one_in = int(len(blocks) * rows_of_page / WANTED_KEYS)
        keys, compressed = self._read_keys(blocks, one_in)
        if not keys:
            return IndexSample(0.0, (), 0.0, len(counts))
        entries, probe_error = [Entry(key.tuple_bytes) for key in keys], 0.0
        if self.row["deduplicates"]:
            entries, probe_error = self._with_rows_of_keys(keys, rows)
        size_error = error_by_page(
            [key.block for key in keys], [bytes_per_row(entry) for entry in entries]
        )
        error = math.hypot(row_error, size_error, probe_error)
        self.rng.shuffle(entries)
        return IndexSample(rows, entries, error, len(counts), compressed / len(keys))

    def _estimated_rows(self, counts: Mapping[int, int]) -> tuple[float, float]:
        """Return the rows of all pages, and their standard error as a share.

        The error is what the interval of a mean would make of it, see :func:`mean_limits`: pages
        that no sample has shown may be unlike those that it has.
        """
        mean, pages = fmean(counts.values()), self.columns[0]["table_pages"]
        most = max(counts.values())
        if not most:
            return 0.0, 0.0
        low, high = mean_limits([count / most for count in counts.values()], pages)
        return mean * pages, (high - low) / (2 * Z) / (mean / most)

    def _count_rows(self) -> dict[int, int]:
        """Return how many rows of the index each of some random pages has."""
        table_pages = self.columns[0]["table_pages"]
        inner = sql.SQL("SELECT pg_catalog.count(*) FROM {rows}{predicate}").format(
            rows=rows_of_block(self.table), predicate=self._predicate
        )
        counts: dict[int, int] = {}
        wanted = min(FIRST_SAMPLE_PAGES, table_pages)
        while wanted > 0:
            blocks = random_blocks(table_pages, wanted, set(counts), self.rng)
            counts.update(read_blocks(self.conn, inner, blocks))
            error = error_of_mean(list(counts.values()), table_pages)
            if error <= WANTED_ERROR_RATIO * max(counts.values()):
                break
            left = min(MOST_COUNTED_PAGES, table_pages) - len(counts)
            wanted = min(len(counts), left)
        return counts

    def _read_keys(self, blocks: Sequence[int], one_in: int) -> tuple[list[Key], int]:
        """Return the keys of one row in so many on ``blocks``, and how many an index compresses."""
        nulls = sql.SQL(" + ").join(
            sql.SQL("({} IS NULL)::int * {}").format(column.value, sql.Literal(1 << number))
            for number, column in enumerate(self._values)
        )
        digest: sql.Composable = sql.SQL("0")
        if self.row["deduplicates"]:
            values = sql.SQL(", ").join(column.value for column in self._values)
            digest = sql.SQL("pg_catalog.hashtextextended(ROW({})::text, 0)").format(values)
        long = [c for c in self._values if c.length_bytes == -1 and c.storage in {"x", "m"}]
        compressed = _any_of(
            f"({{0}} IS NOT NULL AND pg_catalog.pg_column_size({{0}}) > {COMPRESSED_FROM_BYTES}"
            " AND pg_catalog.pg_column_compression({0}) IS NULL)",
            long,
        )
        inner = sql.SQL(
            "SELECT pg_catalog.array_agg(ARRAY[(t.ctid::text::point)[1]::bigint,"
            " (CASE WHEN {nulls} > 0 THEN {with_nulls} ELSE {without} END + {size} + 7) / 8 * 8,"
            " {nulls}, {digest}, ({compressed})::int]) FROM {rows}{predicate}"
        ).format(
            size=values_size(self._values, toasted=False),
            nulls=nulls,
            with_nulls=sql.Literal(TUPLE_HEADER_WITH_NULLS_BYTES),
            without=sql.Literal(TUPLE_HEADER_BYTES),
            digest=digest,
            compressed=compressed,
            rows=some_rows_of_block(self.table, one_in, self.rng.getrandbits(31)),
            predicate=self._predicate,
        )
        found = read_blocks(self.conn, inner, blocks)
        keys, compressed_count = [], 0
        for block in blocks:
            for *key, is_compressed in found[block] or ():
                keys.append(Key(block, *key))
                compressed_count += is_compressed
        return keys, compressed_count

    def _with_rows_of_keys(self, keys: Sequence[Key], rows: float) -> tuple[list[Entry], float]:
        """Say for each sampled row how many rows share its key, and how sure the looked up are.

        The entries stand in the order of their keys.
        """
        met, pages = Counter(key.digest for key in keys), defaultdict(set)
        for key in keys:
            pages[key.digest].add(key.block)
        scale = max(1.0, rows / len(keys))
        known = [scale == 1 or len(pages[key.digest]) >= FREQUENT_PAGES for key in keys]
        rare = [key for key, is_known in zip(keys, known, strict=True) if not is_known]
        found, error = self._probe(rare) if rare else ({}, 0.0)
        entries = [
            Entry(
                key.tuple_bytes,
                met[key.digest] * scale if is_known else self.rng.choice(found[key.nulls]),
            )
            for key, is_known in zip(keys, known, strict=True)
        ]
        return entries, error * len(rare) / len(keys)

    def _probe(self, keys: Sequence[Key]) -> tuple[Mapping[int, Sequence[int]], float]:
        """Look up random keys; return the rows of each, and the error of their mean size a row.

        Which columns are null decides how large an entry is and how many rows share it, so that keys
        that are alike in this are looked at by themselves.
        """
        alike: defaultdict[int, list[Key]] = defaultdict(list)
        for key in self.rng.sample(keys, len(keys)):
            alike[key.nulls].append(key)
        some = [key for group in alike.values() for key in group[:PROBES_OF_ALIKE]]
        others = [key for group in alike.values() for key in group[PROBES_OF_ALIKE:]]
        self.rng.shuffle(others)
        order = [*some, *others][: max(PROBES_MOST, len(some))]
        found: defaultdict[int, list[int]] = defaultdict(list)
        error, done, touched = 1.0, 0, 0
        while done < len(order) and (touched < PROBED_ROWS or done < len(some)):
            batch = order[done : max(PROBES_FIRST, len(some), 2 * done)]
            done += len(batch)
            for nulls, rows in self._rows_of_keys(batch):
                found[nulls].append(rows)
                touched += rows
            error = _error_of_groups(alike, found)
            if error <= WANTED_ERROR_RATIO:
                break
        return found, error

    def _rows_of_keys(self, keys: Sequence[Key]) -> Iterator[tuple[int, int]]:
        """Yield how many rows have the key of each of these rows, counted up to a limit.

        With each stands which of its columns are null; those that are alike in this come together.
        """
        alike: defaultdict[int, list[str]] = defaultdict(list)
        for key in keys:
            alike[key.nulls].append(f"({key.block},{key.offset})")
        with self._looking_up(), self.conn.cursor() as cursor:
            for nulls, tids in alike.items():
                look_up = self._look_up(nulls, tids)
                self._refuse_unread(look_up)
                cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), look_up))
                yield from ((nulls, max(1, rows)) for (rows,) in cursor.fetchall())

    def _refuse_unread(self, look_up: sql.Composable) -> None:
        """Raise where the planner takes an unread index: any that has the columns may serve it."""
        if not self.row["unread_indexes"]:
            return
        with self.conn.cursor() as cursor:
            explain = sql.SQL("{} EXPLAIN (FORMAT JSON) {}")
            cursor.execute(explain.format(sql.SQL(MARKER), look_up))
            [(plans,)] = cursor.fetchall()
        if not _indexes_of(plans[0]["Plan"]).isdisjoint(self.row["unread_indexes"]):
            raise WouldBeCounted

    def _look_up(self, nulls: int, tids: Sequence[str]) -> sql.Composable:
        """Compose the count of rows with the keys of these rows, whose ``nulls`` are the same."""
        same = sql.SQL(" AND ").join(
            sql.SQL(
                f"({column['expression']}) IS NULL"
                if nulls & 1 << number
                else f"({column['expression']}) OPERATOR(pg_catalog.{column['equality']}) s.k{number}"
            )
            for number, column in enumerate(self.columns)
        )
        values = sql.SQL(", ").join(
            sql.SQL(f"({column['expression']}) AS k{number}")
            for number, column in enumerate(self.columns)
        )
        return sql.SQL(
            "SELECT (SELECT pg_catalog.count(*) FROM ("
            "SELECT FROM ONLY {table} WHERE {same}{predicate} LIMIT {most}) AS found)"
            " FROM (SELECT {values} FROM ONLY {table} AS t WHERE t.ctid = ANY({tids}::tid[])"
            " OFFSET 0) AS s"
        ).format(
            table=sql.Identifier(*self.table),
            same=same,
            predicate=self._predicate,
            most=sql.Literal(ROWS_COUNTED),
            values=values,
            tids=sql.Literal(list(tids)),
        )

    @contextmanager
    def _looking_up(self) -> Iterator[None]:
        """Have keys looked up by index, within a short time."""
        limits = {"scans": "off", "milliseconds": PROBE_TIME_LIMIT_MS}
        query(self.conn, "index_probe_settings", limits)
        try:
            yield
        finally:
            normal = {"scans": "on", "milliseconds": round(self.normal_limit_seconds * 1000)}
            query(self.conn, "index_probe_settings", normal)


def can_be_read(row: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the index's keys can be taken from its table, with built-in means alone.

    Keys are not looked up in an index that was never read where the server would count that: it
    would pass for used ever after (:class:`WouldBeCounted` tells of its neighbours).
    """
    return (
        row["readable"]
        and not row["hidden_by_policy"]
        and all(c["is_built_in"] and c["expression"] is not None for c in columns)
        and (not row["partial"] or columns[0]["predicate"] is not None)
        and bool(columns[0]["table_pages"])
        and (
            not row["deduplicates"]
            or (
                row["name"] not in row["unread_indexes"]
                and all(column["equality"] for column in columns)
            )
        )
    )


def _indexes_of(plan: Mapping[str, Any]) -> set[str]:
    """Return the names of the indexes that a plan reads."""
    own = {plan["Index Name"]} if "Index Name" in plan else set()
    return own.union(*(_indexes_of(child) for child in plan.get("Plans", ())))


def _column(row: Mapping[str, Any]) -> Column:
    return Column(
        name="",
        length_bytes=row["length_bytes"],
        alignment_bytes=row["alignment_bytes"],
        storage=row["storage"],
        expression=row["expression"],
        computed=row["is_expression"],
        is_text=row["is_text"],
    )


def _any_of(template: str, columns: Sequence[Column]) -> sql.Composable:
    if not columns:
        return sql.SQL("false")
    return sql.SQL(" OR ").join(sql.SQL(template).format(column.value) for column in columns)


def _error_of_groups(
    keys: Mapping[int, Sequence[Key]], found: Mapping[int, Sequence[int]]
) -> float:
    """Return the standard error of the mean size a row, as a share of it, over groups of keys."""
    sizes = {}
    for nulls, group in keys.items():
        size = round(fmean(key.tuple_bytes for key in group))
        sizes[nulls] = [bytes_per_row(Entry(size, rows)) for rows in found[nulls]]
    return error_of_strata({nulls: len(group) for nulls, group in keys.items()}, sizes)
