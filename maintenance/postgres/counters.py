"""Since when the server has counted: no counter says anything without its window."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.wording import seconds_in_words
from maintenance.postgres.sql_files import query

#: Two looks at the same start are equal to the microsecond; JSON keeps as much.
SAME_MOMENT_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class CounterWindow:
    """The time that the cumulative counters of one database cover.

    ``started_at`` and ``measured_at`` are seconds since the epoch by the server's own clock;
    ``started_at`` is ``None`` where the server does not say. A reset of one table or index moves
    it as well; ``remembered_at``, the oldest event that the counters still hold, proves that all
    others have run on.
    """

    started_at: float | None
    measured_at: float
    remembered_at: float | None = None

    @property
    def begins_at(self) -> float | None:
        """The earliest moment that the counters are known to cover; ``None`` where that is unknown."""
        if self.started_at is None or self.remembered_at is None:
            return self.started_at
        return min(self.started_at, self.remembered_at)

    @property
    def seconds(self) -> float | None:
        """Length of the window; ``None`` where its start is unknown."""
        return None if self.begins_at is None else max(0.0, self.measured_at - self.begins_at)

    @property
    def in_words(self) -> str:
        """The window as part of a sentence."""
        if self.begins_at is None or self.seconds is None:
            return "an unknown time"
        since = datetime.fromtimestamp(self.begins_at, UTC)
        return f"{seconds_in_words(self.seconds)} (since {since:%Y-%m-%d %H:%M} UTC)"

    def continues(self, before: "CounterWindow") -> bool:
        """Tell whether nothing, or no more than single tables and indexes, was reset since ``before``."""
        if self.remembered_at is not None and self.remembered_at <= before.measured_at:
            return True
        if self.started_at is None or before.started_at is None:
            return self.started_at is before.started_at
        return abs(self.started_at - before.started_at) <= SAME_MOMENT_SECONDS


def measure_window(conn: Connection) -> CounterWindow:
    """Return the window that each of this database's counters covers, whatever was reset alone.

    It begins at the later of the database's and the cluster's ``stats_reset``: a crash clears the
    first and stamps the second (PostgreSQL documentation, "The Cumulative Statistics System"). Nor
    does it begin before the database was made, where the role may execute ``pg_stat_file`` or the
    server keeps commit timestamps; else one that is younger than its cluster claims the cluster's.
    """
    row = query(conn, "counter_window")[0]
    made_at = query(conn, "database_made_at")[0]["made_at"] if row["may_look_at_files"] else None
    starts = [start for start in (row["started_at"], made_at) if start is not None]
    return CounterWindow(max(starts, default=None), row["measured_at"])


def measure_common_window(conn: Connection) -> CounterWindow:
    """Return the window of the database's own counters, and of those of tables that were not reset alone.

    It is the one for sums and rates: the counters of years would else seem to be of the hours since
    somebody reset one table. What must hold for each object takes :func:`measure_window`.
    """
    row = query(conn, "oldest_remembered")[0]
    return replace(measure_window(conn), remembered_at=row["remembered_at"])
