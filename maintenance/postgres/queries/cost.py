"""What one statement cost in a window, in the figures that an operator reads."""

from collections.abc import Iterable
from dataclasses import dataclass

from maintenance.core.statement_text import NORMALISED, command_of, shown_text
from maintenance.postgres.queries.changes import Change, UsedShape
from maintenance.postgres.queries.statement_counters import StatementUse


@dataclass(frozen=True, slots=True)
class QueryCost:
    """One statement with its cost in the window. ``time_ratio`` is its share of all time.

    ``variants`` is how many identifiers the server has for it; ``query_id`` is the costliest.
    ``worst_ms`` is the longest call since ``worst_since`` (seconds since the epoch), which may be
    before the window: ``is_worst_recent`` tells whether it is known to lie in it. ``read_ms`` is 0
    without ``track_io_timing``.
    """

    query_id: str
    variants: int
    users: tuple[str, ...]
    text: str
    is_optimisable: bool
    is_top_level: bool
    calls: int
    mean_ms: float
    total_ms: float
    worst_ms: float
    worst_since: float
    is_worst_recent: bool
    rows_per_call: float
    hit_ratio: float | None
    time_ratio: float
    read_bytes: int
    read_ms: float
    temp_bytes: int
    wal_bytes: int
    change: Change | None
    is_new: bool


def costs_of(
    used: Iterable[UsedShape], use: StatementUse, *, block_bytes: int, reset_at: float
) -> list[QueryCost]:
    """Return what each statement cost, the slowest call first (the guide: by mean time).

    ``reset_at`` is since when the server keeps the longest call where it does not say so itself.
    """
    total_ms = use.total_ms
    costs = [_cost(each, total_ms, block_bytes, reset_at) for each in used]
    return sorted(costs, key=lambda cost: (-cost.mean_ms, cost.query_id))


def _cost(used: UsedShape, total_ms: float, block_bytes: int, reset_at: float) -> QueryCost:
    counters = used.counters
    blocks = counters.hit_blocks + counters.read_blocks
    return QueryCost(
        query_id=used.query_ids[0],
        variants=len(used.query_ids),
        users=used.users,
        text=shown_text(counters.text),
        is_optimisable=command_of(counters.text) in NORMALISED,
        is_top_level=counters.is_top_level,
        calls=counters.calls,
        mean_ms=counters.total_ms / counters.calls,
        total_ms=counters.total_ms,
        worst_ms=counters.worst_ms,
        worst_since=reset_at if counters.worst_since is None else counters.worst_since,
        is_worst_recent=counters.is_worst_recent,
        rows_per_call=counters.rows / counters.calls,
        hit_ratio=counters.hit_blocks / blocks if blocks else None,
        time_ratio=min(1.0, counters.total_ms / total_ms) if total_ms else 0.0,
        read_bytes=counters.read_blocks * block_bytes,
        read_ms=counters.read_ms,
        temp_bytes=counters.temp_blocks * block_bytes,
        wal_bytes=counters.wal_bytes,
        change=used.change,
        is_new=used.is_new,
    )
