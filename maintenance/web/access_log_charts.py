"""Response times drawn: the percentiles of the slowest routes, and those of the site over time."""

from collections.abc import Iterable, Mapping

from maintenance.core.job import History, Point
from maintenance.core.plots import Bar, BarChart, Line, Plot, points_of
from maintenance.web.latency_histogram import measured, quantile
from maintenance.web.routes import RouteCounts

#: Of fewer requests the slowest twentieth is a single one.
MINIMUM_REQUESTS = 20
#: Three bars each: the table names more.
ROUTES_SHOWN = 8
_PERCENTILES = (0.50, 0.95, 0.99)


def percentile_chart(routes: Mapping[str, RouteCounts]) -> tuple[BarChart, ...]:
    """Return p50, p95 and p99 of the routes with the highest p95; nothing without response times."""
    timed = [
        Bar(name, tuple(quantile(route.latencies, share) for share in _PERCENTILES))
        for name, route in routes.items()
        if measured(route.latencies) >= MINIMUM_REQUESTS
    ]
    timed.sort(key=lambda bar: -(bar.values[1] or 0.0))
    chart = BarChart(
        "Response times of the slowest routes",
        "response_seconds",
        ("p50", "p95", "p99"),
        tuple(timed[:ROUTES_SHOWN]),
        left_out=max(0, len(timed) - ROUTES_SHOWN),
    )
    return (chart,) if timed else ()


def latency_plot(
    title: str,
    history: History,
    metrics: Iterable[tuple[str, str, float | None]],
    now: float,
    limit: float,
) -> tuple[Plot, ...]:
    """Return one plot of several percentiles: each by name, metric, and its value of this period.

    ``limit`` is that of the first one. Nothing where none was measured twice.
    """
    lines = [
        Line(name, points_of(history.series(metric), None if value is None else Point(now, value)))
        for name, metric, value in metrics
    ]
    if not lines or len(lines[0].points) < 2:
        return ()
    first, *others = lines
    return (
        Plot(title, "response_seconds", first.points, limit, name=first.name, others=tuple(others)),
    )
