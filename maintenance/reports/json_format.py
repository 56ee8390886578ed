"""A report as JSON: the form that is read back, and that holds everything."""

import json
from typing import Any

from maintenance.core.reports import SCHEMA_VERSION, ReportDocument
from maintenance.reports.publication import Publication, of_document


def render_json(document: ReportDocument) -> str:
    """Return the document as JSON; :func:`parse_json` reads it back."""
    return render_publication(of_document(document))


def render_publication(publication: Publication) -> str:
    """Return any publication as JSON.

    With a run it is a whole document (``schema_version``, ``run``, ``report``); one report
    without a run has no ``run``; several stand in ``reports`` under a title and a verdict.
    """
    return json.dumps(_body(publication), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _body(publication: Publication) -> dict[str, Any]:
    if publication.several:
        return {
            "schema_version": SCHEMA_VERSION,
            "title": publication.title,
            "summary": publication.summary,
            "severity": publication.severity.value,
            "reports": [report.to_json() for report in publication.reports],
        }
    report = publication.reports[0]
    if publication.run is None:
        return {"schema_version": SCHEMA_VERSION, "report": report.to_json()}
    return ReportDocument(publication.run, report, publication.life).to_json()


def parse_json(text: str) -> ReportDocument:
    """Read a document that :func:`render_json` wrote.

    Raises ``ValueError`` saying what is wrong: no JSON, no document, or another schema version.
    """
    body = json.loads(text)
    try:
        return ReportDocument.from_json(body)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This file holds no whole report document: {error!r}.") from error
