"""Statements as they may be shown and kept: without literals and comments.

``pg_stat_activity`` holds statements as they were sent, with addresses, texts and passwords in
them. What comes out here holds a ``?`` in place of each. Where the text is ambiguous, the rest of
it is left out: a shorter statement is better than a leaked value.
Source of the rules: PostgreSQL documentation, "Lexical Structure" (section 4.1).
"""

import re

#: Enough to recognise a statement by; the rest would only widen the report.
MAXIMUM_LENGTH = 300

_LETTER = r"A-Za-z_\u0080-\U0010ffff"
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\n\r\f\v]+)
    | (?P<line_comment>--[^\n\r]*)
    | (?P<block_comment>/\*)
    | (?P<dollar_quote>\$(?:[{_LETTER}][{_LETTER}0-9]*)?\$)
    | (?P<parameter>\$[0-9]+)
    | (?P<escape_string>[Ee]')
    | (?P<plain_string>(?:[BbXxNn]|[Uu]&)?')
    | (?P<identifier>(?:[Uu]&)?"(?:[^"]|"")*")
    | (?P<open_identifier>(?:[Uu]&)?")
    | (?P<word>[{_LETTER}][{_LETTER}0-9$]*)
    | (?P<number>\.?[0-9][A-Za-z0-9_.]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")
_REST_OF_ESCAPE_STRING = re.compile(r"(?:[^'\\]|\\.|'')*'", re.DOTALL)
_REST_OF_PLAIN_STRING = re.compile(r"(?:[^'\\]|'')*'")
_SEVERAL_VALUES = re.compile(r"\?(?: ?, ?\?)+")


def without_literals(statement: str, maximum_length: int = MAXIMUM_LENGTH) -> str:
    """Return the statement in one line, with ``?`` for each literal and without comments.

    It ends in ``...`` where the rest is too long, was cut off by the server, or cannot be told
    from a literal.
    """
    pieces: list[str] = []
    position = 0
    while position < len(statement):
        piece, end = _piece(statement, position)
        if end is None:
            pieces.append(f"{piece} ...")
            break
        pieces.append(piece)
        position = end
    text = " ".join("".join(pieces).split())
    text = _SEVERAL_VALUES.sub("?, ...", text).replace("... ...", "...")
    return text if len(text) <= maximum_length else f"{text[:maximum_length].rstrip()} ..."


def command_of(statement: str) -> str:
    """Return the first keyword in capitals (``SELECT``), empty where there is none."""
    first = without_literals(statement).partition(" ")[0].strip("(;")
    return first.upper() if first.isascii() and first.isalpha() else ""


def _piece(text: str, start: int) -> tuple[str, int | None]:
    """Return what stands for the token at ``start``, and its end; ``None`` ends the statement."""
    token = _TOKEN.match(text, start)
    assert token is not None  # the last alternative takes any character
    kind = token.lastgroup
    if kind in {"space", "line_comment"}:
        return " ", token.end()
    if kind == "block_comment":
        return " ", _end_of_block_comment(text, token.end())
    if kind in {"dollar_quote", "escape_string", "plain_string"}:
        return "?", _end_of_literal(text, token, kind)
    if kind == "number":
        return "?", token.end()
    if kind == "open_identifier":
        return "", None
    return token[0], token.end()


def _end_of_literal(text: str, opening: re.Match[str], kind: str) -> int | None:
    if kind == "dollar_quote":
        closing = text.find(opening[0], opening.end())
        return None if closing < 0 else closing + len(opening[0])
    # A backslash in a plain string ends the statement here: whether it hides a quote depends on
    # standard_conforming_strings of a session that is not ours.
    rest = _REST_OF_ESCAPE_STRING if kind == "escape_string" else _REST_OF_PLAIN_STRING
    found = rest.match(text, opening.end())
    return found.end() if found else None


def _end_of_block_comment(text: str, position: int) -> int | None:
    """Return where a comment ends; in PostgreSQL they nest."""
    depth = 1
    while depth:
        edge = _BLOCK_COMMENT_EDGE.search(text, position)
        if edge is None:
            return None
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position
