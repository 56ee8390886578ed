"""Batches that take a server about half a millisecond, whatever its speed.

The server answers one client's batch as a whole before it turns to the next client, so a batch is
what others wait for. How long one took is read from the server's own clock, by a TIME before its
first and after its last command: neither the network nor our own work counts.
"""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

import redis

from maintenance.redis_client.packed import pack

TIME = pack(b"TIME")
#: What reading the clock takes; without it batches keep the size that they begin with.
NEEDS_ACL = ("+time",)

#: Two batches are often with a server at once, so that another client waits a millisecond: about what
#: a single slow command costs it anyway. Smaller batches spend more of their time on the round trip
#: than they save others.
TARGET_SECONDS = 0.0005
#: The speed is the median of so many batches: one that the machine held up is no slow server.
RECENT_BATCHES = 5
#: A batch grows to at most so many times the one before: what comes next may be dearer.
LARGEST_GROWTH = 2.0


def clocked(commands: Sequence[bytes]) -> list[bytes]:
    """Return the commands between two readings of the server's clock."""
    return [TIME, *commands, TIME]


def seconds_between(began: Any, ended: Any) -> float | None:
    """Return the time between two replies to TIME; ``None`` where the right to ask is missing."""
    first, last = epoch_seconds(began), epoch_seconds(ended)
    if first is None or last is None:
        return None
    return max(0.0, last - first)  # a clock can be set back


def epoch_seconds(reply: Any) -> float | None:
    """Return the time in a reply to TIME; ``None`` where the right to ask is missing.

    Raises any other error that came in place of the time.
    """
    if isinstance(reply, redis.exceptions.NoPermissionError):
        return None
    if isinstance(reply, Exception):
        raise reply
    seconds, microseconds = reply
    return int(seconds) + int(microseconds) / 1e6


class BatchSize:
    """How many units of work the next batch should hold.

    ``longest_seconds`` is the longest time that the server spent on a batch so far, and 0.0 where
    its clock may not be read.
    """

    def __init__(
        self, first: int, *, smallest: int, largest: int, target_seconds: float = TARGET_SECONDS
    ) -> None:
        """Begin with ``first`` units a batch, and stay between ``smallest`` and ``largest``."""
        self.units = min(first, largest)
        self.longest_seconds = 0.0
        self._smallest = min(smallest, largest)
        self._largest = largest
        self._target_seconds = target_seconds
        self._seconds_per_unit: deque[float] = deque(maxlen=RECENT_BATCHES)

    def take(
        self, units: int, began: Any, ended: Any, *, seconds_before: float | None = 0.0
    ) -> None:
        """Learn from a batch of ``units``, of which these are the replies to its two TIMEs.

        ``seconds_before`` is what the server spent on the same units in another batch.
        """
        seconds = seconds_between(began, ended)
        if seconds is None or seconds_before is None or units <= 0:
            return
        seconds += seconds_before
        self.longest_seconds = max(self.longest_seconds, seconds)
        self._seconds_per_unit.append(seconds / units)
        speed = median(self._seconds_per_unit)
        most = min(self._largest, int(self.units * LARGEST_GROWTH))
        fits = int(self._target_seconds / speed) if speed > 0 else most
        self.units = max(self._smallest, min(fits, most))
