"""The formats of a report by name: one place for commands, the admin and the log store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from maintenance.core.reports import Report, ReportDocument
from maintenance.core.suggestions import require_known
from maintenance.reports import csv_format, html, json_format, markdown, text
from maintenance.reports.publication import Publication, of_document, of_report, of_reports


@dataclass(frozen=True, slots=True)
class Renderer:
    """A format: its name, the ending of its files with the dot, its MIME type, and its writer."""

    name: str
    suffix: str
    content_type: str
    render: Callable[[Publication], str]


FORMATS: Mapping[str, Renderer] = MappingProxyType(
    {
        renderer.name: renderer
        for renderer in (
            Renderer("text", ".txt", "text/plain; charset=utf-8", text.render_publication),
            Renderer(
                "markdown", ".md", "text/markdown; charset=utf-8", markdown.render_publication
            ),
            Renderer("html", ".html", "text/html; charset=utf-8", html.render_publication),
            Renderer("json", ".json", "application/json", json_format.render_publication),
            Renderer("csv", ".csv", "text/csv; charset=utf-8", csv_format.render_publication),
        )
    }
)


def renderer(name: str) -> Renderer:
    """Return a format by name. Raises ``UnknownName`` with a suggestion."""
    return FORMATS[require_known("format", name, FORMATS)]


def render(document: ReportDocument, format_name: str) -> str:
    """Return a report with the facts of its run. Raises ``UnknownName`` for an unknown format."""
    return renderer(format_name).render(of_document(document))


def render_report(report: Report, format_name: str) -> str:
    """Return a report that no run made. Raises ``UnknownName`` for an unknown format."""
    return renderer(format_name).render(of_report(report))


def render_all(title: str, reports: Sequence[Report], format_name: str) -> str:
    """Return several reports under one title with one verdict over all, each below its own.

    Raises ``UnknownName`` for an unknown format.
    """
    return renderer(format_name).render(of_reports(title, reports))
