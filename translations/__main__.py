"""``make messages``: bring the catalogues up to what is marked, and compile them.

Translations that are there stay; a new text comes without one, and a test names it until somebody translates it.
"""

import io
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from translations.marked import APPLICATION, marked

LOCALES = APPLICATION / "locale"
#: A catalogue changes where texts do, and not with the day on which somebody looked.
NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)
#: Languages beside English, which stands in the code.
LANGUAGES = ("de",)


def template() -> Catalog:
    """Return all that is marked, without translations."""
    places: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for one in marked():
        places[one.context, one.text, one.plural].add(one.place)
    catalog = Catalog(
        project="celery-maintenance",
        version="",
        copyright_holder="The maintenance developers",
        msgid_bugs_address="",
        last_translator="",
        language_team="",
        charset="utf-8",
        fuzzy=False,
        creation_date=NO_DATE,
        revision_date=NO_DATE,
        header_comment="# Brought up to date by: make messages",
    )
    for (context, text, plural), found in places.items():
        catalog.add(
            (text, plural) if plural else text,
            context=context or None,
            locations=[(place, 0) for place in sorted(found)],
            flags=["python-format"] if "%(" in text else [],
        )
    return catalog


def stored(language: str) -> Catalog:
    """Return the catalogue of a language, an empty one where there is none yet."""
    path = po_file(language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as stream:
        return read_po(stream, locale=language)


def po_file(language: str) -> Path:
    """Return where the translations of a language are written."""
    return LOCALES / language / "LC_MESSAGES" / "django.po"


def compiled(catalog: Catalog) -> bytes:
    """Return what Django reads, the same for the same translations."""
    body = io.BytesIO()
    write_mo(body, catalog)
    return body.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    """Return the texts without a translation, or with one of their forms empty."""
    return [
        str(message.id)
        for message in catalog
        if message.id
        and not all(message.string if isinstance(message.string, tuple) else (message.string,))
    ]


def bring_up_to_date(language: str) -> list[str]:
    """Write the catalogue of a language anew, and compiled; return what has no translation."""
    before, catalog = stored(language), template()
    catalog.locale = language
    for message in catalog:
        known = before.get(message.id, context=message.context) if message.id else None
        if known is not None:
            message.string = known.string
    path = po_file(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        write_po(stream, catalog, width=100, sort_output=True, include_lineno=False)
    path.with_suffix(".mo").write_bytes(compiled(stored(language)))
    return untranslated(catalog)


def main() -> int:
    """Bring all catalogues up to date; return 1 where a translation is missing."""
    missing = {language: bring_up_to_date(language) for language in LANGUAGES}
    for language, texts in missing.items():
        print(f"{po_file(language)}: {len(texts)} texts without a translation")
        for text in texts:
            print(f"  {text}")
    return int(any(missing.values()))


if __name__ == "__main__":
    sys.exit(main())
