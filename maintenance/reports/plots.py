"""A number over time as a line, in numbers that an SVG element takes: no script, no style of its own.

A drawing library would bring more than the whole service holds at rest; a line, its limit and four
labels need none. Colours and fonts are the style sheet's, so that a plot is readable in the dark and
on paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from maintenance.core.reports import Plot
from maintenance.reports.columns import one_line
from maintenance.reports.formatting import format_value

WIDTH, HEIGHT = 320, 96
#: Room around the line, for its width and for the dot at its end.
MARGIN = 6


@dataclass(frozen=True, slots=True)
class PlotContent:
    """A plot, ready to be drawn in a box of ``width`` times ``height``.

    ``line`` is the value of a polyline's ``points``. ``limit_y`` is text, "" without a limit within
    sight.
    """

    title: str
    line: str
    end_x: str
    end_y: str
    limit_y: str
    limit: str
    lowest: str
    highest: str
    newest: str
    begins: str
    ends: str
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def words(self) -> str:
        """What a reader sees, for those who do not."""
        limit = f", limit {self.limit}" if self.limit else ""
        return (
            f"{self.title}: {self.newest} on {self.ends}, between {self.lowest} and {self.highest}"
            f" since {self.begins}{limit}"
        )


def plot_content(plot: Plot) -> PlotContent | None:
    """Lay out a plot; ``None`` for one of fewer than two points, which is no line.

    The vertical axis begins at 0, so that a small change does not look like a large one, except
    where every value is negative or the lowest is above nine tenths of the highest.
    """
    if len(plot.points) < 2:
        return None
    values = [value for _, value in plot.points]
    lowest, highest = min(values), max(values)
    bottom = lowest if lowest < 0 or lowest > 0.9 * highest else 0.0
    near_limit = plot.limit is not None and bottom <= plot.limit <= 2 * highest
    top = max(highest, plot.limit) if near_limit and plot.limit is not None else highest
    scale = _Scale(plot.points[0][0], plot.points[-1][0], bottom, top)
    corners = [scale.place(at, value) for at, value in plot.points]
    return PlotContent(
        title=one_line(plot.title),
        line=" ".join(f"{x},{y}" for x, y in corners),
        end_x=corners[-1][0],
        end_y=corners[-1][1],
        limit_y=scale.place(0.0, plot.limit)[1] if near_limit and plot.limit is not None else "",
        limit=_value(plot, plot.limit) if plot.limit is not None else "",
        lowest=_value(plot, lowest),
        highest=_value(plot, highest),
        newest=_value(plot, values[-1]),
        begins=_day(plot.points[0][0]),
        ends=_day(plot.points[-1][0]),
    )


def plot_contents(plots: Sequence[Plot]) -> tuple[PlotContent, ...]:
    """Lay out every plot that is a line."""
    return tuple(content for plot in plots if (content := plot_content(plot)) is not None)


@dataclass(frozen=True, slots=True)
class _Scale:
    first: float
    last: float
    bottom: float
    top: float

    def place(self, at: float, value: float) -> tuple[str, str]:
        """Return x and y as text: SVG counts downwards, and a flat line lies in the middle."""
        across = (at - self.first) / (self.last - self.first) if self.last > self.first else 1.0
        span = self.top - self.bottom
        up = (value - self.bottom) / span if span else 0.5
        x = MARGIN + across * (WIDTH - 2 * MARGIN)
        y = HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)
        return f"{x:.1f}", f"{y:.1f}"


def _value(plot: Plot, value: float) -> str:
    return one_line(format_value(plot.metric, value))


def _day(at_epoch_seconds: float) -> str:
    return f"{datetime.fromtimestamp(at_epoch_seconds, UTC):%Y-%m-%d}"
