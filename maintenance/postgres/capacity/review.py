"""What will run out inside the database: space by its growth, numbers by their use."""

import time
from collections.abc import Sequence
from dataclasses import replace

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.wording import counted
from maintenance.postgres.capacity.growth import report_growth
from maintenance.postgres.capacity.narrow_keys import (
    KEYS_READ,
    NarrowKeys,
    diagnose_narrow_keys,
    key_outlooks,
    measure_narrow_keys,
    narrow_key_samples,
    narrow_keys_table,
    unread_keys,
)
from maintenance.postgres.capacity.sequences import (
    SequenceState,
    diagnose_sequences,
    measure_sequences,
    sequence_outlooks,
    sequence_samples,
    sequences_table,
    unreadable_sequences,
)
from maintenance.postgres.connection import connect
from maintenance.postgres.time_budget import TimeBudget

#: The largest value of an indexed column takes a fraction of a millisecond; what takes much longer
#: meets dead rows at the end of its index. Reading 10,000 sequences takes a second or two.
STATEMENT_SECONDS = 15.0
#: All of these looks share this.
READING_SECONDS = 30.0
#: Who waits for a lock stands in the way of those behind.
LOCK_SECONDS = 0.5

_NEAR_END = {"sequence-near-end", "key-near-end", "narrow-foreign-key"}


def review_database_growth(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Foretell when space and numbers run out, from what earlier runs stored.

    A run stores at most 201 samples: the database, 50 tables and 50 indexes, 50 sequences and 50
    other keys. Raises what :func:`connect` raises.
    """
    job.progress.update(0, 2, phase="growth", unit="subjects")
    growth = report_growth(job, thresholds)
    job.progress.update(1, 2, phase="sequences", unit="subjects")
    numbers = report_sequences(job, thresholds)
    job.progress.update(2, 2, phase="done", unit="subjects")
    return replace(
        growth,
        title=f"Growth and sequences of {job.target_name}",
        summary=f"{growth.summary} {numbers.summary}",
        findings=tuple(by_seriousness((*growth.findings, *numbers.findings))),
        tables=(*growth.tables, *numbers.tables),
        facts={**growth.facts, **numbers.facts},
        samples=(*growth.samples, *numbers.samples),
    )


def report_sequences(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:  # noqa: ARG001 - the end is the end
    """Name sequences and integer keys that near their end, with a date where history gives one.

    Needs SELECT on sequences, and on the tables of keys without one. Raises what :func:`connect`
    raises.
    """
    limit = job.target.statement_timeout_seconds or STATEMENT_SECONDS
    with connect(
        job.target,
        purpose="sequences",
        statement_timeout_seconds=min(limit, STATEMENT_SECONDS),
        lock_timeout_seconds=min(job.target.lock_timeout_seconds, LOCK_SECONDS),
    ) as conn:
        sequences = measure_sequences(conn, job.target)
        narrow = measure_narrow_keys(conn, job.target, sequences, TimeBudget(READING_SECONDS))
    now = time.time()
    of_sequences = sequence_outlooks(sequences, job.history, now)
    of_keys = key_outlooks(narrow.keys, job.history, now)
    findings = [
        *diagnose_sequences(sequences, of_sequences),
        *unreadable_sequences(sequences),
        *diagnose_narrow_keys(narrow.keys, of_keys),
        *unread_keys(narrow),
    ]
    tables = (
        sequences_table(sequences, of_sequences),
        narrow_keys_table(narrow.keys, of_keys),
    )
    return Report(
        title=f"Sequences and keys of {job.target_name}",
        summary=_summary(findings, sequences, narrow),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(table for table in tables if table.rows),
        facts={
            "sequences_examined": len(sequences),
            "keys_examined": len(narrow.keys),
            "keys_left_out": narrow.left_out,
        },
        samples=(*sequence_samples(sequences), *narrow_key_samples(narrow.keys)),
    )


def _summary(
    findings: Sequence[Finding], sequences: Sequence[SequenceState], narrow: NarrowKeys
) -> str:
    near = sum(f.code in _NEAR_END and f.severity.rank > 1 for f in findings)
    unmeasured = sum(not finding.measured for finding in findings)
    examined = (
        f"{counted(len(sequences), 'sequence')} and"
        f" {counted(len(narrow.keys), 'other integer key')} examined"
    )
    if narrow.left_out:
        examined += f", {narrow.left_out:,} beyond the {KEYS_READ} of the largest tables left out"
    if unmeasured:
        examined += f"; {counted(unmeasured, 'check')} unavailable"
    if near:
        verb = "nears its" if near == 1 else "near their"
        return f"{counted(near, 'sequence or key', 'sequences or keys')} {verb} end ({examined})."
    return f"No sequence or key nears its end ({examined})."
