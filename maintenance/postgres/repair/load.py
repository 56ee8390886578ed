"""What a server is busy with beside our work, read once a second."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.sql_files import query

#: What max_wal_size is unless somebody sets it (PostgreSQL documentation, "Write Ahead Log").
DEFAULT_MAX_WAL_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Load:
    """The site's own activity; ``None`` where the role may not see it, or it cannot be told yet.

    ``active_sessions`` are client sessions with a statement at work, ``recent_sessions`` those that
    had one within the last second, ``lock_waiters`` those that wait for a lock, none of them ours.
    ``replica_lag_seconds`` is that of the slowest streaming standby, ``catching_up_bytes`` the WAL that a
    standby which was away has still before it, ``None`` without one. ``wal_bytes_per_second`` is the rate
    since the reading before, ours included, and ``max_wal_bytes`` what may be written between two
    checkpoints. ``added_latency_ms`` is how much longer a small statement takes than before the work
    began.
    """

    active_sessions: int | None = None
    recent_sessions: int | None = None
    lock_waiters: int = 0
    replica_lag_seconds: float | None = None
    catching_up_bytes: int | None = None
    wal_bytes_per_second: float | None = None
    max_wal_bytes: int = DEFAULT_MAX_WAL_BYTES
    added_latency_ms: float | None = None


class LoadMeter:
    """Reads the load again and again in one session; rates are those between two readings."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._wal_bytes: int | None = None
        self._read_at = 0.0

    def read(self, our_pids: Collection[int], added_latency_ms: float | None) -> Load:
        """Return the load now. One statement, whose cost grows with the sessions of the server."""
        row = query(self._conn, "repair_load", {"ours": list(our_pids)})[0]
        now = time.monotonic()
        rate = None
        if self._wal_bytes is not None and row["wal_bytes"] is not None and now > self._read_at:
            rate = (row["wal_bytes"] - self._wal_bytes) / (now - self._read_at)
        self._wal_bytes, self._read_at = row["wal_bytes"], now
        return Load(
            active_sessions=row["active_sessions"],
            recent_sessions=row["recent_sessions"],
            lock_waiters=row["lock_waiters"],
            replica_lag_seconds=row["replica_lag_seconds"],
            catching_up_bytes=row["catching_up_bytes"],
            wal_bytes_per_second=rate,
            max_wal_bytes=row["max_wal_bytes"],
            added_latency_ms=added_latency_ms,
        )
