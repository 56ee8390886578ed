"""Until when a repair may work: its time budget, and the window that it is in."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maintenance.core.job import Job, OpenWindow
from maintenance.core.wording import seconds_in_words


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """``ends_epoch_seconds`` is when the budget is used up, ``None`` without one.

    ``statement_timeout_seconds`` is the server's limit for one statement, 0 for none. ``clock``
    returns seconds since the epoch.
    """

    statement_timeout_seconds: float = 0.0
    budget_seconds: float = 0.0
    ends_epoch_seconds: float | None = None
    window: OpenWindow | None = None
    clock: Callable[[], float] = time.time

    @classmethod
    def starting_now(
        cls,
        *,
        window: OpenWindow | None,
        budget_seconds: float = 0.0,
        statement_timeout_seconds: float = 0.0,
    ) -> "TimeLimits":
        """Return the limits of a run that begins; a budget of 0 is none."""
        return cls(
            statement_timeout_seconds=statement_timeout_seconds,
            budget_seconds=budget_seconds,
            ends_epoch_seconds=time.time() + budget_seconds if budget_seconds else None,
            window=window,
        )

    def over(self) -> str:
        """Return why nothing may be at work any more; empty while there is time."""
        now = self.clock()
        if self.window is not None and now >= self.window.closes_epoch_seconds:
            return "the maintenance window closed"
        if self.ends_epoch_seconds is not None and now >= self.ends_epoch_seconds:
            return f"the time budget of {seconds_in_words(self.budget_seconds)} is used up"
        return ""

    def too_long(self, predicted_seconds: float | None) -> str:
        """Return why a step that is expected to take so long is not begun; empty where it may be.

        A rebuild that runs out of its time has cost the server everything and gained nothing.
        """
        if predicted_seconds is None:
            return ""
        needs = f"it needs about {seconds_in_words(predicted_seconds)}"
        ends_at = self.clock() + predicted_seconds
        if self.window is not None and ends_at > self.window.closes_epoch_seconds:
            closes = datetime.fromtimestamp(self.window.closes_epoch_seconds, UTC)
            return f"{needs}, and the maintenance window closes at {closes:%H:%M} UTC"
        if self.ends_epoch_seconds is not None and ends_at > self.ends_epoch_seconds:
            left = seconds_in_words(self.ends_epoch_seconds - self.clock())
            return f"{needs}, and the time budget leaves {left}"
        return ""

    @property
    def window_is_closed(self) -> bool:
        """Whether the run was in a window that has closed."""
        return self.window is not None and self.clock() >= self.window.closes_epoch_seconds


def binding_window(job: Job[Any, Any]) -> OpenWindow | None:
    """Return the window that a run has to end in; ``None`` where a person started it, who may know better."""
    return None if job.by_hand else job.window
