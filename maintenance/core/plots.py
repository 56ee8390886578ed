"""Plots as data: numbers over time and shares beside one another, each with its unit and its limit.

A plot answers a question that a table answers slowly: what grows, what became slower, where the space
went. How it is drawn, or written where nothing can be drawn, is the business of ``maintenance.reports``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.core.job import Point

#: (seconds since the epoch, value), in the order of time.
Points = tuple[tuple[float, float], ...]

#: Bars of one chart: what comes behind the fifteenth is a matter for the table.
MOST_BARS = 15


@dataclass(frozen=True, slots=True)
class Line:
    """Another number of the same unit in the same plot, by its name."""

    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class Foretold:
    """What is expected at a time: between ``lowest`` and ``highest``, ``about`` most likely."""

    at_epoch_seconds: float
    lowest: float
    about: float
    highest: float


@dataclass(frozen=True, slots=True)
class Plot:
    """A number over time.

    ``metric`` ends in its unit. ``limit`` is where the number becomes a finding, ``None`` where there
    is no such line. ``name`` tells the first line from ``others``; ``foretold`` goes on where the
    points end.
    """

    title: str
    metric: str
    points: Points
    limit: float | None = None
    name: str = ""
    others: tuple[Line, ...] = ()
    foretold: tuple[Foretold, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what is empty has no key, as in reports of before it existed."""
        body: dict[str, Any] = {
            "title": self.title,
            "metric": self.metric,
            "points": [list(point) for point in self.points],
            "limit": self.limit,
        }
        if self.name:
            body["name"] = self.name
        if self.others:
            body["others"] = [
                {"name": line.name, "points": [list(point) for point in line.points]}
                for line in self.others
            ]
        if self.foretold:
            body["foretold"] = [
                [f.at_epoch_seconds, f.lowest, f.about, f.highest] for f in self.foretold
            ]
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Plot":
        """Rebuild from :meth:`to_json`."""
        return cls(
            title=body["title"],
            metric=body["metric"],
            points=_points(body["points"]),
            limit=body["limit"],
            name=body.get("name", ""),
            others=tuple(
                Line(line["name"], _points(line["points"])) for line in body.get("others", ())
            ),
            foretold=tuple(Foretold(*values) for values in body.get("foretold", ())),
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """One subject with a value for each part of its chart; ``None`` where there is none."""

    label: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Subjects beside one another, in the order in which they are to be read.

    ``metric`` ends in the unit of all values. ``parts`` names the values of a bar: shares of one whole
    where they are ``stacked`` (live, bloat), else the same number twice (before, now). ``left_out``
    counts the subjects that have no bar.
    """

    title: str
    metric: str
    parts: tuple[str, ...]
    bars: tuple[Bar, ...]
    stacked: bool = False
    left_out: int = 0

    @classmethod
    def largest(
        cls,
        title: str,
        metric: str,
        parts: Sequence[str],
        bars: Iterable[Bar],
        *,
        stacked: bool = False,
    ) -> "BarChart":
        """Keep the first :data:`MOST_BARS` of bars that stand in their order."""
        found = tuple(bars)
        kept = found[:MOST_BARS]
        return cls(title, metric, tuple(parts), kept, stacked, len(found) - len(kept))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "title": self.title,
            "metric": self.metric,
            "parts": list(self.parts),
            "bars": [{"label": bar.label, "values": list(bar.values)} for bar in self.bars],
            "stacked": self.stacked,
            "left_out": self.left_out,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "BarChart":
        """Rebuild from :meth:`to_json`."""
        return cls(
            title=body["title"],
            metric=body["metric"],
            parts=tuple(body["parts"]),
            bars=tuple(Bar(bar["label"], tuple(bar["values"])) for bar in body["bars"]),
            stacked=body["stacked"],
            left_out=body["left_out"],
        )


def over_time(
    title: str,
    metric: str,
    earlier: Sequence[Point],
    now: Point | None,
    *,
    limit: float | None = None,
    foretold: tuple[Foretold, ...] = (),
) -> tuple[Plot, ...]:
    """Return a plot of what earlier runs stored and what was measured now.

    Nothing where that is less than two points: one measurement is no course.
    """
    points = points_of(earlier, now)
    return (Plot(title, metric, points, limit, foretold=foretold),) if len(points) > 1 else ()


def points_of(earlier: Sequence[Point], now: Point | None) -> Points:
    """Return stored points with the one that was measured now at their end."""
    known = [*earlier, *([] if now is None else [now])]
    return tuple((point.at_epoch_seconds, point.value) for point in known)


def _points(body: Iterable[Sequence[float]]) -> Points:
    return tuple((at, value) for at, value in body)
