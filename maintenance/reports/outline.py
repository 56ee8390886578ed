"""The outline of a tall page: what stands on it, and where. Pure.

The names of the places are those that the templates give to their headings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from maintenance.reports.content import Content, Section

#: A page with fewer headings is looked through faster than its outline is.
FEWEST_PLACES = 9

#: How much of a table the audit repeats: the table says it, and an outline is read for names.
_EXCERPT = re.compile(r" \(the first [\d,]+ of [\d,]+\)$")


@dataclass(frozen=True, slots=True)
class Place:
    """A heading: its words and its ``id`` in the page."""

    title: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Group:
    """Headings that follow one another and begin alike (``title: ...``); a lone one has no title."""

    title: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """The headings of a page in their order; ``count`` of them."""

    count: int
    groups: tuple[Group, ...]


def outline_of(content: Content) -> Outline | None:
    """Return the headings of all sections in their order; nothing where there are few."""
    places = [
        place
        for number, section in enumerate(content.sections, 1)
        for place in _places(section, f"report-{number}", titled=content.titled)
    ]
    if len(places) < FEWEST_PLACES:
        return None
    return Outline(len(places), tuple(_grouped(places)))


def _grouped(places: list[Place]) -> Iterator[Group]:
    for beginning, alike in groupby(places, lambda place: place.title.partition(": ")[0]):
        members = tuple(alike)
        if len(members) == 1:
            yield Group("", members)
            continue
        start = len(f"{beginning}: ")
        yield Group(
            beginning,
            tuple(Place(each.title[start:] or each.title, each.anchor) for each in members),
        )


def _places(section: Section, anchor: str, *, titled: bool) -> Iterator[Place]:
    if titled:
        yield Place(section.title, anchor)
        return
    if section.findings:
        yield Place("Findings", f"{anchor}-findings")
    if section.outcomes:
        yield Place("Actions", f"{anchor}-actions")
    for place, chart in enumerate(section.bars, 1):
        yield Place(chart.title, f"{anchor}-bars-{place}")
    if section.plots:
        yield Place("Over time", f"{anchor}-plots")
    for place, table in enumerate(section.tables, 1):
        yield Place(_EXCERPT.sub("", table.title), f"{anchor}-table-{place}")
