"""The end of a run, kept outside of the ledger as well: files in the log store, a JSON line, a ping."""

import logging
from collections.abc import Callable
from typing import Any

from maintenance.core.errors import MaintenanceError
from maintenance.core.redaction import redact
from maintenance.core.reports import ReportDocument
from maintenance.core.runs import ledger, pings
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.models import Run, StoredReport
from maintenance.reports.log_store import configured_store, log_line

logger = logging.getLogger("maintenance.recording")
run_logger = logging.getLogger("maintenance.runs")

#: Asks the ledger, perhaps more than once.
Ask = Callable[[Callable[[], Any]], Any]


def _once(question: Callable[[], Any]) -> Any:
    return question()


def record(run: Run, document: ReportDocument, ask: Ask = _once) -> None:
    """Write the run's files and its JSON line, and ping. What is full or down fails no work.

    ``ask`` asks the ledger what the files need of it: a worker has the patience to wait for a restart.
    """
    try:
        previous = ask(lambda: ledger.previous_document(run))
        saved = configured_store().save(document, run.checklist, previous)
        stored = StoredReport.objects.filter(run=run)
        ask(lambda: stored.update(files=[file.name for file in saved]))
    except MaintenanceError as error:
        logger.error("The report of run %s is in the ledger only: %s", run.id, error)
    except LEDGER_AWAY as error:
        ledger_connection().close()  # what is asked next finds the ledger by a new one
        logger.error("The ledger does not know the files of run %s: %s", run.id, redact(str(error)))
    log(document)


def log(document: ReportDocument) -> None:
    """Write the JSON line of a run that has ended, and ping."""
    run_logger.info("run finished", extra={"document": log_line(document)})
    pings.run_ended(document.run, document.report.summary)
