"""What goes on in the server at this moment: connections, long transactions, who blocks whom."""

from collections.abc import Collection, Mapping, Sequence
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
from maintenance.postgres.activity.blocking import trees_of
from maintenance.postgres.activity.blocking_findings import (
    blocking_table,
    diagnose_blocking,
    longest_wait_seconds,
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
from maintenance.postgres.activity.idle import (
    diagnose_idle,
    idle_limit_seconds,
    idle_transactions,
)
from maintenance.postgres.activity.long_running import (
    diagnose_long_running,
    long_statements,
    long_transactions,
)
from maintenance.postgres.activity.session_rows import sessions_table
from maintenance.postgres.activity.sessions import XminHolder, xmin_holders
from maintenance.postgres.activity.xmin import (
    diagnose_holders,
    holders_table,
    holds_for_long,
    sessions_among,
)
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

    A moment is measured, and connections by the peaks that earlier runs saw as well. Needs pg_read_all_stats to see what others do. Raises what
    :func:`connect` raises.
    """
    moment = _measure(job)
    before = [
        _connections(moment, measure_peaks(job.history), thresholds),
        _long_running(moment, thresholds),
        _idle(moment, thresholds),
    ]
    named = {finding.subject for part in before for finding in part.findings}
    parts = [
        *before,
        _xmin(moment, thresholds, named),
        _blocking(moment.snapshot, thresholds),
    ]
    return _report("Activity", job, moment.snapshot, parts)


def connections(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Compare the connections with every limit and the target for active ones, now and at peaks."""
    moment = _measure(job)
    part = _connections(moment, measure_peaks(job.history), thresholds)
    return _report("Connections", job, moment.snapshot, [part])


def long_running(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name statements and transactions that have been at work for too long."""
    moment = _measure(job)
    part = _long_running(moment, thresholds)
    return _report("Long-running statements and transactions", job, moment.snapshot, [part])


def idle_in_transaction(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name sessions that do nothing in an open transaction."""
    moment = _measure(job)
    return _report("Idle transactions", job, moment.snapshot, [_idle(moment, thresholds)])


def xmin(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name what keeps VACUUM from removing dead rows: sessions, slots, standbys and others."""
    moment = _measure(job)
    return _report("What holds back VACUUM", job, moment.snapshot, [_xmin(moment, thresholds)])


def blocking(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name those for whom other sessions wait, with everybody behind them."""
    snapshot = _measure(job).snapshot
    return _report("Blocking", job, snapshot, [_blocking(snapshot, thresholds)])


def _measure(job: Job[DatabaseTarget, NoOptions]) -> _Moment:
    with connect(job.target, purpose="activity") as conn:
        snapshot = measure_activity(conn)
        return _Moment(
            snapshot,
            xmin_holders(conn, with_catalogs=True),
            measure_limits(conn, snapshot.backends),
        )


def _connections(moment: _Moment, peaks: Peaks, thresholds: Thresholds) -> _Part:
    counts = count_connections(moment.snapshot)
    return _Part(
        clause=connections_in_words(counts),
        findings=(
            *diagnose_connections(counts, thresholds),
            *diagnose_limits(moment.limits),
            *diagnose_peaks(peaks, counts, thresholds),
        ),
        tables=(connections_table(moment.snapshot), limits_table(moment.limits)),
        samples=connection_samples(counts),
        facts=peaks.facts(),
    )


def _long_running(moment: _Moment, thresholds: Thresholds) -> _Part:
    snapshot, holders = moment.snapshot, moment.holders
    statements = long_statements(snapshot, thresholds)
    transactions = long_transactions(snapshot, thresholds)
    limit = seconds_in_words(thresholds.long_running_seconds)
    found = [
        f"{counted(len(backends), noun)}{_seen(snapshot)}"
        f" {'has' if len(backends) == 1 else 'have'} run for more than {limit}"
        for backends, noun in ((statements, "statement"), (transactions, "transaction"))
        if backends
    ]
    none = f"no statement or transaction{_seen(snapshot)} runs long"
    return _Part(
        clause=" and ".join(found) or none,
        findings=tuple(diagnose_long_running(snapshot, sessions_among(holders), thresholds)),
        tables=(
            sessions_table("Statements that run long", statements),
            sessions_table("Transactions that run long", transactions),
        ),
        samples=_if_seen(snapshot, Sample("long_running_statements_count", len(statements))),
    )


def _idle(moment: _Moment, thresholds: Thresholds) -> _Part:
    snapshot, holders = moment.snapshot, moment.holders
    idle = idle_transactions(snapshot, thresholds)
    limit = seconds_in_words(idle_limit_seconds(thresholds))
    clause = f"no session{_seen(snapshot)} sits idle in a transaction"
    if idle:
        clause = (
            f"{counted(len(idle), 'session')}{_seen(snapshot)} {'sits' if len(idle) == 1 else 'sit'}"
            f" idle in a transaction for {limit}"
        )
    return _Part(
        clause=clause,
        findings=tuple(diagnose_idle(snapshot, sessions_among(holders), thresholds)),
        tables=(sessions_table("Sessions idle in a transaction", idle),),
        samples=(),
    )


def _xmin(moment: _Moment, thresholds: Thresholds, named: Collection[str] = ()) -> _Part:
    snapshot, holders = moment.snapshot, moment.holders
    of_tables = [holder.xid_age for holder in holders if not holder.catalogs_only]
    oldest = max(of_tables, default=0)
    clause = f"nothing{_seen(snapshot)} holds back VACUUM for long"
    if any(holds_for_long(holder, thresholds) for holder in holders):
        clause = (
            f"VACUUM cannot yet remove rows that died in the last {counted(oldest, 'transaction')}"
        )
    backends = by_pid(snapshot.backends)
    return _Part(
        clause=clause,
        findings=tuple(diagnose_holders(holders, backends, thresholds, named=named)),
        tables=(holders_table(holders),),
        samples=_if_seen(snapshot, Sample("oldest_xmin_age", oldest)),
    )


def _seen(snapshot: ActivitySnapshot) -> str:
    return "" if snapshot.shows_everything else " that may be seen"


def _if_seen(snapshot: ActivitySnapshot, *samples: Sample) -> tuple[Sample, ...]:
    """Return the samples, none where a session that may not be seen could change them."""
    return samples if snapshot.shows_everything else ()


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
