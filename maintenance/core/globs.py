"""Patterns of keys: what they are made of, how much they match, and whether two can match the same
key. Pure.

Patterns as Redis reads them in SCAN's MATCH (``stringmatchlen``): ``*``, ``?``, ``[a-z]``, ``[^a]``
and a backslash before a character that stands for itself. Keys are compared byte by byte.
"""

from collections import deque
from dataclasses import dataclass

#: The set of all bytes.
ANY_BYTE = (1 << 256) - 1
_PRINTED = (1 << 0x7F) - (1 << 0x20)


@dataclass(frozen=True, slots=True)
class Part:
    """A star, or one byte out of a set of bytes: bit n stands for byte n."""

    bytes_allowed: int
    repeats: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether more than half of the printed characters of ASCII may stand here."""
        return (self.bytes_allowed & _PRINTED).bit_count() > _PRINTED.bit_count() / 2


def matches_nearly_all(pattern: str) -> bool:
    """Return whether a pattern fixes no byte of a key, nor narrows one down to half of what is printed.

    ``*`` does so, and ``[^_]*``.
    """
    return all(part.is_wide for part in parts_of(pattern.encode()))


def common_key(one: str, other: str) -> str | None:
    """Return a short key that both patterns match; ``None`` where there is none.

    Breadth-first through the pairs of positions in both patterns, so at most the product of their
    lengths is visited.
    """
    left, right = parts_of(one.encode()), parts_of(other.encode())
    start = (0, 0)
    reached_by: dict[tuple[int, int], tuple[tuple[int, int], bytes]] = {start: (start, b"")}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        if at == (len(left), len(right)):
            return _key_to(at, reached_by)
        for following, byte in _steps(left, right, at):
            if following not in reached_by:
                reached_by[following] = (at, byte)
                # What needs no byte goes first: the key stays short.
                waiting.append(following) if byte else waiting.appendleft(following)
    return None


def _steps(
    left: list[Part], right: list[Part], at: tuple[int, int]
) -> list[tuple[tuple[int, int], bytes]]:
    i, j = at
    steps: list[tuple[tuple[int, int], bytes]] = []
    if i < len(left) and left[i].repeats:
        steps.append(((i + 1, j), b""))
    if j < len(right) and right[j].repeats:
        steps.append(((i, j + 1), b""))
    if i < len(left) and j < len(right):
        both = left[i].bytes_allowed & right[j].bytes_allowed
        if both:
            after = (i if left[i].repeats else i + 1, j if right[j].repeats else j + 1)
            steps.append((after, _readable(both)))
    return steps


def _readable(allowed: int) -> bytes:
    """Choose a byte out of a set: a digit or a letter where there is one."""
    for byte in b"1abcdefghijklmnopqrstuvwxyz023456789ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        if allowed >> byte & 1:
            return bytes([byte])
    return bytes([(allowed & -allowed).bit_length() - 1])


def _key_to(
    at: tuple[int, int], reached_by: dict[tuple[int, int], tuple[tuple[int, int], bytes]]
) -> str:
    key: list[bytes] = []
    while at != (0, 0):
        at, byte = reached_by[at]
        key.append(byte)
    return b"".join(reversed(key)).decode("utf-8", "backslashreplace")


def parts_of(pattern: bytes) -> list[Part]:
    """Return what a pattern is made of, in its order."""
    parts: list[Part] = []
    position = 0
    while position < len(pattern):
        byte = pattern[position]
        if byte == ord("*"):
            parts.append(Part(ANY_BYTE, repeats=True))
        elif byte == ord("?"):
            parts.append(Part(ANY_BYTE))
        elif byte == ord("["):
            allowed, position = _class(pattern, position + 1)
            parts.append(Part(allowed))
        else:
            if byte == ord("\\") and position + 1 < len(pattern):
                position += 1
            parts.append(Part(1 << pattern[position]))
        position += 1
    return parts


def _class(pattern: bytes, position: int) -> tuple[int, int]:
    """Return the bytes of a class that begins at ``position``, and where its bracket closes.

    A class that is not closed ends with the pattern.
    """
    negated = pattern[position : position + 1] == b"^"
    position += negated
    allowed = 0
    while position < len(pattern) and pattern[position] != ord("]"):
        if pattern[position] == ord("\\") and position + 1 < len(pattern):
            allowed |= 1 << pattern[position + 1]
            position += 2
        elif pattern[position + 1 : position + 2] == b"-" and position + 2 < len(pattern):
            low, high = sorted((pattern[position], pattern[position + 2]))
            allowed |= (1 << (high + 1)) - (1 << low)
            position += 3
        else:
            allowed |= 1 << pattern[position]
            position += 1
    return (ANY_BYTE & ~allowed if negated else allowed), position
