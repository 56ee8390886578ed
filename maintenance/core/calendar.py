"""What will run when: the slots of a coming time, how long each takes, and where they meet. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from maintenance.core.cron import Cron
from maintenance.core.windows import Window, closes_at, opens_at

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule whose slots are known in advance.

    ``windows`` are those that its work keeps to, none for work that only reads. ``seconds`` is how
    long its runs have taken, ``None`` where none has ended yet. ``idle`` says why they do nothing.
    """

    name: str
    task: str
    target: str
    cron: Cron
    windows: tuple[Window, ...] = ()
    seconds: float | None = None
    idle: str = ""


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
    plans: Iterable[Planned], since: datetime, until: datetime, *, outage: Span | None = None
) -> list[Appointment]:
    """Return the slots after ``since`` up to ``until``, in the order in which their runs begin.

    In an ``outage`` nothing is sent: at its end each schedule that missed a slot runs once, late. The
    work grows with the number of slots and with the days.
    """
    found = [
        appointment for plan in plans for appointment in _of_one(plan, since, until, outage=outage)
    ]
    return sorted(found, key=lambda a: (a.begins_at or a.due_at, a.due_at, a.plan.name))


def _of_one(
    plan: Planned, since: datetime, until: datetime, *, outage: Span | None
) -> Iterator[Appointment]:
    waiting_until: datetime | None = None
    is_missed = False
    for due in plan.cron.between(since, until):
        sent, remark = due, plan.idle or _clock_remark(plan.cron, due)
        if outage is not None and outage[0] <= due < outage[1]:
            if is_missed:
                yield Appointment(plan, due, None, "one run stands for all that were missed")
                continue
            sent, remark, is_missed = outage[1], "late, after the outage", True
        begins = _begins(plan.windows, sent)
        if waiting_until is not None and sent < waiting_until:
            yield Appointment(plan, due, None, "its run before waits for the same window")
            continue
        waiting_until = begins if begins > sent else None
        if begins > sent:
            remark = "waits for its window"
        appointment = Appointment(plan, due, begins, remark)
        yield replace(appointment, remark=_overrun(appointment) or remark)


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


def _clock_remark(cron: Cron, due: datetime) -> str:
    """Say that the clocks change at this moment: the wall shows another time than the schedule's."""
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
