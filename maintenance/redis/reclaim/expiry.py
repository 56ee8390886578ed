"""When a key expires, to the millisecond, whatever the server's version.

Redis 7.0 and Valkey say it (PEXPIRETIME). Redis 6.2 only says how long a key has left; read between
two looks at the same clock that show the same millisecond, that is as exact.
"""

from collections.abc import Sequence
from typing import Any

from maintenance.redis.reclaim.guard import Touched
from maintenance.redis_client.batch_size import TIME
from maintenance.redis_client.packed import pack
from maintenance.redis_client.server import ServerFacts

#: Redis counts idle times on a clock of 24 bits: after 194 days it begins anew (Redis source, server.h).
IDLE_CLOCK_SECONDS = 2**24
#: That clock is read ten times a second, and later where the server is busy: it is behind TIME.
IDLE_CLOCK_DELAY_SECONDS = 60

_NO_TIME_TO_LIVE = -1
_NO_KEY = -2


class ExpiryLook:
    """Asks when a key expires. ``commands`` and :meth:`read` belong together."""

    def __init__(self, *, knows_expiry_times: bool) -> None:
        """Choose the way that the server offers."""
        self._knows = knows_expiry_times
        self.replies = 1 if knows_expiry_times else 3
        self.needs_acl = ("+pexpiretime",) if knows_expiry_times else ("+pttl", "+time")

    @classmethod
    def of(cls, facts: ServerFacts) -> "ExpiryLook":
        """Choose by the server's product and version."""
        return cls(knows_expiry_times=facts.product == "Valkey" or facts.major >= 7)

    def commands(self, key: bytes) -> list[bytes]:
        """Return the commands of the look."""
        if self._knows:
            return [pack(b"PEXPIRETIME", key)]
        return [TIME, pack(b"PTTL", key), TIME]

    def longest_idle_seconds(self, replies: Sequence[Any]) -> int | None:
        """Return the longest idle time that RESTORE takes as it is; ``None`` where there is no limit.

        Redis 6.2 makes 97 days of one from before its clock began anew (Redis source,
        ``objectSetLRUOrLFU``): the key would seem to be unused for longer than it is.
        """
        if self._knows:
            return None
        return max(0, int(replies[0][0]) % IDLE_CLOCK_SECONDS - IDLE_CLOCK_DELAY_SECONDS)

    def read(self, replies: Sequence[Any]) -> int | None:
        """Return the time in milliseconds since the epoch; 0 without one, ``None`` without a key.

        Raises the server's errors, and :class:`Touched` where the clock went on meanwhile.
        """
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        told = replies[0] if self._knows else replies[1]
        if told == _NO_KEY:
            return None
        if told == _NO_TIME_TO_LIVE:
            return 0
        if self._knows:
            return int(told)
        first, last = (int(s) * 1000 + int(us) // 1000 for s, us in (replies[0], replies[2]))
        if first != last:
            raise Touched
        return first + int(told)
