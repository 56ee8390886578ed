"""A report for a terminal or a mail: aligned columns, no colour codes, commands never wrapped."""

from collections.abc import Iterable, Iterator, Sequence

from maintenance.core.reports import ReportDocument
from maintenance.reports.columns import (
    clip,
    display_width,
    hanging,
    indented,
    note,
    pad,
    paired,
    titled,
    wrap,
)
from maintenance.reports.composition import content_of
from maintenance.reports.content import (
    Column,
    Content,
    Fact,
    FindingContent,
    OutcomeContent,
    Section,
    TableContent,
)
from maintenance.reports.publication import Publication, of_document
from maintenance.reports.text_plots import plots_as_lines
from maintenance.reports.text_summary import change_lines, step_lines

_MINIMUM_WIDTH = 40
_GAP = "  "
#: Text columns are narrowed to this many cells at most; then a table is written as records.
_NARROWEST_COLUMN = 14
_NARROWEST_WORDY_COLUMN = 24
_LINES_PER_CELL = 3


def render_text(document: ReportDocument, *, width: int = 100) -> str:
    """Return the document as plain text of at most ``width`` cells a line.

    Commands are longer where they have to be: a wrapped command cannot be copied.
    """
    return render_publication(of_document(document), width=width)


def render_publication(publication: Publication, *, width: int = 100) -> str:
    """Return any publication as plain text; see :func:`render_text`."""
    lines = _page(content_of(publication), max(width, _MINIMUM_WIDTH))
    return "\n".join(line.rstrip(" ") for line in lines) + "\n"


def _page(content: Content, width: int) -> Iterator[str]:
    yield from titled(content.title, "=", width)
    yield from _verdict(content.sign, content.label, content.summary, width)
    counts = ", ".join(f"[{count.sign}] {count.words}" for count in content.counts)
    for line in (content.about, counts, content.actions):
        yield from indented(wrap(line, width - 4)) if line else ()
    if content.changes:
        yield from change_lines(content.changes, width)
    for section in content.sections:
        if content.titled:
            yield ""
            yield ""
            yield from titled(section.title, "-", width)
            yield from _verdict(section.sign, section.label, section.summary, width)
        yield from _section(section, width)
    if content.run:
        yield ""
        yield from titled("Run", "-", width)
        yield from _pairs(content.run, width)


def _verdict(sign: str, label: str, summary: str, width: int) -> Iterator[str]:
    yield from hanging(f"[{sign}] {label.upper()}: ", summary, width)


def _pairs(facts: Sequence[Fact], width: int) -> Iterator[str]:
    yield from paired([(fact.label, fact.value) for fact in facts], width)


def _section(section: Section, width: int) -> Iterator[str]:
    for steps in section.steps:
        yield from step_lines(steps, width)
    if section.facts:
        yield ""
        yield from _pairs(section.facts, width)
    if section.findings:
        yield ""
        yield from titled(f"Findings: {section.tally}", "-", width)
        for finding in section.findings:
            yield from _finding(finding, width)
        yield from note(section.findings_left_out, width)
    if section.fixed:
        yield ""
        yield from titled("Fixed since the run before", "-", width)
        for sentence in section.fixed:
            yield from hanging("[ok] ", sentence, width)
    if section.outcomes:
        yield ""
        yield from titled("Actions", "-", width)
        for outcome in section.outcomes:
            yield from _outcome(outcome, width)
        yield from note(section.outcomes_left_out, width)
    yield from plots_as_lines(section.bars, section.plots, width)
    for table in section.tables:
        yield ""
        yield from titled(table.title, "-", width)
        yield from _table(table, width)


def _finding(finding: FindingContent, width: int) -> Iterator[str]:
    yield ""
    yield from hanging(f"[{finding.sign}] {finding.label.upper()} ", finding.subject, width)
    yield from indented(wrap(finding.sentence, width - 4))
    if finding.life:
        yield from hanging("    life:     ", finding.life, width)
    if finding.evidence:
        evidence = "; ".join(f"{fact.label} {fact.value}" for fact in finding.evidence)
        yield from hanging("    evidence: ", evidence, width)
    if finding.advice:
        yield from hanging(f"    {finding.whose.lower()}: ", finding.advice, width)
    if finding.runbook:
        yield from hanging("    runbook:  ", finding.runbook, width)
    yield from _commands("run", finding.commands)
    yield from _commands("undo", finding.undo)


def _commands(label: str, commands: Iterable[str]) -> Iterator[str]:
    for number, command in enumerate(commands):
        if number == 0:
            yield f"    {label}:"
        yield from indented(command.split("\n"), 6)


def _outcome(outcome: OutcomeContent, width: int) -> Iterator[str]:
    yield ""
    took = f" ({outcome.took})" if outcome.took else ""
    head = f"{outcome.kind} {outcome.subject}{took}"
    yield from hanging(f"[{outcome.sign}] {outcome.verdict.upper()} ", head, width)
    if outcome.sentence:
        yield from indented(wrap(outcome.sentence, width - 4))
    if outcome.reason:
        yield from hanging("    because:  ", outcome.reason, width)
    for number, change in enumerate(outcome.changes):
        first = "    change:   " if number == 0 else " " * 14
        values = change.after if change.is_new else f"{change.before} -> {change.after}"
        yield from hanging(first, f"{change.label} {values}", width)
    if outcome.predicted:
        predicted = "; ".join(f"{fact.label} {fact.value}" for fact in outcome.predicted)
        yield from hanging("    expected: ", predicted, width)
    yield from _commands("statement", [outcome.statement] if outcome.statement else [])
    yield from _commands("undo", [outcome.undo] if outcome.undo else [])


def _table(table: TableContent, width: int) -> Iterator[str]:
    if not table.rows:
        yield "No rows."
        return
    widths = _fitted(table, width)
    if widths is None:
        yield from _records(table, width)
    else:
        yield from _grid(table, widths)
    yield from note(table.left_out, width)


def _fitted(table: TableContent, width: int) -> list[int] | None:
    """Return a width for each column, or ``None`` where they cannot stand side by side."""
    widths = [
        max(display_width(cell) for cell in (column.heading, *(row[i] for row in table.rows)))
        for i, column in enumerate(table.columns)
    ]
    least = [
        _least_width(column, natural) for column, natural in zip(table.columns, widths, strict=True)
    ]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while excess > 0:
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        if widths[widest] <= least[widest]:
            return None
        widths[widest] -= 1
        excess -= 1
    return widths


def _least_width(column: Column, natural: int) -> int:
    if column.numeric:
        return natural
    return min(natural, _NARROWEST_WORDY_COLUMN if column.wordy else _NARROWEST_COLUMN)


def _grid(table: TableContent, widths: Sequence[int]) -> Iterator[str]:
    numeric = [column.numeric for column in table.columns]
    yield from _grid_row([column.heading for column in table.columns], widths, numeric)
    yield _GAP.join("-" * cells for cells in widths)
    for row in table.rows:
        yield from _grid_row(row, widths, numeric)


def _grid_row(
    cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]
) -> Iterator[str]:
    wrapped = [
        clip(wrap(cell, max(room, 1)), _LINES_PER_CELL, max(room, 1))
        for cell, room in zip(cells, widths, strict=True)
    ]
    for line in range(max(len(lines) for lines in wrapped)):
        yield _GAP.join(
            pad(lines[line] if line < len(lines) else "", room, right=right)
            for lines, room, right in zip(wrapped, widths, numeric, strict=True)
        )


def _records(table: TableContent, width: int) -> Iterator[str]:
    """Write one block a row, as ``psql``'s expanded display does for tables that are too wide."""
    for number, row in enumerate(table.rows, start=1):
        yield f"-- {number} --"
        facts = [
            Fact(column.heading, cell) for column, cell in zip(table.columns, row, strict=True)
        ]
        yield from _pairs(facts, width)
