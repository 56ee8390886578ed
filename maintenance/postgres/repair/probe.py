"""How long a small transaction of others takes, before our work and beside it.

The probe commits a few bytes of WAL, as an application does that writes one row: it feels a busy
processor, a busy disk and a synchronous standby. A server that may not be written to is asked a
question instead.
"""

import time
from collections import deque
from statistics import median

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.latency import LatencyChange
from maintenance.postgres.driver import MARKER

#: Probes before the work begins: their median is what the site feels without us.
BASELINE_PROBES = 15
#: The latency now is the median of so many: one slow commit is no load.
RECENT_PROBES = 5

_COMMIT = "SELECT pg_catalog.pg_logical_emit_message(true, 'maintenance', '')"
_QUESTION = "SELECT 1"


class Probe:
    """Sends the probe in a session of its own, from which nothing else waits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._statement = _COMMIT
        self._during: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT_PROBES)
        try:
            self._ask()
        except psycopg2.Error:
            self._statement = _QUESTION  # a standby, or a role that may not
        self._before_ms = median(self._ask() for _ in range(BASELINE_PROBES))

    def _ask(self) -> float:
        begin = time.perf_counter()
        with self._conn.cursor() as cursor:
            cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), sql.SQL(self._statement)))
        return (time.perf_counter() - begin) * 1000

    def send(self, *, beside_work: bool = True) -> None:
        """Measure once; what is felt while nothing of ours is at work is not laid to its charge."""
        latency = self._ask()
        self._recent.append(latency)
        if beside_work:
            self._during.append(latency)

    @property
    def added_ms(self) -> float | None:
        """How much longer a probe takes at the moment than before; ``None`` before enough were sent."""
        if len(self._recent) < RECENT_PROBES:
            return None
        return max(0.0, median(self._recent) - self._before_ms)

    @property
    def change(self) -> LatencyChange | None:
        """The latencies before and beside the work; ``None`` where none was measured beside it."""
        if not self._during:
            return None
        return LatencyChange(
            before_ms=self._before_ms,
            during_ms=median(self._during),
            slowest_ms=max(self._during),
            probes=len(self._during),
        )
