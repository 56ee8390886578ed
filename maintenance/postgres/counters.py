"""Since when the server has counted: no counter says anything without its window."""

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.wording import seconds_in_words
from maintenance.postgres.connection import query


@dataclass(frozen=True, slots=True)
class CounterWindow:
    """The time that the cumulative counters of one database cover.

    ``started_at`` and ``measured_at`` are seconds since the epoch by the server's own clock;
    ``started_at`` is ``None`` where the server does not say.
    """

    started_at: float | None
    measured_at: float

    @property
    def seconds(self) -> float | None:
        """Length of the window; ``None`` where its start is unknown."""
        return None if self.started_at is None else max(0.0, self.measured_at - self.started_at)

    @property
    def in_words(self) -> str:
        """The window as part of a sentence."""
        if self.started_at is None or self.seconds is None:
            return "an unknown time"
        since = datetime.fromtimestamp(self.started_at, UTC)
        return f"{seconds_in_words(self.seconds)} (since {since:%Y-%m-%d %H:%M} UTC)"


def measure_window(conn: Connection) -> CounterWindow:
    """Return the window of this database's counters.

    It begins at the later of the database's and the cluster's ``stats_reset``: a crash clears the
    first and stamps the second (PostgreSQL documentation, "The Cumulative Statistics System").
    """
    row = query(conn, "counter_window")[0]
    return CounterWindow(started_at=row["started_at"], measured_at=row["measured_at"])
