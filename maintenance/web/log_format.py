"""A log's format, as it stands in the server's configuration, as a pattern of its lines.

Nginx: the text of ``log_format`` with its variables (nginx documentation, ngx_http_log_module), or the
whole directive. Apache: the text of ``LogFormat`` (Apache documentation, mod_log_config), or the
whole directive. A template of JSON is a format like any other, since its keys are literal text.

Every quantifier is possessive: a line that fits nothing costs time in proportion to its length.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from maintenance.core.errors import ConfigurationError
from maintenance.core.suggestions import did_you_mean
from maintenance.web.apache_directives import apache_parts
from maintenance.web.format_parts import Escape, Part, quoted_words

#: Formats that servers know by name.
NAMED = {
    "combined": '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
    ' "$http_referer" "$http_user_agent"',
    "common": '%h %l %u %t "%r" %>s %b',
    "vhost_combined": '%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"',
}

_NGINX_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Column(StrEnum):
    """What is read of a line, in the order in which :func:`row_pattern` gives it."""

    TIME = "time"
    PATH = "path"
    STATUS = "status"
    SIZE = "size"
    SECONDS = "seconds"


#: Which variable tells what, the best first. Sizes are bytes; what is sent counts headers as well,
#: so that the body alone is asked first, as the server's own "combined" does.
SOURCES: Mapping[Column, tuple[str, ...]] = {
    Column.TIME: ("time_local", "time_iso8601", "msec", "usec", "time_text"),
    Column.PATH: ("request", "request_uri", "uri", "document_uri"),
    Column.STATUS: ("status",),
    Column.SIZE: ("body_bytes_sent", "bytes_sent"),
    Column.SECONDS: ("request_time", "request_usec", "request_msec", "upstream_response_time"),
}

#: A variable without a value is a hyphen; in JSON it is nothing at all.
_NUMBER = rb"\d++(?:\.\d++)?|-|"
#: What the web server itself writes, and nobody who sends it a request.
_SHAPES: Mapping[str, bytes] = {
    "time_local": rb"\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    "time_iso8601": rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[+-]\d\d:\d\d|Z)",
    "msec": rb"\d++(?:\.\d++)?",
    "usec": rb"\d++",
    "status": rb"\d{3}",
    "body_bytes_sent": _NUMBER,
    "bytes_sent": _NUMBER,
    "request_time": _NUMBER,
    "request_usec": _NUMBER,
    "request_msec": _NUMBER,
    "upstream_response_time": rb"[-\d., :]*+",
}


@dataclass(frozen=True, slots=True)
class LogFormat:
    """A format in its parts; ``columns`` says which variable each column is read from."""

    parts: tuple[Part, ...]
    escape: Escape
    columns: Mapping[Column, Part]


def parse_format(text: str) -> LogFormat:
    """Read a format: one of :data:`NAMED`, a text with ``$`` or ``%``, or a whole directive.

    Raises ``ConfigurationError`` where it cannot be told which characters belong to which variable,
    and where the request, its status or its time is missing.
    """
    text = NAMED.get(text.strip(), text.strip())
    directive = text.partition(" ")[0].lower()
    escape = Escape.DEFAULT
    if directive == "log_format":
        text, escape = _nginx_directive(text)
    elif directive == "logformat":
        text = quoted_words(text)[1]
    if "$" in text:
        parts = _nginx_parts(text)
        if escape is Escape.DEFAULT and text.lstrip().startswith("{"):
            escape = Escape.JSON
    elif "%" in text:
        parts, escape = apache_parts(text), Escape.BACKSLASH
    else:
        raise ConfigurationError(
            f'"{text}" is no log format. Write it as in the server\'s configuration ("$remote_addr'
            f' ..." or "%h ..."), or name one. {did_you_mean(text, [*NAMED, "json"])}'
        )
    _refuse_adjacent(parts)
    return LogFormat(parts, escape, _columns(parts))


def row_pattern(log_format: LogFormat) -> "tuple[re.Pattern[bytes], tuple[int, ...] | None]":
    """Return a pattern whose groups are the columns, and their order where it is another one.

    A column that the format does not have is an empty group at the end.
    """
    found = {part: column for column, part in log_format.columns.items()}
    body, order = [], []
    for part, following in _with_following(log_format.parts):
        column = found.get(part)
        if column is not None:
            order.append(column)
        body.append(_pattern_of(part, following, log_format.escape, column))
    for column in Column:
        if column not in log_format.columns:
            order.append(column)
            body.append(b"()")
    pattern = re.compile(rb"^" + b"".join(body) + rb"\r?$", re.MULTILINE)
    canonical = tuple(order.index(column) for column in Column)
    return pattern, None if canonical == tuple(range(len(canonical))) else canonical


def fields_pattern(log_format: LogFormat) -> "re.Pattern[bytes]":
    """Return a pattern with a group for every variable, in the order of the format."""
    body = [
        re.escape(part.literal)
        if part.is_literal
        else b"(" + _value_of(part, following, log_format.escape) + b")"
        for part, following in _with_following(log_format.parts)
    ]
    return re.compile(rb"^" + b"".join(body) + rb"\r?$", re.MULTILINE)


def _with_following(parts: Sequence[Part]) -> Iterator[tuple[Part, bytes]]:
    """Pair each part with the literal text behind it, a line's end where there is none."""
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        yield part, following.literal if following else b""


def _pattern_of(part: Part, following: bytes, escape: Escape, column: Column | None) -> bytes:
    if part.is_literal:
        return re.escape(part.literal)
    if column is None:
        return b"(?:" + _value_of(part, following, escape) + b")"
    if column is not Column.PATH:
        return b"(" + _value_of(part, following, escape) + b")"
    # Without its query, which is nobody's business; a request that is none has no path.
    rest = _free_text(following, escape)
    inside = rb"[^ ?" + re.escape(following[:1]) + rb"\n\\]*+"
    if part.name == "request":
        return rb"(?:[A-Z]++ (" + inside + rb")" + rest + rb"|" + rest + rb")"
    return rb"(" + inside + rb")" + rest


def _value_of(part: Part, following: bytes, escape: Escape) -> bytes:
    shape = part.shape or _SHAPES.get(part.name)
    if shape is not None:
        return shape
    return _free_text(following, escape)


def _free_text(following: bytes, escape: Escape) -> bytes:
    """Return what fits all up to the first occurrence of the text behind it, on one line."""
    end = re.escape(following[:1])
    if following[:1] == b'"' and escape is not Escape.NONE:
        if escape is Escape.DEFAULT:  # a quote is written as \\x22
            return rb'[^"\n]*+'
        return rb'[^"\\\n]*+(?:\\.[^"\\\n]*+)*'
    if len(following) <= 1:
        return rb"[^" + (end or rb"\r") + rb"\n]*+"
    inside = rb"[^" + end + rb"\n]*+"
    return inside + rb"(?:(?!" + re.escape(following) + rb")[^\n]" + inside + rb")*"


def _nginx_directive(text: str) -> tuple[str, Escape]:
    words = quoted_words(text.rstrip().removesuffix(";"))[2:]
    escape = Escape.DEFAULT
    if words and words[0].startswith("escape="):
        name = words.pop(0).removeprefix("escape=")
        if name not in list(Escape)[:3]:
            raise ConfigurationError(
                f'log_format knows no escape "{name}". {did_you_mean(name, list(Escape)[:3])}'
            )
        escape = Escape(name)
    return "".join(words), escape


def _nginx_parts(text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    end = 0
    for match in _NGINX_VARIABLE.finditer(text):
        if match.start() > end:
            parts.append(Part(literal=text[end : match.start()].encode()))
        parts.append(Part(name=match[1] or match[2], written=match[0]))
        end = match.end()
    if end < len(text):
        parts.append(Part(literal=text[end:].encode()))
    return tuple(parts)


def _refuse_adjacent(parts: Sequence[Part]) -> None:
    for part, following in pairwise(parts):
        if not part.is_literal and not following.is_literal:
            raise ConfigurationError(
                f"The log format has nothing between {part.written} and {following.written}: where"
                " one ends cannot be told. Put a space between them in the server's configuration."
            )


def _columns(parts: Sequence[Part]) -> dict[Column, Part]:
    named = {part.name: part for part in reversed(parts) if not part.is_literal}
    columns = {}
    for column, sources in SOURCES.items():
        source = next((name for name in sources if name in named), None)
        if source is not None:
            columns[column] = named[source]
        elif column in (Column.TIME, Column.PATH, Column.STATUS):
            needed = " or ".join(
                f"${name}" for name in sources if name not in {"usec", "time_text"}
            )
            near = did_you_mean(sources[0], named) if named else ""
            raise ConfigurationError(
                f"The log format has no {column}: it needs {needed} (in Apache's"
                f" {_APACHE_WORDS[column]}). {near if near.startswith('Did') else ''}".rstrip()
            )
    return columns


_APACHE_WORDS = {Column.TIME: "%t", Column.PATH: "%r or %U", Column.STATUS: "%>s"}
