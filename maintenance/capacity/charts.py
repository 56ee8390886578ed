"""What is foretold, drawn: the measurements, the limit, and the band in which the future lies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maintenance.capacity.forecast import Prospect
from maintenance.core.plots import Foretold, Plot, points_of
from maintenance.core.trend import DAY_SECONDS

if TYPE_CHECKING:
    from maintenance.capacity.review import Line

#: What meets its limit first is drawn; the table has all.
PLOTS_SHOWN = 8
#: As far ahead as the findings look, and no further than the past that it rests on reaches back.
_DAYS_AHEAD = 90
_DAYS_A_STEP = 7


def plots_of(lines: Sequence["Line"]) -> tuple[Plot, ...]:
    """Draw lines that are foretold and have a limit, in the order in which they meet it."""
    drawn = [
        plot_of(line, line.prospect)
        for line in sorted(lines, key=lambda line: (line.days_left is None, line.days_left or 0.0))
        if isinstance(line.prospect, Prospect) and line.limit is not None
    ]
    return tuple(drawn[:PLOTS_SHOWN])


def plot_of(line: "Line", prospect: Prospect) -> Plot:
    """Draw one line with its forecast."""
    days = int(min(_DAYS_AHEAD, prospect.span_days, prospect.horizon_days))
    steps = [*range(_DAYS_A_STEP, days, _DAYS_A_STEP), days] if days > 0 else []
    return Plot(
        title=f"{line.metric.what} {line.name}",
        metric=line.metric.name,
        points=points_of(line.points, None),
        limit=line.limit,
        foretold=tuple(_foretold(prospect, day) for day in steps),
    )


def _foretold(prospect: Prospect, day: int) -> Foretold:
    """Nothing of what has a limit goes below nothing."""
    lowest, highest = prospect.band_in(day)
    at = prospect.last_at + day * DAY_SECONDS
    return Foretold(at, max(0.0, lowest), max(0.0, prospect.value_in(day)), max(0.0, highest))
