"""Plain JSON values without secrets: what every rendering, file and log line is made from."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from maintenance.core.finding_life import ReportLife
from maintenance.core.redaction import redact
from maintenance.core.reports import Report, ReportDocument, RunFacts, Table
from maintenance.runbooks.links import linked

_SECRET_NAMES = ("password", "passwd", "pwd", "secret", "requirepass", "token")
_SECRET_ENDINGS = tuple(f"_{name}" for name in _SECRET_NAMES)
_REDACTED = "***"


def plain(value: Any, name: str = "") -> Any:  # noqa: PLR0911 - one line a kind reads best
    """Return ``value`` as JSON can hold it, passwords replaced by ``***``.

    Decimals become numbers, times ISO 8601, durations seconds, sets sorted lists. A number that
    is not finite becomes ``None``: JSON has no word for it, and it is no measurement. A value
    under a name such as ``password`` is a secret whatever it looks like. Raises ``TypeError``
    naming the type of a value that has no plain form.
    """
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(name):
        return _REDACTED
    if type(value) is str:  # most of a report
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, name) for item in value), key=str)
    return _scalar(value, name)


def _scalar(value: Any, name: str) -> Any:  # noqa: PLR0911 - one line a type reads best
    if isinstance(value, Enum):
        return plain(value.value, name)
    if isinstance(value, str | UUID | PurePath):
        return _text(str(value))
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _from_decimal(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(
        f'A report holds a {type(value).__name__} under "{name}", which JSON cannot.'
        " Reduce it to text, numbers, lists and mappings where it is measured."
    )


def _from_decimal(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _text(text: str) -> str:
    """Redact, and write out what neither PostgreSQL's text nor UTF-8 can hold."""
    text = text.replace("\x00", "\\x00")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return redact(text)


def _is_secret(name: str) -> bool:
    lowered = name.lower()
    return lowered in _SECRET_NAMES or lowered.endswith(_SECRET_ENDINGS)


def plain_report(report: Report) -> Report:
    """Return the report with plain values and without secrets; its ``state`` is dropped.

    Each finding that a runbook explains leads to it.
    """
    tables = tuple(_plain_table(table) for table in report.tables)
    body = plain(replace(report, tables=()).to_json())
    read = Report.from_json(body)
    return replace(read, tables=tables, findings=tuple(linked(f) for f in read.findings))


def plain_document(document: ReportDocument) -> ReportDocument:
    """Return the document with plain values and without secrets."""
    return ReportDocument(
        run=RunFacts.from_json(plain(document.run.to_json())),
        report=plain_report(document.report),
        life=ReportLife.from_json(plain(document.life.to_json())) if document.life else None,
    )


def _plain_table(table: Table) -> Table:
    return Table(
        title=_text(table.title),
        columns=tuple(_text(column) for column in table.columns),
        rows=tuple(
            # A row that is too short or too long is a fault of its maker, not a reason to lose it.
            tuple(
                plain(cell, table.columns[index] if index < len(table.columns) else "")
                for index, cell in enumerate(row)
            )
            for row in table.rows
        ),
    )
