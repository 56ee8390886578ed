"""The end of a run, kept outside of the ledger as well: files in the log store, a JSON line, a ping."""

import logging

from maintenance.core.errors import MaintenanceError
from maintenance.core.reports import ReportDocument
from maintenance.core.runs import ledger, pings
from maintenance.models import Run, StoredReport
from maintenance.reports.log_store import configured_store, log_line

logger = logging.getLogger("maintenance.recording")
run_logger = logging.getLogger("maintenance.runs")


def record(run: Run, document: ReportDocument) -> None:
    """Write the run's files and its JSON line, and ping. What is full or down fails no work."""
    files: list[str] = []
    try:
        previous = ledger.previous_document(run)
        saved = configured_store().save(document, run.checklist, previous)
        files = [file.name for file in saved]
    except MaintenanceError as error:
        logger.error("The report of run %s is in the ledger only: %s", run.id, error)
    StoredReport.objects.filter(run=run).update(files=files)
    log(document)


def log(document: ReportDocument) -> None:
    """Write the JSON line of a run that has ended, and ping."""
    run_logger.info("run finished", extra={"document": log_line(document)})
    pings.run_ended(document.run, document.report.summary)
