"""A report as GitHub-flavoured Markdown, for issues, wikis and chats."""

import re
from collections.abc import Iterable, Iterator, Sequence

from maintenance.core.reports import ReportDocument
from maintenance.reports.bars import BarContent, BarsContent
from maintenance.reports.blocks import single, sparkline, stacked
from maintenance.reports.changes import ChangedFinding, ChangesContent
from maintenance.reports.composition import content_of
from maintenance.reports.content import (
    Content,
    Fact,
    FindingContent,
    OutcomeContent,
    Section,
    TableContent,
)
from maintenance.reports.next_steps import Steps
from maintenance.reports.plots import PlotContent
from maintenance.reports.publication import Publication, of_document

# Underscores inside of a word mean nothing in Markdown and stay readable as they are.
_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")
_LINE_STARTS = re.compile(r"^(\s*)([#>]|[+=-](?=[\s=-]|$)|\d+(?=[.)](?:\s|$)))", re.MULTILINE)
_ENTITY = re.compile(r"&(?=#?\w+;)")


def render_markdown(document: ReportDocument) -> str:
    """Return the document as Markdown. Names that hold markup come out as plain text."""
    return render_publication(of_document(document))


def render_publication(publication: Publication) -> str:
    """Return any publication as Markdown."""
    blocks = _page(content_of(publication))
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return _LINE_STARTS.sub(_escaped_start, _escape_marks(text))


def _escape_marks(text: str) -> str:
    return _MARKS.sub(r"\\\g<0>", _ENTITY.sub("&amp;", text).replace("<", "&lt;"))


def _escaped_start(match: re.Match[str]) -> str:
    spaces, mark = match.groups()
    # A number at the start of a line makes a list by the dot or bracket behind it.
    return f"{spaces}{mark}\\" if mark.isdigit() else f"{spaces}\\{mark}"


def code(text: str) -> str:
    """Return ``text`` as a code span; the fence is longer than any run of backticks inside."""
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max(runs, default=0) + 1)
    space = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) or not text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _code_block(commands: Sequence[str]) -> str:
    text = "\n".join(commands)
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}sql\n{text}\n{fence}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell_code(text: str) -> str:
    """A code span inside of a table: there, and only there, the pipe is escaped in code, too."""
    return code(text.replace("\n", " ")).replace("|", "\\|") if text else ""


def _cell(text: str) -> str:
    return _escape_marks(text).replace("\n", "<br>")


def _table(headings: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> str:
    """Build a table of cells that are escaped already; a true flag aligns right."""
    lines = [_row(heading for heading, _ in headings)]
    lines.append(_row("---:" if numeric else "---" for _, numeric in headings))
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _facts(name: str, facts: Sequence[Fact]) -> str:
    rows = [(_cell(fact.label), _cell(fact.value)) for fact in facts]
    return _table([(name, False), ("Value", False)], rows)


def _page(content: Content) -> Iterator[str]:
    yield f"# {escape(content.title)}"
    yield _verdict(content.sign, content.label, content.summary)
    if content.about:
        yield escape(content.about)
    if content.counts:
        yield _counts(content)
    if content.changes:
        yield from _changes(content.changes)
    for section in content.sections:
        if content.titled:
            yield f"## {escape(section.title)}"
            yield _verdict(section.sign, section.label, section.summary)
        yield from _section(section, "###" if content.titled else "##")
    if content.run:
        yield "## Run"
        yield _facts("Name", content.run)


def _counts(content: Content) -> str:
    counts = ", ".join(f"\\[{count.sign}\\] {count.words}" for count in content.counts)
    return "; ".join(part for part in (counts, content.actions) if part)


def _changes(changes: ChangesContent) -> Iterator[str]:
    yield f"## Since the previous report ({changes.previous})"
    yield escape(changes.sentence)
    for fate in changes.fates:
        lines = [f"- **{fate.title}** \\[{f.sign}\\] {_cell(_changed(f))}" for f in fate.findings]
        lines += [f"- and {fate.more} more {fate.title.lower()}"] if fate.more else []
        yield "\n".join(lines)
    if changes.numbers:
        headings = [("Number", False), ("Before", True), ("Now", True), ("Change", True)]
        rows = [tuple(map(_cell, (n.label, n.before, n.now, n.share))) for n in changes.numbers]
        yield _table(headings, rows)
    yield from _note(changes.more_numbers)


def _changed(finding: ChangedFinding) -> str:
    subject = f"{finding.subject}: " if finding.subject else ""
    return f"{finding.word.upper()} {subject}{finding.sentence}"


def _steps(steps: Steps, level: str) -> Iterator[str]:
    yield f"{level} {steps.title}"
    lines = [f"- \\[{s.sign}\\] {_cell(s.words)}" for s in steps.steps]
    lines += [f"- and {steps.more} more, with the findings"] if steps.more else []
    yield "\n".join(lines)


def _verdict(sign: str, label: str, summary: str) -> str:
    return f"**\\[{sign}\\] {label.upper()}:** {escape(summary)}"


def _section(section: Section, level: str) -> Iterator[str]:
    for steps in section.steps:
        yield from _steps(steps, level)
    if section.facts:
        yield _facts("Measured", section.facts)
    if section.findings:
        yield f"{level} Findings: {section.tally}"
        for finding in section.findings:
            yield from _finding(finding, f"{level}#")
        yield from _note(section.findings_left_out)
    if section.fixed:
        yield f"{level} Fixed since the run before"
        yield "\n".join(f"- {escape(sentence)}" for sentence in section.fixed)
    if section.outcomes:
        yield f"{level} Actions"
        yield _outcomes(section.outcomes)
        yield from _note(section.outcomes_left_out)
    yield from _plots(section.bars, section.plots, level)
    for table in section.tables:
        yield f"{level} {escape(table.title)}"
        yield from _measured(table)


def _plots(
    charts: Sequence[BarsContent], plots: Sequence[PlotContent], level: str
) -> Iterator[str]:
    for chart in charts:
        yield f"{level} {escape(chart.title)}"
        headings = [("", False), *((_cell(part), True) for part in chart.parts), ("", False)]
        yield _table(headings, (_bar(chart, bar) for bar in chart.bars))
        yield from _note(chart.left_out)
    if plots:
        yield f"{level} Over time"
        headings = [(name, False) for name in ("", "From", "To", "Course", "In words")]
        yield _table(headings, (row for plot in plots for row in _courses(plot)))


def _bar(chart: BarsContent, bar: BarContent) -> Sequence[str]:
    values = {piece.part: piece.value for piece in bar.pieces}
    if chart.stacked:
        drawn = stacked(bar)
    else:
        drawn = "<br>".join(single(piece.share, piece.place) for piece in bar.pieces)
    return (_cell(bar.label), *(_cell(values.get(part, "")) for part in chart.parts), drawn)


def _courses(plot: PlotContent) -> Iterator[Sequence[str]]:
    for number, line in enumerate(plot.lines):
        title = f"{plot.title}: {line.name}" if plot.is_named else plot.title
        words = [line.words]
        if number == 0:
            words += [plot.limit_words, plot.foretold.words if plot.foretold else ""]
        said = "; ".join(part for part in words if part)
        yield (_cell(title), plot.begins, plot.ends, sparkline(line.values), _cell(said))


def _note(sentence: str) -> Iterator[str]:
    if sentence:
        yield f"*{sentence}*"


def _finding(finding: FindingContent, level: str) -> Iterator[str]:
    yield f"{level} \\[{finding.sign}\\] {finding.label.upper()} {escape(finding.subject)}"
    yield escape(finding.sentence)
    if finding.life:
        yield f"Life: {escape(finding.life)}"
    if finding.evidence:
        parts = (f"{_cell(fact.label)} **{_cell(fact.value)}**" for fact in finding.evidence)
        yield "Evidence: " + "; ".join(parts)
    if finding.advice:
        yield f"**{finding.whose}:** {escape(finding.advice)}"
    if finding.commands:
        yield _code_block(finding.commands)
    if finding.undo:
        yield "Undo:"
        yield _code_block(finding.undo)
    if finding.runbook:
        runbook = f"<{finding.runbook}>" if finding.runbook_is_link else escape(finding.runbook)
        yield f"Runbook: {runbook}"


def _outcomes(outcomes: Sequence[OutcomeContent]) -> str:
    headings = ["Verdict", "Action", "Before and after", "Took", "Statement", "Undo"]
    return _table([(heading, False) for heading in headings], [_outcome(o) for o in outcomes])


def _outcome(outcome: OutcomeContent) -> Sequence[str]:
    action = f"{outcome.kind} {outcome.subject}"
    notes = [action, outcome.sentence, outcome.reason and f"Because: {outcome.reason}"]
    measured = [
        f"{change.label} {change.after}"
        if change.is_new
        else f"{change.label} {change.before} → {change.after}"
        for change in outcome.changes
    ]
    measured += [f"{fact.label} {fact.value} (expected)" for fact in outcome.predicted]
    return (
        f"\\[{outcome.sign}\\] {outcome.verdict}",
        "<br>".join(_cell(note) for note in notes if note),
        "<br>".join(_cell(line) for line in measured),
        _cell(outcome.took),
        _cell_code(outcome.statement),
        _cell_code(outcome.undo),
    )


def _measured(table: TableContent) -> Iterator[str]:
    if not table.rows:
        yield "No rows."
        return
    headings = [(_cell(column.heading), column.numeric) for column in table.columns]
    yield _table(headings, [[_cell(cell) for cell in row] for row in table.rows])
    yield from _note(table.left_out)
