"""How full a range of numbers is, and when it will be: what sequences and keys have in common."""

from collections.abc import Collection, Mapping
from typing import Any

from maintenance.core.findings import Severity
from maintenance.core.job import History, Point
from maintenance.core.trend import DAY_SECONDS, Outlook, outlook_of
from maintenance.core.wording import day_in_words, forecast_in_words

#: Changing a column to bigint rewrites its table and wants planning: at three quarters there is
#: time for it, at nine tenths it is the next thing to do.
USED_WARNING_RATIO = 0.75
USED_CRITICAL_RATIO = 0.90

#: The same by time, for what fills quickly: half a year holds two of the guide's quarterly
#: reviews, and a month is what a new column, filled in batches, and its deployments take.
END_WARNING_SECONDS = 180 * DAY_SECONDS
END_CRITICAL_SECONDS = 30 * DAY_SECONDS

#: Largest values (PostgreSQL documentation, "Numeric Types"); other types hold any sequence.
TYPE_MAXIMUM = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}


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
    left = _seconds_left(outlook)
    if used_ratio > USED_CRITICAL_RATIO or (left is not None and left < END_CRITICAL_SECONDS):
        return Severity.CRITICAL
    if used_ratio > USED_WARNING_RATIO or (left is not None and left < END_WARNING_SECONDS):
        return Severity.WARNING
    return None


def _seconds_left(outlook: Outlook | None) -> float | None:
    if outlook is None or outlook.trend is None:
        return None
    forecast = outlook.trend.reaches(1.0)
    return None if forecast is None else forecast.about_at - outlook.trend.last.at_epoch_seconds


def numbers_per_day(outlook: Outlook | None, size: int) -> float | None:
    """Return how many of a range's ``size`` numbers a day uses up; ``None`` where withheld."""
    if outlook is None or outlook.trend is None:
        return None
    return round(outlook.trend.per_second * size * DAY_SECONDS, 1)


def end_in_words(outlook: Outlook | None) -> str | None:
    """Say when the range ends; ``None`` where it is withheld or not within ten years."""
    forecast = outlook.trend.reaches(1.0) if outlook is not None and outlook.trend else None
    if forecast is None:
        return None
    return forecast_in_words(forecast.about_at, forecast.earliest_at, forecast.latest_at)


def date_clause(outlook: Outlook | None, size: int) -> str:
    """Say the end of a range as the end of a sentence, or why no date can be said."""
    if outlook is None:
        return ""
    if outlook.trend is None:
        return f"; a date needs {outlook.missing}"
    per_day = numbers_per_day(outlook, size) or 0.0
    end = end_in_words(outlook)
    if end is None:
        return "; at its present rate that is more than ten years away"
    return f"; at {per_day:,.0f} a day that is {end}"


def date_evidence(outlook: Outlook | None, size: int) -> dict[str, Any]:
    """Return rate and date as plain values; nothing where they are withheld."""
    per_day = numbers_per_day(outlook, size)
    if outlook is None or outlook.trend is None or per_day is None:
        return {}
    evidence: dict[str, Any] = {
        "numbers_per_day": per_day,
        "measurements": outlook.trend.points,
        "measured_over_seconds": outlook.trend.span_seconds,
    }
    forecast = outlook.trend.reaches(1.0)
    if forecast is not None:
        latest = forecast.latest_at
        evidence["ends_about"] = day_in_words(forecast.about_at)
        evidence["ends_earliest"] = day_in_words(forecast.earliest_at)
        evidence["ends_latest"] = None if latest is None else day_in_words(latest)
    return evidence
