"""Connections of a server and the memory that their buffers take, by INFO. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, percent
from maintenance.redis.memory.counters import Counted

#: Buffers of clients above this share of used memory crowd out data, from this size on.
BUFFER_RATIO = 0.1
BUFFER_MINIMUM_BYTES = 64 * 1024**2


def diagnose_clients(
    name: str,
    info: Mapping[str, Any],
    counted_: Counted,
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Judge connections and the memory that clients' buffers take."""
    rejected = counted_.of("rejected_connections")
    if rejected:
        yield Finding(
            code="redis-connections-rejected",
            severity=Severity.CRITICAL,
            subject=name,
            sentence=(
                f"{name} turned {counted(rejected, 'connection')} away {counted_.since}: maxclients was"
                " reached, and whoever came then had an error."
            ),
            evidence={"rejected_connections": rejected, "maxclients": info.get("maxclients")},
            advice="Look for clients that leak connections (CLIENT LIST), or raise maxclients.",
        )
    yield from _near_maxclients(name, info, thresholds)
    yield from _buffers(name, info, counted_)


def _near_maxclients(
    name: str, info: Mapping[str, Any], thresholds: Thresholds
) -> Iterator[Finding]:
    most, connected = int(info.get("maxclients", 0)), int(info["connected_clients"])
    if not most or connected / most <= thresholds.redis_connections_ratio:
        return
    yield Finding(
        code="redis-connections-high",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"{name} has {connected:,} of {most:,} connections in use"
            f" ({percent(connected / most)}); past the last one, clients are turned away."
        ),
        evidence={
            "connected_clients": connected,
            "maxclients": most,
            "limit_ratio": thresholds.redis_connections_ratio,
        },
        advice="Look for clients that leak connections (CLIENT LIST), or raise maxclients.",
    )


def _buffers(name: str, info: Mapping[str, Any], counted_: Counted) -> Iterator[Finding]:
    cut = {
        kind: counted_.of(f"client_{kind}_buffer_limit_disconnections")
        for kind in ("output", "query")
    }
    if any(cut.values()):
        yield Finding(
            code="redis-client-buffers",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} cut {counted(sum(cut.values()), 'client')} off {counted_.since} whose buffers were"
                " full: they read slower than they were sent to, or sent too much at once."
            ),
            evidence={f"{kind}_buffer_disconnections": count for kind, count in cut.items()},
            advice=(
                "Look for slow subscribers and replicas, and for huge replies (SMEMBERS, LRANGE 0"
                " -1 of large keys); then for client-output-buffer-limit."
            ),
        )
    held = sum(int(info.get(field, 0)) for field in ("mem_clients_normal", "mem_clients_slaves"))
    used = int(info["used_memory"])
    if held >= BUFFER_MINIMUM_BYTES and held > BUFFER_RATIO * used:
        yield Finding(
            code="redis-client-memory",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Buffers of clients take {percent(held / used)} of the memory of {name}; that is"
                " no data, and it counts towards maxmemory."
            ),
            evidence={"client_buffer_bytes": held, "used_memory_bytes": used},
            advice="Find the clients with a large omem or qbuf in CLIENT LIST; replicas lag likewise.",
        )
