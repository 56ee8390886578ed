"""Beat for maintenance tasks, and for the tasks of the site that it runs in: no slot is lost or doubled.

Any number of beats may run; one leads (:mod:`maintenance.core.scheduling.leadership`). In one transaction under its
fence a row is written for each due slot, and the cursor of its schedule moves. The messages go out after
it. Where it is killed in between they are sent later, from the rows.
"""

import gc
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from heapq import heappop, heappush
from socket import gethostname
from typing import Any

from django.db import DatabaseError, InterfaceError, ProgrammingError
from django_celery_beat.schedulers import DatabaseScheduler

from maintenance.core.attention.delivering import start_delivery
from maintenance.core.frozen_heap import freeze_heap
from maintenance.core.redaction import redact
from maintenance.core.reports import ReportDocument
from maintenance.core.runs import ledger
from maintenance.core.runs.alive_file import touch_alive_file
from maintenance.core.runs.dispatch import mend
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.lease import steady_seconds
from maintenance.core.runs.ledger_database import (
    LOCK_NOT_AVAILABLE,
    ledger_connection,
    sqlstate_of,
)
from maintenance.core.runs.lost_channels import close_lost_channels
from maintenance.core.runs.recorder import Recorder
from maintenance.core.runs.recording import log
from maintenance.core.runs.sending import send
from maintenance.core.runs.waiting_runs import release_waiting, skip_overdue
from maintenance.core.scheduling.beat_entries import write_entries
from maintenance.core.scheduling.leadership import Leadership, NotLeading
from maintenance.core.scheduling.schedule_book import Book, Held
from maintenance.core.scheduling.schedule_changes import look_for_changes, read_everything
from maintenance.core.scheduling.slot_rows import Due, Recorded, record_slots
from maintenance.models import Run, RunState

logger = logging.getLogger("maintenance.scheduler")

#: Lost runs and unsent messages are looked for so often.
MEND_SECONDS = 15.0
#: A broker that did not take a message is left alone for so long. Then what it did not take is sent.
BROKER_AWAY_SECONDS = 5.0
#: The lease is renewed and edits are looked for so often. A standby looks whether nobody leads.
LOOK_SECONDS = 2.0
#: All rows are compared so often, for edits that were written past Django.
THOROUGH_LOOK_SECONDS = 300.0
#: After an error of the database, or one that nobody expected, everything is read again after this long.
AWAY_SECONDS = 1.0
#: So many schedules, and so many slots of one of them, are decided in one transaction.
SCHEDULES_PER_TRANSACTION = 200
SLOTS_PER_SCHEDULE = 200
#: No more schedules are added to a transaction that has so many slots.
SLOTS_PER_TRANSACTION = 1000
#: What no row of a schedule is the cause of: a right or a column that is missing, for one.
_OF_NO_ROW: tuple[type[Exception], ...] = (NotLeading, *LEDGER_AWAY, ProgrammingError, MemoryError)


class LedgerScheduler(DatabaseScheduler):  # type: ignore[misc]  # the library has no types
    """Beat with a ledger: django-celery-beat's rows and admin, and a way of our own to go through them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership(f"{gethostname()}:{os.getpid()}")
        self._book: Book | None = None
        self._later: list[tuple[datetime, str]] = []
        self._looked_thoroughly_at = self._mended_at = self._broker_away_until = 0.0
        self._reached_the_ledger = False
        self._recorder = Recorder()
        close_lost_channels()
        super().__init__(*args, **kwargs)
        freeze_heap()

    def setup_schedule(self) -> None:
        """Do nothing yet: a database that is down at the start must not end beat."""

    @property
    def schedule(self) -> Mapping[str, Any]:
        """The rows that are on, for whoever wants to list them."""
        entries: Mapping[str, Any] = self.all_as_schedule()
        return entries

    def enabled_models_qs(self) -> Any:
        """Return every row that is on; the library leaves out those whose hour is far away."""
        return self.Model.objects.enabled()

    def update_from_dict(self, mapping: Mapping[str, Mapping[str, Any]]) -> None:
        """Write entries of the configuration as rows, where they are not there yet."""
        write_entries(mapping)

    def tick(self, *args: Any, **kwargs: Any) -> float:  # noqa: ARG002 - the library's signature
        """Do what is due; return how many seconds nothing is."""
        touch_alive_file()
        try:
            return self._tick()
        except NotLeading as lost:
            logger.warning("%s", lost)
        except LEDGER_AWAY as error:
            self._note_failure(error)
        except (
            Exception
        ):  # one schedule, or one answer of a broker, must not end beat for all others
            logger.exception("The scheduler starts anew")
        self._book = None
        return AWAY_SECONDS

    def _note_failure(self, error: Exception) -> None:
        """Note that the ledger could not be written: it is away, or somebody holds what a role waits for briefly."""
        if sqlstate_of(error) == LOCK_NOT_AVAILABLE:
            logger.warning("Rows of schedules are locked, tried again soon: %s", redact(str(error)))
            return
        logger.error("The ledger is away: %s", redact(str(error)))
        self._reached_the_ledger = False
        ledger_connection().close()

    def _tick(self) -> float:
        if not self._leadership.is_held:
            if not self._leadership.take():
                return LOOK_SECONDS
            self._book = None
        if self._book is None:
            self._book = self._take_over()
        elif self._leadership.age_seconds >= LOOK_SECONDS:
            self._look(self._book)
        self._decide(self._book.pop_due(self._leadership.now(), SCHEDULES_PER_TRANSACTION))
        self._send_later_ones()
        if steady_seconds() - self._mended_at > MEND_SECONDS:
            self._mend()
        return self._pause_seconds(self._book)

    def _take_over(self) -> Book:
        self._later = []
        self._looked_thoroughly_at = steady_seconds()
        self.install_default_entries({})
        self.update_from_dict(self.app.conf.beat_schedule)
        book = read_everything(self._leadership, self._settle)
        count = sum(held.version.definition is not None for held in book.held.values())
        logger.info("%d schedules are on", count)
        return book

    def _look(self, book: Book) -> None:
        with self._leadership.fenced() as now:
            freed, overdue = release_waiting(now), skip_overdue(now)
        self._record(overdue)
        self._send(freed)
        thoroughly = steady_seconds() - self._looked_thoroughly_at > THOROUGH_LOOK_SECONDS
        if thoroughly:
            self._looked_thoroughly_at = steady_seconds()
            book.take_back_left_out()
        look_for_changes(book, self._leadership, self._settle, thoroughly=thoroughly)

    def _settle(self, helds: Sequence[Held], through: datetime) -> None:
        """Decide all slots of schedules up to a moment."""
        while due := [held for held in helds if held.next_slot and held.next_slot <= through]:
            self._decide(due, through)

    def _decide(self, helds: Sequence[Held], through: datetime | None = None) -> None:
        """Decide due slots, write their rows and send what runs now."""
        if not helds:
            return
        recorded = self._recorded(helds, through)
        if self._book is not None and through is None:
            for held in helds:
                self._book.queue(held)
        # First, and at once: where sending fails nobody else has the lines of what was skipped.
        self._record(
            (run, ReportDocument(ledger.run_facts(run), report)) for run, report in recorded.ended
        )
        self._send([run for run in recorded.queued if run.available_at is None])
        for run in recorded.queued:
            if run.available_at is not None:
                heappush(self._later, (run.available_at, str(run.id)))

    def _recorded(self, helds: Sequence[Held], through: datetime | None) -> Recorded:
        """Write the rows of due slots. A schedule whose rows cannot be written holds up none beside it."""
        before = [copy(held) for held in helds]
        try:
            with self._leadership.fenced() as now:
                dues = _due(helds, min(through or now, now))
                return record_slots(dues, now) if dues else Recorded([], [])
        except _OF_NO_ROW:
            raise
        except Exception as error:  # noqa: BLE001 - from whatever somebody has written into a row
            if len(helds) == 1:
                helds[0].leave_out(error)
                return Recorded([], [])
        parts: list[Recorded] = []
        for held, kept in zip(helds, before, strict=True):
            held.become(kept)
            parts.append(self._recorded([held], through))
        return Recorded(
            [run for part in parts for run in part.queued],
            [ended for part in parts for ended in part.ended],
        )

    def _send_later_ones(self) -> None:
        """Send runs whose jitter has passed, unless somebody cancelled or sent them meanwhile."""
        ids: list[str] = []
        now = self._leadership.now()
        while self._later and self._later[0][0] <= now:
            ids.append(heappop(self._later)[1])
        if ids:
            waiting = Run.objects.filter(
                id__in=ids, state=RunState.QUEUED, published_at=None, available_at__lte=now
            )
            self._send(list(waiting))

    def _send(self, runs: Sequence[Run]) -> None:
        if not runs or steady_seconds() < self._broker_away_until:
            return
        sent = send(runs, self._may_send)
        logger.info("%d of %d due runs were sent", sent.count, len(runs))
        if sent.is_broker_away:
            self._broker_away_until = steady_seconds() + BROKER_AWAY_SECONDS
            self._mended_at = steady_seconds() + BROKER_AWAY_SECONDS - MEND_SECONDS

    def _record(self, ended: Iterable[tuple[Run, ReportDocument]]) -> None:
        """Write alarms to the log store as any run; of a skipped slot the ledger and the log line tell."""
        for run, document in ended:
            if document.report.findings:
                self._recorder.record(run, document)
            else:
                log(document)

    def _may_send(self) -> bool:
        """Renew the lease now and then while messages go out. Raises ``NotLeading``."""
        if self._leadership.age_seconds > LOOK_SECONDS:
            self._leadership.renew()
        return self._leadership.may_send()

    def _mend(self) -> None:
        # After an outage, or in a beat that has just started and cannot know of one, the workers
        # get until the next look to write a heartbeat.
        judge_leases, self._reached_the_ledger = self._reached_the_ledger, False
        self._mended_at = steady_seconds()
        self._leadership.renew()
        counts = mend(
            judge_leases=judge_leases, may_send=self._may_send, record_end=self._recorder.record
        )
        self._reached_the_ledger = True
        start_delivery()
        if counts["republished"] >= ledger.MESSAGES_PER_LOOK:
            self._mended_at = 0.0
        if any(counts.values()):
            logger.warning("Brought back %(lost)d lost and %(republished)d unsent runs", counts)
        gc.collect()  # a millisecond, beside a frozen heap

    def _pause_seconds(self, book: Book) -> float:
        now = self._leadership.now()
        pause = LOOK_SECONDS - self._leadership.age_seconds
        moments = [book.next_due_at(), self._later[0][0] if self._later else None]
        pauses = [(moment - now).total_seconds() for moment in moments if moment is not None]
        return max(min(pause, *pauses), 0.0) if pauses else max(pause, 0.0)

    def sync(self) -> None:
        """Do nothing: cursors move with the rows of their slots."""

    def close(self) -> None:
        """Let another beat lead at once. Within a transaction that is being ended, the next call does."""
        super().close()
        if not ledger_connection().in_atomic_block:
            try:
                self._leadership.release()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The lead could not be given away: %s", redact(str(error)))


def _due(helds: Iterable[Held], through: datetime) -> list[Due]:
    """Return what one transaction decides; the rest stays due."""
    dues: list[Due] = []
    count = 0
    for held in helds:
        is_once = held.definition.once
        slots, is_cut = held.due(through, 1 if is_once else SLOTS_PER_SCHEDULE)
        if slots:
            more_follow = is_cut and not is_once
            dues.append(Due(held, slots, slots[-1] if more_follow else through, through))
        count += len(slots)
        if count >= SLOTS_PER_TRANSACTION:
            break
    return dues
