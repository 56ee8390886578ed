"""How fast transaction and multixact IDs are used up, and when none would be left. Pure.

The forecast says what happens *if nothing is frozen meanwhile*: it is the time that is left to
repair whatever keeps VACUUM from freezing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from maintenance.core.wording import counted, seconds_in_words

#: Half a year of weekly looks; the band then covers what a site does in its busiest week.
LOOKS_KEPT = 26

#: Shorter intervals are swallowed by the next one: two runs by hand in one minute say nothing.
INTERVAL_SECONDS = 3600.0

#: A day holds the site's busy and its quiet hours, and a band needs two intervals to differ.
FORECAST_WINDOW_SECONDS = 86_400.0
FORECAST_INTERVALS = 2

#: Further ahead a date says nothing but "not in this life of the server".
HORIZON_SECONDS = 100 * 365.25 * 86_400


@dataclass(frozen=True, slots=True)
class Look:
    """How far the server had come at one moment."""

    taken_at: float
    next_xid: int
    next_multixact: int


@dataclass(frozen=True, slots=True)
class IdRate:
    """IDs a second: over the whole window, and in its quietest and its busiest interval."""

    mean: float
    lowest: float
    highest: float
    window_seconds: float

    @property
    def in_words(self) -> str:
        """``1,200,000 a day (between 900,000 and 2,000,000)``."""
        daily = [round(rate * 86_400) for rate in (self.mean, self.lowest, self.highest)]
        return f"{daily[0]:,} a day (between {daily[1]:,} and {daily[2]:,})"

    def seconds_left(self, remaining: float) -> tuple[float | None, float | None]:
        """Return the soonest and the latest time until ``remaining`` IDs are used; None is never."""
        return _quotient(remaining, self.highest), _quotient(remaining, self.lowest)


def _quotient(remaining: float, rate: float) -> float | None:
    seconds = max(0.0, remaining) / rate if rate > 0 else None
    return None if seconds is None or seconds > HORIZON_SECONDS else seconds


def looks_from_state(state: Mapping[str, Any], system_identifier: str) -> tuple[Look, ...]:
    """Return the looks that earlier runs left; none of another server."""
    if state.get("system_identifier") != system_identifier:
        return ()
    try:
        return tuple(
            Look(float(t), int(xid), int(multixact)) for t, xid, multixact in state["looks"]
        )
    except (KeyError, TypeError, ValueError):
        return ()


def looks_to_state(looks: Sequence[Look], system_identifier: str) -> dict[str, Any]:
    """Return plain JSON values for the next run."""
    return {
        "system_identifier": system_identifier,
        "looks": [[look.taken_at, look.next_xid, look.next_multixact] for look in looks],
    }


def with_look(looks: Sequence[Look], now: Look) -> tuple[Look, ...]:
    """Add this look.

    Looks from before the server was set back are dropped, and one that came soon after another.
    """
    kept = [
        look
        for look in looks
        if look.taken_at < now.taken_at
        and look.next_xid <= now.next_xid
        and look.next_multixact <= now.next_multixact
    ]
    if len(kept) > 1 and kept[-1].taken_at - kept[-2].taken_at < INTERVAL_SECONDS:
        kept.pop()
    return (*kept, now)[-LOOKS_KEPT:]


def rate_of(looks: Sequence[Look], counter: str) -> IdRate | None:
    """Return the rate of ``next_xid`` or ``next_multixact``; ``None`` while the window is short."""
    if len(looks) > 1 and looks[-1].taken_at - looks[-2].taken_at < INTERVAL_SECONDS:
        looks = (*looks[:-2], looks[-1])
    if len(looks) <= FORECAST_INTERVALS:
        return None
    window = looks[-1].taken_at - looks[0].taken_at
    if window < FORECAST_WINDOW_SECONDS:
        return None
    rates = [
        (getattr(later, counter) - getattr(earlier, counter)) / (later.taken_at - earlier.taken_at)
        for earlier, later in pairwise(looks)
    ]
    used = getattr(looks[-1], counter) - getattr(looks[0], counter)
    return IdRate(used / window, min(rates), max(rates), window)


def forecast_needs(looks: Sequence[Look]) -> str:
    """Say what is missing for a forecast."""
    window = looks[-1].taken_at - looks[0].taken_at
    over = f" over {seconds_in_words(window)}" if len(looks) > 1 else ""
    return (
        f"at least {FORECAST_INTERVALS + 1} looks over {seconds_in_words(FORECAST_WINDOW_SECONDS)}"
        f" (so far {counted(len(looks), 'look')}{over})"
    )


def dates_in_words(soonest_seconds: float | None, latest_seconds: float | None, now: float) -> str:
    """Say a band of dates: ``between 2027-03-01 and 2027-05-12``."""
    if soonest_seconds is None:
        return "not within a hundred years"
    soonest = _date(now, soonest_seconds)
    if latest_seconds is None:
        return f"{soonest} at the earliest"
    latest = _date(now, latest_seconds)
    return f"on {soonest}" if soonest == latest else f"between {soonest} and {latest}"


def _date(now: float, seconds: float) -> str:
    moment = datetime.fromtimestamp(now, UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d}"
