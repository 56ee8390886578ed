"""The stored samples of one number as one value a day."""

from collections.abc import Sequence
from dataclasses import dataclass

from maintenance.core.job import Point
from maintenance.core.trend import DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Day:
    """What was measured on one day, in UTC. ``number`` counts days since 1970-01-01, a Thursday."""

    number: int
    last: float
    lowest: float
    highest: float

    @property
    def at_epoch_seconds(self) -> float:
        """Noon of the day, in seconds since the epoch."""
        return (self.number + 0.5) * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class DailySeries:
    """The days of one metric of one subject of one target, oldest first; never empty."""

    target: str
    metric: str
    subject: str
    days: Sequence[Day]

    @property
    def span_days(self) -> int:
        """Days from the first to the last one."""
        return self.days[-1].number - self.days[0].number

    def since(self, day_number: int) -> list[Day]:
        """Return the days from ``day_number`` on."""
        return [day for day in self.days if day.number >= day_number]

    def last_values(self) -> list[Point]:
        """Return the last value of each day, for what accumulates."""
        return [Point(day.at_epoch_seconds, day.last) for day in self.days]

    def highest_values(self) -> list[Point]:
        """Return the highest value of each day, for what has to bear its peaks."""
        return [Point(day.at_epoch_seconds, day.highest) for day in self.days]
