"""Answers to a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches

from maintenance.core.errors import UnknownName


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a closing clause for an error sentence: the nearest known name, or all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    if not names:
        return "None is configured."
    return "Known: " + ", ".join(names) + "."


def require_known(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is known. Raises :class:`UnknownName` with a suggestion otherwise."""
    names = list(known)
    if name not in names:
        raise UnknownName(f'Unknown {kind} "{name}". {did_you_mean(name, names)}')
    return name
