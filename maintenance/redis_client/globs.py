"""Glob patterns as Redis reads them, in SCAN's MATCH and elsewhere (``stringmatchlen``)."""

import re
from collections.abc import Callable, Iterable

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
    compiled = [re.compile(_as_expression(pattern.encode()), re.DOTALL) for pattern in patterns]
    return lambda key: any(one.fullmatch(key) for one in compiled)


def _as_expression(pattern: bytes) -> bytes:
    parts: list[bytes] = []
    position = 0
    while position < len(pattern):
        character = pattern[position : position + 1]
        position += 1
        if character == b"*":
            parts.append(b".*")
        elif character == b"?":
            parts.append(b".")
        elif character == b"[":
            part, position = _character_class(pattern, position)
            parts.append(part)
        else:
            if character == b"\\" and position < len(pattern):
                character = pattern[position : position + 1]
                position += 1
            parts.append(re.escape(character))
    return b"".join(parts)


def _character_class(pattern: bytes, position: int) -> tuple[bytes, int]:
    """Return the expression of a class whose bracket stands before ``position``, and its end.

    A class that is not closed ends with the pattern.
    """
    negated = pattern[position : position + 1] == b"^"
    position += negated
    members: list[bytes] = []
    while position < len(pattern) and pattern[position : position + 1] != b"]":
        if pattern[position : position + 1] == b"\\" and position + 1 < len(pattern):
            members.append(_byte(pattern[position + 1]))
            position += 2
        elif pattern[position + 1 : position + 2] == b"-" and position + 2 < len(pattern):
            low, high = sorted((pattern[position], pattern[position + 2]))
            members.append(_byte(low) + b"-" + _byte(high))
            position += 3
        else:
            members.append(_byte(pattern[position]))
            position += 1
    after = position + 1
    if not members:
        return (b"." if negated else b"(?!)"), after
    return b"[" + (b"^" if negated else b"") + b"".join(members) + b"]", after


def _byte(value: int) -> bytes:
    return b"\\x%02x" % value
