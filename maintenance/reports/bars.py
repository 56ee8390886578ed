"""Subjects beside one another as bars, in numbers that an SVG element takes; names stand beside them.

A name may be long or hostile, so it is text of the page, which wraps, and never text of a picture. The
values stand beside each bar in words: whoever does not see the bar loses nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maintenance.core.plots import Bar, BarChart
from maintenance.reports.columns import one_line
from maintenance.reports.formatting import counted, format_value

#: A bar's box: every bar of a chart is a share of its width.
WIDTH, THICKNESS, GAP = 100, 8, 2


@dataclass(frozen=True, slots=True)
class Piece:
    """One value of a bar: a rectangle, and the value in words. ``share`` is of the longest bar."""

    part: str
    place: str
    x: str
    y: str
    length: str
    value: str
    share: float


@dataclass(frozen=True, slots=True)
class BarContent:
    """One bar with its name; a value that is missing has no piece."""

    label: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class BarsContent:
    """A chart, each bar in a box of ``width`` times ``height``."""

    title: str
    parts: tuple[str, ...]
    bars: tuple[BarContent, ...]
    stacked: bool
    left_out: str
    height: int
    width: int = WIDTH


def bars_content(chart: BarChart) -> BarsContent | None:
    """Lay out a chart; ``None`` for one in which nothing can be drawn.

    What is negative has no length, and stands there in words.
    """
    longest = max((_length(bar, stacked=chart.stacked) for bar in chart.bars), default=0.0)
    if longest <= 0 or not math.isfinite(longest):
        return None
    parts = tuple(one_line(part) for part in chart.parts)
    lines = 1 if chart.stacked else len(parts)
    return BarsContent(
        title=one_line(chart.title),
        parts=parts,
        bars=tuple(
            BarContent(one_line(bar.label), _pieces(chart, bar, parts, longest))
            for bar in chart.bars
        ),
        stacked=chart.stacked,
        left_out=_left_out(chart.left_out),
        height=lines * THICKNESS + (lines - 1) * GAP,
    )


def bars_contents(charts: Sequence[BarChart]) -> tuple[BarsContent, ...]:
    """Lay out every chart that shows something."""
    return tuple(content for chart in charts if (content := bars_content(chart)) is not None)


def _length(bar: Bar, *, stacked: bool) -> float:
    drawn = [_drawn(value) for value in bar.values]
    return sum(drawn) if stacked else max(drawn, default=0.0)


def _drawn(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) and value > 0 else 0.0


def _pieces(chart: BarChart, bar: Bar, parts: Sequence[str], longest: float) -> tuple[Piece, ...]:
    pieces, begins = [], 0.0
    for place, (part, value) in enumerate(zip(parts, bar.values, strict=False)):
        share = _drawn(value) / longest
        if value is not None:
            pieces.append(
                Piece(
                    part=part,
                    place=str(place % 4),
                    x=f"{begins * WIDTH:.2f}",
                    y=str(0 if chart.stacked else place * (THICKNESS + GAP)),
                    length=f"{share * WIDTH:.2f}",
                    value=one_line(format_value(chart.metric, value)),
                    share=share,
                )
            )
        begins += share if chart.stacked else 0.0
    return tuple(pieces)


def _left_out(count: int) -> str:
    if count <= 0:
        return ""
    verb = "is" if count == 1 else "are"
    return f"{counted(count, 'shorter bar')} {verb} left out here."
