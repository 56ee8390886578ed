"""What a comparison says in words, wherever it stands: in a terminal or on a report's page."""

from collections.abc import Mapping, Sequence

from maintenance.core.findings import Severity
from maintenance.reports.columns import one_line
from maintenance.reports.diff import Fate, FindingChange, NumberChange, ReportDiff
from maintenance.reports.formatting import NO_VALUE, format_value, headings

ORDER = (Fate.NEW, Fate.WORSE, Fate.UNKNOWN, Fate.PERSISTING, Fate.BETTER, Fate.FIXED)
TITLES: Mapping[Fate, str] = {
    Fate.NEW: "New",
    Fate.WORSE: "Worse",
    Fate.UNKNOWN: "Not measured again",
    Fate.PERSISTING: "Persisting",
    Fate.BETTER: "Better",
    Fate.FIXED: "Fixed",
}


def verdict(diff: ReportDiff) -> str:
    """Say in one sentence what changed."""
    counts = [(fate, len(told(diff, fate))) for fate in ORDER]
    parts = [f"{count} {TITLES[fate].lower()}" for fate, count in counts if count]
    if not parts:
        return "Nothing changed that would need attention."
    moved = any(count for fate, count in counts if fate is not Fate.PERSISTING)
    return f"Findings: {', '.join(parts)}." if moved else f"No finding changed: {parts[0]}."


def told(diff: ReportDiff, fate: Fate) -> list[FindingChange]:
    """Leave out what was in order and still is."""
    return [
        change
        for change in diff.by_fate(fate)
        if fate is not Fate.PERSISTING or change.current.severity is not Severity.OK
    ]


def words_of(numbers: Sequence[NumberChange]) -> Mapping[str, str]:
    """Return the heading of each name; two that would read the same keep their quantity."""
    names = sorted({number.name for number in numbers})
    return {name: one_line(words) for name, words in zip(names, headings(names), strict=True)}


def before_and_after(number: NumberChange) -> tuple[str, str]:
    """Return both values in words; a dash stands for one that is not there."""
    old, new = (
        NO_VALUE if value is None else format_value(number.name, value)
        for value in (number.old, number.new)
    )
    return old, new


def values_of(number: NumberChange) -> str:
    """Return both values in one line, with the share by which the number changed."""
    old, new = before_and_after(number)
    share = share_of(number)
    return f"{old} -> {new} ({share})" if share else f"{old} -> {new}"


def share_of(number: NumberChange) -> str:
    """Say how much a number grew or shrank; of a ratio that would be a share of a share."""
    if number.old is None or number.new is None or number.name.endswith("_ratio"):
        return ""
    if number.old <= 0:
        return ""
    return f"{number.new / number.old - 1:+.1%}".replace("%", " %")


def relative_change(number: NumberChange) -> float:
    """Return by how much a number changed, to sort by: 0 to 2, infinite where one is missing."""
    if number.old is None or number.new is None:
        return float("inf")
    return abs(number.new - number.old) / max(abs(number.old), abs(number.new))
