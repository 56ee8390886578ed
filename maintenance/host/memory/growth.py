"""Whether the memory of a group grows, and how much: a leak, and not the warming up of a start.

Pure. A worker that has just started grows while it loads what it needs, and then stays. So a group
is said to grow only where its newer half alone still does, by the band of :mod:`maintenance.core.trend`.
A restart is a fall, and what went before it is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from maintenance.core.job import Point
from maintenance.core.trend import DAY_SECONDS, Trend, since_last_fall, trend_of

#: Samples come once an hour. Below these a slope says more about the minute than about the process.
MINIMUM_POINTS = 8
MINIMUM_SPAN_SECONDS = 6 * 3600.0
#: Older samples are of other releases of the site.
WINDOW_SECONDS = 7 * DAY_SECONDS
#: What a process gains in a day, as a share of its size and in bytes, before it is worth a word.
DAILY_RATIO = 0.10
DAILY_BYTES = 20 * 1024**2


@dataclass(frozen=True, slots=True)
class Growth:
    """How a process of a group grows: bytes a second with their 95 % band, and since when."""

    per_second: float
    lowest_per_second: float
    highest_per_second: float
    points: int
    span_seconds: float


def growth_of(points: Sequence[Point]) -> Growth | None:
    """Return how the memory of a process grows; ``None`` where it does not, or nobody can tell."""
    known = since_last_fall(points)
    whole = _trend(known)
    if whole is None or whole.lowest_per_second <= 0:
        return None
    newer = trend_of(known[len(known) // 2 :], minimum_points=4, minimum_span_seconds=1.0)
    if newer is None or newer.lowest_per_second <= 0:
        return None
    gain = newer.per_second * DAY_SECONDS
    if gain < DAILY_BYTES or gain < DAILY_RATIO * whole.last.value:
        return None
    return Growth(
        newer.per_second,
        newer.lowest_per_second,
        newer.highest_per_second,
        whole.points,
        whole.span_seconds,
    )


def can_tell(points: Sequence[Point]) -> bool:
    """Tell whether there are samples enough since the last restart."""
    return _trend(since_last_fall(points)) is not None


def _trend(points: Sequence[Point]) -> Trend | None:
    return trend_of(
        points, minimum_points=MINIMUM_POINTS, minimum_span_seconds=MINIMUM_SPAN_SECONDS
    )
