"""How many keys a second are written to, at most."""

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
        self._began = time.monotonic()
        self._keys = 0

    def wrote(self, keys: int) -> None:
        """Count ``keys`` that were written to, and wait until they are due."""
        if self._keys_per_second is None:
            return
        self._keys += keys
        due = self._began + self._keys / self._keys_per_second
        while (wait := due - time.monotonic()) > 0:
            time.sleep(min(wait, LONGEST_NAP_SECONDS))
            self._check()
