"""What a schedule is: when it is due, and its policy. Plain data, so that a proof can read it later.

Moments are in UTC. A crontab is due at times of the wall (see :mod:`maintenance.core.scheduling.cron`), an interval
every so many seconds from where it is counted from, whenever its runs start and end.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from itertools import takewhile
from math import floor
from typing import Any, Self
from zoneinfo import ZoneInfo

from celery.exceptions import ImproperlyConfigured
from celery.schedules import ParseException, crontab, solar

from maintenance.core.errors import MaintenanceError
from maintenance.core.scheduling.cron import Cron
from maintenance.core.scheduling.day_rules import parse_days
from maintenance.core.scheduling.policies import DEFAULT_POLICY, Policy

#: A row of a shorter interval is due once in this time: its slots are rows, too.
SHORTEST_INTERVAL_SECONDS = 1.0

#: What keeps due times from being computed: days that name none, a crontab or a time zone that cannot
#: be read, a sun that needs a library which is not there.
UNREADABLE = (
    MaintenanceError,
    ValueError,
    RuntimeError,
    OverflowError,
    ImproperlyConfigured,
    ParseException,
)

_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_MOMENTS = frozenset({"counted_from", "at", "starts_at", "expires_at"})
#: The sun rises at most once a day, and in the far north not for months.
_LONGEST_NIGHT = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Definition:
    """One schedule. Of ``crontab``, ``every_seconds``, ``solar`` and ``at`` one is given.

    ``crontab`` has its five fields as crontab(5) writes them, read in ``timezone`` and on ``days`` only
    (see :mod:`maintenance.core.scheduling.day_rules`). ``counted_from`` is where an interval begins, and when an
    ``at`` became known: one that was past by then is due at once. ``solar`` is an event with its latitude
    and longitude. A schedule that is due ``once`` ends with its first slot. No slot lies before
    ``starts_at``, nor at or after ``expires_at``.
    """

    task: str
    target: str = ""
    crontab: str = ""
    timezone: str = ""
    days: str = ""
    every_seconds: float | None = None
    counted_from: datetime | None = None
    solar: tuple[str, float, float] | None = None
    at: datetime | None = None
    once: bool = False
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    policy: Policy = DEFAULT_POLICY

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults, moments in ISO 8601."""
        stored: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value == each.default:
                continue
            if isinstance(value, Policy):
                value = value.to_json()
            elif isinstance(value, datetime):
                value = value.isoformat()
            stored[each.name] = value
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the definition of :meth:`to_json`."""
        read: dict[str, Any] = {
            name: datetime.fromisoformat(value) if name in _MOMENTS else value
            for name, value in stored.items()
        }
        if "solar" in read:
            read["solar"] = tuple(read["solar"])
        return cls(**{**read, "policy": Policy.from_json(stored.get("policy", {}))})

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the slots after ``moment``, in their order, for ever where there is no end.

        Raises ``InvalidOptions`` for ``days`` that name none, ``ValueError`` for a crontab or a time
        zone that cannot be read.
        """
        if self.starts_at is not None:
            moment = max(moment, self.starts_at - _INSTANT)
        slots = self._slots(moment)
        if self.expires_at is not None:
            expires_at = self.expires_at
            slots = takewhile(lambda slot: slot < expires_at, slots)
        return slots

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the slots after ``since`` and up to ``until``. Raises as :meth:`after`."""
        return takewhile(lambda slot: slot <= until, self.after(since))

    def cron(self) -> Cron | None:
        """Return the due times of a crontab, ``None`` for any other schedule. Raises as :meth:`after`."""
        return _cron(self.crontab, self.timezone, self.days) if self.crontab else None

    def _slots(self, moment: datetime) -> Iterator[datetime]:
        cron = self.cron()
        if cron is not None:
            return _due_times(cron, moment)
        if self.at is not None:
            slot = max(self.at, self.counted_from or self.at)
            return iter([slot] if slot > moment else [])
        if self.solar is not None:
            return _risings(self.solar, moment)
        return self._beats(moment)

    def _beats(self, moment: datetime) -> Iterator[datetime]:
        if self.every_seconds is None or self.counted_from is None:
            return
        every = timedelta(seconds=max(self.every_seconds, SHORTEST_INTERVAL_SECONDS))
        number = max(floor((moment - self.counted_from) / every) + 1, 1)
        if self.starts_at == self.counted_from and moment < self.counted_from:
            number = 0
        slot = self.counted_from + number * every
        while True:
            if slot > moment:
                yield slot
            slot += every


@lru_cache(maxsize=4096)
def _cron(text: str, zone: str, days: str) -> Cron:
    minute, hour, day_of_month, month_of_year, day_of_week = text.split()
    parsed: Any = crontab(  # the stubs know none of its fields
        minute, hour, day_of_week, day_of_month, month_of_year
    )
    return Cron(
        frozenset(parsed.minute),
        frozenset(parsed.hour),
        frozenset(parsed.day_of_month),
        frozenset(parsed.month_of_year),
        frozenset(parsed.day_of_week),
        zone_named(zone or "UTC"),
        parse_days(days),
    )


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone. Raises ``ValueError`` for one that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (
        KeyError,
        OSError,
    ) as error:  # of a name that is a folder of zones, or too long for a file
        raise ValueError(
            f'The time zone "{name}" is not known to this machine. Install the newest tzdata, or choose'
            " another one."
        ) from error


def _due_times(cron: Cron, moment: datetime) -> Iterator[datetime]:
    day = datetime.combine(moment.astimezone(UTC).date(), time(), UTC)
    today = _slots_of_day(cron, day)
    yield from today[bisect_right(today, moment) :]
    yield from cron.every_after(day + _DAY - _INSTANT)


@lru_cache(maxsize=512)  # a crontab of every minute has 1,440 a day
def _slots_of_day(cron: Cron, day: datetime) -> tuple[datetime, ...]:
    """Return the slots of a day of UTC: a scheduler asks for the next one of the same day again."""
    return tuple(cron.between(day - _INSTANT, day + _DAY - _INSTANT))


def _risings(event: tuple[str, float, float], moment: datetime) -> Iterator[datetime]:
    """Yield the moments of a solar event. Needs ephem, as Celery does for them."""
    name: Any = event[0]  # Celery says which there are
    while True:
        start = moment
        sky: Any = solar(name, *event[1:], nowfun=lambda: start)  # noqa: B023
        moment = (start + sky.remaining_estimate(start)).astimezone(UTC)
        if moment - start > _LONGEST_NIGHT:
            return
        yield moment
