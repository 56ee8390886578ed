"""What a server's counters have counted since the previous check."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Fields of INFO that only ever grow, until the server restarts or somebody resets them.
COUNTERS = (
    "evicted_keys",
    "expired_time_cap_reached_count",
    "rejected_connections",
    "client_output_buffer_limit_disconnections",
    "client_query_buffer_limit_disconnections",
)


@dataclass(frozen=True, slots=True)
class Counted:
    """Growth of each counter in one stretch of time; a counter that a server lacks is missing.

    ``since`` is how a sentence says when the stretch began.
    """

    growth: Mapping[str, int]
    since: str

    def of(self, name: str) -> int:
        """Return the growth of one counter, 0 where the server does not have it."""
        return self.growth.get(name, 0)


def counted_since(info: Mapping[str, Any], previous: Mapping[str, Any]) -> Counted:
    """Compare the counters with those of the previous check.

    A counter that fell shows CONFIG RESETSTAT, another run_id a restart: then what stands there now
    has been counted since.
    """
    now = {name: int(info[name]) for name in COUNTERS if name in info}
    is_same_life = previous.get("run_id") == info["run_id"]
    before = {name: previous[name] for name in now if name in previous}
    if not (is_same_life and before) or any(now[name] < before[name] for name in before):
        return Counted(now, "since its counters began")
    growth = {name: value - before.get(name, 0) for name, value in now.items()}
    return Counted(growth, "since the previous check")


def kept(info: Mapping[str, Any], names: Iterable[str] = COUNTERS) -> dict[str, Any]:
    """Return what the next check compares with."""
    return {
        "run_id": info["run_id"],
        **{name: int(info[name]) for name in names if name in info},
    }
