"""Whether the scheduler and the workers are alive, judged from outside of both: a dead man's switch. Pure.

A scheduler that is dead cannot say so. Whoever reads the ledger can: by its lease, by the slots that it
has not come to, and by runs that nobody takes. Every time is the ledger's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.wording import counted, listed, seconds_in_words

#: Another scheduler takes over within half a minute; twice that is nobody's turn.
SILENCE_SECONDS = 60.0
#: What a slot may wait for its row: a restart of the scheduler with its migrations takes a minute or two.
OVERDUE_SECONDS = 300.0
#: A worker that is free takes a run within seconds; in this time, one that restarts is back.
STANDSTILL_SECONDS = 600.0
#: Schedules that are named one by one; the rest are counted.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class LeaderFacts:
    """Which scheduler leads, as it last wrote."""

    holder: str
    since: datetime
    expires_at: datetime
    ticked_at: datetime | None


@dataclass(frozen=True, slots=True)
class OverdueSlot:
    """The first slot of a schedule that has no row, though it should."""

    schedule: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class PausedSchedule:
    """A schedule whose slots are skipped."""

    schedule: str
    since: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """Runs of one queue that could start, the oldest since ``waits_since``, and how many are at work."""

    queue: str
    waiting: int
    waits_since: datetime
    at_work: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the ledger says at ``now``. ``following`` is the next slot of all that are on."""

    now: datetime
    enabled: int
    leader: LeaderFacts | None
    overdue: Sequence[OverdueSlot] = ()
    paused: Sequence[PausedSchedule] = ()
    queues: Sequence[QueueFacts] = ()
    following: OverdueSlot | None = None


def liveness_reports(look: Look) -> tuple[Report, ...]:
    """Judge the scheduler, the schedules and the queues. What is critical keeps runs from happening."""
    return scheduler_report(look), schedules_report(look), queues_report(look)


def unjudged_report() -> Report:
    """Return the report of a look that failed: nobody can say whether anything runs."""
    finding = Finding(
        code="liveness-unjudged",
        severity=Severity.CRITICAL,
        subject="scheduler",
        sentence="Whether the scheduler and the workers are alive cannot be judged: the look at them fails.",
        advice="Read the log of the web process (maintenance.probes), which says why.",
        commands=("python manage.py health_check --check schedule",),
    )
    return Report("Scheduler", finding.sentence, findings=(finding,))


def scheduler_report(look: Look) -> Report:
    """Judge the lease of the leader, and that somebody leads at all."""
    leader = look.leader
    if not look.enabled:
        finding = Finding(
            code="no-schedule",
            severity=Severity.WARNING,
            subject="schedules",
            sentence="No schedule is on: nothing runs by itself.",
            advice="Write the schedules of the checklists, then start beat.",
            commands=("python manage.py sync_schedules",),
        )
        return Report("Scheduler", finding.sentence, findings=(finding,))
    finding_or_none = _leader_finding(leader, look.now)
    if finding_or_none is not None:
        return Report("Scheduler", finding_or_none.sentence, findings=(finding_or_none,))
    assert leader is not None
    return Report(
        "Scheduler",
        f"{leader.holder} leads since {_said(leader.since)}.",
        facts={
            "holder": leader.holder,
            "since": leader.since.isoformat(),
            "ticked_at": leader.ticked_at.isoformat() if leader.ticked_at else None,
        },
    )


def _leader_finding(leader: LeaderFacts | None, now: datetime) -> Finding | None:
    if leader is None:
        return Finding(
            code="no-leader",
            severity=Severity.CRITICAL,
            subject="scheduler",
            sentence="No scheduler has ever led: nothing is sent.",
            advice="Start beat with --scheduler maintenance.core.scheduling.scheduler:LedgerScheduler.",
            commands=("celery -A <application> beat",),
        )
    seen_at = leader.ticked_at or leader.since
    silent_seconds = (now - seen_at).total_seconds()
    if silent_seconds <= SILENCE_SECONDS:
        return None
    holds = "and still holds its lease" if leader.expires_at > now else "and nobody took over"
    return Finding(
        code="leader-silent",
        severity=Severity.CRITICAL,
        subject="scheduler",
        sentence=(
            f"The scheduler {leader.holder} has been silent for {seconds_in_words(silent_seconds)},"
            f" {holds}: nothing is sent."
        ),
        evidence={
            "holder": leader.holder,
            "ticked_at": seen_at.isoformat(),
            "expires_at": leader.expires_at.isoformat(),
            "silent_seconds": round(silent_seconds),
        },
        advice="Start beat, or read its log. Slots that pass meanwhile are settled once it is back.",
        commands=("celery -A <application> beat",),
    )


def schedules_report(look: Look) -> Report:
    """Name schedules with a slot that nobody came to, and those that are paused."""
    overdue, paused = look.overdue, look.paused
    findings = (*_overdue_findings(look), *(_paused_finding(each, look.now) for each in paused))
    facts: dict[str, Any] = {
        "enabled": look.enabled,
        "overdue": len(overdue),
        "paused": len(paused),
    }
    if look.following is not None:
        facts |= {
            "next": look.following.schedule,
            "next_due_at": look.following.due_at.isoformat(),
        }
    summary = (
        f"{len(overdue)} of {counted(look.enabled, 'schedule')} {_are(overdue)} overdue: nobody"
        " has come to their slots."
        if overdue
        else f"No slot of {counted(look.enabled, 'schedule')} is overdue."
    )
    if paused:
        summary += f" {counted(len(paused), 'schedule is', 'schedules are')} paused."
    return Report("Schedules", summary, findings=findings, facts=facts)


def _are(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"


def _overdue_findings(look: Look) -> Iterator[Finding]:
    for slot in look.overdue[:MOST_NAMED]:
        overdue_seconds = (look.now - slot.due_at).total_seconds()
        yield Finding(
            code="schedule-overdue",
            severity=Severity.CRITICAL,
            subject=slot.schedule,
            sentence=f"{slot.schedule} was due at {_said(slot.due_at)} and was not sent.",
            evidence={
                "overdue_seconds": round(overdue_seconds),
                "due_at": slot.due_at.isoformat(),
            },
            advice="Start beat, or read its log. The slot gets its row once a scheduler is back.",
            commands=("celery -A <application> beat",),
        )
    rest = [slot.schedule for slot in look.overdue[MOST_NAMED:]]
    if rest:
        yield Finding(
            code="schedule-overdue",
            severity=Severity.CRITICAL,
            subject="schedules",
            sentence=f"{counted(len(rest), 'more schedule is', 'more schedules are')} overdue: {listed(rest)}.",
            evidence={"schedules": len(rest)},
            advice="Start beat, or read its log.",
        )


def _paused_finding(paused: PausedSchedule, now: datetime) -> Finding:
    since = seconds_in_words((now - paused.since).total_seconds())
    by = f" by {paused.by}" if paused.by else ""
    return Finding(
        code="schedule-paused",
        severity=Severity.INFO,
        subject=paused.schedule,
        sentence=f"{paused.schedule} has been paused{by} for {since}: {paused.reason or 'no reason'}.",
        evidence={"since": paused.since.isoformat(), "by": paused.by, "reason": paused.reason},
        advice="Resume it in the list of schedules once the reason is gone.",
    )


def queues_report(look: Look) -> Report:
    """Name queues in which runs wait while none is at work: their workers are down."""
    standing = [queue for queue in look.queues if _stands(queue, look.now)]
    waiting = sum(queue.waiting for queue in look.queues)
    at_work = sum(queue.at_work for queue in look.queues)
    return Report(
        title="Queues of runs",
        summary=(
            f"Nobody takes runs from {listed([queue.queue for queue in standing])}."
            if standing
            else f"Runs are taken: {at_work} at work, {waiting} waiting."
        ),
        findings=tuple(_standing_finding(queue, look.now) for queue in standing),
        facts={"waiting": waiting, "at_work": at_work},
    )


def _stands(queue: QueueFacts, now: datetime) -> bool:
    waited = now - queue.waits_since
    return bool(queue.waiting) and not queue.at_work and waited.total_seconds() > STANDSTILL_SECONDS


def _standing_finding(queue: QueueFacts, now: datetime) -> Finding:
    seconds = (now - queue.waits_since).total_seconds()
    return Finding(
        code="queue-stands",
        severity=Severity.CRITICAL,
        subject=queue.queue,
        sentence=(
            f"{counted(queue.waiting, 'run waits', 'runs wait')} in the queue {queue.queue}, the oldest"
            f" for {seconds_in_words(seconds)}, and none is at work: no worker takes them."
        ),
        evidence={"waiting": queue.waiting, "waits_since": queue.waits_since.isoformat()},
        advice=f"Start a worker for {queue.queue}, or look why the one there does not take runs.",
        commands=(f"celery -A <application> worker -Q {queue.queue}",),
    )


def overdue_before(now: datetime) -> datetime:
    """Return up to when a slot must have its row by now."""
    return now - timedelta(seconds=OVERDUE_SECONDS)


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M %Z}"
