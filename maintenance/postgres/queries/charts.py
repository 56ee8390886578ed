"""Bars of slow queries: what became slower or faster, and where the time went."""

from collections.abc import Iterator, Sequence

from maintenance.core.plots import Bar, BarChart
from maintenance.postgres.queries.cost import QueryCost

#: Enough of a statement to recognise it beside a bar.
_NAMED_TEXT = 60
#: Behind the tenth, no single statement carries much of the load.
_MOST_TIME = 10


def query_charts(costs: Sequence[QueryCost]) -> tuple[BarChart, ...]:
    """Return the charts in which there is anything to draw."""
    return tuple(chart for chart in _charts(costs) if chart.bars)


def _charts(costs: Sequence[QueryCost]) -> Iterator[BarChart]:
    by_time = sorted(costs, key=lambda cost: (-cost.total_ms, cost.query_id))
    yield BarChart.largest(
        "Time of a call, where it changed since the period before",
        "mean_ms",
        ("before", "now"),
        [
            Bar(_name(cost), (cost.change.before_ms, cost.change.after_ms))
            for cost in by_time
            if cost.change is not None
        ],
    )
    # What a nested statement uses is part of its caller's.
    whole = [cost for cost in by_time if cost.is_top_level]
    yield BarChart(
        "Where the time went, all calls together",
        "total_ms",
        ("time",),
        tuple(Bar(_name(cost), (cost.total_ms,)) for cost in whole[:_MOST_TIME]),
        left_out=max(0, len(whole) - _MOST_TIME),
    )


def _name(cost: QueryCost) -> str:
    text = " ".join(cost.text.split())
    shown = text if len(text) <= _NAMED_TEXT else f"{text[:_NAMED_TEXT].rstrip()} …"
    return f"{cost.query_id}: {shown}"
