"""A report as HTML: a body for the admin's page, and a file that opens alone.

The file has its style sheet inside, no script, and a policy that lets it load nothing; it reads
the same on a phone, in the dark and on paper. Escaping is the template engine's.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from maintenance.core.reports import ReportDocument
from maintenance.reports.composition import content_of
from maintenance.reports.outline import outline_of
from maintenance.reports.publication import Publication, of_document

BODY_TEMPLATE = "maintenance/report_body.html"
_FILE_TEMPLATE = "maintenance/report_file.html"
_STYLE_SHEET = ("static", "maintenance", "report.css")


def render_html(document: ReportDocument) -> str:
    """Return the document as a whole page that needs no other file."""
    return render_publication(of_document(document))


def render_publication(publication: Publication) -> str:
    """Return any publication as a whole page that needs no other file."""
    return render_to_string(_FILE_TEMPLATE, {**body_context(publication), "css": _style_sheet()})


def render_body(publication: Publication, *, heading_level: int = 1) -> SafeString:
    """Return the page's content without ``<html>`` and ``<head>``.

    It wants the static file ``maintenance/report.css`` on the page around it. ``heading_level`` is
    the level of the report's title: 2 where the page has a heading of its own.
    """
    return render_to_string(BODY_TEMPLATE, body_context(publication, heading_level=heading_level))


def body_context(publication: Publication, *, heading_level: int = 1) -> dict[str, Any]:
    """Return the context of :data:`BODY_TEMPLATE`, for a page that includes it."""
    content = content_of(publication)
    part = heading_level + (2 if content.titled else 1)
    # Text, because a number would be written in the digits and groups of the active language.
    levels = {"title": heading_level, "section": heading_level + 1, "part": part, "item": part + 1}
    return {
        "report": content,
        "outline": outline_of(content),
        "levels": {name: str(min(level, 6)) for name, level in levels.items()},
    }


@cache
def _style_sheet() -> str:
    return files("maintenance").joinpath(*_STYLE_SHEET).read_text(encoding="utf-8")
