"""Every index with its size, scans and validity; invalid ones are findings."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.connection import connect
from maintenance.postgres.indexes.catalog import (
    Definition,
    IndexMeasurement,
    IndexState,
    definitions_of,
    measure_indexes,
)

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


def invalid_indexes(indexes: Sequence[IndexState]) -> list[IndexState]:
    """Return the indexes that no query can use and that nobody is building at this moment."""
    return [index for index in indexes if not index.is_valid and not index.is_in_work]


def invalid_index_findings(conn: Connection, indexes: Sequence[IndexState]) -> list[Finding]:
    """Return a finding for each invalid index, with how it became so and what to do."""
    invalid = invalid_indexes(indexes)
    definitions = definitions_of(conn, invalid, indexes)
    return [_invalid_finding(index, indexes, definitions.get(index.oid)) for index in invalid]


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


def twin_of(index: IndexState, indexes: Sequence[IndexState]) -> IndexState | None:
    """Return a valid index of the same table and structure.

    Structure, not the name, tells a leftover of REINDEX CONCURRENTLY: ``_ccnew`` and ``_ccold``
    are cut off from long names.
    """
    return next(
        (
            other
            for other in indexes
            if other.is_valid
            and other.table_oid == index.table_oid
            and other.structure == index.structure
        ),
        None,
    )


def _invalid_finding(
    index: IndexState, indexes: Sequence[IndexState], definition: Definition | None
) -> Finding:
    cause, advice, droppable = _explained(index, twin_of(index, indexes))
    cost = "; every write still keeps it up to date" if index.is_ready else ""
    return Finding(
        code="invalid-index",
        severity=Severity.WARNING,
        subject=index.qualified_name,
        sentence=f"{index.qualified_name} is invalid: no query can use it{cost}. {cause}",
        evidence={
            "table": index.table_name,
            "size_bytes": index.size_bytes,
            "ready": index.is_ready,
            "live": index.is_live,
        },
        advice=advice,
        commands=definition.drop if definition and droppable else (),
        undo=definition.create if definition and droppable else (),
    )


def _explained(index: IndexState, twin: IndexState | None) -> tuple[str, str, bool]:
    """Return how an index became invalid, what to do, and whether dropping it is the way."""
    if index.is_partitioned:
        return (
            "Not every partition has an index attached to it.",
            "Create the missing indexes on the partitions and attach them with ALTER INDEX ...",
            False,
        )
    if index.has_constraint or index.is_primary or index.is_replica_identity:
        return (
            "It stands behind a constraint or the replica identity of its table.",
            "Rebuild it with REINDEX INDEX CONCURRENTLY; dropping it would drop what it stands for.",
            False,
        )
    if twin is not None:
        return (
            f"It is left over from rebuilding {twin.qualified_name}, which is valid.",
            "Drop it. Rebuilding it would only make a second valid index of the same kind.",
            True,
        )
    if not index.is_live:
        return (
            "A DROP INDEX CONCURRENTLY was interrupted.",
            "Finish dropping it; if it is needed, create it again afterwards.",
            True,
        )
    return (
        "A CREATE INDEX CONCURRENTLY failed, or a DROP INDEX CONCURRENTLY was interrupted.",
        (
            "Drop it; if it is needed, remove what made it fail"
            f"{', such as values that occur twice,' if index.is_unique else ''} and create it again."
        ),
        True,
    )
