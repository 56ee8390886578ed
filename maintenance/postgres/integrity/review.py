"""What in a database is broken, or will be: indexes, constraints, orphaned rows, sequences."""

from collections import Counter
from collections.abc import Mapping, Sequence

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample
from maintenance.core.wording import counted
from maintenance.postgres.capacity.sequences import (
    diagnose_lags,
    diagnose_sequences,
    measure_lag,
    measure_sequences,
    sequence_samples,
    sequences_table,
    unreadable_sequences,
)
from maintenance.postgres.connection import connect
from maintenance.postgres.indexes.catalog import measure_indexes
from maintenance.postgres.indexes.usage import invalid_index_findings, invalid_indexes
from maintenance.postgres.integrity.constraints import (
    OrphanCount,
    UnprovedConstraint,
    constraints_table,
    count_orphans,
    diagnose_constraints,
    unproved_constraints,
)
from maintenance.postgres.time_budget import TimeBudget

#: One statement may read a table that long; a longer check belongs into a night of its own.
STATEMENT_SECONDS = 15.0
#: All statements that read rows share this.
READING_SECONDS = 120.0
#: Who waits for a lock stands in the way of those behind.
LOCK_SECONDS = 0.5

_COUNTED_CODES = {
    "invalid-index": ("invalid index", "invalid indexes"),
    "not-validated-constraint": (
        "constraint that was never validated",
        "constraints that were never validated",
    ),
    "orphaned-rows": ("foreign key with orphaned rows", "foreign keys with orphaned rows"),
    "sequence-near-end": ("sequence near its end", "sequences near their end"),
    "sequence-behind-column": ("sequence behind its column", "sequences behind their columns"),
}


def check_data_integrity(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:  # noqa: ARG001 - what is broken is broken
    """Look for invalid indexes, unproved constraints, orphaned rows, and sequences in trouble.

    Reads only, within :data:`STATEMENT_SECONDS` a statement and :data:`READING_SECONDS` in all.
    Needs SELECT on the tables behind foreign keys that were never validated, and on sequences.
    Raises what :func:`connect` raises.
    """
    limit = job.target.statement_timeout_seconds or STATEMENT_SECONDS
    with connect(
        job.target,
        purpose="integrity",
        statement_timeout_seconds=min(limit, STATEMENT_SECONDS),
        lock_timeout_seconds=min(job.target.lock_timeout_seconds, LOCK_SECONDS),
    ) as conn:
        return _check(job, conn, TimeBudget(READING_SECONDS))


def _check(job: Job[DatabaseTarget, NoOptions], conn: Connection, budget: TimeBudget) -> Report:
    job.progress.update(0, 3, phase="indexes", unit="subjects")
    measurement = measure_indexes(conn, job.target)
    findings = invalid_index_findings(conn, measurement.indexes)

    job.progress.update(1, 3, phase="constraints", unit="subjects")
    constraints = unproved_constraints(conn, job.target)
    orphans = _orphans(job, conn, constraints, budget)
    findings += diagnose_constraints(conn, constraints, orphans)

    job.progress.update(2, 3, phase="sequences", unit="subjects")
    sequences = measure_sequences(conn, job.target)
    lag = measure_lag(conn, sequences, budget)
    findings += diagnose_sequences(sequences)
    findings += diagnose_lags(conn, lag.lags)
    findings += unreadable_sequences(sequences, lag)
    job.progress.update(3, 3, phase="done", unit="subjects")

    counts = {
        "indexes_examined": len(measurement.indexes),
        "unproved_constraints": len(constraints),
        "sequences_examined": len(sequences),
        "sequences_compared": lag.compared,
    }
    tables = (constraints_table(constraints, orphans), sequences_table(sequences))
    return Report(
        title=f"Data integrity of {job.target_name}",
        summary=_summary(findings, counts),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(table for table in tables if table.rows),
        facts=counts,
        samples=(
            *sequence_samples(sequences),
            *_samples(len(invalid_indexes(measurement.indexes)), constraints, orphans),
        ),
    )


def _orphans(
    job: Job[DatabaseTarget, NoOptions],
    conn: Connection,
    constraints: Sequence[UnprovedConstraint],
    budget: TimeBudget,
) -> dict[int, OrphanCount]:
    """Count the rows that break each foreign key, by the key's oid."""
    keys = [constraint for constraint in constraints if constraint.is_foreign_key]
    counts: dict[int, OrphanCount] = {}
    for number, key in enumerate(keys):
        job.progress.update(number, len(keys), phase=f"rows of {key.name}", unit="foreign keys")
        counts[key.oid] = count_orphans(conn, key, budget)
    return counts


def _summary(findings: Sequence[Finding], counts: Mapping[str, int]) -> str:
    """Name what was found by kind; what could not be looked at is said beside it."""
    by_code = Counter(finding.code for finding in findings if finding.measured)
    unmeasured = sum(not finding.measured for finding in findings)
    examined = (
        f"{counted(counts['indexes_examined'], 'index', 'indexes')} and"
        f" {counted(counts['sequences_examined'], 'sequence')} examined"
    )
    rest = f"; {counted(unmeasured, 'check')} unavailable" if unmeasured else ""
    found = [
        counted(by_code[code], *words) for code, words in _COUNTED_CODES.items() if by_code[code]
    ]
    if not found:
        return f"Nothing is broken: {examined}{rest}."
    return f"{', '.join(found)} ({examined}{rest})."


def _samples(
    invalid: int,
    constraints: Sequence[UnprovedConstraint],
    orphans: Mapping[int, OrphanCount],
) -> tuple[Sample, ...]:
    """Return the counts to keep over time; rows that were not counted are left out."""
    known = [count.rows for count in orphans.values() if count.rows is not None]
    return (
        Sample("invalid_indexes_count", float(invalid)),
        Sample("unproved_constraints_count", float(len(constraints))),
        *((Sample("orphaned_rows_count", float(sum(known))),) if known else ()),
    )
