"""How full a range of numbers is, and when it will be: what sequences and keys have in common."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.findings import Severity
from maintenance.core.job import History, Point
from maintenance.core.trend import DAY_SECONDS, Forecast, Outlook, outlook_of
from maintenance.core.wording import day_in_words

#: Changing a column to bigint rewrites its table and wants planning: at three quarters there is
#: time for it, at nine tenths it is the next thing to do.
USED_WARNING_RATIO = 0.75
USED_CRITICAL_RATIO = 0.90

#: The same by time, for what fills quickly: half a year holds two of the guide's quarterly
#: reviews, and a month is what a new column, filled in batches, and its deployments take.
END_WARNING_SECONDS = 180 * DAY_SECONDS
END_CRITICAL_SECONDS = 30 * DAY_SECONDS

#: What has hardly begun is not worth a row in a table.
SHOWN_FROM_RATIO = 0.01

#: Largest values (PostgreSQL documentation, "Numeric Types"); other types hold any sequence.
TYPE_MAXIMUM = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A column of integers, and what decides whether its largest value can be read from an index."""

    schema: str
    table: str
    name: str
    qualified_name: str
    type_name: str
    is_indexed: bool
    may_select: bool
    is_row_security_active: bool


def outlooks_of(
    used_ratios: Mapping[str, float], metric: str, history: History, now: float
) -> dict[str, Outlook]:
    """Return what is to be expected of each subject's used share, by one look into the history."""
    names: Collection[str] = list(used_ratios)
    stored = history.series_by_subject(metric, names)
    return {
        name: outlook_of(stored.get(name, ()), Point(now, ratio))
        for name, ratio in used_ratios.items()
    }


def severity_of(used_ratio: float, outlook: Outlook | None) -> Severity | None:
    """Judge a range by what is used of it and by when it ends; ``None`` where there is time."""
    end = _end(outlook)
    left = None if end is None else end.seconds_left
    if used_ratio > USED_CRITICAL_RATIO or (left is not None and left < END_CRITICAL_SECONDS):
        return Severity.CRITICAL
    if used_ratio > USED_WARNING_RATIO or (left is not None and left < END_WARNING_SECONDS):
        return Severity.WARNING
    return None


def numbers_per_day(outlook: Outlook | None, size: int) -> float | None:
    """Return how many of a range's ``size`` numbers a day uses up; ``None`` where withheld."""
    if outlook is None or outlook.trend is None:
        return None
    return round(outlook.trend.per_second * size * DAY_SECONDS, 1)


def end_day(outlook: Outlook | None) -> str | None:
    """Return the day on which the range about ends; ``None`` where it is withheld or far away."""
    end = _end(outlook)
    return None if end is None else day_in_words(end.about_at)


def date_clause(outlook: Outlook | None, size: int) -> str:
    """Say the end of a range as the end of a sentence, or why no date can be said."""
    if outlook is None:
        return ""
    if outlook.trend is None:
        return f"; a date needs {outlook.missing}"
    end = _end(outlook)
    if end is None:
        return "; at its present rate that is more than ten years away"
    return f"; at {numbers_per_day(outlook, size):,.0f} a day that is {end.in_words}"


def date_evidence(outlook: Outlook | None, size: int) -> dict[str, Any]:
    """Return rate and date as plain values; nothing where they are withheld."""
    if outlook is None or outlook.trend is None:
        return {}
    end = _end(outlook)
    return {
        "numbers_per_day": numbers_per_day(outlook, size),
        "measurements": outlook.trend.points,
        "measured_over_seconds": outlook.trend.span_seconds,
        **(end.to_json("ends") if end else {}),
    }


def _end(outlook: Outlook | None) -> Forecast | None:
    return None if outlook is None else outlook.reaches(1.0)
