"""What in a database is broken, or will be: the report of ``check_data_integrity``."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted
from maintenance.postgres.capacity.sequence_lag import (
    diagnose_lags,
    measure_lag,
    uncompared_sequences,
)
from maintenance.postgres.capacity.sequences import (
    diagnose_sequences,
    measure_sequences,
    sequence_outlooks,
    sequence_samples,
    sequences_table,
    unreadable_sequences,
)
from maintenance.postgres.connection import connect, connection_was_lost, reason_of
from maintenance.postgres.indexes.catalog import measure_indexes
from maintenance.postgres.indexes.invalid import invalid_index_findings, invalid_indexes
from maintenance.postgres.integrity.amcheck import diagnose_verification, verify
from maintenance.postgres.integrity.constraints import (
    OrphanCount,
    UnprovedConstraint,
    constraints_table,
    count_orphans,
    diagnose_constraints,
    unproved_constraints,
)
from maintenance.postgres.integrity.duplicates import count_duplicates, diagnose_duplicates
from maintenance.postgres.integrity.migrations import diagnose_migrations, migration_state
from maintenance.postgres.integrity.model_relations import unenforced_relations
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.integrity.orphans import (
    count_model_orphans,
    diagnose_model_orphans,
    state_of,
)
from maintenance.postgres.time_budget import TimeBudget

#: One statement may read a table that long; a longer check belongs into a night of its own.
STATEMENT_SECONDS = 15.0
#: Who waits for a lock stands in the way of those behind.
LOCK_SECONDS = 0.5

_COUNTED_CODES = {
    "corruption": ("corrupted relation", "corrupted relations"),
    "invalid-index": ("invalid index", "invalid indexes"),
    "duplicate-rows": (
        "unique index with duplicate rows",
        "unique indexes with duplicate rows",
    ),
    "not-validated-constraint": (
        "constraint that was never validated",
        "constraints that were never validated",
    ),
    "missing-foreign-key": ("missing foreign key", "missing foreign keys"),
    "orphaned-rows": ("foreign key with orphaned rows", "foreign keys with orphaned rows"),
    "sequence-near-end": ("sequence near its end", "sequences near their end"),
    "sequence-behind-column": ("sequence behind its column", "sequences behind their columns"),
    "unapplied-migrations": ("set of waiting migrations", "sets of waiting migrations"),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """What one subject has to say."""

    findings: Sequence[Finding] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    samples: Sequence[Sample] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


def check_data_integrity(
    job: Job[DatabaseTarget, IntegrityOptions],
    thresholds: Thresholds,  # noqa: ARG001 - what is broken is broken
) -> Report:
    """Look for corruption, and for whatever does not keep what the schema promises.

    Invalid indexes, constraints that were never validated and the rows that break them, rows that
    a Django model's references lead nowhere, duplicates below unique indexes, sequences in trouble,
    migrations that wait, corruption. Reads only, within :data:`STATEMENT_SECONDS` a statement and
    ``reading_seconds`` a subject; a subject that cannot be examined leaves the others standing.
    Needs SELECT on the tables whose rows are read and on sequences, and EXECUTE on the functions
    of amcheck. Raises what :func:`connect` raises.
    """
    limit = job.target.statement_timeout_seconds or STATEMENT_SECONDS
    with connect(
        job.target,
        purpose="integrity",
        statement_timeout_seconds=min(limit, STATEMENT_SECONDS),
        lock_timeout_seconds=min(job.target.lock_timeout_seconds, LOCK_SECONDS),
    ) as conn:
        examined = [
            _contained(number, subject, job, conn) for number, subject in enumerate(_SUBJECTS)
        ]
    job.progress.update(len(_SUBJECTS), len(_SUBJECTS), phase="done", unit="subjects")
    findings = by_seriousness(chain.from_iterable(part.findings for part in examined))
    facts = {name: value for part in examined for name, value in part.facts.items()}
    return Report(
        title=f"Data integrity of {job.target_name}",
        summary=_summary(findings, facts),
        findings=tuple(findings),
        tables=tuple(table for part in examined for table in part.tables if table.rows),
        facts=facts,
        samples=tuple(chain.from_iterable(part.samples for part in examined)),
        state={name: value for part in examined for name, value in part.state.items()},
    )


def _contained(
    number: int, subject: str, job: Job[DatabaseTarget, IntegrityOptions], conn: Connection
) -> Examined:
    job.progress.update(number, len(_SUBJECTS), phase=subject, unit="subjects")
    try:
        return _SUBJECTS[subject](job, conn)
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        needs = f"another attempt: PostgreSQL ended it ({reason_of(error)})"
        return Examined([unavailable("integrity", subject, f"the check of {subject}", needs)])


def _indexes(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    indexes = measure_indexes(conn, job.target).indexes
    return Examined(
        findings=invalid_index_findings(conn, indexes),
        facts={"indexes_examined": len(indexes)},
        samples=[Sample("invalid_indexes_count", float(len(invalid_indexes(indexes))))],
    )


def _constraints(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    constraints = unproved_constraints(conn, job.target)
    orphans = _orphans(job, conn, constraints, _budget(job))
    known = [count.rows for count in orphans.values() if count.rows is not None]
    return Examined(
        findings=list(diagnose_constraints(conn, constraints, orphans)),
        facts={"unproved_constraints": len(constraints)},
        tables=[constraints_table(constraints, orphans)],
        samples=[
            Sample("unproved_constraints_count", float(len(constraints))),
            # Rows that could not be counted are left out, and so is a sum of none.
            *([Sample("orphaned_rows_count", float(sum(known)))] if known else []),
        ],
    )


def _orphans(
    job: Job[DatabaseTarget, IntegrityOptions],
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


def _model_relations(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    relations = unenforced_relations(conn, job.target)
    counts = count_model_orphans(conn, relations, job.previous_state, _budget(job), job.progress)
    return Examined(
        findings=list(diagnose_model_orphans(conn, counts)),
        facts={"unenforced_relations": len(relations)} if job.target.alias else {},
        state=state_of(counts),
    )


def _duplicates(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    counts = count_duplicates(conn, job.target, _budget(job))
    return Examined(
        findings=list(diagnose_duplicates(conn, counts)),
        facts={"doubtful_unique_indexes": len(counts)},
    )


def _sequences(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    sequences = measure_sequences(conn, job.target)
    lag = measure_lag(conn, sequences, _budget(job))
    outlooks = sequence_outlooks(sequences, job.history, time.time())
    return Examined(
        findings=[
            *diagnose_sequences(sequences, outlooks),
            *diagnose_lags(conn, lag.lags),
            *unreadable_sequences(sequences),
            *uncompared_sequences(lag),
        ],
        facts={"sequences_examined": len(sequences), "sequences_compared": lag.compared},
        tables=[sequences_table(sequences, outlooks)],
        samples=sequence_samples(sequences),
    )


def _migrations(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    return Examined(list(diagnose_migrations(migration_state(conn, job.target))))


def _corruption(job: Job[DatabaseTarget, IntegrityOptions], conn: Connection) -> Examined:
    done = verify(
        conn,
        job.target,
        job.options.amcheck,
        job.previous_state,
        budget=_budget(job),
        progress=job.progress,
    )
    return Examined(
        findings=list(diagnose_verification(conn, done)),
        facts={"relations_verified": done.verified, "relations_to_verify": done.total}
        if done.total
        else {},
        state=done.state,
    )


def _budget(job: Job[DatabaseTarget, IntegrityOptions]) -> TimeBudget:
    return TimeBudget(job.options.reading_seconds)


#: In order, by what progress and a failure call them.
_SUBJECTS: Mapping[str, Callable[[Job[DatabaseTarget, IntegrityOptions], Connection], Examined]] = {
    "indexes": _indexes,
    "constraints": _constraints,
    "references of Django models": _model_relations,
    "duplicates below unique indexes": _duplicates,
    "sequences": _sequences,
    "migrations": _migrations,
    "corruption": _corruption,
}


def _summary(findings: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    """Name what was found by kind; what could not be looked at is said beside it."""
    by_code = Counter(finding.code for finding in findings if finding.measured)
    unmeasured = sum(not finding.measured for finding in findings)
    parts = [
        counted(facts.get("indexes_examined", 0), "index", "indexes"),
        counted(facts.get("sequences_examined", 0), "sequence"),
    ]
    examined = f"{' and '.join(parts)} examined"
    if facts.get("relations_to_verify"):
        verified, total = facts["relations_verified"], facts["relations_to_verify"]
        examined += f", {verified:,} of {counted(total, 'relation')} verified by amcheck"
    rest = f"; {counted(unmeasured, 'check')} unavailable" if unmeasured else ""
    found = [
        counted(by_code[code], *words) for code, words in _COUNTED_CODES.items() if by_code[code]
    ]
    if not found:
        return f"Nothing is broken: {examined}{rest}."
    return f"{', '.join(found)} ({examined}{rest})."
