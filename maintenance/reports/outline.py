"""The outline of a tall page: what stands on it, and where. Pure.

The names of the places are those that the templates give to their headings.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from maintenance.reports.content import Content, Section

#: A page with fewer headings is looked through faster than its outline is.
FEWEST_PLACES = 9


@dataclass(frozen=True, slots=True)
class Place:
    """A heading: its words and its ``id`` in the page."""

    title: str
    anchor: str


def outline_of(content: Content) -> tuple[Place, ...]:
    """Return the headings of all sections in their order; none where there are few."""
    places = tuple(
        place
        for number, section in enumerate(content.sections, 1)
        for place in _places(section, f"report-{number}", titled=content.titled)
    )
    return places if len(places) >= FEWEST_PLACES else ()


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
        yield Place(table.title, f"{anchor}-table-{place}")
