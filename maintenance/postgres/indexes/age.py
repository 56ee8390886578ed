"""How long an index is known to exist: the catalog keeps no date.

An index that was made yesterday has no scan either, however long the server has counted. Three
things prove that it is older, and the earliest of them counts: a commit timestamp (where the server
keeps them), a VACUUM that found its transaction ended, and an earlier run that saw it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.indexes.catalog import IndexState
from maintenance.postgres.sql_files import query

#: Where a report's state keeps when an index was first seen without a scan, by its oid.
STATE_KEY = "first_seen_at"


@dataclass(frozen=True, slots=True)
class Horizon:
    """Transactions older than ``xid_age`` had ended before ``ended_before`` (since the epoch)."""

    xid_age: int
    ended_before: float


def measure_horizons(conn: Connection) -> tuple[Horizon, ...]:
    """Read what the last VACUUM of each table proves."""
    return tuple(Horizon(**row) for row in query(conn, "vacuum_horizons"))


class KnownAge:
    """Since when indexes are known to exist."""

    def __init__(
        self, now: float, horizons: Iterable[Horizon] = (), state: Mapping[str, Any] | None = None
    ) -> None:
        ordered = sorted(horizons, key=lambda h: h.xid_age)
        self._now = now
        self._xid_ages = [h.xid_age for h in ordered]
        self._earliest = list(accumulate((h.ended_before for h in ordered), min))
        self._seen: Mapping[str, float] = (state or {}).get(STATE_KEY, {})

    def since(self, index: IndexState) -> float:
        """Return the earliest moment that is proved, in seconds since the epoch; now at the latest."""
        proofs = [self._now, self._seen.get(str(index.oid), self._now)]
        if index.committed_at is not None:
            proofs.append(index.committed_at)
        older_than = bisect_left(self._xid_ages, index.xid_age)
        if older_than:
            proofs.append(self._earliest[older_than - 1])
        return min(proofs)

    def seconds(self, index: IndexState, family: Sequence[IndexState] = ()) -> float:
        """Return how long the index is known to exist.

        A partitioned index is as old as the oldest of its partitions' indexes: new partitions do
        not make it younger, but if all were rebuilt, their counters began anew on PostgreSQL 14.
        """
        parts = [self.since(member) for member in family if not member.is_partitioned]
        return self._now - max(self.since(index), min(parts, default=0.0))

    def state_of(self, indexes: Iterable[IndexState]) -> dict[str, dict[str, float]]:
        """Return what the next run is to know about these indexes."""
        return {STATE_KEY: {str(index.oid): self.since(index) for index in indexes}}
