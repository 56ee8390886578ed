"""When a process that ended by itself is started again."""

from dataclasses import dataclass

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
#: A process that ran this long was well: its next end counts as its first.
WELL_AFTER_SECONDS = 60.0


@dataclass(slots=True)
class RestartPacer:
    """Exponential backoff of one process: 1, 2, 4 ... 30 seconds."""

    _ends: int = 0

    def delay_seconds(self, lived_seconds: float) -> float:
        """Count an end after ``lived_seconds`` of life; return how long to wait before a start."""
        if lived_seconds >= WELL_AFTER_SECONDS:
            self._ends = 0
        self._ends += 1
        # Past 8 doublings the ceiling is reached whatever it is; a large power would overflow.
        return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self._ends - 1, 8))
