"""What must hold, counted from what runs did and what the ledger says. Pure: rows in, violations out.

I1 every due slot ends in exactly one row, and no row stands for a time that was not due.
I2 at most one effective run a slot: no execution of a slot does anything once the next one of it has begun,
   none begins once the slot's run has ended, and an effect is repeated only where the worker that had it
   died, or was cut off, before the ledger knew.
I3 no two executions of one task on one target overlap.
I4 nothing "runs" that nobody works on, and a report is there whole, or not at all.
I5 after the fault everything due by then has ended in time. I6 somebody is told.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

#: (schedule, target, due at)
SlotKey = tuple[str, str, datetime]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: which one, and what was seen."""

    invariant: str
    what: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One run as the ledger has it. ``reports`` and ``findings`` count its stored rows."""

    run: str
    task: str
    slot: SlotKey
    state: str
    is_finished: bool
    finished_at: datetime | None
    reports: int
    findings: int
    findings_in_report: int


@dataclass(slots=True)
class Execution:
    """One start of the work, as its marks tell. ``node`` is the process group that did it."""

    token: str
    run: str
    task: str
    target: str
    node: int
    begin: datetime
    last: datetime
    effects: list[datetime] = field(default_factory=list)
    ended: bool = False


def executions(marks: Iterable[Mapping[str, object]]) -> list[Execution]:
    """Return the executions that left marks, in the order of their beginnings."""
    found: dict[object, Execution] = {}
    for mark in marks:
        at = mark["at"]
        assert isinstance(at, datetime)
        one = found.get(mark["execution"])
        if one is None:
            one = Execution(
                token=str(mark["execution"]),
                run=str(mark["run"]),
                task=str(mark["task"]),
                target=str(mark["target"]),
                node=int(str(mark["node"])),
                begin=at,
                last=at,
            )
            found[mark["execution"]] = one
        one.last = max(one.last, at)
        if mark["kind"] == "effect":
            one.effects.append(at)
        one.ended = one.ended or mark["kind"] == "end"
    return sorted(found.values(), key=lambda one: one.begin)


def rows_of_slots(due: Iterable[SlotKey], rows: Sequence[LedgerRow]) -> Iterator[Violation]:
    """I1: yield slots without a row, with several, or with one that has not ended, and rows without a slot."""
    count = Counter(row.slot for row in rows)
    expected = set(due)
    for schedule, target, at in sorted(expected - count.keys()):
        yield Violation("I1", f"{schedule} on {target} has no row", at)
    for (schedule, target, at), number in count.items():
        if number > 1:
            yield Violation("I1", f"{schedule} on {target} has {number} rows", at)
        if (schedule, target, at) not in expected:
            yield Violation("I1", f"{schedule} on {target} has a row, and was not due", at)
    for row in rows:
        if not row.is_finished:
            yield Violation("I1", f"run {row.run} of {row.slot[0]} is {row.state}", row.slot[2])


def ahead_of_time(rows: Sequence[LedgerRow], now: datetime) -> Iterator[Violation]:
    """I1: yield rows of slots whose time has not come."""
    for row in rows:
        if row.slot[2] > now:
            yield Violation("I1", f"{row.slot[0]} has a row before its time", row.slot[2])


def effective_runs(
    rows: Sequence[LedgerRow], done: Sequence[Execution], disturbed: Collection[int]
) -> Iterator[Violation]:
    """I2: ``disturbed`` are the process groups that were killed or cut off."""
    slot_of = {row.run: row.slot for row in rows}
    ended_at = {row.run: row.finished_at for row in rows}
    by_slot: dict[SlotKey, list[Execution]] = defaultdict(list)
    for one in done:
        if one.run in slot_of:
            by_slot[slot_of[one.run]].append(one)
    for (schedule, target, due_at), ours in by_slot.items():
        name = f"{schedule} on {target} for {due_at:%H:%M:%S}"
        for earlier, later in pairwise(ours):
            if earlier.last > later.begin:
                yield Violation(
                    "I2", f"{name}: {earlier.token} went on beside {later.token}", later.begin
                )
        effective = [one for one in ours if one.effects]
        for one in effective[:-1]:
            if one.node not in disturbed:
                yield Violation("I2", f"{name}: an effect was repeated", one.last)
        for one in ours:
            end = ended_at[one.run]
            if end is not None and one.begin > end:
                yield Violation("I2", f"{name}: {one.token} began after the end", one.begin)


def overlaps(done: Sequence[Execution]) -> Iterator[Violation]:
    """I3: yield executions of one task on one target that went on beside each other."""
    by_work: dict[tuple[str, str], list[Execution]] = defaultdict(list)
    for one in done:
        by_work[one.task, one.target].append(one)
    for (task, target), ours in by_work.items():
        for earlier, later in pairwise(ours):
            if earlier.last > later.begin and earlier.run != later.run:
                yield Violation(
                    "I3", f"{task} on {target}: {earlier.run} beside {later.run}", later.begin
                )


def whole_reports(rows: Sequence[LedgerRow], phantoms: Collection[str]) -> Iterator[Violation]:
    """I4: ``phantoms`` are runs that are held "running" by nobody."""
    for row in rows:
        at = row.slot[2]
        if row.run in phantoms:
            yield Violation("I4", f"run {row.run} is running, and nobody works on it", at)
        if row.reports != int(row.is_finished):
            yield Violation("I4", f"run {row.run} is {row.state} with {row.reports} reports", at)
        elif row.findings != row.findings_in_report:
            yield Violation("I4", f"run {row.run} has {row.findings} of its findings", at)


def grid(first: datetime, every: timedelta, until: datetime) -> Iterator[datetime]:
    """Yield ``first`` and every due time after it, up to ``until``."""
    while first <= until:
        yield first
        first += every
