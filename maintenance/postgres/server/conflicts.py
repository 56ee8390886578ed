"""Deadlocks, and queries that a standby cancelled to keep up with its primary."""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted
from maintenance.postgres.counters import measure_common_window
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.server.counted_period import Counted, Period, period_between
from maintenance.postgres.sql_files import query

#: A deadlock costs one transaction that is tried again; one a day on average is a habit of the code.
DEADLOCKS_PER_DAY = 1.0
DAY_SECONDS = 86_400.0

#: PostgreSQL documentation, "Handling Query Conflicts", by the columns of pg_stat_database_conflicts.
_REMEDIES = {
    "lock": "Do DDL on the primary while the standby is quiet, or raise max_standby_streaming_delay.",
    "snapshot": "Turn hot_standby_feedback on, or raise max_standby_streaming_delay.",
    "bufferpin": "Raise max_standby_streaming_delay.",
    "deadlock": "Raise max_standby_streaming_delay.",
    "tablespace": "Drop tablespaces while the standby is quiet.",
}


def examine_conflicts(
    conn: Connection,
    thresholds: Thresholds,  # noqa: ARG001 - see DEADLOCKS_PER_DAY
    previous: Mapping[str, Any],
) -> Aspect:
    """Count deadlocks, and on a standby cancelled queries, since the last look."""
    row = query(conn, "database_incidents")[0]
    names = ["deadlocks", *(f"conflicts_{kind}" for kind in _REMEDIES)]
    now = Counted({n: int(row[n]) for n in names}, measure_common_window(conn), row["identity"])
    period = period_between(Counted.from_state(previous), now)
    deadlocks = period.increase["deadlocks"]
    cancelled = sum(period.increase[f"conflicts_{kind}"] for kind in _REMEDIES)
    parts = [counted(deadlocks, "deadlock") if deadlocks else "no deadlock"]
    if row["in_recovery"]:
        verb = "was" if cancelled == 1 else "were"
        parts.append(f"{counted(cancelled, 'query', 'queries')} {verb} cancelled to keep up")
    return Aspect(
        clause=f"{' and '.join(parts)} in {period.in_words}",
        findings=(*diagnose_deadlocks(period), *diagnose_conflicts(period)),
        facts={"deadlocks": deadlocks, "queries_cancelled": cancelled},
        state=now.to_state(),
    )


def diagnose_deadlocks(period: Period) -> Iterator[Finding]:
    """Name deadlocks that are a habit."""
    deadlocks = period.increase["deadlocks"]
    days = max(1.0, (period.seconds or 0.0) / DAY_SECONDS)
    if not deadlocks:
        return
    often = deadlocks > DEADLOCKS_PER_DAY * days
    yield Finding(
        code="deadlocks",
        severity=Severity.WARNING if often else Severity.INFO,
        subject="deadlocks",
        sentence=(
            f"{counted(deadlocks, 'deadlock')} in {period.in_words}: transactions took the same rows"
            " in different orders, and each time one of them was rolled back."
        ),
        evidence={"deadlocks": deadlocks, "period_seconds": period.seconds},
        advice=(
            "The server's log shows both statements of each. Let the code lock rows in one order"
            " (SELECT ... ORDER BY id FOR UPDATE), and retry what was rolled back."
        ),
    )


def diagnose_conflicts(period: Period) -> Iterator[Finding]:
    """Name queries that a standby cancelled, by the kind that happened most."""
    counts = {kind: period.increase[f"conflicts_{kind}"] for kind in _REMEDIES}
    total = sum(counts.values())
    if not total:
        return
    worst = max(counts, key=lambda kind: counts[kind])
    yield Finding(
        code="standby-conflicts",
        severity=Severity.WARNING,
        subject="standby conflicts",
        sentence=(
            f"This standby cancelled {counted(total, 'query', 'queries')} in {period.in_words} to"
            f" keep up with its primary, {counts[worst]:,} of them over a {worst}."
        ),
        evidence={**counts, "period_seconds": period.seconds},
        advice=_REMEDIES[worst],
    )
