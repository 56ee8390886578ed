"""When a crontab is due: wall-clock times of a time zone as moments. Pure.

Fields are those of ``celery.schedules.crontab``: day of month and day of week must both fit, and 0 is
Sunday. Where the clocks change, a time that is skipped comes as much later as the clock jumps, and of
one that comes twice the first counts (PEP 495, fold 0). A crontab of every hour is no time of day but
an interval: it goes through the repeated hour, too.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from maintenance.core.scheduling.day_rules import DayRule

#: A day that a crontab names comes within so many: 29 February on a given weekday takes 28 years, 40
#: where a century without a leap day lies between.
_LONGEST_WAIT_DAYS = 40 * 366
_HOURS_OF_A_DAY = 24


@dataclass(frozen=True, slots=True)
class Cron:
    """Sets of numbers, as ``celery.schedules.crontab`` parses them, read in ``zone``.

    Of the days that they name ``days`` leaves those that fit it.
    """

    minutes: Collection[int]
    hours: Collection[int]
    days_of_month: Collection[int]
    months: Collection[int]
    weekdays: Collection[int]
    zone: tzinfo
    days: DayRule | None = None

    def after(self, at: datetime) -> datetime | None:
        """Return the first due moment after ``at``, in UTC; ``None`` where there is none (30 February).

        Takes as many steps as days lie between.
        """
        return next(self.every_after(at), None)

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due moments after ``since`` and up to ``until``, in UTC."""
        for due in self.every_after(since):
            if due > until:
                return
            yield due

    def every_after(self, at: datetime) -> Iterator[datetime]:
        """Yield the due moments after ``at``, until none has come for longer than one can take."""
        today = at.astimezone(self.zone).date()
        # What the evening before skipped may come today, and what today skips tomorrow.
        waiting = self._moments(today - timedelta(days=1))
        last, day, days_without = at, today, 0
        while days_without < _LONGEST_WAIT_DAYS:
            moments = self._moments(day)
            days_without = 0 if moments else days_without + 1
            if moments or waiting:
                for moment in sorted(waiting | moments):
                    if moment.astimezone(self.zone).date() > day:
                        continue
                    if moment > last:
                        yield moment
                        last = moment
                waiting = {moment for moment in moments if moment > last}
            if day == date.max:
                return
            day += timedelta(days=1)

    def _moments(self, day: date) -> set[datetime]:
        """Return the moments of one day of the calendar, in UTC."""
        if (
            day.month not in self.months
            or day.day not in self.days_of_month
            or day.isoweekday() % 7 not in self.weekdays
            or (self.days is not None and not self.days.fits(day))
        ):
            return set()
        times = [time(hour, minute) for hour in self.hours for minute in self.minutes]
        walls = [datetime.combine(day, at, self.zone) for at in times]
        moments = {wall.astimezone(UTC) for wall in walls}
        if len(self.hours) == _HOURS_OF_A_DAY:
            moments |= {wall.replace(fold=1).astimezone(UTC) for wall in walls if _is_real(wall)}
        return moments


def _is_real(wall: datetime) -> bool:
    """Tell whether the clocks of the zone show this time at all."""
    return wall.astimezone(UTC).astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(
        tzinfo=None
    )
