"""Time that several statements share."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """``seconds`` from its making on; whoever works in steps asks before each of them."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left_seconds(self) -> float:
        """What is left; 0 and less where nothing is."""
        return self.seconds - (time.monotonic() - self.started)

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.left_seconds <= 0
