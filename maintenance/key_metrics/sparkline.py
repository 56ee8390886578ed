"""A line of a few values, as the numbers that an SVG needs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

#: The drawing's own units; the page's style says how large it is.
WIDTH, HEIGHT = 120.0, 28.0
#: So much of the height stays free above and below, or half of the line's width would be cut off.
MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """``points`` is a polyline's attribute; ``limit_y`` is where a limit lies that is near enough."""

    points: str
    last_x: float
    last_y: float
    limit_y: float | None = None
    width: float = WIDTH
    height: float = HEIGHT


def sparkline(
    values: Sequence[tuple[float, float]], span: float, limit: float | None = None
) -> Sparkline:
    """Draw one or more ``(place, value)`` pairs in the order of their places, 0 to ``span``.

    The scale goes from the lowest to the highest value, and to the limit where that leaves the line at
    least half of the height: a limit far away would press the line flat.
    """
    low, high = min(v for _, v in values), max(v for _, v in values)
    shown_limit = limit
    if limit is not None:
        wide_low, wide_high = min(low, limit), max(high, limit)
        if high - low >= (wide_high - wide_low) / 2 or low == high:
            low, high = wide_low, wide_high
        else:
            shown_limit = limit if low <= limit <= high else None

    def y_of(value: float) -> float:
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN), 1)

    def x_of(place: float) -> float:
        return round(MARGIN + place / span * (WIDTH - 2 * MARGIN), 1)

    drawn = [(x_of(place), y_of(value)) for place, value in values]
    last_x, last_y = drawn[-1]
    return Sparkline(
        points=" ".join(f"{x:g},{y:g}" for x, y in drawn),
        last_x=last_x,
        last_y=last_y,
        limit_y=None if shown_limit is None else y_of(shown_limit),
    )
