"""Statements as they may be shown and kept: without literals and comments.

``pg_stat_activity`` holds statements as they were sent, with addresses, texts and passwords in
them. What comes out here holds a ``?`` in place of each. Where the text is ambiguous, the rest of
it is left out: a shorter statement is better than a leaked value.
Source of the rules: PostgreSQL documentation, "Lexical Structure" (section 4.1).
"""

import re

#: Enough to recognise a statement by; the rest would only widen the report.
MAXIMUM_LENGTH = 300
#: Enough to find it in the code that sends it.
MAXIMUM_TEXT = 1000

#: So much of two statements that were cut off is enough to tell that they are one.
_LONG_SHAPE = MAXIMUM_TEXT // 2

#: Commands in which every value is a literal or a parameter.
NORMALISED = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES"})

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
# What stays as it is, as long a stretch as possible, and the plainest of literals behind it: most
# of a statement in few steps.
_STRETCH = re.compile(
    rf"""
    (?P<kept> (?: [ \t\n\r\f\v]+
      | (?![EeBbXxNn]'|[Uu]&')[{_LETTER}][{_LETTER}0-9$]*+
      | "[^"]*+(?:""[^"]*+)*"(?!")
      | \$[0-9]+
      | -(?!-) | /(?!\*) | \.(?![0-9])
      | [^'"$/.0-9 \t\n\r\f\v{_LETTER}\-]+
    )* )
    (?P<literal> \.?[0-9][A-Za-z0-9_.]*+ | '[^'\\]*+(?:''[^'\\]*+)*'(?!') )?
    """,
    re.VERBOSE,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")
_REST_OF_ESCAPE_STRING = re.compile(r"[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*'(?!')", re.DOTALL)
_REST_OF_PLAIN_STRING = re.compile(r"[^'\\]*+(?:''[^'\\]*+)*'(?!')")
_SEVERAL_VALUES = re.compile(r"\?(?: ?, ?\?)+")

# From 18 on pg_stat_statements writes a list of any length as its first value and this.
_SQUASHED_LIST = " /*, ... */"

_PARAMETER = re.compile(r"\$[0-9]+")
_LIST = re.compile(r"\?(?: ?, ?(?:\?|\.\.\.))+")
_ROWS = re.compile(r"\(\?\)(?: ?, ?\(\?\))+")


def without_literals(statement: str, maximum_length: int = MAXIMUM_LENGTH) -> str:
    """Return the statement in one line, with ``?`` for each literal and without comments.

    It ends in ``...`` where the rest is too long, was cut off by the server, or cannot be told
    from a literal.
    """
    statement = statement.replace(_SQUASHED_LIST, ", ...")
    pieces: list[str] = []
    position = 0
    while position < len(statement):
        stretch = _STRETCH.match(statement, position)
        if stretch is not None and stretch.end() > position:
            pieces.append(stretch["kept"] if stretch["literal"] is None else f"{stretch['kept']}?")
            position = stretch.end()
            continue
        piece, end = _piece(statement, position)
        if end is None:
            pieces.append(f"{piece} ...")
            break
        pieces.append(piece)
        position = end
    text = " ".join("".join(pieces).split())
    text = _SEVERAL_VALUES.sub("?, ...", text).replace("... ...", "...")
    return text if len(text) <= maximum_length else f"{text[:maximum_length].rstrip()} ..."


def shape_of(shown: str) -> str:
    """Return what statements share that differ in their values alone; for comparison, not to show.

    ``shown`` comes from :func:`without_literals`. Parameters count as values, and lists of values
    and of rows are the same at any length: ``IN ($1, $2)`` and ``IN (?)`` have one shape.
    """
    text = _LIST.sub("?", _PARAMETER.sub("?", shown))
    return _ROWS.sub("(?)", text)


def have_one_shape(shown: str, other: str) -> bool:
    """Tell whether two statements differ in their values alone; of long ones, as far as both are kept."""
    shorter, longer = sorted((shape_of(shown), shape_of(other)), key=len)
    if shorter == longer:
        return True
    # A value is shorter than the number of its parameter, so that two texts are cut off at two places.
    head = shorter.removesuffix("...").rstrip()
    return shorter.endswith("...") and len(head) >= _LONG_SHAPE and longer.startswith(head)


def command_of(statement: str) -> str:
    """Return the first keyword in capitals (``SELECT``), empty where there is none."""
    return _first_keyword(without_literals(statement))


def _first_keyword(shown: str) -> str:
    first = shown.partition(" ")[0].strip("(;")
    return first.upper() if first.isascii() and first.isalpha() else ""


def shown_text(statement: str) -> str:
    """Return a statement as it may be kept: in one line, without any literal.

    Of a utility statement only the command word is left: its values need no quotes (``SET``).
    """
    shown = without_literals(statement, MAXIMUM_TEXT)
    command = _first_keyword(shown)
    if command in NORMALISED:
        return shown
    return f"{command} ..." if command else "(a statement of another kind)"


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
