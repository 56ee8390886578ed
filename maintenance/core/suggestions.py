"""Answers to a misspelt name."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from maintenance.core.errors import UnknownName

#: Names in one sentence; of time zones there are hundreds.
_LISTED = 40
_WORD_ENDS = re.compile(r"[\s._:-]+")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a closing clause for an error sentence: the nearest known name, or all of them."""
    names = sorted(known)
    near = _nearest(name, names)
    if near is not None:
        return f'Did you mean "{near}"?'
    if not names:
        return "None is configured."
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return "Known: " + ", ".join(names[:_LISTED]) + more + "."


def _nearest(name: str, names: list[str]) -> str | None:
    """Return the beginning that was written out, else the closest spelling, else a shared word."""
    given = name.casefold()
    begun = [known for known in names if given and known.casefold().startswith(given)]
    close = get_close_matches(given, names, n=1, cutoff=0.6)
    sharing = [known for known in names if given in _WORD_ENDS.split(known.casefold())]
    return next(iter([*begun, *close, *sharing]), None)


def require_known(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is known. Raises :class:`UnknownName` with a suggestion otherwise."""
    names = list(known)
    if name not in names:
        raise UnknownName(f'Unknown {kind} "{name}". {did_you_mean(name, names)}')
    return name
