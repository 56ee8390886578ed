"""One tile for each target: how it stands, and its key metrics. Pure: the series are given."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from maintenance.admin.dashboard.verdicts import KINDS, WORRYING, kind_of
from maintenance.conf import Configuration
from maintenance.core.attention.standings import Standing
from maintenance.core.runs.registry import TargetKind
from maintenance.key_metrics.metrics import (
    Reading,
    Series,
    Stretch,
    reading,
    series_of,
)

#: Tiles of a page: so many are looked at; a filter shows each of the others.
MOST_TILES = 24


@dataclass(frozen=True, slots=True)
class TileHead:
    """A target by name, of one or several kinds, with the worst of what its tasks say."""

    name: str
    kinds: tuple[TargetKind, ...]
    kind: str
    checks: int
    worrying: int


@dataclass(frozen=True, slots=True)
class Line:
    """One reading of a tile, with its picture and the run that measured it last."""

    reading: Reading
    picture: SafeString
    run_id: Any


@dataclass(frozen=True, slots=True)
class Tile:
    """A target with its lines, and the names of those that have no value."""

    head: TileHead
    lines: tuple[Line, ...]
    unmeasured: tuple[str, ...]


def targets_by_name(configuration: Configuration) -> dict[str, tuple[TargetKind, ...]]:
    """Return the configured targets, each with its kinds: several may share a name, as in the ledger."""
    found: defaultdict[str, list[TargetKind]] = defaultdict(list)
    for kind in TargetKind:
        if kind is not TargetKind.NONE:
            for name in kind.targets(configuration):
                found[name].append(kind)
    return {name: tuple(kinds) for name, kinds in found.items()}


def tile_heads(
    targets: dict[str, tuple[TargetKind, ...]], standings: Iterable[Standing], now: datetime
) -> list[TileHead]:
    """Return the heads of all tiles, the worst first, then by name."""
    kinds_of: defaultdict[str, list[str]] = defaultdict(list)
    for standing in standings:
        if standing.run_id is not None:
            kinds_of[standing.target].append(kind_of(standing, now))
    heads = [
        TileHead(
            name=name,
            kinds=kinds,
            kind=min(kinds_of[name], key=KINDS.index, default="unavailable"),
            checks=len(kinds_of[name]),
            worrying=sum(kind in WORRYING for kind in kinds_of[name]),
        )
        for name, kinds in targets.items()
    ]
    return sorted(heads, key=lambda head: (KINDS.index(head.kind), head.name))


def lines_of(heads: Iterable[TileHead], configuration: Configuration) -> list[Series]:
    """Return the series that these tiles need."""
    return [
        series
        for head in heads
        for kind in head.kinds
        for series in series_of(head.name, kind, configuration)
    ]


def tiles(
    heads: Sequence[TileHead],
    series: Sequence[Series],
    stretches: Sequence[Sequence[Stretch]],
    standings: Iterable[Standing],
) -> list[Tile]:
    """Put the heads and their series together."""
    runs = {(each.task, each.target): each.run_id for each in standings}
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    unmeasured: defaultdict[str, list[str]] = defaultdict(list)
    for each, values in zip(series, stretches, strict=True):
        if values:
            run_id = runs.get((each.key_metric.task, each.target))
            said = reading(each, values)
            lines[each.target].append(Line(said, _drawn(said), run_id))
        else:
            unmeasured[each.target].append(each.label)
    return [Tile(head, tuple(lines[head.name]), tuple(unmeasured[head.name])) for head in heads]


def _drawn(said: Reading) -> SafeString:
    """Return the picture with its words; without a template, of which a page would render a hundred."""
    picture = said.picture
    limit = ""
    if picture.limit_y is not None:
        limit = format_html(
            '<line class="maintenance-limit" x1="0" y1="{}" x2="{}" y2="{}"/>',
            str(picture.limit_y),
            str(picture.width),
            str(picture.limit_y),
        )
    return format_html(
        '<svg class="maintenance-sparkline" viewBox="0 0 {0} {1}" width="{0}" height="{1}"'
        ' preserveAspectRatio="none" role="img" focusable="false" aria-label="{2}"><title>{2}</title>{3}'
        '<polyline points="{4}"/><path class="maintenance-now" d="M{5} {6}h0"/></svg>',
        str(picture.width),
        str(picture.height),
        said.in_words,
        limit,
        picture.points,
        str(picture.last_x),
        str(picture.last_y),
    )
