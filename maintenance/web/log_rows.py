"""Rows of whole lines, and what of the lines fits no format."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol

from maintenance.core.errors import ConfigurationError
from maintenance.core.suggestions import did_you_mean
from maintenance.web.log_format import Column, LogFormat, parse_format, row_pattern
from maintenance.web.log_values import ReadSeconds, ReadTime, seconds_reader, time_reader
from maintenance.web.tally import Row

#: The keys of JSON logs that are looked for where ``fields`` names none.
JSON_KEYS: Mapping[Column, tuple[str, ...]] = {
    Column.TIME: ("time_iso8601", "time_local", "msec", "time", "timestamp", "@timestamp", "ts"),
    Column.PATH: ("request", "request_uri", "uri", "path", "url"),
    Column.STATUS: ("status", "status_code"),
    Column.SIZE: ("body_bytes_sent", "bytes_sent", "bytes", "size"),
    Column.SECONDS: ("request_time", "duration_ms", "duration_us", "upstream_response_time"),
}

_REQUEST = re.compile(r"(?:[A-Z]+ )?([^ ?]*)")
_STATUS = re.compile(r"\d{3}")
#: Letters and digits are hidden: what a visitor sent must not be seen in a report.
_HIDDEN = re.compile(rb"[A-Za-z]+|\d+")
_SHAPE_BYTES = 160


class RowReader(Protocol):
    """Turns lines into rows; ``names_seconds`` is the variable that latencies are read from."""

    read_time: ReadTime
    read_seconds: ReadSeconds
    names_seconds: str

    def rows(self, lines: bytes) -> list[Row]:
        """Return a row for each whole line that fits."""
        ...

    def fits(self, line: bytes) -> bool:
        """Tell whether one line fits."""
        ...


class PatternRows:
    """Lines of a format of the server."""

    def __init__(self, log_format: LogFormat, zone: str) -> None:
        self._pattern, self._order = row_pattern(log_format)
        time = log_format.columns[Column.TIME]
        self.read_time = time_reader(time.name, time.time_format, zone)
        seconds = log_format.columns.get(Column.SECONDS)
        self.names_seconds = seconds.name if seconds else ""
        self.has_whole_seconds = any(p.name == "whole_seconds" for p in log_format.parts)
        self.read_seconds = seconds_reader(self.names_seconds)

    def rows(self, lines: bytes) -> list[Row]:
        """Return a row for each line that fits."""
        found = self._pattern.findall(lines)
        return found if self._order is None else list(map(itemgetter(*self._order), found))

    def fits(self, line: bytes) -> bool:
        """Tell whether one line fits."""
        return self._pattern.fullmatch(line) is not None


class JsonRows:
    """Lines of JSON whose keys come in any order. About a third of the speed of a pattern."""

    def __init__(self, fields: Mapping[str, str], zone: str) -> None:
        unknown = [name for name in fields if name not in list(Column)]
        if unknown:
            raise ConfigurationError(
                f'fields knows no "{unknown[0]}". {did_you_mean(unknown[0], list(Column))}'
            )
        self._keys = {
            column: (fields[column],) if column in fields else JSON_KEYS[column]
            for column in Column
        }
        self.names_seconds = fields.get(Column.SECONDS, "request_time")
        self.has_whole_seconds = False
        self.read_time = time_reader("", "", zone)
        self.read_seconds = seconds_reader("")

    def rows(self, lines: bytes) -> list[Row]:
        """Return a row for each line that fits."""
        return [row for line in _lines_of(lines) if (row := self._row(line)) is not None]

    def fits(self, line: bytes) -> bool:
        """Tell whether one line fits."""
        return self._row(line) is not None

    def _row(self, line: bytes) -> Row | None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(entry, dict):
            return None
        time, path, status, size = (
            self._value(entry, column)[1]
            for column in (Column.TIME, Column.PATH, Column.STATUS, Column.SIZE)
        )
        if not time or not _STATUS.fullmatch(status):
            return None
        match = _REQUEST.match(path)
        return (
            time.encode(), (match[1] if match else "").encode("utf-8", "replace"),
            status.encode(), size.encode(), self._seconds(entry),
        )  # fmt: skip

    def _value(self, entry: Mapping[str, Any], column: Column) -> tuple[str, str]:
        for key in self._keys[column]:
            value = entry.get(key)
            if isinstance(value, str | int | float):
                return key, str(value)
        return "", ""

    def _seconds(self, entry: Mapping[str, Any]) -> bytes:
        key, text = self._value(entry, Column.SECONDS)
        seconds = seconds_reader(key)(text.encode())
        return b"" if seconds is None else b"%.6f" % seconds


@dataclass(slots=True)
class Malformed:
    """Lines that fit no format: how many, and where the first of them stands, by its shape."""

    lines: int = 0
    shape: str = ""
    path: str = ""
    offset: int = 0


@dataclass(slots=True)
class Lines:
    """Lines of a log as they are given, turned into rows; counts those that do not fit."""

    reader: RowReader
    lines: int = 0
    malformed: Malformed = field(default_factory=Malformed)

    def rows(self, lines: bytes, path: str, offset: int) -> list[Row]:
        """Return the rows of whole lines that begin at ``offset`` of ``path``."""
        rows = self.reader.rows(lines)
        count = lines.count(b"\n")
        self.lines += count
        if len(rows) < count:
            if not self.malformed.lines:
                self._note_first(lines, path, offset)
            self.malformed.lines += count - len(rows)
        return rows

    def _note_first(self, lines: bytes, path: str, offset: int) -> None:
        for line in _lines_of(lines):
            if not self.reader.fits(line):
                self.malformed.shape = shape_of(line)
                self.malformed.path, self.malformed.offset = path, offset
                return
            offset += len(line) + 1


def _lines_of(lines: bytes) -> Iterator[bytes]:
    yield from lines.removesuffix(b"\n").split(b"\n")


def shape_of(line: bytes) -> str:
    """Return a line with letters as ``a`` and digits as ``9``, cut short."""
    hidden = _HIDDEN.sub(lambda m: b"9" if m[0].isdigit() else b"a", line[:1024])
    shape = hidden.decode("ascii", "replace").replace("\ufffd", "?")
    shown = "".join(c if c.isprintable() else "?" for c in shape)
    return shown if len(shown) <= _SHAPE_BYTES else shown[:_SHAPE_BYTES] + "..."


def row_reader(text: str, fields: Mapping[str, str], zone: str) -> "PatternRows | JsonRows":
    """Return the reader of a format: ``"json"``, or what :func:`parse_format` takes.

    Raises ``ConfigurationError``.
    """
    if text.strip() == "json":
        return JsonRows(fields, zone)
    if fields:
        raise ConfigurationError('fields belong to format = "json"; other formats name their own')
    return PatternRows(parse_format(text), zone)
