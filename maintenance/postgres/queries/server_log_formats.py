"""The three formats of the server's log, cut into records and read one by one.

Source: PostgreSQL documentation, "Error Reporting and Logging": log_line_prefix, "Using CSV-Format
Log Output" and "Using JSON-Format Log Output". In the plain format every line after a record's
first begins with a tab, so that no statement can forge the beginning of a record.
"""

import csv
import io
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

#: What is kept of one record: a statement of many megabytes is known by its beginning.
RECORD_BYTES = 64 * 1024

#: A line without an end in sight is no longer kept as a whole.
_LINE_BYTES = 1024 * 1024
_NEWLINE = ord("\n")


class LogFormat(StrEnum):
    """A format by its name in ``log_destination``."""

    STDERR = "stderr"
    CSV = "csvlog"
    JSON = "jsonlog"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One message of the server; what the format does not tell is empty.

    ``time`` is as the server wrote it, in its ``log_timezone``.
    """

    time: str
    level: str
    message: str
    database: str = ""
    application: str = ""


class MalformedRecord(Exception):
    """A record is not what its format promises: cut off, or written by another program."""


class RecordParser(Protocol):
    """How one format is read.

    ``head`` matches where a record may begin, at the begin of a line. ``parse`` raises
    :class:`MalformedRecord`; it returns ``None`` for a record that says nothing of interest.
    """

    head: re.Pattern[bytes]

    def parse(self, record: bytes) -> LogEntry | None:
        """Read one record."""
        ...


#: The begin of each message that :mod:`.server_log_events` understands.
_OF_INTEREST = re.compile(
    rb"duration: \d|canceling statement |terminating connection |process \d+ still waiting for "
    rb"|temporary file: path |deadlock detected"
)

_DATE_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_ZONE = r"[^ ,\n]{1,40}"

_LEVELS = "LOG|ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DEBUG[1-5]?"
#: Lines that belong to the message before them. The parameters of a statement stand in DETAIL.
_ADDITIONS = "DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE"

# A name may hold anything, also the sign behind it in the prefix. 63 bytes, of which each that is
# not ASCII stands as \x.. in an application's name.
_NAMES = {"d": "database", "a": "application", "u": "user"}
_NAME_BYTES = 252
_ESCAPES = {
    "m": rf"{_DATE_TIME}\.\d{{3}} {_ZONE}",
    "t": rf"{_DATE_TIME} {_ZONE}",
    "n": r"\d+\.\d{3}",
    "s": rf"{_DATE_TIME} {_ZONE}",
    "b": "[a-z ]{0,63}?",
    "i": "[A-Z ]{0,63}?",
    "e": "[0-9A-Z]{5}",
}
_GROUPS = {"m": "time", "t": "time", "n": "time", **_NAMES}
_OTHER_ESCAPE = r"[^ \n]{0,255}?"
_PREFIX_PART = re.compile(r"%(?P<width>-?[0-9]*)(?P<letter>[^0-9-])|(?P<text>[^%]+|%)", re.DOTALL)


def prefix_pattern(log_line_prefix: str, *, any_name: bool = False) -> str:
    """Return the regular expression of what the setting ``log_line_prefix`` writes.

    Without ``any_name`` no name has the sign in it that stands behind it in the prefix, so that a
    line is decided in one pass.
    """
    pattern, is_open, named = "", False, set[str]()
    for part in _PREFIX_PART.finditer(log_line_prefix):
        letter = part["letter"]
        if letter is None:
            pattern += re.escape(part["text"])
        elif letter == "%":
            pattern += "%"
        elif letter == "q":  # processes without a session write nothing of the rest
            pattern += "" if is_open else "(?:"
            is_open = True
        else:
            body = _ESCAPES.get(letter, _OTHER_ESCAPE)
            if letter in _NAMES:
                behind = log_line_prefix[part.end() : part.end() + 1]
                other = "" if any_name or behind in {"", "%"} else re.escape(behind)
                body = rf"[^\n{other}]{{0,{_NAME_BYTES}}}?"
            name = _GROUPS.get(letter, "")
            pattern += _padded(part["width"], body, "" if name in named else name)
            named |= {name}
    return f"{pattern})?" if is_open else pattern


def _padded(width: str, body: str, name: str) -> str:
    group = f"(?P<{name}>{body})" if name else f"(?:{body})"
    return f" *{group} *" if width else group


class PlainParser:
    """The format ``stderr``: ``log_line_prefix``, the level, the message."""

    head = re.compile(rb"^(?!\t)", re.MULTILINE)

    #: Lines may fail a second try, for names with odd signs in them, so often: each is slow.
    _FAILURES = 20

    def __init__(self, log_line_prefix: str) -> None:
        self._failures_left = self._FAILURES
        self._line, self._odd_line = (
            re.compile(
                (
                    rf"{prefix_pattern(log_line_prefix, any_name=any_name)}"
                    rf"(?:(?P<level>{_LEVELS})|{_ADDITIONS}):  "
                    r"(?:[0-9A-Z]{5}: )?"  # log_error_verbosity = verbose
                ).encode()
            )
            for any_name in (False, True)
        )

    def parse(self, record: bytes) -> LogEntry | None:
        """Read one record."""
        line = self._line.match(record) or self._second_try(record)
        if line is None:
            raise MalformedRecord
        if line["level"] is None or not _OF_INTEREST.match(record, line.end()):
            return None
        found = {name: _text(value) for name, value in line.groupdict(default=b"").items()}
        message = _text(record[line.end() :].removesuffix(b"\n").replace(b"\n\t", b"\n"))
        return LogEntry(
            time=found.get("time", ""),
            level=found["level"],
            message=message,
            database=found.get("database", ""),
            application=found.get("application", ""),
        )

    def _second_try(self, record: bytes) -> re.Match[bytes] | None:
        if not self._failures_left or not _OF_INTEREST.search(record):
            return None
        line = self._odd_line.match(record)
        self._failures_left -= line is None
        return line


class CsvParser:
    """The format ``csvlog``."""

    # In the middle of a quoted statement each quote is doubled, which does not match here.
    head = re.compile(
        (
            rf"^{_DATE_TIME}\.\d{{3}} {_ZONE},"
            r'(?:"(?:[^"\n]|"")*")?,(?:"(?:[^"\n]|"")*")?,[0-9]*,'
        ).encode(),
        re.MULTILINE,
    )

    # "Using CSV-Format Log Output" lists them; 14 and later have three more behind these.
    _TIME, _DATABASE, _LEVEL, _MESSAGE, _APPLICATION = 0, 2, 11, 13, 22

    def parse(self, record: bytes) -> LogEntry | None:
        """Read one record."""
        is_whole = len(record) < RECORD_BYTES
        if is_whole and (record.count(b'"') % 2 or not self.head.match(record)):
            raise MalformedRecord
        if not _OF_INTEREST.search(record):
            return None
        # Of a record that is too long to keep, the message was cut off and is the last field.
        text = _text(record) if is_whole else _text(record) + ("" if _is_balanced(record) else '"')
        fields = next(csv.reader(io.StringIO(text, newline="")), [])
        if len(fields) <= (self._APPLICATION if is_whole else self._MESSAGE):
            raise MalformedRecord
        return LogEntry(
            time=fields[self._TIME],
            level=fields[self._LEVEL],
            message=fields[self._MESSAGE],
            database=fields[self._DATABASE],
            application=fields[self._APPLICATION] if is_whole else "",
        )


def _is_balanced(record: bytes) -> bool:
    return record.count(b'"') % 2 == 0


class JsonParser:
    """The format ``jsonlog``: an object a line."""

    head = re.compile(rb"^", re.MULTILINE)

    _KEYS = ("timestamp", "error_severity", "message", "dbname", "application_name")
    # Inside of a text each quote has a backslash, so that nothing there looks like a key.
    _STRING = rb'":("[^"\\]*+(?:\\(?:[^u]|u[0-9a-fA-F]{4})[^"\\]*+)*)'

    def parse(self, record: bytes) -> LogEntry | None:
        """Read one record."""
        is_whole = len(record) < RECORD_BYTES
        if not record.startswith(b"{") or (is_whole and not record.endswith(b"}\n")):
            raise MalformedRecord
        if not _OF_INTEREST.search(record):
            return None
        try:
            fields = json.loads(record) if is_whole else self._beginning(record)
        except ValueError:
            raise MalformedRecord from None
        time, level, message, database, application = (
            str(fields.get(key, "")) for key in self._KEYS
        )
        return LogEntry(time, level, message, database, application)

    def _beginning(self, record: bytes) -> dict[str, str]:
        """Return what can be read of a record that is too long to keep."""
        found = {key: re.search(b'"' + key.encode() + self._STRING, record) for key in self._KEYS}
        return {key: json.loads(text[1] + b'"') for key, text in found.items() if text}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def parser_of(log_format: LogFormat, log_line_prefix: str) -> RecordParser:
    """Return the parser of a format; only ``stderr`` needs the prefix."""
    if log_format is LogFormat.CSV:
        return CsvParser()
    return JsonParser() if log_format is LogFormat.JSON else PlainParser(log_line_prefix)


class RecordCutter:
    """Cuts the bytes of a log into records, of which it keeps the first :data:`RECORD_BYTES`.

    Feed it in pieces of any size: the records are the same. ``pending_bytes`` belong to a record
    whose end has not been seen, ``stray_lines`` stood before the first record.
    """

    def __init__(self, head: re.Pattern[bytes]) -> None:
        self.pending_bytes = 0
        self.stray_lines = 0
        self._head = head
        self._tail = b""  # a line without its end
        self._record: bytes | None = None  # what is kept of the record that is open
        self._record_bytes = 0
        self._is_in_line = False  # the open record's last line was too long for the tail

    def feed(self, data: bytes) -> list[bytes]:
        """Return the records that ``data`` ends."""
        text = self._tail + data
        cut = text.rfind(b"\n") + 1
        begin = 0
        if self._is_in_line:  # no record begins before that line's end
            begin = text.find(b"\n") + 1 or len(text)
            cut = cut or len(text)
        if len(text) - cut > _LINE_BYTES:
            cut = len(text)
        ended: list[bytes] = []
        rest = 0
        for head in self._head.finditer(text, begin, cut):
            if head.start() == cut:
                break
            self._extend(text[rest : head.start()])
            ended += self.finish()
            self._record = b""
            rest = head.start()
        self._extend(text[rest:cut])
        self._tail = text[cut:]
        self._is_in_line = self._is_in_line if not cut else text[cut - 1] != _NEWLINE
        self.pending_bytes = self._record_bytes + len(self._tail)
        return ended

    def finish(self) -> list[bytes]:
        """Return the record that is open, to which nothing more will be written.

        A line without its end stays pending.
        """
        ended = [] if self._record is None else [self._record]
        self._record = None
        self._record_bytes = 0
        self.pending_bytes = len(self._tail)
        return ended

    def _extend(self, lines: bytes) -> None:
        if self._record is None:
            self.stray_lines += lines.count(b"\n")
            return
        self._record_bytes += len(lines)
        if len(self._record) < RECORD_BYTES:
            self._record = (self._record + lines)[:RECORD_BYTES]
