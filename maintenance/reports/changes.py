"""What changed since the previous report, as it stands on a report's own page: in brief.

All of it, with every number and row, is what ``maintenance reports diff`` prints.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from maintenance.reports.columns import one_line, visible
from maintenance.reports.diff import Fate, FindingChange, NumberChange, ReportDiff
from maintenance.reports.diff_words import (
    TITLES,
    before_and_after,
    relative_change,
    share_of,
    told,
    verdict,
    words_of,
)
from maintenance.reports.formatting import counted, format_time
from maintenance.reports.publication import label_of

#: Findings of one fate, and numbers; what persists is counted and stands below anyway.
FINDINGS_SHOWN = 5
NUMBERS_SHOWN = 8
_FATES = (Fate.NEW, Fate.WORSE, Fate.BETTER, Fate.FIXED, Fate.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ChangedFinding:
    """A finding that came, went, or changed its severity: ``label`` is the one it has, or had.

    ``subject`` is "" where the sentence names it.
    """

    label: str
    sign: str
    word: str
    subject: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FateContent:
    """Findings of one fate; ``more`` counts those that are not named."""

    title: str
    findings: tuple[ChangedFinding, ...]
    more: int


@dataclass(frozen=True, slots=True)
class ChangedNumber:
    """A number of the report's own before and now; ``share`` is "" where it would mislead."""

    label: str
    before: str
    now: str
    share: str


@dataclass(frozen=True, slots=True)
class ChangesContent:
    """The comparison: with ``previous``, in one sentence, by fate, in numbers."""

    previous: str
    sentence: str
    fates: tuple[FateContent, ...]
    numbers: tuple[ChangedNumber, ...]
    more_numbers: str


def changes_of(diff: ReportDiff, signs: Mapping[str, str]) -> ChangesContent:
    """Put a comparison into words. ``signs`` are those of the labels."""
    then = diff.old.finished_at or diff.old.started_at or diff.old.queued_at
    own = [number for number in diff.numbers if number.where == "facts"]
    shown = sorted(own, key=relative_change, reverse=True)[:NUMBERS_SHOWN]
    words = words_of(shown)
    return ChangesContent(
        previous=format_time(_in_zone_of(diff, then)),
        sentence=verdict(diff),
        fates=tuple(_fates(diff, signs)),
        numbers=tuple(_number(number, words[number.name]) for number in shown),
        more_numbers=_more_numbers(len(diff.numbers) - len(shown)),
    )


def _number(number: NumberChange, label: str) -> ChangedNumber:
    before, now = before_and_after(number)
    return ChangedNumber(label, one_line(before), one_line(now), share_of(number))


def _in_zone_of(diff: ReportDiff, then: datetime) -> datetime:
    return then.astimezone(diff.new.queued_at.tzinfo)


def _fates(diff: ReportDiff, signs: Mapping[str, str]) -> Iterator[FateContent]:
    for fate in _FATES:
        changes = told(diff, fate)
        if changes:
            shown = tuple(_finding(change, signs) for change in changes[:FINDINGS_SHOWN])
            yield FateContent(TITLES[fate], shown, max(0, len(changes) - FINDINGS_SHOWN))


def _finding(change: FindingChange, signs: Mapping[str, str]) -> ChangedFinding:
    finding = change.current
    label = label_of(finding)
    word = label
    if change.fate in {Fate.WORSE, Fate.BETTER} and change.old is not None:
        word = f"{label_of(change.old)} → {label}"
    return ChangedFinding(
        label=label,
        sign=signs[label],
        word=word,
        # Most sentences begin with their subject: nobody has to read it twice.
        subject="" if finding.subject in finding.sentence else one_line(finding.subject),
        sentence=visible(finding.sentence),
    )


def _more_numbers(count: int) -> str:
    if count <= 0:
        return ""
    verb = "is" if count == 1 else "are"
    return f"{counted(count, 'more number')} {verb} not the same, of tables and findings."
