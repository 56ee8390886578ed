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
from maintenance.reports.log_store import LogStoreUnavailable, configured_store, log_line

logger = logging.getLogger("maintenance.recording")
run_logger = logging.getLogger("maintenance.runs")

#: Asks the ledger, perhaps more than once.
Ask = Callable[[Callable[[], Any]], Any]


def _once(question: Callable[[], Any]) -> Any:
    return question()


def record(run: Run, document: ReportDocument, ask: Ask = _once) -> None:
    """Write the run's files and its JSON line, and ping. What is full, down or faulty fails no work.

    ``ask`` asks the ledger what the files need of it: a worker has the patience to wait for a restart.
    """
    try:
        _write_files(run, document, ask)
    except MaintenanceError as error:
        logger.error("The report of run %s is in the ledger only: %s", run.id, error)
    except LEDGER_AWAY as error:
        ledger_connection().close()  # what is asked next finds the ledger by a new one
        logger.error("Run %s has no files: the ledger is away: %s", run.id, redact(str(error)))
    except Exception as error:  # noqa: BLE001 - a time limit of the task as well: the run has ended
        why = f"{type(error).__name__}: {redact(str(error))}"
        logger.error(
            "The files of run %s were not all written, its report is in the ledger: %s", run.id, why
        )
    log(document)


def _write_files(run: Run, document: ReportDocument, ask: Ask) -> None:
    """Write the files under names that the ledger has before: one that is killed here leaves none that nobody deletes."""
    store = configured_store()
    previous = ask(lambda: ledger.previous_document(run))
    stored = StoredReport.objects.filter(run=run)
    ask(lambda: stored.update(files=store.names_of(document.run, run.checklist)))
    try:
        store.save(document, run.checklist, previous)
    except LogStoreUnavailable as error:
        left_over = [*error.left_over]
        ask(lambda: stored.update(files=left_over))
        raise


def log(document: ReportDocument) -> None:
    """Write the JSON line of a run that has ended, and ping."""
    run_logger.info("run finished", extra={"document": log_line(document)})
    pings.run_ended(document.run, document.report.summary)
