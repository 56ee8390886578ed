"""The few forms of Markdown that the pages of the reference are made of."""

import re
from collections.abc import Iterable, Sequence

# ``x`` and :class:`~a.b.X` of docstrings; what stands between single backticks stays as it is.
_ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]+\.)?(\w+)`")


def prose(text: str) -> str:
    """Return a docstring's or comment's text as Markdown."""
    parts = _ROLE.sub(r"`\1`", text).replace("``", "`").strip().split("`")
    # Every other part is code; elsewhere a "<" would begin a tag.
    parts[::2] = [part.replace("<", "\\<") for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    """Return text as code, whatever backticks it holds."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell's bars and line breaks are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def page(title: str, *parts: str) -> str:
    """Return a whole page."""
    return "\n\n".join([f"# {title}", *(part for part in parts if part)]) + "\n"


def block(text: str) -> str:
    """Return text as it stands, in a block."""
    return f"```text\n{text.rstrip()}\n```"
