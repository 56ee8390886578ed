"""Days of a month that a crontab cannot name: its last one, its last friday, its second tuesday. Pure.

A rule is a filter: of the days that the crontab names, those remain that fit the rule, too. Written as
``last``, ``last friday``, ``2nd tuesday``; a weekday in full or by its first three letters.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from maintenance.core.errors import InvalidOptions
from maintenance.core.windows import WEEKDAYS

_ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5}
_WORDS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
_WEEKDAYS = {name: number for number, day in enumerate(WEEKDAYS) for name in (day, day[:3])}
_DAYS_A_WEEK = 7


@dataclass(frozen=True, slots=True)
class DayRule:
    """The ``ordinal``-th ``weekday`` of a month (0 is Monday), or its last one where that is ``None``.

    Without a weekday it is the last day of the month. A month without a fifth one has no such day.
    """

    ordinal: int | None = None
    weekday: int | None = None

    def fits(self, day: date) -> bool:
        """Tell whether it is such a day."""
        days_left = monthrange(day.year, day.month)[1] - day.day
        if self.weekday is None:
            return days_left == 0
        if day.weekday() != self.weekday:
            return False
        if self.ordinal is None:
            return days_left < _DAYS_A_WEEK
        return (day.day - 1) // _DAYS_A_WEEK + 1 == self.ordinal


def parse_days(text: str) -> DayRule | None:
    """Return the rule that ``text`` names, ``None`` where it is empty: every day of the crontab.

    Raises ``InvalidOptions`` for anything else.
    """
    words = text.lower().split()
    if not words:
        return None
    if words in (["last"], ["last", "day"]):
        return DayRule()
    ordinals = {**_ORDINALS, **_WORDS, "last": None}
    if len(words) == 2 and words[0] in ordinals and words[1] in _WEEKDAYS:
        return DayRule(ordinals[words[0]], _WEEKDAYS[words[1]])
    raise InvalidOptions(
        f'"{text}" names no days. Write "last" (the last day of the month), "last friday" or'
        ' "2nd tuesday", or leave it empty.'
    )
