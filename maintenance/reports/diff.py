"""What changed between two reports of the same task: findings first, then the numbers.

Comparing is pure; :func:`render_diff` says it in words.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maintenance.core.errors import MaintenanceError
from maintenance.core.findings import Finding, by_seriousness
from maintenance.core.reports import ReportDocument, RunFacts, Table
from maintenance.reports.formatting import is_identifier
from maintenance.reports.plain import plain_document


class IncomparableReports(MaintenanceError):
    """The two reports are of different tasks, so that no finding of one can be in the other."""


class Fate(StrEnum):
    """What became of a finding between two reports."""

    NEW = "new"
    WORSE = "worse"
    PERSISTING = "persisting"
    BETTER = "better"
    FIXED = "fixed"
    UNKNOWN = "unknown"  # it was there, and the newer report could not measure it again


@dataclass(frozen=True, slots=True)
class NumberChange:
    """A number that is not the same any more.

    ``where`` is the title of a table, ``facts``, or ``evidence``; ``subject`` the row or the
    subject of the finding; ``name`` carries the unit. ``None`` stands for no number.
    """

    where: str
    subject: str
    name: str
    old: float | None
    new: float | None


@dataclass(frozen=True, slots=True)
class FindingChange:
    """A finding with its fate. ``old`` or ``new`` is missing where it was not in that report."""

    fate: Fate
    old: Finding | None
    new: Finding | None
    evidence: tuple[NumberChange, ...] = ()

    @property
    def current(self) -> Finding:
        """The newer of the two."""
        found = self.new or self.old
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that only one of the two reports has, by its leading cells."""

    table: str
    subject: str
    added: bool


@dataclass(frozen=True, slots=True)
class ReportDiff:
    """The whole comparison. ``incomparable_tables`` have rows that no leading cells tell apart."""

    old: RunFacts
    new: RunFacts
    old_summary: str
    new_summary: str
    findings: tuple[FindingChange, ...]
    numbers: tuple[NumberChange, ...]
    rows: tuple[RowChange, ...]
    incomparable_tables: tuple[str, ...] = ()

    def by_fate(self, fate: Fate) -> tuple[FindingChange, ...]:
        """Return the findings of one fate, worst first."""
        return tuple(change for change in self.findings if change.fate is fate)


def compare(old: ReportDocument, new: ReportDocument) -> ReportDiff:
    """Compare two reports of one task. Raises :class:`IncomparableReports` for different tasks."""
    return compare_plain(plain_document(old), plain_document(new))


def compare_plain(old: ReportDocument, new: ReportDocument) -> ReportDiff:
    """Compare two plain documents of one task. Raises :class:`IncomparableReports` for different tasks.

    Findings are the same if their fingerprints are; two targets are compared as if they were one.
    A finding that is missing from the newer report is ``fixed`` only if the newer one could have
    found it: a run that did not succeed, or that could not measure this, leaves it ``unknown``.
    """
    if old.run.task != new.run.task:
        raise IncomparableReports(
            f"A report of {old.run.task} cannot be compared with one of {new.run.task}."
            " Choose two reports of the same task."
        )
    numbers = list(_mapping_changes("facts", "", old.report.facts, new.report.facts))
    rows: list[RowChange] = []
    incomparable: list[str] = []
    for before, after in _paired_tables(old.report.tables, new.report.tables):
        keys = _key_length(before, after)
        if keys is None:
            incomparable.append(after.title)
        else:
            numbers += _cell_changes(before, after, keys)
            rows += _row_changes(before, after, keys)
    return ReportDiff(
        old=old.run,
        new=new.run,
        old_summary=old.report.summary,
        new_summary=new.report.summary,
        findings=tuple(_finding_changes(old, new)),
        numbers=tuple(numbers),
        rows=tuple(rows),
        incomparable_tables=tuple(incomparable),
    )


# --- Findings ---


def _finding_changes(old: ReportDocument, new: ReportDocument) -> list[FindingChange]:
    before = _by_fingerprint(old.report.findings)
    after = _by_fingerprint(new.report.findings)
    unmeasured = _codes_no_longer_measured(before, after)
    changes = [_matched(before.get(key), finding) for key, finding in after.items()]
    for key, finding in before.items():
        if key not in after:
            lost = new.run.state != "succeeded" or finding.code in unmeasured
            changes.append(FindingChange(Fate.UNKNOWN if lost else Fate.FIXED, finding, None))
    order = {id(f): n for n, f in enumerate(by_seriousness(change.current for change in changes))}
    return sorted(changes, key=lambda change: order[id(change.current)])


def _by_fingerprint(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Index the findings; where one subject has two of a kind, the worse one counts."""
    return {finding.fingerprint(""): finding for finding in reversed(by_seriousness(findings))}


def _codes_no_longer_measured(
    before: Mapping[str, Finding], after: Mapping[str, Finding]
) -> set[str]:
    """Return the kinds of finding that the newer report could not look for at all.

    One subject that cannot be read (a table under row security) says nothing of the others: a kind
    counts only where an ``unavailable`` is new and nothing of that kind was measured beside it.
    """
    measured = {finding.code for finding in after.values() if finding.measured}
    return {
        finding.code
        for key, finding in after.items()
        if not finding.measured
        and finding.code not in measured
        and (key not in before or before[key].measured)
    }


def _matched(old: Finding | None, new: Finding) -> FindingChange:
    if old is None:
        return FindingChange(Fate.NEW, None, new)
    if not new.measured and old.measured:
        return FindingChange(Fate.UNKNOWN, old, new)
    step = new.severity.rank - old.severity.rank
    fate = Fate.WORSE if step > 0 else Fate.BETTER if step < 0 else Fate.PERSISTING
    evidence = _mapping_changes("evidence", new.subject, old.evidence, new.evidence)
    return FindingChange(fate, old, new, tuple(evidence))


# --- Numbers ---


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mapping_changes(
    where: str, subject: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[NumberChange]:
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = _number(old.get(name)), _number(new.get(name))
        if before != after and not is_identifier(name):
            yield NumberChange(where, subject, name, before, after)


def _paired_tables(old: Iterable[Table], new: Iterable[Table]) -> Iterator[tuple[Table, Table]]:
    """Pair tables by title; one without columns is empty and takes those of its partner."""
    earlier = _by_title(old)
    for title, after in _by_title(new).items():
        partner = earlier.get(title)
        if partner is None:
            continue
        if not partner.columns:
            yield Table(partner.title, after.columns, ()), after
        elif not after.columns:
            yield partner, Table(after.title, partner.columns, ())
        else:
            yield partner, after


def _by_title(tables: Iterable[Table]) -> dict[tuple[str, int], Table]:
    """Index tables by title, and by place where several have the same."""
    seen: Counter[str] = Counter()
    index = {}
    for table in tables:
        index[table.title, seen[table.title]] = table
        seen[table.title] += 1
    return index


def _key_length(old: Table, new: Table) -> int | None:
    """Return how many leading columns tell the rows of both tables apart, or ``None``."""
    for length in range(1, len(new.columns) + 1):
        if old.columns[:length] != new.columns[:length]:
            return None
        if all(len({_key(r, length) for r in t.rows}) == len(t.rows) for t in (old, new)):
            return length
    return 1 if not old.rows and not new.rows else None


def _key(row: Sequence[Any], length: int) -> tuple[str, ...]:
    return tuple(str(cell) for cell in row[:length])


def _cell_changes(old: Table, new: Table, keys: int) -> Iterator[NumberChange]:
    """Compare the cells of rows that both tables have, in columns that both have."""
    earlier = {_key(row, keys): dict(zip(old.columns, row, strict=False)) for row in old.rows}
    for row in new.rows:
        before = earlier.get(_key(row, keys))
        if before is not None:
            after = dict(zip(new.columns[keys:], row[keys:], strict=False))
            shared = [name for name in after if name in before]
            yield from _mapping_changes(
                new.title,
                " ".join(_key(row, keys)),
                {name: before[name] for name in shared},
                {name: after[name] for name in shared},
            )


def _row_changes(old: Table, new: Table, keys: int) -> Iterator[RowChange]:
    before = {_key(row, keys): None for row in old.rows}
    after = {_key(row, keys): None for row in new.rows}
    for key in [*after, *before]:
        if (key in after) != (key in before):
            yield RowChange(new.title, " ".join(key), added=key in after)
