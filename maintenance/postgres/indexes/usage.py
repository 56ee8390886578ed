"""Every index with its size, scans and validity; invalid ones are findings."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.connection import connect
from maintenance.postgres.indexes.catalog import IndexMeasurement, IndexState, measure_indexes
from maintenance.postgres.indexes.invalid import invalid_index_findings

TITLE = "Indexes"

#: Rows in one table of a report: more are read by nobody, and the ledger keeps each run.
MAXIMUM_ROWS = 500


def report_index_usage(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:  # noqa: ARG001 - an index is valid or not
    """Show each index with its size and use, and name the invalid ones.

    Raises what :func:`connect` raises.
    """
    with connect(job.target, purpose="indexes") as conn:
        measurement = measure_indexes(conn, job.target)
        findings = invalid_index_findings(conn, measurement.indexes)
    if not measurement.counts:
        findings.append(uncounted())
    return usage_report(measurement, findings)


def uncounted() -> Finding:
    """Say that the server counts no index scans."""
    return unavailable(
        "index-scans",
        "server",
        "which index is used",
        "track_counts = on in postgresql.conf, because the server counts no scans without it",
    )


def usage_report(measurement: IndexMeasurement, findings: Sequence[Finding]) -> Report:
    """Put the table together; scans are left empty where the server does not count them."""
    total_bytes = sum(index.size_bytes for index in measurement.indexes)
    examined = counted(len(measurement.indexes), "index", "indexes")
    invalid = sum(finding.code == "invalid-index" for finding in findings)
    ordered = sorted(measurement.indexes, key=lambda i: (i.is_valid, -i.size_bytes, i.oid))
    return Report(
        title=TITLE,
        summary=(
            f"{examined} ({bytes_in_words(total_bytes)}), {invalid or 'none'} of them invalid;"
            f" scans are counted over {measurement.window.in_words}."
        ),
        findings=tuple(by_seriousness(findings)),
        tables=(bounded_table("Indexes", [_row(i, counts=measurement.counts) for i in ordered]),),
        facts={
            "indexes_examined": len(measurement.indexes),
            "counters_cover_seconds": measurement.window.seconds,
        },
        samples=(Sample("index_bytes", total_bytes), Sample("invalid_indexes_count", invalid)),
    )


def bounded_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return at most :data:`MAXIMUM_ROWS` rows, and say in the title how many there are."""
    if len(rows) <= MAXIMUM_ROWS:
        return Table.of(title, rows)
    return Table.of(f"{title}: the first {MAXIMUM_ROWS} of {len(rows):,}", rows[:MAXIMUM_ROWS])


def _row(index: IndexState, *, counts: bool) -> dict[str, Any]:
    last = index.last_scan_at
    return {
        "index": index.qualified_name,
        "access_method": index.access_method,
        "size_bytes": index.size_bytes,
        # A partitioned index has no storage and no counters of its own.
        "scans": index.scans if counts and not index.is_partitioned else None,
        "last_scan": f"{datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M} UTC" if last else None,
        "writes": index.writes if counts and not index.is_partitioned else None,
        "state": _state(index),
    }


def _state(index: IndexState) -> str:
    if index.is_valid:
        return "valid"
    return "being built" if index.is_in_work else "invalid"
