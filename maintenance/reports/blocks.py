"""Plots where nothing can be drawn: sparklines and bars of block characters.

Source of the characters: Unicode, "Block Elements" (U+2580 to U+259F), one cell each.
"""

from collections.abc import Sequence

from maintenance.reports.bars import BarContent

#: A line of a terminal has room for a sparkline of so many cells beside its words.
SPARK_CELLS = 40
BAR_CELLS = 24

_HEIGHTS = "▁▂▃▄▅▆▇█"
#: What tells the parts of a bar apart without a colour.
FILLS = ("█", "░", "▓", "▒")


def sparkline(values: Sequence[float], cells: int = SPARK_CELLS) -> str:
    """Return values as a line of at most ``cells`` characters, each the last of its stretch.

    The lowest value is the lowest block; all are of middle height where the values are one.
    """
    shown = _thinned(values, cells)
    if not shown:
        return ""
    lowest, highest = min(shown), max(shown)
    span = highest - lowest
    if not 0 < span < float("inf"):
        return _HEIGHTS[3] * len(shown)
    top = len(_HEIGHTS) - 1
    return "".join(_HEIGHTS[round((value - lowest) / span * top)] for value in shown)


def stacked(bar: BarContent, cells: int = BAR_CELLS) -> str:
    """Return a bar whose parts follow one another, in at most ``cells`` characters."""
    drawn, ends = "", 0.0
    for piece in bar.pieces:
        ends += piece.share
        drawn += FILLS[int(piece.place)] * (round(ends * cells) - len(drawn))
    return drawn


def single(share: float, place: str, cells: int = BAR_CELLS) -> str:
    """Return one part of a bar; what is more than nothing has at least one character."""
    return FILLS[int(place)] * (max(1, round(share * cells)) if share > 0 else 0)


def _thinned(values: Sequence[float], cells: int) -> list[float]:
    if len(values) <= cells:
        return list(values)
    return [values[(number + 1) * len(values) // cells - 1] for number in range(cells)]
