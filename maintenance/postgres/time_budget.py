"""Time that several statements share."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """``seconds`` from its making on; whoever works in steps asks before each of them."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() - self.started >= self.seconds
