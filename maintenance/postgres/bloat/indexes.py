"""Index bloat: how much smaller each btree would be after a rebuild."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.postgres.bloat.btree_model import (
    BLOCK_BYTES,
    KeyGroup,
    KeyStatistics,
    bloat_ratio,
    fresh_pages,
)
from maintenance.postgres.connection import connect, query

TITLE = "Index bloat"
CODE = "index-bloat"
#: An expression's avg_width counts the header of a short value as four bytes, not one.
EXPRESSION_EXCESS_BYTES = 3
SHORT_VALUE_BYTES = 127


@dataclass(frozen=True, slots=True)
class IndexBloatOptions:
    """Takes nothing but a target; what is measured follows from the thresholds."""


@dataclass(frozen=True, slots=True)
class IndexBloat:
    """One index with its estimate. ``missing`` says what it needs where there is none."""

    subject: str
    table: str
    method: str
    size_bytes: int
    fresh_bytes: int | None
    ratio: float | None
    rebuild: str
    missing: str = ""

    @property
    def bloat_bytes(self) -> int:
        """What a rebuild would give back."""
        return 0 if self.fresh_bytes is None else max(0, self.size_bytes - self.fresh_bytes)


def report_index_bloat(
    job: Job[DatabaseTarget, IndexBloatOptions], thresholds: Thresholds
) -> Report:
    """Estimate the bloat of every btree of at least ``thresholds.minimum_bloat_bytes``.

    Reads catalogs and statistics only: work grows with the number of indexes, not with their size.
    """
    with connect(job.target, purpose="index-bloat") as conn:
        rows = [
            row
            for row in query(conn, "bloat_indexes")
            if row["schema"] not in job.target.exclude_schemas and row["valid"]
        ]
        large = [
            row for row in rows if row["pages"] * BLOCK_BYTES >= thresholds.minimum_bloat_bytes
        ]
        keys = _keys(conn, [row["oid"] for row in large])
        indexes = [_measure(conn, row, keys.get(row["oid"], ())) for row in large]
    job.progress.update(len(large), len(large), phase="measured", unit="indexes")
    return diagnose(indexes, len(rows) - len(large), thresholds)


def _keys(conn: Connection, oids: Sequence[int]) -> Mapping[int, Sequence[Mapping[str, Any]]]:
    keys: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in query(conn, "index_keys", {"oids": list(oids)}):
        keys[row["oid"]].append(row)
    return keys


def _measure(
    conn: Connection, row: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]
) -> IndexBloat:
    size_bytes = row["pages"] * BLOCK_BYTES
    fresh_bytes, ratio, missing = None, None, ""
    if row["method"] != "btree":
        missing = "a size from after its last rebuild: there is no model for this access method"
    elif any(column["mean_bytes"] is None for column in columns):
        missing = f"ANALYZE of {row['table_name']} and the right to SELECT from it"
    else:
        statistics = key_statistics(row, columns)
        ratio = bloat_ratio(row["pages"], statistics)
        fresh_bytes = min(size_bytes, fresh_pages(statistics) * BLOCK_BYTES)
    rebuild = sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(
        sql.Identifier(row["schema"], row["name"])
    )
    return IndexBloat(
        subject=f"{row['table_name']}.{row['name']}",
        table=row["table_name"],
        method=row["method"],
        size_bytes=size_bytes,
        fresh_bytes=fresh_bytes,
        ratio=ratio,
        rebuild=rebuild.as_string(conn),
        missing=missing,
    )


def key_statistics(row: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> KeyStatistics:
    """Join catalog and statistics of one index into what the model needs.

    ``row`` is one of ``sql/bloat_indexes.sql``, ``columns`` those of ``sql/index_keys.sql``.
    """
    rows = _entries(row)
    key_bytes = 0.0
    without_null = 1.0
    for column in columns:
        key_bytes = _end_of(column, key_bytes)
        without_null *= 1 - column["null_ratio"]
    return KeyStatistics(
        groups=_key_groups(rows, columns),
        key_bytes=key_bytes,
        null_ratio=1 - without_null,
        fill_ratio=row["fill_percent"] / 100,
        deduplicates=row["deduplicates"],
    )


def _key_groups(rows: float, columns: Sequence[Mapping[str, Any]]) -> tuple[KeyGroup, ...]:
    """Group the entries by how often their keys occur.

    Of one column, null and the most common values are keys of their own, and the other values share
    the rest. Of several, only the product of their distinct values is known.
    """
    if len(columns) > 1:
        distinct = 1.0
        for column in columns:
            distinct *= _distinct(column, rows) + (1.0 if column["null_ratio"] > 0 else 0.0)
        return (KeyGroup(min(distinct, rows), rows),)
    column = columns[0]
    common = [float(share) for share in column["common_ratios"] or ()]
    rest_rows = max(0.0, rows * (1 - column["null_ratio"] - sum(common)))
    rest_keys = max(1.0, _distinct(column, rows) - len(common))
    return (
        KeyGroup(1, rows * column["null_ratio"], spread=False),
        *(KeyGroup(1, rows * share, spread=False) for share in common),
        # ANALYZE lists common values only where some are more frequent than the others.
        KeyGroup(rest_keys, rest_rows, spread=bool(common)),
    )


def _distinct(column: Mapping[str, Any], rows: float) -> float:
    """Return the number of distinct values; negative ones are shares of the rows (pg_stats)."""
    values = float(column["distinct_values"])
    return max(1.0, -values * rows if values < 0 else values)


def _entries(row: Mapping[str, Any]) -> float:
    """Rows that the index must hold now: live ones, of a partial index its share of them."""
    live, known = row["live_rows"], row["table_rows"]
    if not row["partial"]:
        # The counter is lost in a crash; then the catalog's count is all there is.
        return float(live if live > 0 else max(known, 0.0))
    entries = max(row["entries"], 0.0)
    return float(entries * live / known) if live > 0 and known > 0 else float(entries)


def _end_of(column: Mapping[str, Any], offset: float) -> float:
    """Add one value to the mean size of a key: fixed-length and long values are aligned."""
    mean = column["mean_bytes"]
    if column["is_expression"] and column["length_bytes"] < 0:
        mean = max(1, mean - EXPRESSION_EXCESS_BYTES)
    aligned = column["length_bytes"] >= 0 or mean > SHORT_VALUE_BYTES
    alignment = column["alignment_bytes"] if aligned else 1
    padded: float = -(-offset // alignment) * alignment
    mean_when_present: float = mean * (1 - column["null_ratio"])
    return padded + mean_when_present


def diagnose(indexes: Sequence[IndexBloat], too_small: int, thresholds: Thresholds) -> Report:
    """Turn estimates into findings. ``too_small`` indexes were not measured."""
    measured = [index for index in indexes if index.ratio is not None]
    bloated = [finding for index in measured for finding in _finding(index, thresholds)]
    wasted_bytes = sum(finding.evidence["bloat_bytes"] for finding in bloated)
    return Report(
        title=TITLE,
        summary=_summary(indexes, measured, bloated, wasted_bytes, thresholds),
        findings=tuple(by_seriousness([*bloated, *_unavailable(indexes)])),
        tables=(_table(measured),),
        facts={
            "indexes_measured": len(measured),
            "indexes_too_small": too_small,
            "indexes_without_a_model": sum(index.method != "btree" for index in indexes),
            "reclaimable_bytes": wasted_bytes,
        },
        samples=tuple(_samples(measured)),
    )


def _finding(index: IndexBloat, thresholds: Thresholds) -> Iterator[Finding]:
    ratio = index.ratio or 0.0
    if ratio < thresholds.index_bloat_warning_ratio:
        return
    if index.bloat_bytes < thresholds.minimum_bloat_bytes:
        return
    critical = ratio >= thresholds.index_bloat_critical_ratio
    yield Finding(
        code=CODE,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=index.subject,
        sentence=(
            f"{index.subject} is {percent(ratio)} bloat: a rebuild would give back"
            f" {bytes_in_words(index.bloat_bytes)} of {bytes_in_words(index.size_bytes)}."
        ),
        evidence={
            "table": index.table,
            "size_bytes": index.size_bytes,
            "bloat_bytes": index.bloat_bytes,
            "bloat_ratio": round(ratio, 4),
        },
        advice=(
            "Rebuild it beside the application, at a quiet hour: it needs free disk for a second"
            " copy, and waits for transactions that are older than itself. Set no lock_timeout"
            " for it: an interrupted rebuild leaves an invalid index behind."
        ),
        commands=(index.rebuild,),
    )


def _unavailable(indexes: Sequence[IndexBloat]) -> Iterator[Finding]:
    """One finding a reason: a hundred indexes without statistics have one cause."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for index in indexes:
        if index.ratio is None and index.method == "btree":
            reasons[index.missing].append(index.subject)
    for missing, subjects in sorted(reasons.items()):
        yield unavailable(CODE, listed(subjects), "its bloat", missing)


def _summary(
    indexes: Sequence[IndexBloat],
    measured: Sequence[IndexBloat],
    bloated: Sequence[Finding],
    wasted_bytes: int,
    thresholds: Thresholds,
) -> str:
    if not indexes:
        return (
            f"No index is larger than {bytes_in_words(thresholds.minimum_bloat_bytes)}:"
            " there is no bloat worth measuring."
        )
    if not measured:
        return (
            f"unavailable: none of {counted(len(indexes), 'index', 'indexes')} could be measured."
        )
    among = counted(len(measured), "btree index", "btree indexes")
    if not bloated:
        return f"No bloat worth a rebuild in {among}."
    names = listed([finding.subject for finding in by_seriousness(bloated)], 3)
    verb = "is" if len(bloated) == 1 else "are"
    return (
        f"{len(bloated)} of {among} {verb} bloated ({names});"
        f" rebuilding would give back {bytes_in_words(wasted_bytes)}."
    )


def _table(measured: Sequence[IndexBloat]) -> Table:
    return Table.of(
        "Indexes by bloat",
        [
            {
                "index": index.subject,
                "table": index.table,
                "size_bytes": index.size_bytes,
                "bloat_bytes": index.bloat_bytes,
                "bloat_ratio": round(index.ratio or 0.0, 4),
            }
            for index in sorted(measured, key=lambda index: -index.bloat_bytes)
        ],
    )


def _samples(measured: Sequence[IndexBloat]) -> Iterator[Sample]:
    for index in measured:
        yield Sample("index_bloat_bytes", float(index.bloat_bytes), index.subject)
        yield Sample("index_size_bytes", float(index.size_bytes), index.subject)
