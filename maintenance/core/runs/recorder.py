"""Ends of runs, recorded beside a beat's work: a log store that is slow or hangs holds up no schedule.

They are taken one after the other by a thread, and bounded in number and time. What is left, because too many
wait, it has waited for long or the process is killed, is completed by a worker, as the ledger notes.
"""

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable

from django.db import connections

from maintenance.core.draining import drained
from maintenance.core.reports import ReportDocument
from maintenance.core.runs.recording import record
from maintenance.core.runs.report_rows import RECORDED_WITHIN
from maintenance.models import Run

logger = logging.getLogger("maintenance.recording")

#: Ends that wait; with more, the store has been down for long.
MOST_WAITING = 1000
#: What has waited for so long is left: soon a worker takes it upon itself.
MOST_SECONDS = RECORDED_WITHIN.total_seconds() / 2
#: How long the end of a process waits for its last files.
FLUSH_SECONDS = 5.0

#: Keeps the end of a run outside of the ledger as well, now or soon.
RecordEnd = Callable[[Run, ReportDocument], object]


class Recorder:
    """Records ends of runs one after the other from a thread, which the first of them starts."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Run, ReportDocument, float]] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def record(self, run: Run, document: ReportDocument) -> None:
        """Take the end of a run, or leave it to a worker where too many wait; return at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()
            # Not where beat is closed: that is a signal's handler, which may have interrupted a put.
            atexit.register(self.flush)
        try:
            self._waiting.put_nowait((run, document, time.monotonic() + MOST_SECONDS))
        except queue.Full:
            logger.warning("What is kept of run %s is left to a worker: too many wait", run.id)

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all have been recorded or left; return whether they were in time."""
        return drained(self._waiting, timeout_seconds)

    def _work(self) -> None:
        while True:
            run, document, give_up_at = self._waiting.get()
            try:
                if time.monotonic() < give_up_at:
                    record(run, document)
                else:
                    logger.warning("What is kept of run %s is left to a worker: it is late", run.id)
            except Exception as error:  # noqa: BLE001 - the thread must outlive any one run
                logger.error("The end of run %s: %s", run.id, type(error).__name__)
            finally:
                if self._waiting.empty():
                    connections.close_all()  # of this thread: most beats record once a month
                self._waiting.task_done()
