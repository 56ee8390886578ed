"""How quickly a run gets on, and how long the rest takes at that rate. Pure."""

from dataclasses import dataclass

#: Before so much has been seen a rate says more of the beginning than of the work.
SHORTEST_SECONDS = 5.0
FEWEST_UNITS = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """``per_second`` are units of the run's progress; ``seconds_left`` is there where a total is known."""

    per_second: float
    seconds_left: float | None


def pace(done: int, total: int | None, began_with: int, elapsed_seconds: float) -> Pace | None:
    """Return the mean rate since ``began_with`` units were done; ``None`` where it cannot be told yet.

    The mean of the whole stretch and not of the last moment: a large table that takes its time slows
    it down little by little, and the time that is left does not jump.
    """
    moved = done - began_with
    if elapsed_seconds < SHORTEST_SECONDS or moved < FEWEST_UNITS:
        return None
    per_second = moved / elapsed_seconds
    return Pace(per_second, None if total is None else max(total - done, 0) / per_second)
