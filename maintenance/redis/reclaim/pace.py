"""How many keys a second are written to, at most."""

import sys
import time
from collections.abc import Callable

#: A run that is cancelled while it waits ends after so long.
LONGEST_NAP_SECONDS = 0.5


class Pace:
    """Sleeps as long as it takes to keep below ``keys_per_second``; ``None`` is no limit."""

    def __init__(self, keys_per_second: float | None, check: Callable[[], None]) -> None:
        """Begin now. ``check`` is called between naps, and raises where the run has to end."""
        self._keys_per_second = keys_per_second
        self._check = check
        self._due = time.monotonic()

    @property
    def most_at_once(self) -> int:
        """How many keys one batch may write to: those of a second."""
        if self._keys_per_second is None:
            return sys.maxsize
        return max(1, int(self._keys_per_second))

    def wrote(self, keys: int) -> None:
        """Count ``keys`` that were written to, and wait until they are due.

        The time that they took counts, and so does what has gone by since the ones before, for as
        many keys: looking for a minute is no leave to write a minute's worth at once.
        """
        if self._keys_per_second is None:
            return
        takes = keys / self._keys_per_second
        self._due = max(self._due + takes, time.monotonic())
        while (wait := self._due - time.monotonic()) > 0:
            time.sleep(min(wait, LONGEST_NAP_SECONDS))
            self._check()
