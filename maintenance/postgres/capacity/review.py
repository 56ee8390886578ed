"""What will run out inside the database: space by its growth, numbers by their use."""

import time
from collections.abc import Callable, Mapping, Sequence

import psycopg2

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, joined
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
    fullest,
    measure_sequences,
    sequence_outlooks,
    sequence_samples,
    sequences_table,
    unreadable_sequences,
)
from maintenance.postgres.connection import connect, reason_of
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
    other keys. What cannot be measured leaves the rest standing. Raises what :func:`connect`
    raises.
    """
    reports = []
    for number, (subject, measure) in enumerate(_SUBJECTS.items()):
        job.progress.update(number, len(_SUBJECTS), phase=subject, unit="subjects")
        try:
            reports.append(measure(job, thresholds))
        except psycopg2.Error as error:
            reports.append(_not_measured(subject, reason_of(error)))
    job.progress.update(len(_SUBJECTS), len(_SUBJECTS), phase="done", unit="subjects")
    return joined(f"Growth and sequences of {job.target_name}", reports)


def _not_measured(subject: str, reason: str) -> Report:
    needs = f"another attempt: PostgreSQL ended it ({reason})"
    return Report(
        title=subject,
        summary=f"{subject.capitalize()} could not be measured.",
        findings=(unavailable("capacity", subject, f"the check of {subject}", needs),),
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
    nearest = fullest(sequences)
    of_sequences = sequence_outlooks(nearest, job.history, now)
    of_keys = key_outlooks(narrow.keys, job.history, now)
    findings = [
        *diagnose_sequences(sequences, of_sequences),
        *unreadable_sequences(sequences),
        *diagnose_narrow_keys(narrow.keys, of_keys),
        *unread_keys(narrow),
    ]
    tables = (
        sequences_table(nearest, of_sequences),
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
        samples=(*sequence_samples(nearest), *narrow_key_samples(narrow.keys)),
    )


#: In order, by what progress and a failure call them.
_SUBJECTS: Mapping[str, Callable[[Job[DatabaseTarget, NoOptions], Thresholds], Report]] = {
    "growth": report_growth,
    "sequences and keys": report_sequences,
}


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
