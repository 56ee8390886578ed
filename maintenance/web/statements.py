"""Statements as Django sends them, compared with one another and with those the server counts."""

import hashlib
import re
from functools import lru_cache

from maintenance.core.statement_text import shape_of, without_literals

#: More of a statement is neither kept nor compared: what follows are mostly lists of values.
MAXIMUM_TEXT = 4000
#: Statements up to this length are remembered with their shape, so many that it is 2 MB at the most.
REMEMBERED_TEXT = 2000
#: What of it is shown.
SHOWN_TEXT = 400

#: Statements that only begin and end parts of a transaction: no work of their own.
SAVEPOINTS = ("SAVEPOINT ", "RELEASE SAVEPOINT ", "ROLLBACK TO SAVEPOINT ")

_PLACEHOLDER = re.compile(r"%\(\w+\)s|%s")
# psycopg2 writes dates, JSON and arrays with their types, as literals; the server keeps the types.
_TYPED_VALUE = re.compile(r'\?::(?:\w+|"[^"]+")(?:\[\])?')
_FIRST_TABLE = re.compile(
    r"\b(?:FROM|INTO|UPDATE)\s+(?:ONLY\s+)?(?:\"?\w+\"?\.)?\"?(?P<table>[^\s\"();,]+)",
    re.IGNORECASE,
)


def shape(statement: str) -> str:
    """Return what statements share that differ in their values alone: no value is in it.

    The same for a statement with Django's placeholders, with literals, and with the server's own
    parameters.
    """
    # A site sends the same ones over and over. What has a literal text in it is not kept.
    if len(statement) <= REMEMBERED_TEXT and "'" not in statement and "$" not in statement:
        return _remembered(statement)
    return _shape(statement)


def _shape(statement: str) -> str:
    text = _PLACEHOLDER.sub("$1", statement[:MAXIMUM_TEXT]).replace("%%", "%")
    return _TYPED_VALUE.sub("?", shape_of(without_literals(text, MAXIMUM_TEXT)))


_remembered = lru_cache(maxsize=512)(_shape)


@lru_cache(maxsize=512)
def digest_of(shaped: str) -> str:
    """Identify a shape: 16 hexadecimal digits."""
    return hashlib.blake2b(shaped.encode(), digest_size=8).hexdigest()


def shown(shaped: str) -> str:
    """Return as much of a shape as a line of a log has room for."""
    return shaped if len(shaped) <= SHOWN_TEXT else f"{shaped[:SHOWN_TEXT].rstrip()} ..."


def command_of(shaped: str) -> str:
    """Return the first keyword in capitals, empty where there is none."""
    first = shaped.partition(" ")[0].strip("(;")
    return first.upper() if first.isascii() and first.isalpha() else ""


@lru_cache(maxsize=512)
def main_table(shaped: str) -> str:
    """Return the first table that a statement reads or writes, without its schema."""
    found = _FIRST_TABLE.search(shaped)
    return found["table"] if found else ""
