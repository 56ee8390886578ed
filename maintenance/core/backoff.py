"""When to try again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The wait before attempt ``n + 1`` is drawn evenly from 0 to ``base_seconds * 2 ** (n - 1)``,
    never above ``ceiling_seconds``; full jitter spreads clients that failed together further apart
    than any other variant (Amazon Architecture Blog, "Exponential Backoff and Jitter").
    """

    max_attempts: int = 4
    base_seconds: float = 2.0
    ceiling_seconds: float = 300.0

    def longest_delay_seconds(self, failed_attempts: int) -> float:
        """Return the upper bound of the wait after ``failed_attempts`` (1 or more) failures."""
        # 2.0 ** 1100 overflows; past 64 doublings every ceiling is reached.
        return min(self.ceiling_seconds, self.base_seconds * 2.0 ** min(failed_attempts - 1, 64))

    def delay_seconds(self, failed_attempts: int, rng: random.Random | None = None) -> float:
        """Draw the wait after ``failed_attempts`` failures."""
        bound = self.longest_delay_seconds(failed_attempts)
        return (rng or random.Random()).uniform(0.0, bound)  # noqa: S311 - jitter, not a secret

    def gives_up_after(self, failed_attempts: int) -> bool:
        """Tell whether ``failed_attempts`` failures are enough."""
        return failed_attempts >= self.max_attempts
