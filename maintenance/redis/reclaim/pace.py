"""How many keys a second are written to, at most."""

import time


class Pace:
    """Sleeps as long as it takes to keep below ``keys_per_second``; ``None`` is no limit."""

    def __init__(self, keys_per_second: float | None) -> None:
        """Begin now."""
        self._keys_per_second = keys_per_second
        self._began = time.monotonic()
        self._keys = 0

    def wrote(self, keys: int) -> None:
        """Count ``keys`` that were written to, and wait until they are due."""
        if self._keys_per_second is None:
            return
        self._keys += keys
        due = self._began + self._keys / self._keys_per_second
        time.sleep(max(0.0, due - time.monotonic()))
