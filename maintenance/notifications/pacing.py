"""How many messages a channel gets: each by itself up to a cap, the rest in one an hour. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

HOUR = timedelta(hours=1)

#: A mail server that is down is asked again after a minute, then after twice as long, up to an hour.
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = HOUR
#: What could not be sent for a day is no news any more; an alarm that is still open is then written anew.
GIVEN_UP_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is due. ``rank`` is how serious what it tells is: 3 is critical."""

    id: UUID
    rank: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Allotment:
    """What goes out by itself, what goes into a summary, and what waits until ``wait_until``."""

    single: tuple[Waiting, ...]
    summed_up: tuple[Waiting, ...] = ()
    held: tuple[Waiting, ...] = ()
    wait_until: datetime | None = None


def allot(
    waiting: Sequence[Waiting],
    cap: int,
    sent_in_last_hour: int,
    last_summary_at: datetime | None,
    now: datetime,
) -> Allotment:
    """Share out one channel's alarms: up to ``cap`` an hour, the worst first, the rest summed up.

    There is one summary an hour at the most, so that a channel gets ``cap`` messages and one an hour.
    """
    ordered = sorted(waiting, key=lambda each: (-each.rank, each.created_at))
    free = max(cap - sent_in_last_hour, 0)
    if len(ordered) <= free:
        return Allotment(_by_time(ordered))
    single, rest = ordered[:free], ordered[free:]
    if last_summary_at is None or now - last_summary_at >= HOUR:
        return Allotment(_by_time(single), summed_up=_by_time(rest))
    return Allotment(_by_time(single), held=_by_time(rest), wait_until=last_summary_at + HOUR)


def _by_time(waiting: Sequence[Waiting]) -> tuple[Waiting, ...]:
    """Put them in the order in which they were written: what is over comes after what was."""
    return tuple(sorted(waiting, key=lambda each: each.created_at))


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts have failed."""
    return min(FIRST_PAUSE * 2.0 ** min(max(attempts - 1, 0), 10), LONGEST_PAUSE)


def is_given_up(first_attempt_at: datetime, now: datetime) -> bool:
    """Tell whether a message that fails once more is not tried again; what merely waited is."""
    return now - first_attempt_at >= GIVEN_UP_AFTER
