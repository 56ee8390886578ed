"""What a log format is made of: literal text and variables."""

import re
from dataclasses import dataclass
from enum import StrEnum

_WORD = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s'"]+)""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
#: nginx documentation, "Syntax": the escapes of a quoted word that stand for another character.
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}


class Escape(StrEnum):
    """How the server writes quotes and control characters in a value; the first three are nginx's."""

    DEFAULT = "default"
    JSON = "json"
    NONE = "none"
    BACKSLASH = "backslash"  # Apache


@dataclass(frozen=True, slots=True)
class Part:
    """Literal text, or the variable ``name``, which the configuration has as ``written``.

    ``shape`` is the pattern of its value where only this format knows it; ``time_format`` is that
    of ``strptime`` for a time that is written in its own way.
    """

    literal: bytes = b""
    name: str = ""
    written: str = ""
    shape: bytes | None = None
    time_format: str = ""

    @property
    def is_literal(self) -> bool:
        """Whether it stands in every line as it is."""
        return not self.name


def quoted_words(text: str) -> list[str]:
    """Split a directive into its words; quotes of both kinds may hold blanks and escapes."""
    return [
        _ESCAPED.sub(lambda m: _CONTROLS.get(m[1], m[1]), single or double) or bare
        for single, double, bare in _WORD.findall(text)
    ]
