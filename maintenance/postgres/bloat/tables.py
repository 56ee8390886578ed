"""Table bloat: how much of each table a rewrite would give back, with a confidence interval."""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job, Progress, SilentProgress
from maintenance.core.reports import Report
from maintenance.postgres.bloat.damage import unreadable
from maintenance.postgres.bloat.exact import LARGEST_RELATIONS, ExactReader, named
from maintenance.postgres.bloat.options import TableBloatOptions
from maintenance.postgres.bloat.packing import (
    BLOCK_BYTES,
    PackedSize,
    PageSample,
    counted_size,
    gaps_matter,
    packed_size,
)
from maintenance.postgres.bloat.page_sample import (
    random_blocks,
    random_of,
    sample_pages,
    sample_toast_values,
)
from maintenance.postgres.bloat.table_report import TableBloat, diagnose
from maintenance.postgres.bloat.tuple_size import TOAST_TUPLE_BYTES, table_columns
from maintenance.postgres.connection import connect
from maintenance.postgres.giving_way import GaveWay
from maintenance.postgres.inheritance import only
from maintenance.postgres.sql_files import query, server_major
from maintenance.postgres.time_budget import TimeBudget

#: More are read while half the interval is wider than this.
WANTED_UNCERTAINTY_RATIO = 0.02
#: No more than so many pages of a small table, one in a hundred of a large one, and in no case more
#: than of 2 GB: the interval depends on the pages read, not on the size of the table.
LARGEST_SAMPLE_OF_SMALL_PAGES = 1000
LARGEST_SAMPLE_RATIO = 0.0099  # with what it takes to open the table, one in a hundred
LARGEST_SAMPLE_PAGES = 2595

#: The size of a row is one expression, nested as deep as the table has columns: of more, building
#: it and running it would exceed what Python and PostgreSQL (max_stack_depth) allow.
MOST_COLUMNS = 400

#: Runs of neighbouring pages: rows next to each other share fresh pages.
RUNS = 16
RUN_PAGES = 12


def report_table_bloat(
    job: Job[DatabaseTarget, TableBloatOptions], thresholds: Thresholds
) -> Report:
    """Estimate the bloat of every table of at least ``thresholds.minimum_bloat_bytes``.

    Work grows with the number of tables and the pages sampled of each (a few hundred, at most one
    in a hundred of a large table), not with their size; only ``exact`` reads whole tables.
    Raises :class:`UnknownName` for a table that does not exist, and what :func:`connect` raises.
    """
    options = job.options
    with connect(job.target, purpose="table-bloat") as conn:
        # Named ones are sampled whatever their size, so that nothing but the present one will do.
        few_pages = 0 if options.tables else thresholds.minimum_bloat_bytes // 2 // BLOCK_BYTES
        rows = _candidates(conn, job.target.exclude_schemas, few_pages)
        chosen = _chosen(rows, options, thresholds)
        reader = None
        if options.exact:
            reader = ExactReader.open(
                conn,
                "pgstattuple",
                options.exact_time_limit_seconds,
                job.target.statement_timeout_seconds,
            )
        tables = list(_Sampler(conn, options, reader).measure(chosen, job.progress))
    too_small = 0 if options.tables else len(rows) - len(chosen)
    return diagnose(tables, too_small, thresholds, reader.missing if reader else "")


def measure_tables(
    conn: Connection,
    oids: Collection[int] | None,
    thresholds: Thresholds,
    progress: Progress,
    *,
    seed: int | None = None,
) -> list[TableBloat]:
    """Estimate the bloat of these tables; one that is empty, or that somebody locks, is left out.

    With ``None`` of every table of at least ``thresholds.minimum_bloat_bytes``; ``seed`` repeats a
    choice of pages.
    """
    rows = _candidates(conn, (), few_pages=0, oids=oids)
    options = TableBloatOptions(seed=seed)
    chosen = rows if oids is not None else _chosen(rows, options, thresholds)
    return list(_Sampler(conn, options, None).measure(chosen, progress))


def _candidates(
    conn: Connection,
    exclude_schemas: Sequence[str],
    few_pages: int,
    oids: Collection[int] | None = None,
) -> list[dict[str, Any]]:
    """Return every table that can be sampled, or these, with the partitioned table it belongs to.

    Up to ``few_pages`` the size that the last ANALYZE noted stands, if hardly a row changed since.
    """
    wanted = None if oids is None else list(oids)
    rows = [
        row
        for row in query(conn, "bloat_tables", {"oids": wanted, "few_pages": few_pages})
        if row["schema"] not in exclude_schemas
    ]
    roots = {row["oid"]: row["root_name"] for row in query(conn, "partition_roots")}
    for row in rows:
        row["partition_of"] = roots.get(row["oid"], "")
    return rows


def sample_tables(
    conn: Connection, oids: Collection[int], *, seconds: float, seed: int | None = None
) -> dict[int, TableBloat]:
    """Estimate these tables and TOAST tables, largest first, for about so many seconds.

    What is missing was not reached in time, or is one of the server's catalogs. What cannot be read
    has no estimate.
    """
    budget = TimeBudget(seconds)
    sampler = _Sampler(conn, TableBloatOptions(seed=seed), None)
    found: dict[int, TableBloat] = {}
    for row in query(conn, "bloat_tables", {"oids": list(oids), "few_pages": 0}) if oids else ():
        if budget.is_spent:
            break
        row["partition_of"] = ""
        for table in sampler.measure([row], SilentProgress()):
            found[row["oid"]] = table
    return found


def _chosen(
    rows: Sequence[dict[str, Any]], options: TableBloatOptions, thresholds: Thresholds
) -> list[dict[str, Any]]:
    """Return the tables of the report: the large ones, or those named with TOAST and partitions."""
    if not options.tables:
        return [row for row in rows if row["pages"] * BLOCK_BYTES >= thresholds.minimum_bloat_bytes]
    tables = named("table", rows, options.tables)
    names = {f"{row['schema']}.{row['name']}" for row in tables}
    return [row for row in rows if row in tables or row["main_table"] in names]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Pages that were read of one table, runs of neighbouring ones, and the estimate from them."""

    pages: Sequence[PageSample] = ()
    runs: Sequence[Sequence[PageSample]] = ()
    estimate: PackedSize | None = None


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Measures tables one by one in one session; with a ``reader`` it counts their rows, too."""

    conn: Connection
    options: TableBloatOptions
    reader: ExactReader | None

    def measure(self, rows: Sequence[dict[str, Any]], progress: Progress) -> Iterator[TableBloat]:
        """Yield one measurement a row of ``sql/bloat_tables.sql``; dropped tables are left out."""
        alone = only(server_major(self.conn))
        for number, row in enumerate(rows):
            table = TableBloat(
                subject=_subject(row),
                qualified_name=row["qualified_main_table"] or row["qualified_name"],
                size_bytes=row["pages"] * BLOCK_BYTES,
                partition_of=row["partition_of"],
                is_toast=row["kind"] == "t",
                only=alone,
            )
            progress.update(number, len(rows), phase=f"sampling {table.subject}", unit="tables")
            whole = bool(self.options.tables) or number < LARGEST_RELATIONS
            try:
                yield self._measured(table, row, whole=whole)
            except psycopg2.errors.UndefinedTable:
                continue  # dropped since it was listed
            except psycopg2.DatabaseError as error:
                yield replace(table, **unreadable(self.conn, error))
        progress.update(len(rows), len(rows), phase="sampled", unit="tables")

    def _measured(self, table: TableBloat, row: dict[str, Any], *, whole: bool) -> TableBloat:
        missing = _missing(row)
        sample = _Sample()
        if not missing:
            try:
                sample = self._sample(row)
            except psycopg2.errors.InsufficientPrivilege:
                missing = _missing_right(row)
            except GaveWay as gave_way:
                missing = gave_way.needs
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
                missing = "a moment without a long exclusive lock on it"
        table = replace(table, estimate=sample.estimate, missing=missing)
        if self.reader is None or self.reader.missing or not whole or not _is_heap(row):
            return table
        found = self.reader.read("exact_table", row["oid"])
        if isinstance(found, str):
            return replace(table, not_exact=found)
        counted = counted_size(
            sample.pages or _alike(found["tuple_count"], found["tuple_bytes"]),
            row["pages"],
            found["tuple_count"],
            row["fill_percent"],
            sample.runs,
        )
        return replace(table, estimate=counted, missing="", exact=True)

    def _sample(self, row: dict[str, Any]) -> _Sample:
        """Read pages until the interval is narrow enough or the sample as large as it may be.

        Where rows are long enough to leave gaps, runs of neighbouring pages are read as well.
        """
        read = self._reader_of(row)
        rng = random_of(self.options.seed, row["oid"])
        pages = row["pages"]
        largest = max(self.options.sample_pages, largest_sample_pages(pages))
        samples: list[PageSample] = []
        runs: list[list[PageSample]] = []
        estimate: PackedSize | None = None
        seen: set[int] = set()
        wanted = min(max(1, self.options.sample_pages), pages)
        while wanted > 0:
            blocks = random_blocks(pages, wanted, seen, rng)
            seen.update(blocks)
            samples += read(blocks)
            most = len(seen) + RUNS * RUN_PAGES
            if not runs and pages > most and gaps_matter(samples):
                runs = self._runs(row, read, rng)
                largest -= RUNS * RUN_PAGES
            estimate = packed_size(samples, pages, row["fill_percent"], runs)
            if estimate.uncertainty_ratio <= WANTED_UNCERTAINTY_RATIO:
                break
            wanted = min(len(seen), largest - len(seen), pages - len(seen))
        if row["kind"] == "t" and len(seen) >= pages:
            table = row["schema"], row["name"]
            samples = sample_toast_values(self.conn, table, range(pages), only_whole=False)
            return _Sample(samples, estimate=packed_size(samples, pages, row["fill_percent"]))
        return _Sample(samples, runs, estimate)

    def _reader_of(self, row: dict[str, Any]) -> Callable[[Sequence[int]], list[PageSample]]:
        """Return what reads blocks of one table."""
        columns = table_columns(self.conn, row["oid"])
        target = (row["toast_target_bytes"] or TOAST_TUPLE_BYTES) if row["has_toast"] else None
        table = row["schema"], row["name"]
        return lambda blocks: sample_pages(self.conn, table, columns, blocks, target)

    def _runs(
        self,
        row: dict[str, Any],
        read: Callable[[Sequence[int]], list[PageSample]],
        rng: random.Random,
    ) -> list[list[PageSample]]:
        """Read runs of neighbouring blocks, in the order in which a rewrite takes their rows."""
        starts = random_blocks(row["pages"] // RUN_PAGES, RUNS, set(), rng)
        blocks = [range(start * RUN_PAGES, (start + 1) * RUN_PAGES) for start in starts]
        if row["kind"] == "t":
            table = row["schema"], row["name"]
            return [sample_toast_values(self.conn, table, run, only_whole=True) for run in blocks]
        # In one statement: to compose and to plan it takes longer than to read the pages.
        found = read([block for run in blocks for block in run])
        return [found[at : at + RUN_PAGES] for at in range(0, len(found), RUN_PAGES)]


def largest_sample_pages(pages: int) -> int:
    """Return how many pages of a table of this size may be read at most."""
    share = int(pages * LARGEST_SAMPLE_RATIO)
    return min(LARGEST_SAMPLE_PAGES, max(LARGEST_SAMPLE_OF_SMALL_PAGES, share))


def _subject(row: dict[str, Any]) -> str:
    if row["kind"] == "t" and row["main_table"]:
        return f"TOAST table of {row['main_table']}"
    return f"{row['schema']}.{row['name']}"


def _alike(rows: int, tuple_bytes: int) -> list[PageSample]:
    """Stand in for a sample where the rows may not be read: all of the mean size."""
    if not rows:
        return [PageSample()]
    return [PageSample((-(-(tuple_bytes // rows) // 8) * 8,))]


def _is_heap(row: dict[str, Any]) -> bool:
    # A TOAST table has the access method of its main table.
    return row["method"] in {None, "heap"}


def _missing(row: dict[str, Any]) -> str:
    if not _is_heap(row):
        return f"a model of its access method {row['method']}: only heap is known"
    if row["hidden_by_policy"]:
        return "a role that row-level security does not restrict (BYPASSRLS)"
    if row["column_count"] > MOST_COLUMNS:
        return f"a table of no more than {MOST_COLUMNS} columns (it has {row['column_count']:,})"
    return "" if row["readable"] else _missing_right(row)


def _missing_right(row: dict[str, Any]) -> str:
    # SELECT on single columns does not include ctid, by which pages are chosen.
    return (
        f"GRANT SELECT ON {row['qualified_name']} (the whole table, not columns of it)"
        " or GRANT pg_read_all_data"
    )
