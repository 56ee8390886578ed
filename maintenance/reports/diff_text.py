"""A comparison of two reports in words, for a terminal."""

from collections.abc import Iterator, Sequence

from maintenance.reports.columns import display_width, one_line, pad, visible, wrap
from maintenance.reports.content import SIGNS
from maintenance.reports.diff import Fate, FindingChange, NumberChange, ReportDiff, RowChange
from maintenance.reports.diff_words import (
    ORDER,
    TITLES,
    relative_change,
    told,
    values_of,
    verdict,
    words_of,
)
from maintenance.reports.formatting import counted, format_time
from maintenance.reports.publication import label_of

#: Numbers and rows shown, the most changed first.
NUMBER_LIMIT = 40


def render_diff(diff: ReportDiff, *, width: int = 100) -> str:
    """Return the comparison as plain text: the verdict, findings by fate, then changed numbers."""
    return "\n".join(line.rstrip(" ") for line in _lines(diff, max(width, 40))) + "\n"


def _lines(diff: ReportDiff, width: int) -> Iterator[str]:
    yield from wrap(verdict(diff), width)
    yield ""
    yield from _head(diff, width)
    for fate in ORDER:
        changes = told(diff, fate)
        if changes:
            yield ""
            yield f"{TITLES[fate]}: {counted(len(changes), 'finding')}"
            for change in changes:
                yield from _finding(change, width)
    if diff.numbers:
        yield ""
        yield from _numbers(diff.numbers, width)
    if diff.rows:
        yield ""
        yield from _rows(diff.rows, width)
    for title in diff.incomparable_tables:
        yield ""
        sentence = f'Rows of "{one_line(title)}" cannot be told apart, so they are not compared.'
        yield from wrap(sentence, width)


def _head(diff: ReportDiff, width: int) -> Iterator[str]:
    yield f"task  {one_line(diff.new.task)}"
    for name, run, summary in (
        ("old", diff.old, diff.old_summary),
        ("new", diff.new, diff.new_summary),
    ):
        moment = format_time(run.finished_at or run.started_at or run.queued_at)
        yield f"{name}   {moment}  {one_line(run.target)}  {run.state}  {one_line(run.run_id)}"
        for line in wrap(visible(summary), width - 6):
            yield f"      {line}"


def _finding(change: FindingChange, width: int) -> Iterator[str]:
    finding = change.current
    label = label_of(finding)
    if change.fate in {Fate.WORSE, Fate.BETTER} and change.old is not None:
        label = f"{label_of(change.old)} -> {label}"
    head = f"[{SIGNS[label_of(finding)]}] {label.upper()} {one_line(finding.subject)}"
    yield from (f"  {line}" for line in wrap(head, width - 2))
    yield from (f"      {line}" for line in wrap(visible(finding.sentence), width - 6))
    words = words_of(change.evidence)
    for number in change.evidence:
        yield f"      {words[number.name]}: {values_of(number)}"


def _numbers(numbers: Sequence[NumberChange], width: int) -> Iterator[str]:
    shown = sorted(numbers, key=relative_change, reverse=True)[:NUMBER_LIMIT]
    yield f"Changed: {counted(len(numbers), 'number')}"
    words = words_of(shown)
    labels = [
        " ".join(filter(None, (f"{one_line(n.where)}:", one_line(n.subject), words[n.name])))
        for n in shown
    ]
    room = min(max(display_width(label) for label in labels), width * 3 // 5)
    for label, number in zip(labels, shown, strict=True):
        *above, last = wrap(label, room)
        yield from (f"  {line}" for line in above)
        yield f"  {pad(last, room)}  {values_of(number)}"
    yield from _more(len(numbers) - len(shown), "number")


def _rows(rows: Sequence[RowChange], width: int) -> Iterator[str]:
    yield f"Rows that came or went: {len(rows)}"
    for row in rows[:NUMBER_LIMIT]:
        sign = "+" if row.added else "-"
        yield from (
            f"  {line}"
            for line in wrap(f"{sign} {one_line(row.subject)} ({one_line(row.table)})", width - 2)
        )
    yield from _more(len(rows) - NUMBER_LIMIT, "row")


def _more(count: int, noun: str) -> Iterator[str]:
    if count > 0:
        yield f"  and {counted(count, f'more {noun}')}"
