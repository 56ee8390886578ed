"""Replication: standbys behind this server, and this server behind its primary.

Source: PostgreSQL documentation, "Monitoring Standby Servers" and ``pg_stat_replication``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Sample, Table
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.sql_files import query

#: Copying a base backup is no replication: it has no place to be behind.
_BACKUP = "backup"

#: Ten times the limit at which lag is named.
CRITICAL_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Standby:
    """One that streams from here. ``lag_seconds`` is ``None`` while nothing is on its way.

    ``slot_kind`` is ``physical``, ``logical``, or ``None`` for one without a slot.
    """

    pid: int
    application_name: str | None
    client_address: str | None
    state: str | None
    sync_state: str | None
    lag_bytes: int | None
    unsent_bytes: int | None
    lag_seconds: float | None
    slot_kind: str | None

    @property
    def in_words(self) -> str:
        """Name it by its application, else by its address."""
        what = "subscriber" if self.slot_kind == "logical" else "standby"
        return f'{what} "{self.application_name or self.client_address or self.pid}"'


@dataclass(frozen=True, slots=True)
class ReplicationRole:
    """This server's own place. Lags are ``None`` on a primary."""

    in_recovery: bool
    shows_everything: bool
    wal_keep_mb: int
    is_replay_paused: bool | None
    replay_lag_bytes: int | None
    replayed_seconds_ago: float | None
    is_receiving: bool
    has_primary: bool | None


def examine_standbys(
    conn: Connection,
    thresholds: Thresholds,
    previous: Mapping[str, Any],  # noqa: ARG001 - lag is a matter of this moment
) -> Aspect:
    """Judge the lag of everyone who streams from here, and of this server where it is a standby."""
    role = ReplicationRole(**query(conn, "replication_role")[0])
    standbys = [Standby(**row) for row in query(conn, "standbys")]
    streaming = [s for s in standbys if s.state != _BACKUP]
    findings = list(diagnose_own_replay(role, thresholds))
    if standbys and not role.shows_everything:
        findings.append(
            unavailable(
                "standby-lag",
                "standbys",
                f"the lag of {counted(len(standbys), 'standby', 'standbys')}",
                "GRANT pg_monitor (or pg_read_all_stats) to the maintenance role",
            )
        )
    else:
        findings += [f for s in streaming for f in diagnose_standby(s, role, thresholds)]
    lags = [s.lag_bytes for s in streaming if s.lag_bytes is not None]
    clause = counted(len(streaming), "standby", "standbys") if streaming else "no standby"
    if role.in_recovery:
        clause = f"this server is a standby itself, with {clause} behind it"
    return Aspect(
        clause,
        tuple(findings),
        tables=(_table(streaming),) if streaming and role.shows_everything else (),
        facts={"standbys": len(streaming), "in_recovery": role.in_recovery},
        samples=(Sample("standby_lag_bytes", max(lags)),) if lags else (),
    )


def diagnose_standby(
    standby: Standby, role: ReplicationRole, thresholds: Thresholds
) -> Iterator[Finding]:
    """Name a standby that is behind, and one that could lose touch."""
    name = standby.application_name or standby.client_address or str(standby.pid)
    limit_seconds = thresholds.standby_lag_seconds
    seconds, size = standby.lag_seconds or 0.0, standby.lag_bytes or 0
    late = seconds >= limit_seconds
    if late or size >= thresholds.standby_lag_bytes:
        behind = [f"{bytes_in_words(size)} behind"]
        behind += [f"replays {seconds_in_words(seconds)} late"] if standby.lag_seconds else []
        critical = (
            seconds >= CRITICAL_FACTOR * limit_seconds
            or size >= CRITICAL_FACTOR * thresholds.standby_lag_bytes
        )
        yield Finding(
            code="standby-lag",
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject=name,
            sentence=(
                f"The {standby.in_words} is {' and '.join(behind)} ({standby.state}): what it"
                " answers is that old, and so much is lost if this server is."
            ),
            evidence={
                **_evidence(standby),
                "limit_seconds": limit_seconds,
                "limit_bytes": thresholds.standby_lag_bytes,
            },
            advice=(
                "WAL waits to be sent: look at this server and the network."
                if standby.unsent_bytes and 2 * standby.unsent_bytes > size
                else "WAL arrives and waits to be replayed: look at the standby's disk, and for long"
                " queries there that hold replay up."
            ),
        )
    if standby.slot_kind is None and role.wal_keep_mb == 0:
        yield Finding(
            code="standby-without-slot",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"The {standby.in_words} streams without a replication slot, and wal_keep_size is 0:"
                " after a pause, WAL that it needs may be gone."
            ),
            evidence=_evidence(standby),
            advice=(
                "Unless it can read the archive (restore_command), give it a slot (primary_slot_name)"
                " together with max_slot_wal_keep_size, or set wal_keep_size."
            ),
        )


def diagnose_own_replay(role: ReplicationRole, thresholds: Thresholds) -> Iterator[Finding]:
    """Name what keeps this standby from following its primary."""
    if not role.in_recovery:
        return
    if role.is_replay_paused:
        yield Finding(
            code="replay-paused",
            severity=Severity.WARNING,
            subject="replay",
            sentence="Replay is paused on this standby: its data stands still while WAL piles up.",
            evidence={"replay_lag_bytes": role.replay_lag_bytes},
            advice="Resume it, unless somebody paused it on purpose.",
            commands=("SELECT pg_wal_replay_resume();",),
            undo=("SELECT pg_wal_replay_pause();",),
        )
    elif role.has_primary and not role.is_receiving:
        yield Finding(
            code="standby-not-streaming",
            severity=Severity.WARNING,
            subject="WAL receiver",
            sentence="This standby has a primary to stream from, and no WAL receiver runs.",
            advice=(
                "Read this server's log for the reason: the primary is down, refuses it, or has"
                " removed WAL that it needs."
            ),
        )
    lag = role.replay_lag_bytes or 0
    # The age of the last transaction says nothing where nothing is waiting: the primary may be idle.
    late = lag > 0 and (role.replayed_seconds_ago or 0.0) >= thresholds.standby_lag_seconds
    if not role.is_replay_paused and (late or lag >= thresholds.standby_lag_bytes):
        ago = (
            ""
            if role.replayed_seconds_ago is None
            else f"; the last replayed transaction is {seconds_in_words(role.replayed_seconds_ago)} old"
        )
        yield Finding(
            code="replay-lag",
            severity=Severity.WARNING,
            subject="replay",
            sentence=f"{bytes_in_words(lag)} of WAL wait here to be replayed{ago}.",
            evidence={
                "replay_lag_bytes": lag,
                "replayed_seconds_ago": role.replayed_seconds_ago,
                "limit_seconds": thresholds.standby_lag_seconds,
            },
            advice="Look at this server's disk, and for long queries that hold replay up.",
        )


def _evidence(standby: Standby) -> dict[str, Any]:
    return {
        "client_address": standby.client_address,
        "state": standby.state,
        "sync_state": standby.sync_state,
        "lag_bytes": standby.lag_bytes,
        "unsent_bytes": standby.unsent_bytes,
        "lag_seconds": standby.lag_seconds,
        "slot_kind": standby.slot_kind,
    }


def _table(standbys: Sequence[Standby]) -> Table:
    return Table.of(
        "Standbys", [{"application": s.application_name, **_evidence(s)} for s in standbys]
    )
