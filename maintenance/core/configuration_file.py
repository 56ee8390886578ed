"""A configuration file that is advised: each line with its reason, as a comment above it."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Wide enough for a sentence, narrow enough for a terminal.
_WIDTH = 100
_INDENT = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One line as the server reads it, with the reason for it; ``depth`` counts blocks around it.

    Without ``text`` only the reason is written: of a setting that stays as it is, or of advice that
    is withheld.
    """

    text: str
    reason: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A file of one server. ``name`` is its usual name, ``about`` says what it is made for."""

    name: str
    about: str
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """The whole file. All servers that we write for begin a comment with ``#``."""
        return "\n".join([*_comment(self.about, 0), *_body(self.lines)]) + "\n"


def withheld(setting: str, needs: str) -> Line:
    """Say in place of a line that its value cannot be known, and what would tell it."""
    verbs = "are withheld: they need" if " and " in setting else "is withheld: it needs"
    return Line("", f"{setting} {verbs} {needs}.")


def stays(setting: str, value: str, why: str) -> Line:
    """Say in place of a line that a setting is good as it is."""
    return Line("", f"{setting} stays {value}: {why}.")


def _body(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.reason:
            yield ""
            yield from _comment(line.reason, line.depth)
        if line.text:
            yield " " * (_INDENT * line.depth) + line.text


def _comment(text: str, depth: int) -> list[str]:
    start = " " * (_INDENT * depth) + "# "
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )
