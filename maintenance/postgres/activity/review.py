"""What goes on in the server at this moment: connections, long transactions, who blocks whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, seconds_in_words
from maintenance.postgres.activity.backends import (
    ActivitySnapshot,
    by_pid,
    measure_activity,
    visibility_findings,
)
from maintenance.postgres.activity.blocking import (
    blocking_table,
    diagnose_blocking,
    longest_wait_seconds,
    trees_of,
)
from maintenance.postgres.activity.connection_limits import (
    ConnectionLimit,
    Peaks,
    diagnose_limits,
    diagnose_peaks,
    limits_table,
    measure_limits,
    measure_peaks,
)
from maintenance.postgres.activity.connections import (
    connection_samples,
    connections_in_words,
    connections_table,
    count_connections,
    diagnose_connections,
)
from maintenance.postgres.activity.long_running import (
    diagnose_long_running,
    holders_table,
    idle_limit_seconds,
    idle_transactions,
    long_statements,
    sessions_table,
)
from maintenance.postgres.activity.sessions import XminHolder, xmin_holders
from maintenance.postgres.connection import connect


@dataclass(frozen=True, slots=True)
class _Moment:
    """Everything that is measured at once."""

    snapshot: ActivitySnapshot
    holders: Sequence[XminHolder]
    limits: Sequence[ConnectionLimit]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one aspect of the activity has to say; ``clause`` is half a sentence."""

    clause: str
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    samples: tuple[Sample, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to do."""
        return not any(finding.measured for finding in self.findings)


def review_activity(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Look at connections, long-running statements, open transactions and blocking at once.

    A moment is measured, not a period. Needs pg_read_all_stats to see what others do. Raises what
    :func:`connect` raises.
    """
    moment = _measure(job)
    parts = [
        _connections(moment, measure_peaks(job.history), thresholds),
        _long_running(moment, thresholds),
        _blocking(moment.snapshot, thresholds),
    ]
    return _report("Activity", job, moment.snapshot, parts)


def connections(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Compare the connections with every limit and the target for active ones, now and at peaks."""
    moment = _measure(job)
    part = _connections(moment, measure_peaks(job.history), thresholds)
    return _report("Connections", job, moment.snapshot, [part])


def long_running(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name statements and transactions that have been open for too long."""
    moment = _measure(job)
    part = _long_running(moment, thresholds)
    return _report("Long-running statements and transactions", job, moment.snapshot, [part])


def blocking(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name those for whom other sessions wait, with everybody behind them."""
    snapshot = _measure(job).snapshot
    return _report("Blocking", job, snapshot, [_blocking(snapshot, thresholds)])


def _measure(job: Job[DatabaseTarget, NoOptions]) -> _Moment:
    with connect(job.target, purpose="activity") as conn:
        snapshot = measure_activity(conn)
        return _Moment(snapshot, xmin_holders(conn), measure_limits(conn, snapshot.backends))


def _connections(moment: _Moment, peaks: Peaks, thresholds: Thresholds) -> _Part:
    counts = count_connections(moment.snapshot)
    return _Part(
        clause=connections_in_words(counts),
        findings=(
            *diagnose_connections(counts, thresholds),
            *diagnose_limits(moment.limits),
            *diagnose_peaks(peaks, counts),
        ),
        tables=(connections_table(moment.snapshot), limits_table(moment.limits)),
        samples=connection_samples(counts),
        facts=peaks.facts(),
    )


def _long_running(moment: _Moment, thresholds: Thresholds) -> _Part:
    snapshot, holders = moment.snapshot, moment.holders
    statements = long_statements(snapshot, thresholds)
    idle = idle_transactions(snapshot, thresholds)
    samples = []
    if snapshot.shows_everything:
        samples = [
            Sample("long_running_statements_count", len(statements)),
            Sample("oldest_xmin_age", max((holder.xid_age for holder in holders), default=0)),
        ]
    return _Part(
        clause=_long_running_clause(snapshot, len(statements), len(idle), thresholds),
        findings=tuple(diagnose_long_running(snapshot, holders, thresholds)),
        tables=(
            sessions_table("Statements that run long", statements),
            sessions_table("Sessions idle in a transaction", idle),
            holders_table(holders),
        ),
        samples=tuple(samples),
    )


def _long_running_clause(
    snapshot: ActivitySnapshot, statements: int, idle: int, thresholds: Thresholds
) -> str:
    seen = "" if snapshot.shows_everything else " that may be seen"
    found = []
    if statements:
        limit = seconds_in_words(thresholds.long_running_seconds)
        verb = "has" if statements == 1 else "have"
        found.append(f"{counted(statements, 'statement')}{seen} {verb} run for more than {limit}")
    if idle:
        limit = seconds_in_words(idle_limit_seconds(thresholds))
        verb = "sits" if idle == 1 else "sit"
        found.append(f"{counted(idle, 'session')}{seen} {verb} idle in a transaction for {limit}")
    return " and ".join(found) or f"no statement or transaction{seen} runs long"


def _blocking(snapshot: ActivitySnapshot, thresholds: Thresholds) -> _Part:
    trees = trees_of(snapshot)
    waiting = sum(len(tree.waits) for tree in trees)
    longest = longest_wait_seconds(trees, by_pid(snapshot.backends))
    clause = "no session waits for another"
    if trees:
        clause = (
            f"{counted(waiting, 'session')} {'waits' if waiting == 1 else 'wait'} for"
            f" {counted(len(trees), 'other')}, the longest for {seconds_in_words(longest)}"
        )
    return _Part(
        clause=clause,
        findings=tuple(diagnose_blocking(trees, snapshot, thresholds)),
        tables=(blocking_table(trees, snapshot),),
        samples=(
            Sample("blocked_sessions_count", waiting),
            Sample("longest_wait_seconds", longest),
        ),
    )


def _report(
    title: str,
    job: Job[DatabaseTarget, NoOptions],
    snapshot: ActivitySnapshot,
    parts: Sequence[_Part],
) -> Report:
    findings = [finding for part in parts for finding in part.findings]
    findings += visibility_findings(snapshot)
    return Report(
        title=f"{title} of {job.target_name}",
        summary=_summary(snapshot, parts),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(table for part in parts for table in part.tables if table.rows),
        facts=_facts(snapshot, parts),
        samples=tuple(sample for part in parts for sample in part.samples),
    )


def _summary(snapshot: ActivitySnapshot, parts: Sequence[_Part]) -> str:
    text = "; ".join(part.clause for part in parts) + "."
    if all(part.is_quiet for part in parts) and snapshot.shows_everything:
        return f"Nothing to do: {text}"
    return text[:1].upper() + text[1:]


def _facts(snapshot: ActivitySnapshot, parts: Sequence[_Part]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "sessions_seen": len(snapshot.backends),
        "sessions_hidden": snapshot.hidden_count,
        "max_connections": snapshot.max_connections,
        "reserved_connections": snapshot.reserved_connections,
        "superuser_reserved_connections": snapshot.superuser_reserved_connections,
    }
    for part in parts:
        facts.update(part.facts)
    return facts
