"""What happens to runs, read from the ledger as it happens.

The ledger has no log of events: rows are looked at again and again, and what is new about one is an event.
A look reads the runs that are at work or wait, those that were a moment ago, and those asked for since, each
by an index, so that it costs as much as there is work and nothing for the history.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.db.models import Q

from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.models import Run, RunState

_OPEN = (RunState.QUEUED, RunState.RUNNING)

#: Rows appear when their transaction commits, later than the times that stand in them.
COMMIT_SECONDS = 60.0


class Event(StrEnum):
    """What is new about a run."""

    STARTED = "started"
    WAITS = "waits"  # put off, or an attempt failed and another follows
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class News:
    """One event of one run, as its row was when that was seen."""

    event: Event
    at: datetime
    run: Run


@dataclass(slots=True)
class Follower:
    """Sees every event of runs once, from ``since`` on (the ledger's clock)."""

    since: datetime
    _seen: dict[UUID, tuple[object, ...]] = field(default_factory=dict)
    _asked_since: datetime | None = None

    def news(self) -> list[News]:
        """Return what has happened since the last call, first things first.

        Raises Django's ``DatabaseError`` and ``InterfaceError`` where the ledger is away; the next call
        tells what was missed.
        """
        now = ledger_now()
        rows = list(Run.objects.filter(self._wanted()).order_by("queued_at"))
        found = [news for run in rows for news in self._about(run)]
        oldest = now - timedelta(seconds=2 * COMMIT_SECONDS)
        self._seen = {
            run.id: _facts(run)
            for run in rows
            if run.finished_at is None or run.finished_at >= oldest
        }
        self._asked_since = now - timedelta(seconds=COMMIT_SECONDS)
        return sorted(found, key=lambda news: news.at)

    def _wanted(self) -> Q:
        if self._asked_since is None:  # once, and it may read the history
            later = Q(queued_at__gte=self.since) | Q(started_at__gte=self.since)
            return Q(state__in=_OPEN) | later | Q(finished_at__gte=self.since)
        known = Q(id__in=list(self._seen))
        return Q(state__in=_OPEN) | known | Q(queued_at__gte=self._asked_since)

    def _about(self, run: Run) -> Iterator[News]:
        facts, before = _facts(run), self._seen.get(run.id)
        if facts == before:
            return
        state, attempt, _until = facts
        started_before = before is not None and before[1] == attempt
        if run.started_at and run.started_at >= self.since and attempt and not started_before:
            yield News(Event.STARTED, run.started_at, run)
        if run.finished_at and run.finished_at >= self.since:
            yield News(Event.ENDED, run.finished_at, run)
        elif state == RunState.QUEUED and (run.is_postponed or attempt) and before is not None:
            yield News(Event.WAITS, ledger_now(), run)


def _facts(run: Run) -> tuple[object, ...]:
    return run.state, run.attempt, run.available_at if run.is_postponed else None
