"""The proof of a time: what can be proved of it, the slots of every schedule, and the report on them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from django.utils import timezone

from maintenance.conf import configuration
from maintenance.core.errors import Skipped
from maintenance.core.evidence.proof_report import Tally, slot_fields
from maintenance.core.evidence.slot_history import (
    UNSETTLED_SECONDS,
    slot_histories,
    unversioned_runs,
)
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.retention import trimmed_until
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import recorded_since

#: How far back a proof begins that nobody says more of.
USUAL_DAYS = 30
#: A scheduled proof looks again at the end of the one before: what waited for its row then has it now.
SEEN_TWICE_SECONDS = 3600.0

Write = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be proved. ``pattern`` is of names as lists show them; ``None`` leaves a time open."""

    since: datetime | None = None
    until: datetime | None = None
    pattern: str = "*"

    def fits(self, schedule: str) -> bool:
        """Tell whether a schedule is to be looked at."""
        return fnmatchcase(schedule.removeprefix(NAME_PREFIX), self.pattern)


@dataclass(frozen=True, slots=True)
class Proof:
    """The report on a time that ended with ``until``, and how many due slots came to nothing.

    Those that are ``missing`` have no row; those that ``failed_to_start`` have one that says why. Of
    ``unread`` schedules it is not known when they were due, in a part of the time at least.
    """

    report: Report
    until: datetime
    missing: int
    failed_to_start: int
    unread: int


def prove_time(wanted: Wanted, write: Write = lambda _row: None) -> Proof:
    """Prove every slot of a time; ``write`` gets each of them as it is judged.

    Raises ``Skipped`` where there is nothing to prove: no scheduler has recorded anything, or the time
    is none. Cost and memory as of :func:`~maintenance.core.evidence.slot_history.slot_histories`.
    """
    now, zone = ledger_now(), timezone.get_current_timezone()
    since, until, notes = _span(wanted, now)
    tally = Tally(zone)
    for history in slot_histories(since, until, now, fits=wanted.fits):
        name = history.schedule.removeprefix(NAME_PREFIX)
        tally.begin(name, history.unread)
        for slot in history.slots:
            tally.add(name, slot)
            write(slot_fields(name, slot, zone))
    if wanted.pattern == "*":
        notes += tuple(_unversioned(since, until))
    report = tally.report(since, until, notes)
    return Proof(report, until, tally.missing, tally.failed_to_start, tally.unread)


def prove_slots(job: Job[None, NoOptions]) -> Report:
    """Prove what has been due since the last proof."""
    before = job.previous_state.get("proved_until")
    proof = prove_time(Wanted(datetime.fromisoformat(before) if before else None))
    proved_until = proof.until - timedelta(seconds=SEEN_TWICE_SECONDS)
    return replace(proof.report, state={"proved_until": proved_until.isoformat()})


def _span(wanted: Wanted, now: datetime) -> tuple[datetime, datetime, tuple[Finding, ...]]:
    """Return what time can be proved of the one that is wanted, and what is left out of it."""
    last = now - timedelta(seconds=UNSETTLED_SECONDS)
    until = min(wanted.until or last, last)
    since = wanted.since or now - timedelta(days=USUAL_DAYS)
    kept_since = now - timedelta(days=configuration().reports.retention_days)
    recorded = recorded_since()
    notes: list[Finding] = []
    if recorded is None:
        raise Skipped(
            "No scheduler has recorded any schedule yet, so there is nothing to prove."
            " Start beat; the record begins with its first look."
        )
    trimmed = trimmed_until()  # by a retention that may have been a shorter one
    if trimmed is not None:
        kept_since = max(kept_since, trimmed)
    if since < kept_since:
        since = kept_since
        gone = "rows that the retention has removed since (reports.retention_days)"
        notes.append(_unproved(since, gone))
    if since < recorded:
        since = recorded
        if wanted.since is not None:
            notes.append(_unproved(since, "versions of schedules, which a scheduler records"))
    if until <= since:
        raise Skipped(
            f"There is no time to prove between {timezone.localtime(since):%Y-%m-%d %H:%M} and"
            f" {timezone.localtime(until):%Y-%m-%d %H:%M}: give an earlier --since, or a later --until."
        )
    return since, until, tuple(notes)


def _unproved(since: datetime, needs: str) -> Finding:
    what = f"the proof of slots before {timezone.localtime(since):%Y-%m-%d %H:%M %Z}"
    return unavailable("slots-unproved", "schedules", what, needs)


def _unversioned(since: datetime, until: datetime) -> Iterator[Finding]:
    count = unversioned_runs(since, until)
    if count:
        yield Finding(
            code="slots-unversioned",
            severity=Severity.WARNING,
            subject="schedules",
            sentence=f"{count:,} runs of slots belong to schedules that no version describes.",
            evidence={"runs": count},
            advice="Let every beat use maintenance.core.scheduling.scheduler:LedgerScheduler.",
        )
