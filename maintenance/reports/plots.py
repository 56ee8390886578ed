"""A number over time as lines, in numbers that an SVG element takes: no script, no style of its own.

A drawing library would bring more than the whole service holds at rest; lines, a limit, a band and a
few labels need none. Colours and fonts are the style sheet's, so that a plot is readable in the dark
and on paper. Lines differ by their dashes, and a forecast by its own.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from maintenance.core.plots import Foretold, Plot
from maintenance.reports.columns import one_line
from maintenance.reports.formatting import format_value

WIDTH, HEIGHT = 360, 150
#: Room around the lines: for their width and the dots at their ends, for dates, for values.
MARGIN, BELOW = 8, 20
#: A character of the labels takes about so much; longer labels than the widest run into the plot.
_CHARACTER, _WIDEST_LABEL = 6.3, 110
#: Shorter stretches are told by the hour.
_DAYS_FROM_SECONDS = 2 * 86_400.0
#: A forecast's band may be as wide as nobody knows what: beyond this it leaves the picture.
_BAND_TIMES = 1.5


@dataclass(frozen=True, slots=True)
class LineContent:
    """One line: ``corners`` is the value of a polyline's ``points``, ``place`` its number from 0.

    ``values`` are those that a sparkline is made of.
    """

    name: str
    place: str
    corners: str
    end_x: str
    end_y: str
    lowest: str
    highest: str
    newest: str
    values: tuple[float, ...]

    @property
    def words(self) -> str:
        """The three numbers that are worth saying."""
        return f"newest {self.newest}, lowest {self.lowest}, highest {self.highest}"


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across at a value of the vertical axis; ``text_y`` is where its label stands."""

    y: str
    text_y: str
    label: str


@dataclass(frozen=True, slots=True)
class ForetoldContent:
    """A forecast: ``band`` is the value of a polygon's ``points``, ``corners`` of a polyline's."""

    band: str
    corners: str
    words: str


@dataclass(frozen=True, slots=True)
class PlotContent:
    """A plot, ready to be drawn in a box of ``width`` times ``height``.

    ``left`` is where the lines begin. ``limit_y`` is "" without a limit within sight.
    """

    title: str
    lines: tuple[LineContent, ...]
    ticks: tuple[Tick, ...]
    foretold: ForetoldContent | None
    limit_y: str
    limit_text_y: str
    limit: str
    begins: str
    ends: str
    reaches: str
    left: str
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_named(self) -> bool:
        """Whether lines have to be told apart."""
        return len(self.lines) > 1

    @property
    def limit_words(self) -> str:
        """The limit, of the line that has it; empty without one."""
        whose = f" of {self.lines[0].name}" if self.is_named else ""
        return f"limit{whose} {self.limit}" if self.limit else ""

    @property
    def words(self) -> str:
        """What a reader sees, for those who do not."""
        parts = [
            f"{line.name} {line.words}".strip() if self.is_named else line.words
            for line in self.lines
        ]
        limit = f"; {self.limit_words}" if self.limit else ""
        foretold = f"; {self.foretold.words}" if self.foretold else ""
        return f"{self.title}, {self.begins} to {self.ends}: {'; '.join(parts)}{limit}{foretold}"

    @property
    def note(self) -> str:
        """What stands below the picture: the numbers of a single line, the limit, the forecast."""
        parts = [] if self.is_named else [self.lines[0].words]
        parts += [self.limit_words] if self.limit else []
        parts += [f"{self.foretold.words} (dashed, shaded)"] if self.foretold else []
        return "; ".join(parts)


def plot_content(plot: Plot) -> PlotContent | None:
    """Lay out a plot; ``None`` for one of fewer than two points, which is no line.

    The vertical axis begins at 0, so that a small change does not look like a large one, except
    where a value is negative or the lowest is above nine tenths of the highest.
    """
    named = [(plot.name, _known(plot.points))]
    named += [(line.name, _known(line.points)) for line in plot.others]
    named = [(name, points) for name, points in named if len(points) > 1]
    if not named:
        return None
    foretold = _foretold_of(plot)
    scale = _scale_of([point for _, points in named for point in points], foretold, plot.limit)
    values = (scale.top, (scale.top + scale.bottom) / 2, scale.bottom)
    labels = [_value(plot, value) for value in values]
    scale = scale.beside(min(_WIDEST_LABEL, max(map(len, labels)) * _CHARACTER))
    ends = max(points[-1][0] for _, points in named)
    moment = _moment if scale.last - scale.first < _DAYS_FROM_SECONDS else _day
    near = plot.limit is not None and scale.bottom <= plot.limit <= scale.top
    limit_y = scale.down(plot.limit) if near and plot.limit is not None else None
    return PlotContent(
        title=one_line(plot.title),
        lines=tuple(
            _line(plot, name, points, scale, place) for place, (name, points) in enumerate(named)
        ),
        ticks=_ticks(values, labels, scale),
        foretold=_foretold(plot, foretold, named[0][1][-1], scale) if foretold else None,
        limit_y="" if limit_y is None else f"{limit_y:.1f}",
        limit_text_y="" if limit_y is None else f"{_above(limit_y):.1f}",
        limit=_value(plot, plot.limit) if plot.limit is not None else "",
        begins=moment(scale.first),
        ends=moment(ends),
        reaches=moment(scale.last),
        left=f"{scale.left:.1f}",
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
    left: float = MARGIN

    def beside(self, labels: float) -> "_Scale":
        return _Scale(self.first, self.last, self.bottom, self.top, labels + 2 * MARGIN)

    def across(self, at: float) -> float:
        share = (at - self.first) / (self.last - self.first) if self.last > self.first else 1.0
        return self.left + share * (WIDTH - MARGIN - self.left)

    def down(self, value: float) -> float:
        """SVG counts downwards, and a flat line lies in the middle."""
        span = self.top - self.bottom
        up = (min(value, self.top) - self.bottom) / span if span else 0.5
        return HEIGHT - BELOW - max(up, 0.0) * (HEIGHT - BELOW - MARGIN)

    def corner(self, at: float, value: float) -> str:
        return f"{self.across(at):.1f},{self.down(value):.1f}"


def _known(points: Iterable[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(at, value) for at, value in points if value is not None and math.isfinite(value)]


def _foretold_of(plot: Plot) -> list[Foretold]:
    return [
        foretold
        for foretold in plot.foretold
        if len(_known((0.0, v) for v in (foretold.lowest, foretold.about, foretold.highest))) == 3
    ]


def _scale_of(
    points: Sequence[tuple[float, float]], foretold: Sequence[Foretold], limit: float | None
) -> _Scale:
    values = [value for _, value in points] + [f.about for f in foretold]
    lowest, highest = min(values), max(values)
    bottom = lowest if lowest < 0 or lowest > 0.9 * highest else 0.0
    top = highest
    if foretold:
        top = max(highest, min(max(f.highest for f in foretold), _BAND_TIMES * highest))
        bottom = min(bottom, max(min(f.lowest for f in foretold), 0.0))
    if limit is not None and lowest / 2 <= limit <= 2 * highest:
        bottom, top = min(bottom, limit), max(top, limit)
    times = [at for at, _ in points] + [f.at_epoch_seconds for f in foretold]
    return _Scale(min(times), max(times), bottom, top)


def _line(
    plot: Plot, name: str, points: Sequence[tuple[float, float]], scale: _Scale, place: int
) -> LineContent:
    values = tuple(value for _, value in points)
    end_x, end_y = scale.corner(*points[-1]).split(",")
    return LineContent(
        name=one_line(name),
        place=str(place % 4),
        corners=" ".join(scale.corner(at, value) for at, value in points),
        end_x=end_x,
        end_y=end_y,
        lowest=_value(plot, min(values)),
        highest=_value(plot, max(values)),
        newest=_value(plot, values[-1]),
        values=values,
    )


def _ticks(values: Sequence[float], labels: Sequence[str], scale: _Scale) -> tuple[Tick, ...]:
    """Leave out what would say the same twice: a flat line has one value."""
    ticks = []
    for number, (value, label) in enumerate(zip(values, labels, strict=True)):
        if label not in labels[:number]:
            y = scale.down(value)
            ticks.append(Tick(f"{y:.1f}", f"{y + 3.5:.1f}", label))
    return tuple(ticks)


def _foretold(
    plot: Plot, foretold: Sequence[Foretold], now: tuple[float, float], scale: _Scale
) -> ForetoldContent:
    """Begin where the measurements end, so that line and band leave them without a gap."""
    at, value = now
    above = [scale.corner(f.at_epoch_seconds, f.highest) for f in foretold]
    below = [scale.corner(f.at_epoch_seconds, f.lowest) for f in reversed(foretold)]
    line = [scale.corner(f.at_epoch_seconds, f.about) for f in foretold]
    end = foretold[-1]
    lowest, about, highest = (_value(plot, v) for v in (end.lowest, end.about, end.highest))
    return ForetoldContent(
        band=" ".join([scale.corner(at, value), *above, *below]),
        corners=" ".join([scale.corner(at, value), *line]),
        words=(
            f"forecast for {_day(end.at_epoch_seconds)}: {about}, between {lowest} and {highest}"
        ),
    )


def _above(y: float) -> float:
    """Where the words of a limit stand: above its line, or below it at the picture's upper edge."""
    return y - 4 if y > MARGIN + 12 else y + 12


def _value(plot: Plot, value: float) -> str:
    return one_line(format_value(plot.metric, value))


def _day(at_epoch_seconds: float) -> str:
    return f"{datetime.fromtimestamp(at_epoch_seconds, UTC):%Y-%m-%d}"


def _moment(at_epoch_seconds: float) -> str:
    return f"{datetime.fromtimestamp(at_epoch_seconds, UTC):%Y-%m-%d %H:%M} UTC"
