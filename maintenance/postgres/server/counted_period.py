"""What counters of the server say about the time since the last look. Pure.

Counters are compared with those of the previous run and never reset. Where they began anew since,
or nobody has looked before, they cover the time since they began.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.wording import seconds_in_words
from maintenance.postgres.counters import CounterWindow


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters by name at one moment. ``identity`` tells one server or database from another."""

    values: Mapping[str, int]
    window: CounterWindow
    identity: str

    def to_state(self) -> dict[str, Any]:
        """Return plain JSON values for the next run."""
        return {
            "values": dict(self.values),
            "started_at": self.window.started_at,
            "measured_at": self.window.measured_at,
            "identity": self.identity,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Counted | None":
        """Rebuild from :meth:`to_state`; ``None`` for what is not of that form."""
        try:
            return cls(
                {str(name): int(value) for name, value in state["values"].items()},
                CounterWindow(state["started_at"], float(state["measured_at"])),
                str(state["identity"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Period:
    """How far counters moved in a time; ``seconds`` is ``None`` where its start is unknown."""

    increase: Mapping[str, int]
    seconds: float | None
    in_words: str
    since_last_look: bool

    def per_second(self, name: str) -> float | None:
        """Return the mean rate; ``None`` where the length of the period is unknown or nothing."""
        return self.increase[name] / self.seconds if self.seconds else None


def period_between(before: Counted | None, now: Counted) -> Period:
    """Return what was counted since ``before``, or since the counters began where that is later."""
    if before is None or not _continues(before, now):
        return Period(now.values, now.window.seconds, now.window.in_words, since_last_look=False)
    seconds = now.window.measured_at - before.window.measured_at
    return Period(
        {name: value - before.values[name] for name, value in now.values.items()},
        seconds,
        f"the {seconds_in_words(seconds)} since the last look",
        since_last_look=True,
    )


def _continues(before: Counted, now: Counted) -> bool:
    return (
        now.window.continues(before.window)
        and before.identity == now.identity
        and before.window.measured_at < now.window.measured_at
        and before.values.keys() == now.values.keys()
        and all(before.values[name] <= value for name, value in now.values.items())
    )
