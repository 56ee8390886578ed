"""The end of a run, kept outside of the ledger as well: files in the log store, a JSON line, a ping.

The ledger notes what is missing of it. Where a process was killed before it had written all, or the log
store was away, any worker that ends a run of its own completes it later, so that all of it comes at least once.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from maintenance.core.errors import MaintenanceError
from maintenance.core.redaction import redact
from maintenance.core.reports import ReportDocument
from maintenance.core.runs import ledger, pings
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.ledger_database import ledger_connection, ledger_transaction
from maintenance.models import Run, StoredReport
from maintenance.reports.log_store import LogStoreUnavailable, configured_store, log_line

logger = logging.getLogger("maintenance.recording")
run_logger = logging.getLogger("maintenance.runs")

#: A log store that did not take a report is asked again this much later, and what another worker took upon
#: itself counts as left behind.
TRY_AGAIN_AFTER = timedelta(minutes=10)
#: What others left is completed for this long by a process that has ended a run, and so many of them.
COMPLETE_SECONDS = 10.0
MOST_AT_ONCE = 20

#: Asks the ledger, perhaps more than once.
Ask = Callable[[Callable[[], Any]], Any]


def _once(question: Callable[[], Any]) -> Any:
    return question()


def record(run: Run, document: ReportDocument, ask: Ask = _once) -> bool:
    """Write the run's files and its JSON line, and ping; return whether the log store took the files.

    What is full, down or faulty fails no work: the ledger notes that it is missing. ``ask`` asks the ledger
    what the files need of it: a worker has the patience to wait for a restart.
    """
    has_files = _has_written_files(run, document, ask)
    log(document)
    _note(run, ask, has_files=has_files)
    return has_files


def complete_unrecorded() -> int:
    """Complete what other processes left, the oldest first, for some seconds; return how many are complete.

    Never raises for a ledger that is away, or for a report that cannot be read: that is the matter of no
    run that has just ended. Costs one query where nothing is missing.
    """
    deadline = time.monotonic() + COMPLETE_SECONDS
    count = 0
    try:
        for stored in _claimed():
            if time.monotonic() > deadline:
                break  # the others come with a later run
            document = _readable_document(stored.run)
            if document is None:
                continue
            if not _complete(stored, document):
                break
            count += 1
    except LEDGER_AWAY as error:
        ledger_connection().close()
        logger.warning("Reports wait for their files: %s", redact(str(error)))
    return count


def _readable_document(run: Run) -> ReportDocument | None:
    """Return a report; ``None`` where another release wrote it, or the retention has just deleted it."""
    try:
        return ledger.stored_document(run)
    except (ValueError, StoredReport.DoesNotExist) as error:
        logger.warning("The report of run %s has no files: %s", run.id, redact(str(error)))
        return None


def _complete(stored: StoredReport, document: ReportDocument) -> bool:
    """Write the files of a run, and its line and ping unless they are there; return as :func:`record`."""
    run = stored.run
    has_files = _has_written_files(run, document, _once)
    if stored.told_at is None:
        log(document, is_newest=not _is_overtaken(run))
    _note(run, _once, has_files=has_files)
    return has_files


def _is_overtaken(run: Run) -> bool:
    """Tell whether a later run of the same schedule has begun: of that somebody may have been told."""
    if run.scheduled_for is None:
        return False
    same = Run.objects.filter(schedule=run.schedule, target=run.target, attempt__gt=0)
    return same.filter(scheduled_for__gt=run.scheduled_for).exists()


def log(document: ReportDocument, *, is_newest: bool = True) -> None:
    """Write the JSON line of a run that has ended, and ping."""
    run_logger.info("run finished", extra={"document": log_line(document)})
    pings.run_ended(document.run, document.report.summary, is_newest=is_newest)


def _has_written_files(run: Run, document: ReportDocument, ask: Ask) -> bool:
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
    else:
        return True
    return False


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


def _note(run: Run, ask: Ask, *, has_files: bool) -> None:
    """Note what is there now. Where that fails, it is written once more later."""
    stored = StoredReport.objects.filter(run=run)
    try:
        due_at = None if has_files else Now() + TRY_AGAIN_AFTER
        ask(lambda: stored.update(record_due_at=due_at, told_at=Now()))
    except LEDGER_AWAY as error:
        ledger_connection().close()
        logger.warning("What is kept of run %s was not noted: %s", run.id, redact(str(error)))


def _claimed() -> list[StoredReport]:
    """Return reports that are overdue, for this process alone for a while."""
    overdue = StoredReport.objects.filter(record_due_at__lte=Now()).order_by("record_due_at")
    if not overdue.exists():
        return []
    with ledger_transaction():
        claimed = list(
            overdue.select_for_update(skip_locked=True, of=("self",)).select_related("run")[
                :MOST_AT_ONCE
            ]
        )
        ids = [stored.pk for stored in claimed]
        StoredReport.objects.filter(pk__in=ids).update(record_due_at=Now() + TRY_AGAIN_AFTER)
    return claimed
