"""Maintenance windows: when work that writes may be done. Pure: times in, times out.

A window is wall-clock time in its own time zone. It belongs to the day on which it opens, and one
that ends before it starts ends on the next day. Where the clocks change, the edges are those of the
wall: an edge that is skipped in spring comes as much later as the clock jumps, one that comes twice
in autumn is the first of the two (PEP 495, fold 0). A window that the jump swallows is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

#: By number, as :meth:`datetime.date.weekday` counts them.
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

#: A window of one day a week comes at most this late, where the change of the clocks swallows one.
_FARTHEST = timedelta(days=15)
#: Looked at beyond that, so that an opening at the end of it is none of another window's middle.
_DAYS_AHEAD = _FARTHEST.days + 2

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end`` on each of ``days`` (0 is Monday). Equal times mean a whole day."""

    start: time
    end: time
    timezone: str
    days: frozenset[int] = frozenset(range(7))

    def _span_of(self, day: date) -> Span:
        """Return when the window of this day opens and closes, in UTC."""
        zone = ZoneInfo(self.timezone)
        last = day + timedelta(days=1) if self.end <= self.start else day
        opens = datetime.combine(day, self.start, zone).astimezone(UTC)
        return opens, datetime.combine(last, self.end, zone).astimezone(UTC)

    def spans(self, at: datetime) -> Iterator[Span]:
        """Yield when it opens and closes, in UTC: from the day before this time to two weeks on."""
        today = at.astimezone(ZoneInfo(self.timezone)).date()
        for offset in range(-1, _DAYS_AHEAD + 1):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                opens, closes = self._span_of(day)
                if opens < closes:
                    yield opens, closes


def closes_at(windows: Sequence[Window], at: datetime) -> datetime | None:
    """Return when the window that is open ``at`` this time closes; ``None`` where none is open.

    Windows that touch or overlap are one: the end is that of the last of them. Where they leave no
    time out, it is two weeks from now.
    """
    open_now = (closes for opens, closes in _united(windows, at) if opens <= at < closes)
    return next(open_now, None)


def opens_at(windows: Sequence[Window], at: datetime) -> datetime | None:
    """Return when the next window opens after this time.

    One that touches or overlaps an open one is a part of it. ``None`` without any window, and where
    they leave no time out.
    """
    coming = (opens for opens, _closes in _united(windows, at) if at < opens <= at + _FARTHEST)
    return next(coming, None)


def _united(windows: Iterable[Window], at: datetime) -> list[Span]:
    """Return the spans around this time in their order, those that touch or overlap as one."""
    united: list[Span] = []
    for opens, closes in sorted(span for window in windows for span in window.spans(at)):
        if united and opens <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], closes))
        else:
            united.append((opens, closes))
    return united
