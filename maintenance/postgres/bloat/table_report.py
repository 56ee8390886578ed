"""What the measured tables mean: findings, the table of the report, its sums."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.plots import Bar, BarChart
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.postgres.bloat.damage import damaged
from maintenance.postgres.bloat.packing import PackedSize

TITLE = "Table bloat"
CODE = "table-bloat"
EXACT_CODE = "table-bloat-exact"
#: More tables that lack the same are named in one finding.
NAMED_ALONE = 3


@dataclass(frozen=True, slots=True)
class TableBloat:
    """One table with its estimate, or with the reason why there is none.

    ``qualified_name`` is what a rewrite is told, quoted: of a TOAST table, its main table.
    ``missing`` is what it needs to be measured, ``not_exact`` what it needs to be read whole, and
    ``damage`` why the server refuses to read a page of it, in its words. ``only`` stands before the name where a VACUUM would take the children of the table as well.
    """

    subject: str
    qualified_name: str
    size_bytes: int
    estimate: PackedSize | None = None
    missing: str = ""
    exact: bool = False
    not_exact: str = ""
    partition_of: str = ""
    is_toast: bool = False
    only: str = ""
    damage: str = ""


def diagnose(
    tables: Sequence[TableBloat], too_small: int, thresholds: Thresholds, no_exact: str = ""
) -> Report:
    """Turn estimates into findings.

    ``too_small`` tables were not sampled; ``no_exact`` says what the exact mode needs, where it
    was asked for and is not to be had.
    """
    bloated = [finding for table in tables for finding in _finding(table, thresholds)]
    findings = [
        *bloated,
        *(damaged(t.subject, t.subject, t.damage) for t in tables if t.damage),
        *_unmeasured(tables),
        *_not_exact(tables, no_exact),
    ]
    wasted_bytes = sum(finding.evidence["bloat_bytes"] for finding in bloated)
    partitioned = _partitioned(tables)
    return Report(
        title=TITLE,
        summary=_summary(tables, too_small, bloated, wasted_bytes, thresholds),
        findings=tuple(by_seriousness(findings)),
        tables=(_table(tables), *((partitioned,) if partitioned.rows else ())),
        facts={
            "tables_sampled": sum(t.estimate is not None for t in tables),
            "tables_read_whole": sum(t.exact for t in tables),
            "tables_too_small": too_small,
            "pages_sampled": sum(t.estimate.sampled_pages for t in tables if t.estimate),
            "reclaimable_bytes": wasted_bytes,
        },
        samples=_samples(tables),
        bars=_bars(tables),
    )


def _finding(table: TableBloat, thresholds: Thresholds) -> Iterator[Finding]:
    estimate = table.estimate
    if estimate is None or estimate.bloat_ratio < thresholds.table_bloat_warning_ratio:
        return
    if estimate.bloat_bytes < thresholds.minimum_bloat_bytes:
        return
    critical = estimate.bloat_ratio >= thresholds.table_bloat_critical_ratio
    yield Finding(
        code=CODE,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=table.subject,
        sentence=(
            f"{table.subject} is {percent(estimate.bloat_ratio)} bloat"
            f" ({_certainty(table, estimate)}): a rewrite would give back"
            f" {bytes_in_words(estimate.bloat_bytes)} of {bytes_in_words(table.size_bytes)}."
        ),
        evidence={
            "size_bytes": table.size_bytes,
            "bloat_bytes": estimate.bloat_bytes,
            "bloat_ratio": round(estimate.bloat_ratio, 4),
            "bloat_low_ratio": _down(estimate.low_ratio),
            "bloat_high_ratio": _up(estimate.high_ratio),
            "sampled_pages": estimate.sampled_pages,
            "read_whole": table.exact,
        },
        advice=(
            "VACUUM lets the table itself use this space again, which is enough where it"
            " grows back; look first at why dead rows were not removed in time. Only a rewrite"
            " gives space to the disk, and needs room there for a second copy of what stays:"
            f" pg_repack --no-order --table={shlex.quote(table.qualified_name)} works beside the"
            " application (it needs a primary key, and a short exclusive lock at its start and end); VACUUM"
            " FULL holds an exclusive lock to its end, so that nobody even reads the table."
        ),
        commands=(f"VACUUM (FULL, ANALYZE) {table.only}{table.qualified_name}",),
    )


def _certainty(table: TableBloat, estimate: PackedSize) -> str:
    if table.exact:
        return "its rows were counted"
    if estimate.sampled_pages >= estimate.pages:
        return "every page was read"
    return (
        f"between {percent(estimate.low_ratio)} and {percent(estimate.high_ratio)} with 95 %"
        f" confidence, from {counted(estimate.sampled_pages, 'page')}"
    )


def _down(ratio: float) -> float:
    return math.floor(ratio * 10_000) / 10_000


def _up(ratio: float) -> float:
    return math.ceil(ratio * 10_000) / 10_000


def _unmeasured(tables: Sequence[TableBloat]) -> Iterator[Finding]:
    """Name a few tables with what each needs; of many, say it once."""
    lacking = [table for table in tables if table.estimate is None and not table.damage]
    if len(lacking) <= NAMED_ALONE:
        for table in lacking:
            yield unavailable(CODE, table.subject, "its bloat", table.missing)
        return
    reasons: defaultdict[str, list[TableBloat]] = defaultdict(list)
    for table in lacking:
        reasons[table.missing.replace(table.qualified_name, "each of them")].append(table)
    for missing, alike in sorted(reasons.items()):
        yield unavailable(
            CODE, listed([table.subject for table in alike]), "bloat of these tables", missing
        )


def _not_exact(tables: Sequence[TableBloat], no_exact: str) -> Iterator[Finding]:
    if no_exact:
        yield unavailable(EXACT_CODE, "tables", "the exact measurement", no_exact)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for table in tables:
        if table.not_exact:
            reasons[table.not_exact].append(table.subject)
    for reason, subjects in sorted(reasons.items()):
        yield unavailable(EXACT_CODE, listed(subjects), "the exact measurement", reason)


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
    rest = f" {counted(too_small, 'table')} too small to sample." if too_small else ""
    unread = sum(bool(table.damage) for table in tables)
    rest += f" {counted(unread, 'table')} with damaged pages." if unread else ""
    if not bloated:
        return f"No bloat worth a rewrite in {counted(sampled, 'table')}.{rest}"
    names = listed([finding.subject for finding in by_seriousness(bloated)], 3)
    verb = "is" if len(bloated) == 1 else "are"
    return (
        f"{len(bloated)} of {counted(sampled, 'table')} {verb} bloated ({names});"
        f" a rewrite would give back {bytes_in_words(wasted_bytes)}.{rest}"
    )


def _bars(tables: Sequence[TableBloat]) -> tuple[BarChart, ...]:
    """Show where the space went: the most bloat first, beside what the tables need."""
    bloated = [
        Bar(table.subject, (table.size_bytes - estimate.bloat_bytes, estimate.bloat_bytes))
        for table, estimate in _by_bloat(tables)
        if estimate.bloat_bytes > 0
    ]
    title = "Size of tables, most bloat first"
    chart = BarChart.largest(title, "size_bytes", ("live", "bloat"), bloated, stacked=True)
    return (chart,) if bloated else ()


def _by_bloat(tables: Sequence[TableBloat]) -> list[tuple[TableBloat, PackedSize]]:
    measured = [(table, table.estimate) for table in tables if table.estimate is not None]
    return sorted(measured, key=lambda pair: -pair[1].bloat_bytes)


def _table(tables: Sequence[TableBloat]) -> Table:
    return Table.of(
        "Tables by bloat",
        [
            {
                "table": table.subject,
                "size_bytes": table.size_bytes,
                "bloat_bytes": estimate.bloat_bytes,
                "bloat_ratio": round(estimate.bloat_ratio, 4),
                "low_ratio": _down(estimate.low_ratio),
                "high_ratio": _up(estimate.high_ratio),
                "live_rows": round(estimate.live_rows),
                "sampled_pages": estimate.sampled_pages,
                "read_whole": table.exact,
            }
            for table, estimate in _by_bloat(tables)
        ],
    )


def _partitioned(tables: Sequence[TableBloat]) -> Table:
    """Sum up the measured partitions of each partitioned table; their errors are independent."""
    trees: defaultdict[str, list[tuple[TableBloat, PackedSize]]] = defaultdict(list)
    for table in tables:
        if table.partition_of and table.estimate is not None:
            trees[table.partition_of].append((table, table.estimate))
    rows = [_tree_row(name, leaves) for name, leaves in trees.items()]
    return Table.of("Partitioned tables", sorted(rows, key=lambda row: -row["bloat_bytes"]))


def _tree_row(name: str, leaves: Sequence[tuple[TableBloat, PackedSize]]) -> dict[str, Any]:
    size_bytes = sum(table.size_bytes for table, _ in leaves)
    bloat_bytes = sum(estimate.bloat_bytes for _, estimate in leaves)
    below = math.hypot(*(t.size_bytes * (e.bloat_ratio - e.low_ratio) for t, e in leaves))
    above = math.hypot(*(t.size_bytes * (e.high_ratio - e.bloat_ratio) for t, e in leaves))
    return {
        "table": name,
        "partitions_sampled": len(leaves),
        "size_bytes": size_bytes,
        "bloat_bytes": bloat_bytes,
        "bloat_ratio": round(bloat_bytes / size_bytes, 4),
        "low_ratio": _down(max(0.0, bloat_bytes - below) / size_bytes),
        "high_ratio": _up(min(size_bytes, bloat_bytes + above) / size_bytes),
    }


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
