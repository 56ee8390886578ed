"""Table bloat: how much of each table a rewrite would give back, with a confidence interval."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job, Progress
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.postgres.bloat.packing import BLOCK_BYTES, PackedSize, PageSample, packed_size
from maintenance.postgres.bloat.page_sample import (
    offsets_to_try,
    random_blocks,
    sample_pages,
    table_columns,
)
from maintenance.postgres.connection import connect, query

TITLE = "Table bloat"
CODE = "table-bloat"

#: Pages read first. With 200 the error was 0.4 points on average over 15 shapes of tables.
FIRST_SAMPLE_PAGES = 200
#: The first few of them are read line pointer by line pointer, to learn the size of a row.
SCOUT_PAGES = 10
#: More are read while half the interval is wider than this, up to one page in a hundred.
WANTED_UNCERTAINTY_RATIO = 0.03
LARGEST_SAMPLE_RATIO = 0.01


@dataclass(frozen=True, slots=True)
class TableBloatOptions:
    """``sample_pages`` are read first of each table; ``seed`` repeats a choice of pages."""

    sample_pages: int = FIRST_SAMPLE_PAGES
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class TableBloat:
    """One table with its estimate, or with the reason why there is none."""

    subject: str
    is_toast: bool
    size_bytes: int
    estimate: PackedSize | None
    missing: str = ""  # what it needs to be measured


def report_table_bloat(
    job: Job[DatabaseTarget, TableBloatOptions], thresholds: Thresholds
) -> Report:
    """Estimate the bloat of every table of at least ``thresholds.minimum_bloat_bytes``.

    Work grows with the number of tables and the pages sampled of each (a few hundred, at most one
    in a hundred of a large table), not with their size.
    """
    with connect(job.target, purpose="table-bloat") as conn:
        rows = [
            row
            for row in query(conn, "bloat_tables")
            if row["schema"] not in job.target.exclude_schemas
        ]
        large = [
            row for row in rows if row["pages"] * BLOCK_BYTES >= thresholds.minimum_bloat_bytes
        ]
        tables = list(_measure(conn, large, job.options, job.progress))
    return diagnose(tables, len(rows) - len(large), thresholds)


def _measure(
    conn: Connection,
    rows: Sequence[dict[str, Any]],
    options: TableBloatOptions,
    progress: Progress,
) -> Iterator[TableBloat]:
    rng = random.Random(options.seed)  # noqa: S311 - a sample, not a secret
    for number, row in enumerate(rows):
        subject = _subject(row)
        progress.update(number, len(rows), phase=f"sampling {subject}", unit="tables")
        size_bytes = row["pages"] * BLOCK_BYTES
        is_toast = row["kind"] == "t"
        estimate, missing = None, _missing_right(row)
        if not missing:
            try:
                estimate = _estimate(conn, row, options.sample_pages, rng)
            except psycopg2.errors.InsufficientPrivilege:
                missing = f"GRANT SELECT ON {row['qualified_name']} or GRANT pg_read_all_data"
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
                missing = "a moment without a long exclusive lock on it"
            except psycopg2.errors.UndefinedTable:
                continue  # dropped since it was listed
        yield TableBloat(subject, is_toast, size_bytes, estimate, missing)
    progress.update(len(rows), len(rows), phase="sampled", unit="tables")


def _subject(row: dict[str, Any]) -> str:
    if row["kind"] == "t" and row["main_table"]:
        return f"TOAST table of {row['main_table']}"
    return f"{row['schema']}.{row['name']}"


def _missing_right(row: dict[str, Any]) -> str:
    if row["hidden_by_policy"]:
        return "a role that row-level security does not restrict (BYPASSRLS)"
    if not row["readable"]:
        return f"GRANT SELECT ON {row['qualified_name']} or GRANT pg_read_all_data"
    return ""


def _estimate(
    conn: Connection, row: dict[str, Any], first_pages: int, rng: random.Random
) -> PackedSize:
    """Sample until the interval is narrow enough or the sample as large as it may be."""
    columns = table_columns(conn, row["oid"])
    pages, fill_ratio = row["pages"], row["fill_percent"] / 100
    largest = max(first_pages, int(pages * LARGEST_SAMPLE_RATIO))
    samples: list[PageSample] = []
    seen: set[int] = set()
    wanted = min(SCOUT_PAGES, largest)
    while True:
        blocks = random_blocks(pages, wanted, seen, rng)
        seen.update(blocks)
        offsets = offsets_to_try(samples)
        samples += sample_pages(conn, (row["schema"], row["name"]), columns, blocks, offsets)
        estimate = packed_size(samples, pages, fill_ratio)
        enough = len(seen) >= first_pages and estimate.uncertainty_ratio <= WANTED_UNCERTAINTY_RATIO
        wanted = min(
            max(first_pages - len(seen), len(seen)), largest - len(seen), pages - len(seen)
        )
        if enough or wanted <= 0:
            return estimate


def diagnose(tables: Sequence[TableBloat], too_small: int, thresholds: Thresholds) -> Report:
    """Turn estimates into findings. ``too_small`` tables were not sampled."""
    findings: list[Finding] = []
    for table in tables:
        if table.estimate is None:
            findings.append(unavailable(CODE, table.subject, "its bloat", table.missing))
        else:
            findings += _finding(table, table.estimate, thresholds)
    bloated = [finding for finding in findings if finding.measured]
    wasted_bytes = sum(finding.evidence["bloat_bytes"] for finding in bloated)
    return Report(
        title=TITLE,
        summary=_summary(tables, too_small, bloated, wasted_bytes, thresholds),
        findings=tuple(by_seriousness(findings)),
        tables=(_table(tables),),
        facts={
            "tables_sampled": sum(t.estimate is not None for t in tables),
            "tables_too_small": too_small,
            "reclaimable_bytes": wasted_bytes,
        },
        samples=_samples(tables),
    )


def _finding(table: TableBloat, estimate: PackedSize, thresholds: Thresholds) -> list[Finding]:
    if estimate.bloat_ratio < thresholds.table_bloat_warning_ratio:
        return []
    if estimate.bloat_bytes < thresholds.minimum_bloat_bytes:
        return []
    critical = estimate.bloat_ratio >= thresholds.table_bloat_critical_ratio
    return [
        Finding(
            code=CODE,
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject=table.subject,
            sentence=(
                f"{table.subject} is {percent(estimate.bloat_ratio)} bloat"
                f" ({percent(estimate.low_ratio)} to {percent(estimate.high_ratio)}):"
                f" {bytes_in_words(estimate.bloat_bytes)} of {bytes_in_words(table.size_bytes)}."
            ),
            evidence={
                "size_bytes": table.size_bytes,
                "bloat_bytes": estimate.bloat_bytes,
                "bloat_ratio": round(estimate.bloat_ratio, 4),
                "bloat_low_ratio": round(estimate.low_ratio, 4),
                "bloat_high_ratio": round(estimate.high_ratio, 4),
                "sampled_pages": estimate.sampled_pages,
            },
            advice=(
                "VACUUM lets the table itself use this space again, which is enough where it"
                " grows back. Only a rewrite gives it to the disk: pg_repack or pg_squeeze work"
                " beside the application, VACUUM FULL locks it out. Look first at why dead rows"
                " were not removed in time."
            ),
        )
    ]


def _summary(
    tables: Sequence[TableBloat],
    too_small: int,
    bloated: Sequence[Finding],
    wasted_bytes: int,
    thresholds: Thresholds,
) -> str:
    sampled = sum(table.estimate is not None for table in tables)
    if not tables:
        return (
            f"No table is larger than {bytes_in_words(thresholds.minimum_bloat_bytes)}:"
            " there is no bloat worth measuring."
        )
    if sampled == 0:
        return f"unavailable: none of {counted(len(tables), 'table')} could be sampled."
    rest = f" {counted(too_small, 'table')} too small to matter." if too_small else ""
    if not bloated:
        return f"No bloat worth a rewrite in {counted(sampled, 'table')}.{rest}"
    names = listed([finding.subject for finding in by_seriousness(bloated)], 3)
    verb = "is" if len(bloated) == 1 else "are"
    return (
        f"{len(bloated)} of {counted(sampled, 'table')} {verb} bloated ({names});"
        f" a rewrite would give back {bytes_in_words(wasted_bytes)}.{rest}"
    )


def _table(tables: Sequence[TableBloat]) -> Table:
    measured = [(table, table.estimate) for table in tables if table.estimate is not None]
    measured.sort(key=lambda pair: -pair[1].bloat_bytes)
    return Table.of(
        "Tables by bloat",
        [
            {
                "table": table.subject,
                "size_bytes": table.size_bytes,
                "bloat_bytes": estimate.bloat_bytes,
                "bloat_ratio": round(estimate.bloat_ratio, 4),
                "low_ratio": round(estimate.low_ratio, 4),
                "high_ratio": round(estimate.high_ratio, 4),
                "live_rows": round(estimate.live_rows),
            }
            for table, estimate in measured
        ],
    )


def _samples(tables: Sequence[TableBloat]) -> tuple[Sample, ...]:
    return tuple(
        sample
        for table in tables
        if table.estimate is not None
        for sample in (
            Sample("table_bloat_bytes", float(table.estimate.bloat_bytes), table.subject),
            Sample("table_size_bytes", float(table.size_bytes), table.subject),
        )
    )
