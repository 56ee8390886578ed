"""Large tables that are mostly read from end to end."""

from collections.abc import Iterable
from dataclasses import dataclass

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import bytes_in_words, percent, rows_in_words
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.indexes.table_reads import TableReads

DAY_SECONDS = 86_400.0

#: A scan counts as a whole one if it read half of the rows on average: LIMIT ends others early.
WHOLE_SCAN_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class SequentialRules:
    """From which size and from how many scans a day on it is worth a word.

    ``minimum_ratio`` is the part of the rows read that sequential scans have read.
    """

    minimum_bytes: int
    scans_per_day: float
    minimum_ratio: float

    @classmethod
    def of(cls, thresholds: Thresholds) -> "SequentialRules":
        """Take the configured values."""
        return cls(
            thresholds.sequential_scan_minimum_bytes,
            thresholds.sequential_scans_per_day,
            thresholds.sequential_rows_ratio,
        )


def sequential_ratio(table: TableReads) -> float:
    """Return the part of all rows read from a table that sequential scans have read."""
    read = table.rows_read_sequentially + table.rows_read_by_index
    return table.rows_read_sequentially / read if read else 0.0


def read_sequentially(
    tables: Iterable[TableReads], window: CounterWindow, rules: SequentialRules
) -> list[TableReads]:
    """Return the tables that are read from end to end again and again, most rows first.

    Empty while the window is shorter than a day: a rate of less says nothing about a day.
    """
    if window.seconds is None or window.seconds < DAY_SECONDS:
        return []
    days = window.seconds / DAY_SECONDS
    found = [
        table
        for table in tables
        if table.size_bytes >= rules.minimum_bytes
        and table.sequential_scans / days >= rules.scans_per_day
        and table.rows_read_sequentially
        >= WHOLE_SCAN_RATIO * table.live_rows * table.sequential_scans
        and sequential_ratio(table) >= rules.minimum_ratio
    ]
    return sorted(found, key=lambda table: (-table.rows_read_sequentially, table.oid))


def sequential_finding(table: TableReads, window: CounterWindow) -> Finding:
    """Say how much of a table's reading is done from end to end."""
    ratio = sequential_ratio(table)
    return Finding(
        code="sequential-scans",
        severity=Severity.INFO,
        subject=table.qualified_name,
        sentence=(
            f"{table.qualified_name} ({bytes_in_words(table.size_bytes)}) was read from end to end"
            f" {table.sequential_scans:,} times in {window.in_words}:"
            f" {rows_in_words(table.rows_read_sequentially)}, {percent(ratio)} of all that were read."
        ),
        evidence={
            "size_bytes": table.size_bytes,
            "live_rows": table.live_rows,
            "sequential_scans": table.sequential_scans,
            "index_scans": table.index_scans,
            "rows_read_sequentially": table.rows_read_sequentially,
            "rows_read_by_index": table.rows_read_by_index,
            "sequential_rows_ratio": round(ratio, 4),
            "window_seconds": window.seconds,
        },
        advice=(
            "Look for the statements that filter it (analysis queries): an index on what they"
            " filter by, or fewer runs of a job that needs every row, takes the load away."
        ),
    )
