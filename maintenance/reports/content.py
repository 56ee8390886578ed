"""What a publication in words consists of. Text, Markdown and HTML show the same, so that they say the same.

Every string in it is ready to be shown; :mod:`maintenance.reports.composition` makes it. A renderer adds
layout and its own escaping, nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from maintenance.reports.bars import BarsContent
from maintenance.reports.changes import ChangesContent
from maintenance.reports.next_steps import Steps
from maintenance.reports.plots import PlotContent

#: A sign beside each word, so that neither colour nor the word alone has to carry the meaning.
SIGNS: Mapping[str, str] = {
    "critical": "!!",
    "failed": "!!",
    "warning": "!",
    "info": "i",
    "unavailable": "?",
    "ok": "ok",
    "skipped": "--",
    "cancelled": "--",
    "queued": "..",
    "running": "..",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A name in words and a value in words."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Change:
    """A measurement before and after an action; a dash where one is missing.

    ``is_new`` says that there was none before, as of what the action gained: then ``after`` says all.
    """

    label: str
    before: str
    after: str
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class FindingContent:
    """One finding; ``anchor`` is its stable name in the page, for links to it.

    ``whose`` says who has to act: the heading of its advice.
    """

    label: str
    sign: str
    anchor: str
    code: str
    subject: str
    sentence: str
    evidence: tuple[Fact, ...]
    whose: str
    advice: str
    commands: tuple[str, ...]
    undo: tuple[str, ...]
    runbook: str
    runbook_is_link: bool
    life: str = ""
    is_muted: bool = False


@dataclass(frozen=True, slots=True)
class OutcomeContent:
    """One action and what came of it. ``label`` is the severity that its verdict looks like."""

    label: str
    sign: str
    verdict: str
    kind: str
    subject: str
    statement: str
    reason: str
    predicted: tuple[Fact, ...]
    changes: tuple[Change, ...]
    sentence: str
    undo: str
    took: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in its column."""

    text: str
    column: "Column"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading. Numbers stand at the right; ``wordy`` columns hold sentences or statements."""

    heading: str
    numeric: bool
    wordy: bool


@dataclass(frozen=True, slots=True)
class TableContent:
    """A table whose rows have exactly as many cells as it has columns.

    ``left_out`` is a sentence that says how many rows do not stand here, or empty.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: str

    @property
    def cells(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows with the column of each cell."""
        return tuple(
            tuple(Cell(text, column) for text, column in zip(row, self.columns, strict=True))
            for row in self.rows
        )


@dataclass(frozen=True, slots=True)
class Section:
    """One report."""

    title: str
    summary: str
    label: str
    sign: str
    tally: str
    steps: tuple[Steps, ...]
    facts: tuple[Fact, ...]
    findings: tuple[FindingContent, ...]
    findings_left_out: str
    outcomes: tuple[OutcomeContent, ...]
    outcomes_left_out: str
    tables: tuple[TableContent, ...]
    plots: tuple[PlotContent, ...]
    bars: tuple[BarsContent, ...]
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """How many findings of one label there are."""

    label: str
    sign: str
    words: str


@dataclass(frozen=True, slots=True)
class Content:
    """The whole publication. ``titled`` says that each section shows its own heading.

    ``about`` is the run in one line: what ran, on what, when, for how long.
    """

    title: str
    summary: str
    label: str
    sign: str
    about: str
    counts: tuple[Count, ...]
    actions: str
    changes: ChangesContent | None
    run: tuple[Fact, ...]
    sections: tuple[Section, ...]
    titled: bool
