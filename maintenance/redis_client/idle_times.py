"""Since when a server's idle times count every use of a key, as far as runs have seen.

A replica is told of no read: once promoted, it takes keys that were only read for unused. Under an LFU
policy a key keeps a counter in the place of its last use, and after a change to another policy that is
read as an idle time, of up to 194 days, until the key is used again. No server says since when it is the
primary, or under its policy, so that only what runs have seen is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.wording import seconds_in_words
from maintenance.redis_client.server import ServerFacts

#: Since when, by the server's reign, from one run to the next.
IDLE_TIMES_SINCE = "idle_times_since_epoch_seconds"


@dataclass(frozen=True, slots=True)
class IdleTimes:
    """A server now, and since when runs have seen it as a primary that keeps idle times."""

    server: ServerFacts
    since_epoch_seconds: float
    now_epoch_seconds: float

    @classmethod
    def seen(
        cls, server: ServerFacts, previous_state: Mapping[str, Any], now_epoch_seconds: float
    ) -> "IdleTimes":
        """Go by what the previous run has seen; without one, this run is the first."""
        known = previous_state.get(IDLE_TIMES_SINCE, {})
        return cls(server, known.get(server.reign, now_epoch_seconds), now_epoch_seconds)

    @property
    def state(self) -> dict[str, Any]:
        """What the next run goes by: nothing where none are kept now, so that it begins anew."""
        if self.server.is_replica or self.server.is_lfu:
            return {}
        return {IDLE_TIMES_SINCE: {self.server.reign: self.since_epoch_seconds}}

    def needs_for(self, seconds: float) -> str:
        """Return what is missing to believe an idle time of so many seconds; empty where nothing is."""
        if self.server.is_lfu:
            return "a policy that keeps idle times, which LFU does not"
        if self.now_epoch_seconds - self.since_epoch_seconds >= seconds:
            return ""
        return (
            f"a server that runs have seen as the primary for {seconds_in_words(seconds)}, and under no"
            " LFU policy: a replica knows of no reads, and what LFU counted is read as an idle time"
        )
