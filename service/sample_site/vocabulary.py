"""Names, titles and sentences of the sample site, composed from the words in vocabulary.toml."""

import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

_EUROPEAN: Final = ("de", "fr", "en")
_LANGUAGES: Final = (*_EUROPEAN, "ja")


@dataclass(frozen=True)
class Entry:
    """One choice of a kind; `number` counts from 0 within the kind, `slug` is ASCII."""

    kind: str
    number: int
    text: str
    slug: str
    language: str


def entries() -> list[Entry]:
    """Every choice of every kind: person, title, sentence, publisher, server, zone."""
    words = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    kinds = {
        "person": _people(words),
        "title": _titles(words),
        "sentence": _sentences(words),
        "publisher": ((name, _slug(name), "") for name in words["publishers"]),
        "server": ((name, name, "") for name in words["servers"]),
        "zone": ((name, name, "") for name in words["zones"]),
    }
    return [
        Entry(kind, number, text, slug, language)
        for kind, choices in kinds.items()
        for number, (text, slug, language) in enumerate(choices)
    ]


def _slug(text: str) -> str:
    """ASCII form of a European name or title: umlauts lose their dots, blanks become hyphens."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("œ", "oe"))
    letters = "".join(c for c in plain if c.isascii() and (c.isalnum() or c == " "))
    return letters.lower().replace(" ", "-")


def _people(words: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for language in _EUROPEAN:
        names = words[language]
        for given, family in product(names["given_names"], names["family_names"]):
            yield f"{given} {family}", f"{_slug(given)}.{_slug(family)}", language
    # In Japanese the family name stands first; each name has its romanization beside it.
    japanese = words["ja"]
    for (given, given_slug), (family, family_slug) in product(
        japanese["given_names"], japanese["family_names"]
    ):
        yield f"{family} {given}", f"{family_slug}.{given_slug}", "ja"


def _titles(words: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for language in _LANGUAGES:
        nouns, conjunction = words[language]["nouns"], words[language]["and"]
        for first, second in product(nouns, nouns):
            if first != second:
                text = f"{first}{conjunction}{second}"
                yield text, _slug(text) or language, language


def _sentences(words: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for language in _LANGUAGES:
        between = "" if language == "ja" else " "
        parts = (words[language][name] for name in ("openings", "subjects", "verdicts"))
        for sentence in product(*parts):
            yield between.join(sentence), language, language
