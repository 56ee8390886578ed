"""A rate, as operators write it."""

from dataclasses import dataclass

from maintenance.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``starts`` in ``period_seconds``, over all workers together."""

    starts: int
    period_seconds: float

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """Read Celery's notation: ``"100/m"``, ``"5/s"``, ``"10/h"``."""
        count, _, unit = text.partition("/")
        seconds = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}.get(unit)
        if seconds is None or not count.isdigit() or int(count) == 0:
            raise ConfigurationError(
                f'The rate limit "{text}" is not understood. Write a number and s, m or h: "100/m".'
            )
        return cls(int(count), seconds)
