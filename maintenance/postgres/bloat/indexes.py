"""Index bloat: how much smaller each index would be after a rebuild."""

import math
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job, Progress
from maintenance.core.reports import Report
from maintenance.postgres.bloat import index_baselines
from maintenance.postgres.bloat.btree_model import (
    BLOCK_BYTES,
    bloat_ratio,
    fresh_pages,
    fresh_pages_by_density,
)
from maintenance.postgres.bloat.damage import unreadable
from maintenance.postgres.bloat.exact import LARGEST_RELATIONS, ExactReader, named
from maintenance.postgres.bloat.index_baselines import Baseline, known_baselines, next_baseline
from maintenance.postgres.bloat.index_report import IndexBloat, Source, diagnose
from maintenance.postgres.bloat.index_sample import (
    IndexSample,
    KeyReader,
    WouldBeCounted,
    can_be_read,
)
from maintenance.postgres.bloat.index_statistics import (
    entries_by_statistics,
    has_statistics,
    rows_by_catalog,
)
from maintenance.postgres.bloat.interval import Z
from maintenance.postgres.bloat.options import IndexBloatOptions
from maintenance.postgres.bloat.page_sample import random_of
from maintenance.postgres.connection import connect
from maintenance.postgres.giving_way import GaveWay
from maintenance.postgres.sql_files import query

#: The share of keys with values that an index compresses, above which their size is not known.
MOST_COMPRESSED_RATIO = 0.05

#: An ANALYZE that saw other rows than there are makes no interval; the model was within this.
STATISTICS_ERROR_RATIO = 0.05

NEEDS_WHOLE = (
    "the exact mode (extension pgstattuple): an index compresses values of more than 508 bytes,"
    " and how well cannot be seen from its table"
)
NEEDS_NEXT_REVIEW = (
    "the next review: its size a row was noted today as the baseline, and there is no model for its"
    " access method"
)


def report_index_bloat(
    job: Job[DatabaseTarget, IndexBloatOptions], thresholds: Thresholds
) -> Report:
    """Estimate the bloat of every index of at least ``thresholds.minimum_bloat_bytes``.

    Rows are counted on a few hundred pages of the index's table and some keys looked up, so that
    work grows with the number of indexes, not with their size; only ``exact`` reads whole indexes.
    Raises :class:`UnknownName` for an index that does not exist, and what :func:`connect` raises.
    """
    with connect(job.target, purpose="index-bloat") as conn:
        found = measure_index_bloat(conn, job, job.options, thresholds)
    report = diagnose(found.indexes, found.too_small, thresholds, found.no_exact)
    return replace(report, state=found.state)


@dataclass(frozen=True, slots=True)
class IndexBloatMeasurement:
    """The measured indexes, the number of those too small to measure, and what has to be kept.

    ``state`` belongs into the report; ``no_exact`` is what the exact mode needs, where it was asked
    for and is not to be had.
    """

    indexes: tuple[IndexBloat, ...]
    too_small: int
    state: Mapping[str, Any]
    no_exact: str = ""


def measure_index_bloat(
    conn: Connection,
    job: Job[DatabaseTarget, Any],
    options: IndexBloatOptions,
    thresholds: Thresholds,
    *,
    only: Collection[int] | None = None,
) -> IndexBloatMeasurement:
    """Measure the indexes of these options, or those with the oids ``only``.

    Reads and writes nothing but ``job``'s target, previous state and progress. Raises as
    :func:`report_index_bloat` does.
    """
    rows = [
        row
        for row in query(conn, "bloat_indexes", {"minimum_bytes": thresholds.minimum_bloat_bytes})
        if row["schema"] not in job.target.exclude_schemas
    ]
    if only is not None:
        chosen = [row for row in rows if row["oid"] in only]
    elif options.indexes:
        chosen = named("index", rows, options.indexes)
    else:
        chosen = _large(rows, thresholds)
    reader = None
    if options.exact:
        reader = ExactReader.open(
            conn,
            "pgstatindex",
            options.exact_time_limit_seconds,
            job.target.statement_timeout_seconds,
        )
    meter = _Meter(
        conn,
        options,
        reader,
        job.target.statement_timeout_seconds,
        known_baselines(job.previous_state),
    )
    indexes = tuple(meter.measure(chosen, job.progress))
    listed = {row["oid"] for row in rows}
    baselines = {oid: kept for oid, kept in meter.baselines.items() if oid in listed}
    return IndexBloatMeasurement(
        indexes=indexes,
        too_small=0 if options.indexes or only is not None else len(rows) - len(chosen),
        state=index_baselines.to_state(baselines),
        no_exact=reader.missing if reader else "",
    )


def _large(rows: Sequence[dict[str, Any]], thresholds: Thresholds) -> list[dict[str, Any]]:
    return [row for row in rows if row["pages"] * BLOCK_BYTES >= thresholds.minimum_bloat_bytes]


@dataclass(frozen=True, slots=True)
class _Meter:
    """Measures indexes one by one in one session, and keeps the ``baselines`` up to date."""

    conn: Connection
    options: IndexBloatOptions
    reader: ExactReader | None
    statement_limit_seconds: float
    baselines: dict[int, Baseline]

    def measure(self, rows: Sequence[dict[str, Any]], progress: Progress) -> Iterator[IndexBloat]:
        """Yield one measurement a row of ``sql/bloat_indexes.sql``; dropped ones are left out."""
        oids = [row["oid"] for row in rows]
        layouts = {row["oid"]: row for row in query(self.conn, "index_layout", {"oids": oids})}
        keys: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for column in query(self.conn, "index_keys", {"oids": oids}):
            keys[column["oid"]].append(column)
        for number, listed in enumerate(rows):
            row = {**listed, **layouts.get(listed["oid"], {})}
            if "method" not in row or not keys[row["oid"]] or not row["pages"]:
                continue  # dropped or locked since it was listed
            index = _unmeasured(row, self.conn)
            progress.update(number, len(rows), phase=f"measuring {index.subject}", unit="indexes")
            whole = bool(self.options.indexes) or number < LARGEST_RELATIONS
            try:
                yield self._measured(index, row, keys[row["oid"]], whole=whole)
            except psycopg2.errors.UndefinedTable:
                continue  # dropped since it was listed
            except GaveWay as gave_way:
                yield replace(index, missing=gave_way.needs)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
                yield replace(index, missing="a moment without a long exclusive lock on its table")
            except psycopg2.DatabaseError as error:
                yield replace(index, **unreadable(self.conn, error))
        progress.update(len(rows), len(rows), phase="measured", unit="indexes")

    def _measured(
        self,
        index: IndexBloat,
        row: dict[str, Any],
        columns: Sequence[Mapping[str, Any]],
        *,
        whole: bool,
    ) -> IndexBloat:
        if row["hidden_by_policy"]:
            needs = "a role that row-level security does not restrict (BYPASSRLS)"
            index = replace(index, missing=needs)
        elif not row["readable"]:
            needs = f"GRANT SELECT ON {row['qualified_table_name']} or GRANT pg_read_all_data"
            index = replace(index, missing=needs)
        elif row["method"] == "btree":
            index = self._modelled(index, row, columns)
        else:
            return self._against_baseline(index, row, columns)
        if self.reader is None or self.reader.missing or not whole or row["method"] != "btree":
            return index
        found = self.reader.read("exact_index", row["oid"])
        if isinstance(found, str):
            return replace(index, not_exact=found)
        return _with_density(index, row, found)

    def _modelled(
        self, index: IndexBloat, row: dict[str, Any], columns: Sequence[Mapping[str, Any]]
    ) -> IndexBloat:
        sample, source = self._sample(row, columns)
        if sample is None:
            return replace(index, missing=f"ANALYZE {row['qualified_table_name']}")
        if sample.compressed_ratio > MOST_COMPRESSED_RATIO:
            return replace(index, missing=NEEDS_WHOLE)
        fresh = fresh_pages(
            sample.entries, sample.rows, row["fill_percent"], deduplicates=row["deduplicates"]
        )
        # Leaves and inner pages are whole pages.
        margin = (Z * sample.error_ratio * fresh + 2) / row["pages"]
        ratio = bloat_ratio(row["pages"], fresh)
        return replace(
            index,
            fresh_bytes=min(index.size_bytes, fresh * BLOCK_BYTES),
            ratio=ratio,
            low_ratio=max(0.0, ratio - margin),
            high_ratio=min(1.0, ratio + margin),
            sampled_pages=sample.sampled_pages,
            source=source,
        )

    def _sample(
        self, row: dict[str, Any], columns: Sequence[Mapping[str, Any]]
    ) -> tuple[IndexSample | None, Source]:
        """Read keys from the table; where that must not be or takes too long, take statistics."""
        rng = random_of(self.options.seed, row["oid"])
        keys = self._key_reader(row, columns, rng)
        if can_be_read(row, columns):
            try:
                return keys.sample(), Source.SAMPLE
            except psycopg2.errors.QueryCanceled:
                if not has_statistics(columns):
                    raise
            except WouldBeCounted:
                pass  # statistics leave no trace
        if not has_statistics(columns):
            return None, Source.STATISTICS
        rows, error, pages = rows_by_catalog(row), STATISTICS_ERROR_RATIO, 0
        if keys.can_count:
            rows, count_error, pages = keys.count()
            error = math.hypot(error, count_error)
        entries = entries_by_statistics(columns, rows, rng)
        return IndexSample(rows, entries, error, pages), Source.STATISTICS

    def _against_baseline(
        self, index: IndexBloat, row: dict[str, Any], columns: Sequence[Mapping[str, Any]]
    ) -> IndexBloat:
        keys = self._key_reader(row, columns, random_of(self.options.seed, row["oid"]))
        rows, error, pages = rows_by_catalog(row), STATISTICS_ERROR_RATIO, 0
        if keys.can_count:
            rows, error, pages = keys.count()
        known = self.baselines.get(row["oid"])
        baseline = next_baseline(known, row["file_node"], index.size_bytes, rows)
        if baseline is not None:
            self.baselines[row["oid"]] = baseline
        if baseline is None or known is None or known.file_node != row["file_node"]:
            return replace(index, missing=NEEDS_NEXT_REVIEW)
        fresh = index_baselines.fresh_bytes(baseline, index.size_bytes, rows)
        ratio = 1 - fresh / index.size_bytes
        margin = Z * error * fresh / index.size_bytes
        return replace(
            index,
            fresh_bytes=fresh,
            ratio=ratio,
            low_ratio=max(0.0, ratio - margin),
            high_ratio=min(1.0, ratio + margin),
            sampled_pages=pages,
            source=Source.BASELINE,
        )

    def _key_reader(
        self, row: dict[str, Any], columns: Sequence[Mapping[str, Any]], rng: random.Random
    ) -> KeyReader:
        return KeyReader(self.conn, row, columns, rng, self.statement_limit_seconds)


def _unmeasured(row: dict[str, Any], conn: Connection) -> IndexBloat:
    rebuild = sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(
        sql.Identifier(row["schema"], row["name"])
    )
    return IndexBloat(
        oid=row["oid"],
        subject=f"{row['table_name']}.{row['name']}",
        table=row["table_name"],
        method=row["method"],
        size_bytes=row["pages"] * BLOCK_BYTES,
        rebuild=rebuild.as_string(conn),
    )


def _with_density(
    index: IndexBloat, row: Mapping[str, Any], found: Mapping[str, Any]
) -> IndexBloat:
    """Take the index's own leaf density, which counts entries of dead rows as used.

    Where the model's whole interval needs less, that is what dead rows still hold: then the model
    stands.
    """
    density = (found["leaf_density_percent"] or 0.0) / 100
    fresh = fresh_pages_by_density(found["leaf_pages"], density, row["fill_percent"])
    ratio = bloat_ratio(found["pages"], fresh)
    if index.ratio is not None and ratio < index.low_ratio:
        return index
    return replace(
        index,
        fresh_bytes=min(index.size_bytes, fresh * BLOCK_BYTES),
        ratio=ratio,
        low_ratio=ratio,
        high_ratio=ratio,
        source=Source.WHOLE,
        missing="",
    )
