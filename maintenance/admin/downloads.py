"""A run's report as a file, in any of the formats."""

import re

from django.http import Http404, HttpResponse

from maintenance.core.errors import UnknownName
from maintenance.core.runs import ledger
from maintenance.models import Run, StoredReport
from maintenance.reports.formats import renderer
from maintenance.reports.publication import of_document


def download(run: Run, format_name: str) -> HttpResponse:
    """Return the report as an attachment: never shown inside of the admin's own origin.

    Raises ``Http404`` for a run without a report and for an unknown format.
    """
    try:
        chosen = renderer(format_name)
        document = ledger.stored_document(run)
    except (UnknownName, StoredReport.DoesNotExist, ValueError) as error:
        raise Http404(str(error)) from error
    publication = of_document(document, ledger.previous_document(run))
    response = HttpResponse(
        chosen.render(publication), headers={"X-Content-Type-Options": "nosniff"}
    )
    response.headers["Content-Type"] = chosen.content_type
    response.headers["Content-Disposition"] = f'attachment; filename="{_stem(run)}{chosen.suffix}"'
    return response


def _stem(run: Run) -> str:
    """Return a file name that sorts by day and holds nothing that a file system minds."""
    parts = (f"{run.queued_at:%Y-%m-%d}", run.short_task, run.target, str(run.id)[:8])
    return re.sub(r"[^\w.-]+", "_", "-".join(filter(None, parts)), flags=re.ASCII)
