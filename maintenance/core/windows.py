"""Maintenance windows: when work that writes may be done. Pure: times in, times out.

A window is wall-clock time in its own time zone. It belongs to the day on which it opens, and one
that ends before it starts ends on the next day. Where the clocks change, the edges are those of the
wall: a start that is skipped in spring comes an hour later, one that comes twice in autumn is the
first of the two, and an end that comes twice is the first as well (PEP 495, fold 0).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

#: By number, as :meth:`datetime.date.weekday` counts them.
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end`` on each of ``days`` (0 is Monday). Equal times mean a whole day."""

    start: time
    end: time
    timezone: str
    days: frozenset[int] = frozenset(range(7))

    def _opened_on(self, day: date) -> tuple[datetime, datetime]:
        """Return when the window of this day opens and closes, in UTC."""
        zone = ZoneInfo(self.timezone)
        last = day + timedelta(days=1) if self.end <= self.start else day
        opens = datetime.combine(day, self.start, zone).astimezone(UTC)
        return opens, datetime.combine(last, self.end, zone).astimezone(UTC)

    def _around(self, at: datetime, days_ahead: int) -> Iterator[tuple[datetime, datetime]]:
        today = at.astimezone(ZoneInfo(self.timezone)).date()
        for offset in range(-1, days_ahead + 1):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                yield self._opened_on(day)


def closes_at(windows: Sequence[Window], at: datetime) -> datetime | None:
    """Return when the window that is open ``at`` this time closes; ``None`` where none is open.

    Windows that touch or overlap are one: the end is that of the last of them.
    """
    end: datetime | None = None
    spans = sorted(span for window in windows for span in window._around(at, 8))
    for opens, closes in spans:
        if opens <= (end or at) < closes:
            end = closes
    return end


def opens_at(windows: Sequence[Window], at: datetime) -> datetime | None:
    """Return when the next window opens after this time; ``None`` without any window."""
    coming = (
        opens
        for window in windows
        for opens, closes in window._around(at, 8)
        if opens > at and closes > opens
    )
    return min(coming, default=None)
