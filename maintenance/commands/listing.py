"""Lists: lines for a person, one table for everything else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.core.reports import Report, Table
from maintenance.reports.columns import display_width, one_line, visible, wrap
from maintenance.reports.content import SIGNS
from maintenance.reports.publication import Publication, of_report

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry for a person: a head line, and what stands indented below it."""

    head: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows under a title. ``item`` puts one row into words; every other format has the table."""

    title: str
    summary: str
    rows: Sequence[Row]
    item: Callable[[Row], Item]
    more: tuple[Table, ...] = ()  # for every format but text

    def publication(self) -> Publication:
        """Return the list as a report."""
        tables = (Table.of(self.title, self.rows), *self.more) if self.rows else self.more
        return of_report(Report(self.title, self.summary, tables=tables))

    def text(self, width: int) -> str:
        """Return the list as lines of at most ``width`` cells, the verdict first."""
        return "\n".join(line.rstrip() for line in self._lines(width)) + "\n"

    def _lines(self, width: int) -> Iterator[str]:
        """Entries of a single line stand close together; a gap keeps those that have more apart."""
        yield from wrap(one_line(self.summary), width)
        is_close = False
        for row in self.rows:
            item = self.item(row)
            if not (is_close and not item.details):
                yield ""
            is_close = not item.details
            head = visible(item.head)
            # Wrapping closes the gaps between columns, so it is the last resort.
            yield from [head] if display_width(head) <= width else wrap(head, width)
            for detail in item.details:
                yield from (f"     {line}" for line in wrap(one_line(detail), width - 5))


def sign(state: str, severity: str) -> str:
    """Return the sign of a run: of its worst finding where it did its work, else of its state."""
    label = severity if state == "succeeded" and severity else state
    return f"[{SIGNS.get(label, '..')}]"
