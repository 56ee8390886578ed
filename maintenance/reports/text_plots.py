"""Plots in a terminal: sparklines, and bars of blocks, each with its numbers in words beside it."""

from collections.abc import Iterator, Sequence

from maintenance.reports.bars import BarsContent
from maintenance.reports.blocks import BAR_CELLS, FILLS, SPARK_CELLS, single, sparkline, stacked
from maintenance.reports.columns import display_width, hanging, indented, note, pad, titled, wrap
from maintenance.reports.plots import PlotContent

_GAP = "  "


def plots_as_lines(
    charts: Sequence[BarsContent], plots: Sequence[PlotContent], width: int
) -> Iterator[str]:
    """Yield charts, each under its title, then all that goes over time under one."""
    for chart in charts:
        yield from bar_lines(chart, width)
    if plots:
        yield ""
        yield from titled("Over time", "-", width)
        for plot in plots:
            yield from plot_lines(plot, width)


def bar_lines(chart: BarsContent, width: int) -> Iterator[str]:
    yield ""
    yield from titled(chart.title, "-", width)
    if len(chart.parts) > 1:
        legend = (f"{fill} {part}" for fill, part in zip(FILLS, chart.parts, strict=False))
        yield from wrap(", ".join(legend), width)
    room = min(max(display_width(bar.label) for bar in chart.bars), width // 3)
    for bar in chart.bars:
        *above, last = wrap(bar.label, room)
        yield from above
        label = pad(last, room) + _GAP
        if chart.stacked:
            values = ", ".join(f"{piece.part} {piece.value}" for piece in bar.pieces)
            yield from hanging(label + pad(stacked(bar), BAR_CELLS) + _GAP, values, width)
            continue
        for number, piece in enumerate(bar.pieces):
            first = label if number == 0 else " " * display_width(label)
            drawn = pad(single(piece.share, piece.place), BAR_CELLS) + _GAP
            part = f"{piece.part} " if len(chart.parts) > 1 else ""
            yield from hanging(first + drawn, f"{part}{piece.value}", width)
    yield from note(chart.left_out, width)


def plot_lines(plot: PlotContent, width: int) -> Iterator[str]:
    yield from wrap(f"{plot.title}, {plot.begins} to {plot.ends}", width)
    names = max(display_width(line.name) for line in plot.lines) if plot.is_named else 0
    names = min(names, width // 4)
    for line in plot.lines:
        *above, last = wrap(line.name, names) if names else ["  "]
        yield from indented(above, 2)
        drawn = sparkline(line.values, min(SPARK_CELLS, width // 3))
        first = f"  {pad(last, names)}{_GAP}{drawn}{_GAP}" if names else f"  {drawn}{_GAP}"
        yield from hanging(first, line.words, width)
    rest = [plot.limit_words] if plot.limit else []
    rest += [plot.foretold.words] if plot.foretold else []
    if rest:
        yield from indented(wrap("; ".join(rest), width - 2), 2)
