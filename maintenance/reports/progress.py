"""How far a run is, in the words that the admin and the command line share."""

from maintenance.core.pace import Pace
from maintenance.reports.formatting import (
    format_bytes,
    format_count,
    format_ratio,
    format_seconds,
)

_PERIODS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "d"))


def share_done(done: int, total: int | None) -> float | None:
    """Return how much of the work is done, 0 to 1; ``None`` where nobody knows how much there is."""
    return min(done / total, 1.0) if total else None


def amount_in_words(done: int, total: int | None, unit: str) -> str:
    """Return ``7 of 31 indexes (22.6 %)``, ``7 indexes`` without a total, nothing before a beginning."""
    ratio = share_done(done, total)
    if ratio is None or total is None:
        return _counted(done, unit) if done else ""
    if unit == "bytes":
        return f"{format_bytes(done)} of {format_bytes(total)} ({format_ratio(ratio)})"
    return f"{format_count(done)} of {format_count(total)} {unit}".rstrip() + (
        f" ({format_ratio(ratio)})"
    )


def rate_in_words(per_second: float, unit: str) -> str:
    """Return a rate in the first period in which something happens: ``12 tables/min``."""
    for seconds, name in _PERIODS:
        amount = per_second * seconds
        if amount >= 1 or name == "d":
            break
    return f"{_counted(round(amount) if amount >= 10 else amount, unit)}/{name}"


def pace_in_words(pace: Pace | None, unit: str) -> str:
    """Return ``12 tables/min, about 2 min left``; nothing where it cannot be told."""
    if pace is None:
        return ""
    rate = rate_in_words(pace.per_second, unit)
    if not pace.seconds_left:
        return rate
    return f"{rate}, about {format_seconds(max(round(pace.seconds_left), 1))} left"


def _counted(amount: float, unit: str) -> str:
    if unit == "bytes":
        return format_bytes(amount)
    return f"{format_count(amount)} {unit}".rstrip()
