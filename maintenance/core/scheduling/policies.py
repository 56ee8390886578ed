"""What becomes of the slots of a schedule that are due: run, skipped with a reason, or waiting. Pure.

A slot is *missed* where it is decided later than :data:`MISSED_SECONDS` after its time: nobody was there
to send it. What is decided sooner, be it by another scheduler that took over, is on time.

The first reason that applies to a slot counts, in this order: the schedule cannot run, it is paused, a
blackout, its deadline, its catch-up window, its misfire policy, the run before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from maintenance.core.wording import counted, seconds_in_words

#: A slot that is decided this late was missed. Twice the time in which another scheduler takes over.
MISSED_SECONDS = 60.0
#: The reason of a run that waits for others of its schedule begins so.
WAITS_FOR = "waits for "


class Misfire(StrEnum):
    """What becomes of missed slots: one late run for all, none, or one each."""

    ONCE = "once"
    SKIP = "skip"
    EACH = "each"


class Overlap(StrEnum):
    """What becomes of a slot while a run before it has not ended."""

    SKIP = "skip"
    QUEUE_ONE = "queue"
    ALLOW = "allow"


class Outcome(StrEnum):
    """How a slot is decided. One that waits is queued, but not sent before the runs before it end."""

    RUN = "run"
    WAIT = "wait"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Policy:
    """How one schedule deals with what goes wrong; times in seconds, ``None`` for no limit.

    ``pause`` says who paused it and why; empty where it is not paused.
    """

    misfire: Misfire = Misfire.ONCE
    catch_up_seconds: int | None = None
    overlap: Overlap = Overlap.SKIP
    jitter_seconds: int = 0
    deadline_seconds: int | None = None
    priority: int | None = None
    pause_after_failures: int = 0
    pause: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value for name, value in fields.items() if value != getattr(DEFAULT_POLICY, name)
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Policy":
        """Return the policy of :meth:`to_json`."""
        return cls(
            **{
                **fields,
                "misfire": Misfire(fields.get("misfire", Misfire.ONCE)),
                "overlap": Overlap(fields.get("overlap", Overlap.SKIP)),
            }
        )


#: Of a schedule that nobody gave one.
DEFAULT_POLICY = Policy()


@dataclass(frozen=True, slots=True)
class UnendedRun:
    """An earlier run of the schedule that has not ended: at work, or still waiting to be."""

    id: str
    is_at_work: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Closure:
    """A time in which no schedule starts a run; on one ``target``, or on all where it is empty."""

    starts_at: datetime
    ends_at: datetime
    reason: str
    target: str = ""

    def holds(self, at: datetime, target: str) -> bool:
        """Tell whether a run on ``target`` may not start then."""
        return self.starts_at <= at < self.ends_at and self.target in ("", target)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one slot.

    A run starts at ``begins_at`` (its jitter later than its time) and not after ``deadline_at``. It
    ``stands_for`` so many slots, itself among them: those that were missed before it are its work, too.
    One that ``is_left`` is among those of a slot that is decided later.
    """

    slot: datetime
    outcome: Outcome
    reason: str = ""
    begins_at: datetime | None = None
    deadline_at: datetime | None = None
    stands_for: int = 1
    is_left: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the slots of one schedule are decided by, besides its policy.

    ``earlier`` are its runs that have not ended. ``later`` are slots of the schedule that are due, too, and
    are decided after these; they are read up to the first one that may run, to which these are left.
    ``carried`` counts those that were left to these.
    """

    schedule: str
    target: str = ""
    earlier: Sequence[UnendedRun] = ()
    closures: Sequence[Closure] = ()
    later: Iterable[datetime] = ()
    carried: int = 0


def decide(
    slots: Sequence[datetime], policy: Policy, now: datetime, circumstances: Circumstances
) -> list[Decision]:
    """Return what becomes of the due ``slots`` of one schedule, given in their order, one for each.

    Cost grows with the number of slots and of closures, and with that of later slots which may not run.
    """
    refused = {slot: _refusal(slot, policy, now, circumstances) for slot in slots}
    open_slots = [slot for slot in slots if not refused[slot]]
    is_each = policy.misfire is Misfire.EACH
    chosen = open_slots if is_each else open_slots[-1:]
    is_left = bool(chosen) and not is_each and _any_may_run(policy, now, circumstances)
    if is_left:
        chosen = []
    left = len(open_slots) - len(chosen)
    stands_for = 1 if is_each else 1 + left + circumstances.carried
    queue = _Queue(policy, circumstances.earlier)
    started = {
        slot: _start(slot, queue.admit(slot, now), policy, circumstances, stands_for)
        for slot in chosen
    }
    heir = started.get(chosen[-1]) if chosen else None
    return [
        Decision(slot, Outcome.SKIP, refused[slot])
        if refused[slot]
        else started.get(slot)
        or Decision(slot, Outcome.SKIP, _left_to(heir, slot, now), is_left=is_left)
        for slot in slots
    ]


def _any_may_run(policy: Policy, now: datetime, circumstances: Circumstances) -> bool:
    """Tell whether one of the slots that are decided later may run."""
    return any(not _refusal(slot, policy, now, circumstances) for slot in circumstances.later)


def jitter(schedule: str, slot: datetime, policy: Policy) -> timedelta:
    """Return by how much later than its slot a run starts: the same in every process."""
    if not policy.jitter_seconds:
        return timedelta(0)
    digest = blake2b(f"{schedule}\n{slot.timestamp():.6f}".encode(), digest_size=8).digest()
    return timedelta(seconds=policy.jitter_seconds * int.from_bytes(digest, "big") / 2**64)


def _start(
    slot: datetime,
    admitted: tuple[Outcome, str],
    policy: Policy,
    circumstances: Circumstances,
    stands_for: int,
) -> Decision:
    outcome, reason = admitted
    if outcome is Outcome.SKIP:
        return Decision(slot, outcome, reason)
    begins_at = slot + jitter(circumstances.schedule, slot, policy)
    deadline_at = (
        None
        if policy.deadline_seconds is None
        else slot + timedelta(seconds=policy.deadline_seconds)
    )
    return Decision(slot, outcome, reason, begins_at, deadline_at, stands_for)


def _refusal(slot: datetime, policy: Policy, now: datetime, circumstances: Circumstances) -> str:
    """Say why a slot does not run whatever the other slots and runs are; empty where it may."""
    if policy.pause:
        return f"paused {policy.pause}"
    begins_at = max(slot + jitter(circumstances.schedule, slot, policy), now)
    for closure in circumstances.closures:
        for at in (slot, begins_at):
            if closure.holds(at, circumstances.target):
                return f"blackout until {_said(closure.ends_at)}: {closure.reason}"
    return _too_late(slot, policy, now)


def _too_late(slot: datetime, policy: Policy, now: datetime) -> str:
    late = (now - slot).total_seconds()
    by = f"missed by {seconds_in_words(late)}"
    if policy.deadline_seconds is not None and late > policy.deadline_seconds:
        return f"{by}, and it had to start within {seconds_in_words(policy.deadline_seconds)}"
    if late <= MISSED_SECONDS:
        return ""
    if policy.misfire is Misfire.SKIP:
        return f"{by}, and its schedule skips what it misses"
    if policy.catch_up_seconds is not None and late > policy.catch_up_seconds:
        window = seconds_in_words(policy.catch_up_seconds)
        return f"{by}, and its schedule catches up within {window} only"
    return ""


def _left_to(heir: Decision | None, slot: datetime, now: datetime) -> str:
    late = f"missed by {seconds_in_words((now - slot).total_seconds())}"
    if heir is None:
        return f"{late}; a later slot, which was missed, too, stands for it"
    if heir.outcome is Outcome.SKIP:
        return f"{late}; {heir.reason}"
    return f"{late}; the slot of {_said(heir.slot)} stands for it"


class _Queue:
    """The runs of one schedule that have not ended, with those that are being decided."""

    def __init__(self, policy: Policy, earlier: Sequence[UnendedRun]) -> None:
        self._policy = policy
        self._at_work = next((run for run in earlier if run.is_at_work), None)
        self._waiting = next((run for run in earlier if not run.is_at_work), None)
        self._admitted: datetime | None = None

    def admit(self, slot: datetime, now: datetime) -> tuple[Outcome, str]:
        """Return what becomes of a slot that nothing else is against, and count it."""
        outcome, reason = self._judge(slot, now)
        if outcome is not Outcome.SKIP:
            self._admitted = slot
        return outcome, reason

    def _judge(self, slot: datetime, now: datetime) -> tuple[Outcome, str]:
        if self._policy.overlap is Overlap.ALLOW:
            return Outcome.RUN, ""
        if self._admitted is not None:  # one of those that are caught up one after another
            return Outcome.WAIT, f"{WAITS_FOR}the slot of {_said(self._admitted)}"
        if self._at_work is None and self._waiting is None:
            return Outcome.RUN, ""
        is_caught_up = (
            self._policy.misfire is Misfire.EACH and (now - slot).total_seconds() > MISSED_SECONDS
        )
        if is_caught_up or (self._policy.overlap is Overlap.QUEUE_ONE and self._waiting is None):
            blocker = self._waiting or self._at_work
            return Outcome.WAIT, f"{WAITS_FOR}run {blocker.id}" if blocker else ""
        return Outcome.SKIP, self._overlap()

    def _overlap(self) -> str:
        if self._waiting is not None:
            return (
                f"its run before ({self._waiting.id}) has been waiting to start"
                f" since {_said(self._waiting.since)}"
            )
        assert self._at_work is not None
        return (
            f"its run before ({self._at_work.id}) has been at work"
            f" since {_said(self._at_work.since)}"
        )


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def pauses(policy: Policy, last_states: Sequence[str]) -> str:
    """Say why a schedule has to be paused, given how its last runs ended, the newest first.

    Empty where it need not be. A skipped run is neither a failure nor a success: leave those out.
    """
    limit = policy.pause_after_failures
    last = last_states[:limit]
    if not limit or len(last) < limit or any(state != "failed" for state in last):
        return ""
    return f"{counted(limit, 'run')} in a row failed"
