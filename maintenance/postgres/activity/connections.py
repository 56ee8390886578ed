"""How many sessions there are, in which state, and how many more the server takes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Sample, Table
from maintenance.core.wording import counted, percent
from maintenance.postgres.activity.backends import ActivitySnapshot, Backend

#: Shares of the connections that are not reserved. The rest is what a deployment needs, which runs
#: old and new workers side by side for a moment; above the second one the next burst is refused.
USED_WARNING_RATIO = 0.80
USED_CRITICAL_RATIO = 0.95

HIDDEN_STATE = "hidden"


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """Client connections of the whole server, without ours.

    ``available`` is what clients may use at most: ``max_connections`` less the reserved ones.
    ``active`` and ``idle_in_transaction`` count only those whose state is known;
    ``is_complete`` tells whether that is all of them.
    """

    used: int
    here: int
    active: int
    active_here: int
    idle_in_transaction: int
    available: int
    max_connections: int
    is_complete: bool

    @property
    def used_ratio(self) -> float:
        """Share of the available connections that is in use."""
        return self.used / self.available if self.available > 0 else 1.0


def count_connections(snapshot: ActivitySnapshot) -> ConnectionCounts:
    """Count the sessions of a snapshot."""
    clients = [backend for backend in snapshot.backends if backend.is_client]
    active = [backend for backend in clients if backend.state == "active"]
    return ConnectionCounts(
        used=len(clients),
        here=sum(backend.here for backend in clients),
        active=len(active),
        active_here=sum(backend.here for backend in active),
        idle_in_transaction=sum(backend.is_idle_in_transaction for backend in clients),
        available=snapshot.max_connections - snapshot.reserved_connections,
        max_connections=snapshot.max_connections,
        is_complete=snapshot.shows_everything,
    )


def diagnose_connections(counts: ConnectionCounts, thresholds: Thresholds) -> Iterator[Finding]:
    """Judge the counts against the server's limit and the target for active ones."""
    if counts.used_ratio >= USED_WARNING_RATIO:
        critical = counts.used_ratio >= USED_CRITICAL_RATIO
        yield Finding(
            code="connections-used",
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject="connections",
            sentence=(
                f"{counts.used:,} of {counts.available:,} available connections are in use"
                f" ({percent(counts.used_ratio)}); when none is left, new ones are refused."
            ),
            evidence={
                "used_connections": counts.used,
                "available_connections": counts.available,
                "max_connections": counts.max_connections,
                "used_ratio": counts.used_ratio,
                "limit_ratio": USED_WARNING_RATIO,
            },
            advice=(
                "Find clients that open more than they use (the table shows who), put a pooler such"
                " as PgBouncer in front, or raise max_connections, which needs a restart."
            ),
        )
    if counts.active >= thresholds.active_connections:
        yield Finding(
            code="connections-active",
            severity=Severity.WARNING,
            subject="active connections",
            sentence=(
                f"{'' if counts.is_complete else 'At least '}{counted(counts.active, 'connection')}"
                f" run a statement at this moment; the target is fewer than"
                f" {thresholds.active_connections:,}."
            ),
            evidence={
                "active_connections": counts.active,
                "active_connections_here": counts.active_here,
                "limit_connections": thresholds.active_connections,
            },
            advice=(
                "See which statements they run (analysis long-running, blocking and queries): more"
                " running at once than the machine has processors only queue for them."
            ),
        )


def connections_table(snapshot: ActivitySnapshot) -> Table:
    """Count client connections by database, user, application and state, the most first."""
    groups = Counter(_group(backend) for backend in snapshot.backends if backend.is_client)
    ordered = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    return Table.of(
        "Connections by state",
        [
            {
                "connections": count,
                "state": state,
                "database": database,
                "user": user,
                "application": application,
            }
            for (state, database, user, application), count in ordered
        ],
    )


def _group(backend: Backend) -> tuple[str, str, str, str]:
    state = HIDDEN_STATE if backend.hidden else backend.state or "unknown"
    return (
        state,
        backend.database or "",
        backend.user_name or "",
        backend.application_name or "",
    )


def connection_samples(counts: ConnectionCounts) -> tuple[Sample, ...]:
    """Return what to keep over time; counts by state only where all states are known."""
    samples = [
        Sample("connections_count", counts.used),
        Sample("connections_used_ratio", counts.used_ratio),
    ]
    if counts.is_complete:
        samples += [
            Sample("active_connections_count", counts.active),
            Sample("idle_in_transaction_count", counts.idle_in_transaction),
        ]
    return tuple(samples)


def connections_in_words(counts: ConnectionCounts) -> str:
    """Say the counts in half a sentence."""
    states = f", {counts.active:,} of them active" if counts.is_complete else ""
    return f"{counts.used:,} of {counts.available:,} available connections are in use{states}"
