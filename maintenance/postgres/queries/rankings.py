"""Statements ranked by each thing that they use up: time, calls, reading, temporary files, WAL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maintenance.core.reports import Table
from maintenance.postgres.queries.cost import QueryCost

#: Rows of a ranking: behind the fifth, no single statement carries much of the load.
RANKED = 5


@dataclass(frozen=True, slots=True)
class Ranking:
    """A table of the statements with the most of ``amount``, shown in ``column``."""

    title: str
    column: str
    amount: Callable[[QueryCost], float]


RANKINGS = (
    Ranking("Most time in all", "total_ms", lambda cost: round(cost.total_ms, 3)),
    Ranking("Most calls", "calls", lambda cost: cost.calls),
    Ranking("Most read from outside shared_buffers", "read_bytes", lambda cost: cost.read_bytes),
    Ranking("Most time spent reading", "read_ms", lambda cost: round(cost.read_ms, 3)),
    Ranking("Most temporary files", "temp_bytes", lambda cost: cost.temp_bytes),
    Ranking("Most WAL", "wal_bytes", lambda cost: cost.wal_bytes),
)


def ranking_tables(costs: Sequence[QueryCost]) -> tuple[Table, ...]:
    """Return a table for each ranking in which there is anything to rank."""
    tables = [*(_table(ranking, costs) for ranking in RANKINGS), _worst_calls(costs)]
    return tuple(table for table in tables if table.rows)


def _table(ranking: Ranking, costs: Sequence[QueryCost]) -> Table:
    # What a nested statement uses is part of its caller's.
    whole = sum(ranking.amount(cost) for cost in costs if cost.is_top_level)
    ranked = sorted(costs, key=lambda cost: (-ranking.amount(cost), cost.query_id))
    return Table.of(
        ranking.title,
        [
            {
                ranking.column: ranking.amount(cost),
                "share_ratio": _share(ranking.amount(cost), whole),
                "mean_ms": round(cost.mean_ms, 3),
                **({} if ranking.column == "calls" else {"calls": cost.calls}),
                "query_id": cost.query_id,
                "query": cost.text,
            }
            for cost in ranked[:RANKED]
            if ranking.amount(cost) > 0
        ],
    )


def _share(amount: float, whole: float) -> float:
    return round(min(1.0, amount / whole), 4) if whole else 1.0


def _worst_calls(costs: Sequence[QueryCost]) -> Table:
    """Rank by the longest single call: the server keeps one since a time of its own, in no window."""
    ranked = sorted(costs, key=lambda cost: (-cost.worst_ms, cost.query_id))
    return Table.of(
        "Worst single calls (each since the time in its row)",
        [
            {
                "worst_ms": round(cost.worst_ms, 3),
                "since": f"{datetime.fromtimestamp(cost.worst_since, UTC):%Y-%m-%d %H:%M} UTC",
                "in_this_period": "yes" if cost.is_worst_recent else "no",
                "mean_ms": round(cost.mean_ms, 3),
                "query_id": cost.query_id,
                "query": cost.text,
            }
            for cost in ranked[:RANKED]
            if cost.worst_ms > 0
        ],
    )


def change_table(costs: Sequence[QueryCost], limit: int) -> tuple[Table, ...]:
    """List what is slower, faster or new since the period before, by the time that it costs."""
    rows: list[dict[str, Any]] = [
        {
            "change": "new" if cost.change is None else _kind(cost.change.times),
            "before_ms": None if cost.change is None else round(cost.change.before_ms, 3),
            "mean_ms": round(cost.mean_ms, 3),
            "calls": cost.calls,
            "total_ms": round(cost.total_ms, 3),
            "query_id": cost.query_id,
            "query": cost.text,
        }
        for cost in sorted(costs, key=lambda cost: (-cost.total_ms, cost.query_id))
        if cost.is_new or cost.change is not None
    ]
    return (Table.of("New, slower or faster than before", rows[:limit]),) if rows else ()


def _kind(times: float) -> str:
    return f"{times:.1f} times slower" if times > 1 else f"{1 / times:.1f} times faster"
