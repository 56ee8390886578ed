"""Glob patterns as Redis reads them, in SCAN's MATCH and elsewhere (``stringmatchlen``)."""

import re
from collections.abc import Callable, Iterable

from maintenance.core.globs import ANY_BYTE, Part, parts_of

_SPECIAL = re.compile(r"([*?\[\]\\^-])")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BEGINNING = re.compile(r"(?:[^*?\[\\]|\\.)*", re.DOTALL)


def escape_glob(text: str) -> str:
    """Escape what a pattern would take for more than a character."""
    return _SPECIAL.sub(r"\\\1", text)


def literal_beginning(pattern: str) -> str:
    """Return what every key that matches ``pattern`` begins with; may be empty."""
    found = _BEGINNING.match(pattern)
    return _ESCAPED.sub(r"\1", found[0]) if found else ""


def matcher(patterns: Iterable[str]) -> Callable[[bytes], bool]:
    """Return whether a key matches one of ``patterns``, byte by byte as the server compares."""
    compiled = [re.compile(_as_expression(pattern), re.DOTALL) for pattern in patterns]
    return lambda key: any(one.fullmatch(key) for one in compiled)


def _as_expression(pattern: str) -> bytes:
    return b"".join(_part_as_expression(part) for part in parts_of(pattern.encode()))


def _part_as_expression(part: Part) -> bytes:
    if part.bytes_allowed == ANY_BYTE:
        return b".*" if part.repeats else b"."
    members = b"".join(b"\\x%02x" % byte for byte in range(256) if part.bytes_allowed >> byte & 1)
    return b"[%b]" % members if members else b"(?!)"
