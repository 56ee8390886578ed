"""Values that the environment completes: ``env:NAME``, ``file:/path``, and places in a URL.

A place is written as in a shell or a compose file: ``${NAME}``, or ``${NAME:-what else}`` for what
stands there where NAME is unset or empty; what else may have places of its own. What a place in
the middle of a URL gets is quoted for it, so that a password may hold any character; a place that
is the whole text gets the value as it is.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from maintenance.core.errors import ConfigurationError
from maintenance.core.redaction import redact

_NAME = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<else>:-)?")
_SECRET_NAME = re.compile(r"PASS|PWD|SECRET|TOKEN", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """``${name}``, with what stands there otherwise; ``None`` where nothing does."""

    name: str
    otherwise: str | None


def is_reference(text: str) -> bool:
    """Whether the environment or a file completes a text."""
    return text.startswith(("env:", "file:")) or "${" in text


def pieces_of(text: str) -> list[str | Place]:
    """Split a text into what stands there and its places. Raises ``ValueError`` for half a place."""
    pieces: list[str | Place] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at:
            pieces.append(text[at:start])
        found = _NAME.match(text, start)
        end = _end_of_place(text, start)
        if found is None or end is None or not (found["else"] or end == found.end()):
            raise ValueError('a place must be written as "${NAME}" or "${NAME:-what else}"')
        pieces.append(Place(found["name"], text[found.end() : end] if found["else"] else None))
        at = end + 1
    if at < len(text):
        pieces.append(text[at:])
    return pieces


def _end_of_place(text: str, start: int) -> int | None:
    """Return where the brace that was opened at ``start`` is closed."""
    depth = 0
    for at in range(start, len(text)):
        if text.startswith("${", at):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    return None


def resolve_secret(reference: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the text behind a reference; any other text is itself.

    Raises :class:`ConfigurationError` naming the variable or file that is missing or empty.
    """
    kind, _, rest = reference.partition(":")
    if kind == "env":
        text = _variable(rest, environment)
    elif kind == "file":
        text = _text_of_file(rest)
    else:
        text = filled(reference, environment)
    # An empty value would mean a default of whoever reads it: to libpq, a database of its own choice.
    empty = None if text else next(missing_of(reference, environment), None)
    if empty is not None:
        what = f"secret file {empty}" if kind == "file" else f"environment variable {empty}"
        raise ConfigurationError(
            f"The {what} is empty, but the configuration refers to it."
            " Give it a value, or change the reference."
        )
    return text


def _text_of_file(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"The secret file {path} cannot be read: {error.strerror}. Create it, or change the reference."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"The secret file {path} is no text in UTF-8. Write the secret into it anew."
        ) from None


def filled(text: str, environment: Mapping[str, str], *, within: bool = False) -> str:
    """Return the text with its places filled. Raises :class:`ConfigurationError` as above.

    What stands ``within`` another text is quoted for it, also where it is one place and nothing else.
    """
    pieces = pieces_of(text)
    whole = len(pieces) == 1 and not within
    return "".join(
        piece if isinstance(piece, str) else _filling(piece, environment, whole=whole)
        for piece in pieces
    )


def _filling(place: Place, environment: Mapping[str, str], *, whole: bool) -> str:
    given = environment.get(place.name, "")
    if not given and place.otherwise is not None:
        return filled(place.otherwise, environment, within=not whole)
    value = given or _variable(place.name, environment)
    return value if whole else quote(value, safe="")


def _variable(name: str, environment: Mapping[str, str]) -> str:
    try:
        return environment[name]
    except KeyError:
        raise ConfigurationError(
            f"The environment variable {name} is not set, but the configuration refers to it."
            f" Set {name}, or change the reference."
        ) from None


def missing_of(reference: str, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield what has to be there before the reference can be resolved: variables and files, all of them.

    What stands for a whole value must not be empty either.
    """
    kind, _, rest = reference.partition(":")
    if kind == "env":
        if not environment.get(rest):
            yield rest
    elif kind == "file":
        if not os.access(rest, os.R_OK) or _is_empty(Path(rest)):
            yield rest
    else:
        yield from _missing_in(reference, environment, within=False)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.read_bytes().strip()


def _missing_in(text: str, environment: Mapping[str, str], *, within: bool) -> Iterator[str]:
    pieces = pieces_of(text)
    whole = len(pieces) == 1 and not within
    for piece in pieces:
        if isinstance(piece, str) or environment.get(piece.name):
            continue
        if piece.otherwise is not None:
            yield from _missing_in(piece.otherwise, environment, within=not whole)
        elif whole or piece.name not in environment:
            yield piece.name


def origin_of(reference: str) -> str:
    """Say where a value comes from, for a person who has to correct it: never the value itself."""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        return f"the variable {rest}"
    if kind == "file":
        return f"the file {rest}"
    names = list(dict.fromkeys(_names_in(reference)))
    if not names:
        return "the configuration itself"
    return f"{'the variable' if len(names) == 1 else 'the variables'} {', '.join(names)}"


def _names_in(text: str) -> Iterator[str]:
    for piece in pieces_of(text):
        if isinstance(piece, Place):
            yield piece.name
            yield from _names_in(piece.otherwise or "")


def shown(text: str) -> str:
    """Return a value as it may be printed: references and places as they are, passwords never."""
    if text.partition(":")[0] in {"env", "file"}:
        return text
    try:
        pieces = pieces_of(text)
    except ValueError:
        return redact(text)
    # A password that is a place is none yet: only what stands there in letters is taken away.
    marked = "".join(p if isinstance(p, str) else f"\0{n}\0" for n, p in enumerate(pieces))
    cleaned = redact(re.sub(r":\0(\d+)\0@", "\1\\g<1>\1", marked))
    for number, piece in enumerate(pieces):
        if isinstance(piece, Place):
            place = _shown_place(piece)
            cleaned = cleaned.replace(f"\0{number}\0", place)
            cleaned = cleaned.replace(f"\1{number}\1", f":{place}@")
    return cleaned


def _shown_place(place: Place) -> str:
    if place.otherwise is None:
        return "${" + place.name + "}"
    otherwise = place.otherwise
    if otherwise and "://" not in otherwise and _SECRET_NAME.search(place.name):
        otherwise = "***"
    return "${" + place.name + ":-" + shown(otherwise) + "}"
