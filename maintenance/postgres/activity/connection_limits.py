"""Limits nearer than max_connections: those of a role or a database, and what peaks came to."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds, is_below
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import History, Point
from maintenance.core.reports import Table
from maintenance.core.trend import DAY_SECONDS
from maintenance.core.wording import counted, percent
from maintenance.postgres.activity.backends import Backend
from maintenance.postgres.activity.connections import (
    USED_CRITICAL_RATIO,
    USED_WARNING_RATIO,
    ConnectionCounts,
)
from maintenance.postgres.sql_files import query

#: A month holds every job that a site has.
PEAK_SECONDS = 30 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """How many connections one role or database may have, and how many it has without ours.

    ``kind`` is ``role`` or ``database``; ``quoted_name`` is fit for a statement.
    """

    kind: str
    quoted_name: str
    limit: int
    used: int

    @property
    def used_ratio(self) -> float:
        """Share of the limit that is in use."""
        return self.used / self.limit


def measure_limits(conn: Connection, backends: Sequence[Backend]) -> list[ConnectionLimit]:
    """Return the limits with what the ``backends`` use of them."""
    clients = [backend for backend in backends if backend.is_client]
    used = Counter(("role", backend.user_name) for backend in clients)
    used.update(("database", backend.database) for backend in clients)
    return [
        ConnectionLimit(
            row["kind"],
            row["quoted_name"],
            row["connection_limit"],
            used[row["kind"], row["name"]],
        )
        for row in query(conn, "limited_owners")
    ]


def diagnose_limits(limits: Sequence[ConnectionLimit]) -> Iterator[Finding]:
    """Judge each limit by the same shares as ``max_connections``."""
    for limit in limits:
        if limit.used_ratio < USED_WARNING_RATIO:
            continue
        critical = limit.used_ratio >= USED_CRITICAL_RATIO
        owner = f"{limit.kind} {limit.quoted_name}"
        yield Finding(
            code="connections-limited",
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject=owner,
            sentence=(
                f"{limit.used:,} of the {limit.limit:,} connections that the {owner} may have are"
                f" in use ({percent(limit.used_ratio)}); when none is left, new ones are refused."
            ),
            evidence={
                "used_connections": limit.used,
                "connection_limit": limit.limit,
                "used_ratio": limit.used_ratio,
                "limit_ratio": USED_WARNING_RATIO,
            },
            advice=(
                "Find clients that open more than they use (the table shows who), or raise it with"
                f" ALTER {limit.kind.upper()} {limit.quoted_name} CONNECTION LIMIT."
            ),
        )


def limits_table(limits: Sequence[ConnectionLimit]) -> Table:
    """Return the limits, the fullest first."""
    ordered = sorted(limits, key=lambda limit: (-limit.used_ratio, limit.kind, limit.quoted_name))
    return Table.of(
        "Connection limits of roles and databases",
        [
            {
                "owner": f"{limit.kind} {limit.quoted_name}",
                "connections": limit.used,
                "connection_limit": limit.limit,
                "used_ratio": limit.used_ratio,
            }
            for limit in ordered
        ],
    )


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest counts that runs of the last :data:`PEAK_SECONDS` met, ``None`` without any.

    A run sees a moment: the true peak may have been higher.
    """

    used: Point | None
    active: Point | None

    def facts(self) -> dict[str, Any]:
        """Return plain values; nothing of what is not known."""
        known = {"connections": self.used, "active_connections": self.active}
        facts: dict[str, Any] = {}
        for name, point in known.items():
            if point is not None:
                facts[f"highest_{name}"] = int(point.value)
                facts[f"highest_{name}_at"] = _time(point).isoformat()
        return facts


def measure_peaks(history: History) -> Peaks:
    """Return what earlier runs stored."""
    return Peaks(
        used=history.highest("connections_count", since_seconds=PEAK_SECONDS),
        active=history.highest("active_connections_count", since_seconds=PEAK_SECONDS),
    )


def diagnose_peaks(
    peaks: Peaks, counts: ConnectionCounts, thresholds: Thresholds
) -> Iterator[Finding]:
    """Name the peaks that came near the limit or missed the target, unless the present does so, too."""
    yield from _used_peak(peaks, counts)
    yield from _active_peak(peaks, counts, thresholds.active_connections)


def _active_peak(peaks: Peaks, counts: ConnectionCounts, target: int) -> Iterator[Finding]:
    peak = peaks.active
    if peak is None or is_below(peak.value, target) or not is_below(counts.active, target):
        return
    yield Finding(
        code="connections-active-peak",
        severity=Severity.WARNING,
        subject="active connections",
        sentence=(
            f"{counted(int(peak.value), 'connection')} ran a statement at"
            f" {_time(peak):%Y-%m-%d %H:%M} UTC, the most that was seen in the last 30 days; the"
            f" target is fewer than {target:,}."
        ),
        evidence={
            "highest_active_connections": int(peak.value),
            "highest_active_connections_at": _time(peak).isoformat(),
            "limit_connections": target,
        },
        advice=(
            "Look at what ran at that time: more running at once than the machine has processors"
            " only queue for them. A pooler such as PgBouncer lets in as many as it can serve."
        ),
    )


def _used_peak(peaks: Peaks, counts: ConnectionCounts) -> Iterator[Finding]:
    peak = peaks.used
    if peak is None or counts.available <= 0 or counts.used_ratio >= USED_WARNING_RATIO:
        return
    ratio = peak.value / counts.available
    if ratio < USED_WARNING_RATIO:
        return
    yield Finding(
        code="connections-peak",
        severity=Severity.WARNING,
        subject="connections",
        sentence=(
            f"{peak.value:,.0f} of {counts.available:,} available connections were in use"
            f" ({percent(ratio)}) at {_time(peak):%Y-%m-%d %H:%M} UTC, the most that was seen in the"
            " last 30 days; when none is left, new ones are refused."
        ),
        evidence={
            "highest_connections": int(peak.value),
            "highest_connections_at": _time(peak).isoformat(),
            "available_connections": counts.available,
            "used_ratio": ratio,
            "limit_ratio": USED_WARNING_RATIO,
        },
        advice=(
            "Look at what ran at that time. Put a pooler such as PgBouncer in front, or raise"
            " max_connections, which needs a restart."
        ),
    )


def _time(point: Point) -> datetime:
    return datetime.fromtimestamp(point.at_epoch_seconds, UTC).replace(microsecond=0)
