"""Aligning words in a terminal, where wide and combining characters take two cells and none."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

# Characters that move the cursor, colour the screen or turn the reading direction round. A table
# name may hold them; a terminal or a page must not obey them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, among them the escape that starts colours
    "\u200b\u200e\u200f\u2060\ufeff"  # nothing to see, yet two names differ by them
    "\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # line ends and reading directions
)
# Ordinary white space alone: the narrow space inside of a number is no place to break it.
_SPACES = re.compile("[ \n]+")
#: Text that hangs behind something gets so many cells at least, or lines of its own.
_NARROWEST_TEXT = 14


def visible(text: str) -> str:
    """Write control characters out (``\\x1b``), so that they show and do nothing. Keeps newlines."""
    return _CONTROLS.sub(_escaped, text.replace("\r\n", "\n")).replace("\t", "    ")


def one_line(text: str) -> str:
    """Return :func:`visible` text on one line, each run of white space as one space."""
    return _SPACES.sub(" ", visible(text)).strip(" ")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def display_width(text: str) -> int:
    """Return how many terminal cells ``text`` takes. Source: Unicode Standard Annex 11."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill ``text`` with spaces to ``width`` cells; ``right`` puts them in front."""
    spaces = " " * max(0, width - display_width(text))
    return spaces + text if right else text + spaces


def wrap(text: str, width: int) -> list[str]:
    """Break ``text`` at spaces into lines of at most ``width`` cells; longer words are cut.

    Newlines in ``text`` are kept. Returns at least one line.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _pieces(paragraph.split(" "), width):
            joined = f"{line} {word}" if line else word
            if display_width(joined) > width:
                lines.append(line)
                line = word
            else:
                line = joined
        lines.append(line)
    return lines


def _pieces(words: Iterable[str], width: int) -> Iterable[str]:
    for word in words:
        piece, used = "", 0
        for character in word:
            cells = _cells(character)
            if used + cells > width and piece:
                yield piece
                piece, used = "", 0
            piece, used = piece + character, used + cells
        if piece:
            yield piece


def clip(lines: list[str], most: int, width: int) -> list[str]:
    """Keep ``most`` lines; where some were left out, the last one ends in ``…``."""
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while display_width(last) > width - 1:
        last = last[:-1]
    return [*lines[: most - 1], f"{last}…"]


def titled(title: str, line: str, width: int) -> Iterator[str]:
    """Yield a heading with a line of ``line`` below it."""
    lines = wrap(title, width)
    yield from lines
    yield line * max(display_width(text) for text in lines)


def hanging(first: str, text: str, width: int) -> Iterator[str]:
    """Wrap ``text`` behind ``first``, with later lines below the text."""
    indent = display_width(first)
    if indent > width - _NARROWEST_TEXT:
        yield from wrap(first, width)
        yield from indented(wrap(text, width - 4))
        return
    for number, line in enumerate(wrap(text, width - indent)):
        yield (first if number == 0 else " " * indent) + line


def indented(lines: Iterable[str], indent: int = 4) -> Iterator[str]:
    """Yield lines with spaces in front."""
    for line in lines:
        yield " " * indent + line


def note(sentence: str, width: int) -> Iterator[str]:
    """Yield a sentence below an empty line; nothing where there is none."""
    if sentence:
        yield ""
        yield from wrap(sentence, width)


def paired(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield names and values below one another, the values in one column."""
    names = min(max((display_width(name) for name, _ in pairs), default=0), width // 2)
    for name, value in pairs:
        yield from hanging(pad(name, names) + "  ", value, width)
