"""What will run when: the slots of a coming time, how long each takes, and where they meet. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Protocol

from maintenance.core.scheduling.cron import Cron
from maintenance.core.scheduling.policies import (
    Circumstances,
    Closure,
    Decision,
    Outcome,
    Overlap,
    Policy,
    decide,
)
from maintenance.core.windows import Window, closes_at, opens_at

Span = tuple[datetime, datetime]

_INSTANT = timedelta(microseconds=1)


class DueTimes(Protocol):
    """What knows when a schedule is due: a crontab, or a whole definition."""

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due moments after ``since`` and up to ``until``, in their order."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule whose slots are known in advance.

    ``cron`` is there where it is due by the clock of a wall. ``windows`` are those that its work keeps
    to, none for work that only reads. ``seconds`` is how long its runs have taken, ``None`` where none
    has ended yet. ``idle`` says why they do nothing. ``schedule`` and ``target_name`` are its names in
    the ledger, by which its jitter is drawn and blackouts know it.
    """

    name: str
    task: str
    target: str
    due: DueTimes
    cron: Cron | None = None
    windows: tuple[Window, ...] = ()
    seconds: float | None = None
    idle: str = ""
    schedule: str = ""
    target_name: str = ""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Appointment:
    """One slot of a schedule, and when its run begins: later where it waits for a window.

    ``remark`` says what is unusual about it. One without ``begins_at`` has no run of its own.
    """

    plan: Planned
    due_at: datetime
    begins_at: datetime | None
    remark: str = ""

    @property
    def ends_at(self) -> datetime | None:
        """When it has ended, by what its runs have taken."""
        if self.begins_at is None or self.plan.seconds is None:
            return None
        return self.begins_at + timedelta(seconds=self.plan.seconds)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two schedules at work on one target at the same time, for the first time and how often."""

    first: Planned
    second: Planned
    at: datetime
    times: int = 1


def appointments(
    plans: Iterable[Planned],
    since: datetime,
    until: datetime,
    *,
    closures: Sequence[Closure] = (),
    outage: Span | None = None,
) -> list[Appointment]:
    """Return the slots after ``since`` up to ``until``, in the order in which their runs begin.

    ``closures`` are blackouts. In an ``outage`` nothing is sent: at its end the policy of each schedule
    says what becomes of the slots that it missed. The work grows with the number of slots and with the
    days.
    """
    found = [
        appointment
        for plan in plans
        for appointment in _Course(plan, closures).follow(since, until, outage)
    ]
    return sorted(found, key=lambda a: (a.begins_at or a.due_at, a.due_at, a.plan.name))


def horizon(plans: Iterable[Planned], since: datetime, until: datetime, most: int) -> datetime:
    """Return ``until``, or an earlier moment up to which there are ``most`` slots after ``since`` at most.

    The work grows with ``most``, however many slots there are.
    """
    slots = merge(*(plan.due.between(since, until) for plan in plans))
    first_too_many = next(islice(slots, most, None), None)
    return until if first_too_many is None else first_too_many - _INSTANT


def next_appointments(
    plan: Planned, since: datetime, until: datetime, count: int, closures: Sequence[Closure] = ()
) -> list[Appointment]:
    """Return the next ``count`` slots of one schedule after ``since``, fewer where ``until`` comes first."""
    return list(islice(_Course(plan, closures).follow(since, until, None), count))


class _Course:
    """One schedule as time goes by: what becomes of a slot depends on the run before."""

    def __init__(self, plan: Planned, closures: Sequence[Closure]) -> None:
        self._plan = plan
        self._circumstances = Circumstances(
            schedule=plan.schedule or plan.name, target=plan.target_name, closures=closures
        )
        self._waits_until: datetime | None = None
        self._is_at_work_until: datetime | None = None

    def follow(
        self, since: datetime, until: datetime, outage: Span | None
    ) -> Iterator[Appointment]:
        """Yield an appointment for each slot."""
        missed: list[datetime] = []
        for due in self._plan.due.between(since, until):
            if outage is not None and outage[0] <= due < outage[1]:
                missed.append(due)
                continue
            if missed and outage is not None:
                yield from self._caught_up(missed, outage[1])
                missed = []
            [decision] = decide([due], self._plan.policy, due, self._circumstances)
            yield self._appointment(decision, decision.begins_at or due, "")
        if missed and outage is not None:
            yield from self._caught_up(missed, outage[1])

    def _caught_up(self, missed: Sequence[datetime], back_at: datetime) -> Iterator[Appointment]:
        for decision in decide(missed, self._plan.policy, back_at, self._circumstances):
            stands_for = decision.stands_for
            remark = "late, after the outage"
            if stands_for > 1:
                remark += f": one run for {stands_for} slots"
            begins = max(decision.begins_at or back_at, back_at)
            if decision.outcome is Outcome.WAIT and self._is_at_work_until is not None:
                begins = max(begins, self._is_at_work_until)
            yield self._appointment(decision, begins, remark)

    def _appointment(self, decision: Decision, sent: datetime, remark: str) -> Appointment:
        plan, due = self._plan, decision.slot
        if decision.outcome is Outcome.SKIP:
            remark = plan.idle or f"will be skipped: {decision.reason}"
            return Appointment(plan, due, None, remark)
        if self._waits_until is not None and sent < self._waits_until:
            return Appointment(plan, due, None, "its run before waits for the same window")
        overlaps = self._is_at_work_until is not None and sent < self._is_at_work_until
        if overlaps and plan.policy.overlap is Overlap.SKIP:
            return Appointment(plan, due, None, "its run before will be at work still")
        if overlaps and plan.policy.overlap is Overlap.QUEUE_ONE and self._is_at_work_until:
            sent, remark = self._is_at_work_until, "waits for its run before"
        begins = _begins(plan.windows, sent)
        self._waits_until = begins if begins > sent else None
        if begins > sent:
            remark = "waits for its window"
        remark = plan.idle or remark or _clock_remark(plan.cron, due)
        appointment = Appointment(plan, due, begins, remark)
        self._is_at_work_until = None if plan.idle else appointment.ends_at
        return replace(appointment, remark=_overrun(appointment) or remark)


def _begins(windows: Sequence[Window], at: datetime) -> datetime:
    if not windows or closes_at(windows, at) is not None:
        return at
    return opens_at(windows, at) or at


def _overrun(appointment: Appointment) -> str:
    """Say that a run does not end within the window that it begins in."""
    begins, ends = appointment.begins_at, appointment.ends_at
    if begins is None or ends is None or not appointment.plan.windows:
        return ""
    closes = closes_at(appointment.plan.windows, begins)
    return "longer than its window: goes on in the next" if closes and ends > closes else ""


def _clock_remark(cron: Cron | None, due: datetime) -> str:
    """Say that the clocks change at this moment: the wall shows another time than the schedule's."""
    if cron is None:
        return ""
    wall = due.astimezone(cron.zone)
    if wall.hour in cron.hours and wall.minute in cron.minutes:
        return ""
    return f"at {wall:%H:%M}: the clocks skip its time on this day"


def meetings(found: Iterable[Appointment]) -> list[Meeting]:
    """Return the pairs of schedules that are at work on one target at once, the most frequent first.

    A run whose length is not known yet counts as a moment. The work grows with the number of runs
    and with how many are at work at once.
    """
    at_work: defaultdict[str, list[Appointment]] = defaultdict(list)
    pairs: dict[tuple[str, str], Meeting] = {}
    for appointment in found:
        begins, target = appointment.begins_at, appointment.plan.target
        if begins is None or not target or appointment.plan.idle:
            continue
        others = [a for a in at_work[target] if _is_at_work(a, begins)]
        for other in others:
            key = other.plan.name, appointment.plan.name
            known = pairs.get(key, Meeting(other.plan, appointment.plan, begins, times=0))
            pairs[key] = replace(known, times=known.times + 1)
        at_work[target] = [*others, appointment]
    return sorted(pairs.values(), key=lambda m: (-m.times, m.at, m.first.name, m.second.name))


def _is_at_work(appointment: Appointment, at: datetime) -> bool:
    return appointment.begins_at == at or (
        appointment.ends_at is not None and appointment.ends_at > at
    )
