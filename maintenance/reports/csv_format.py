"""A report as CSV, for spreadsheets: raw numbers, and units in the column names.

One file holds several blocks, each with a line of its title, a line of column names and its rows,
and an empty line between them (RFC 4180 has no word for more than one table). :func:`render_table`
writes a single block without title for programs that want exactly one table.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from maintenance.core.findings import by_seriousness
from maintenance.core.reports import Report, ReportDocument, Table
from maintenance.reports.publication import Publication, of_document, of_report

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Rows = list[Sequence[Any]]

# A spreadsheet runs a cell that begins so as a formula; a table may be named by a stranger.
# Source: OWASP, CSV Injection.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render_csv(document: ReportDocument) -> str:
    """Return the document as CSV: run, facts, findings, actions, tables, samples; nothing cut."""
    return render_publication(of_document(document))


def render_publication(publication: Publication) -> str:
    """Return any publication as CSV."""
    blocks: list[Rows] = []
    if publication.run is not None:
        blocks.append(_pairs("Run", publication.run.to_json()))
    blocks.append(
        [
            ("Verdict",),
            ("report", "severity", "summary"),
            *((r.title, r.severity.value, r.summary) for r in publication.reports),
        ]
    )
    for report in publication.reports:
        blocks += _blocks(report, f"{report.title}: " if publication.several else "")
    return "\r\n".join(_written(block) for block in blocks)


def render_table(table: Table) -> str:
    """Return one table as CSV with one line of column names."""
    clean = of_report(Report("", "", tables=(table,))).reports[0].tables[0]
    return _written([clean.columns, *clean.rows])


class RowWriter:
    """Writes rows to a stream as they come, below one line of column names: for what is too long
    for a report."""

    def __init__(self, stream: "SupportsWrite[str]", columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._writer = csv.writer(stream)
        self._writer.writerow(self._columns)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        self._writer.writerow([_cell(row[column]) for column in self._columns])


def _written(rows: Rows) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _pairs(title: str, values: Mapping[str, Any]) -> Rows:
    return [(title,), ("name", "value"), *values.items()]


def _blocks(report: Report, prefix: str) -> Iterator[Rows]:
    if report.facts:
        yield _pairs(f"{prefix}Facts", report.facts)
    if report.findings:
        yield _records(f"{prefix}Findings", [f.to_json() for f in by_seriousness(report.findings)])
    if report.outcomes:
        yield _records(f"{prefix}Actions", [outcome.to_json() for outcome in report.outcomes])
    for table in report.tables:
        columns = [table.columns] if table.columns else []
        yield [(f"{prefix}{table.title}",), *columns, *table.rows]
    for chart in report.bars:
        values = [(bar.label, *bar.values) for bar in chart.bars]
        title = f"{prefix}Chart: {chart.title} ({chart.metric})"
        yield [(title,), ("subject", *chart.parts), *values]
    for plot in report.plots:
        lines = ((plot.name, plot.points), *((line.name, line.points) for line in plot.others))
        drawn = [(_at(at), name, value) for name, points in lines for at, value in points]
        drawn += [(_at(f.at_epoch_seconds), "forecast", f.about) for f in plot.foretold]
        title = f"{prefix}Chart: {plot.title} ({plot.metric})"
        yield [(title,), ("at", "line", "value"), *drawn]
    if report.samples:
        rows = [(s.metric, s.subject, s.value) for s in report.samples]
        yield [(f"{prefix}Samples",), ("metric", "subject", "value"), *rows]


def _at(at_epoch_seconds: float) -> str:
    return datetime.fromtimestamp(at_epoch_seconds, UTC).isoformat(timespec="seconds")


def _records(title: str, records: Sequence[Mapping[str, Any]]) -> Rows:
    columns = tuple(records[0])
    rows = [[_joined(record[column]) for column in columns] for record in records]
    return [(title,), columns, *rows]


def _joined(value: Any) -> Any:
    """Write a list of commands as lines of one cell."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value
