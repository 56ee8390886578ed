"""When a load test ends before its time. Pure: clocks and requests are handed in."""

from collections import deque
from collections.abc import Iterable

#: So many of the last requests are judged: a second or so of a lively test, and enough for a p99.
WINDOW_REQUESTS = 200
#: Fewer requests are no share of anything.
MINIMUM_REQUESTS = 20
#: One slow request is chance.
MINIMUM_SLOW = 2
P99_SLOW_RATIO = 0.01


class Watch:
    """The last requests, and whether they say that it is enough. Costs a comparison a request."""

    def __init__(self, error_ratio: float, p99_seconds: float, users: int) -> None:
        self._error_ratio = error_ratio
        self._p99_seconds = p99_seconds
        self._users = users
        self._last: deque[tuple[bool, bool]] = deque()
        self._failed = self._slow = 0

    def note(self, seconds: float, *, failed: bool) -> None:
        """Count one request that has ended."""
        slow = seconds > self._p99_seconds
        self._last.append((failed, slow))
        self._failed += failed
        self._slow += slow
        if len(self._last) > WINDOW_REQUESTS:
            was_failed, was_slow = self._last.popleft()
            self._failed -= was_failed
            self._slow -= was_slow

    def reason(self, waiting_seconds: Iterable[float] = ()) -> str:
        """Say why it is enough, empty where it is not.

        ``waiting_seconds`` are the ages of requests that have no answer yet: a site that answers
        nothing at all is noticed by them.
        """
        hanging = sum(seconds > self._p99_seconds for seconds in waiting_seconds)
        known = len(self._last)
        limit = f"{self._p99_seconds * 1000:,.0f} ms"
        if known >= MINIMUM_REQUESTS and self._failed >= self._error_ratio * known and self._failed:
            return (
                f"{self._failed} of the last {known} requests failed; the limit is"
                f" {self._error_ratio:.0%}"
            )
        slow, of = self._slow + hanging, known + hanging
        if of >= MINIMUM_REQUESTS and slow >= MINIMUM_SLOW and slow > P99_SLOW_RATIO * of:
            return (
                f"{slow} of the last {of} requests took longer than {limit}, the limit for the p99"
            )
        if hanging >= max(MINIMUM_SLOW, self._users / 2):
            return f"{hanging} of {self._users} users have waited for longer than {limit}"
        return ""
