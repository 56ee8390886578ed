"""How fast used memory grows, and when that meets the limit. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.trend import DAY_SECONDS, WEEK_SECONDS, Outlook
from maintenance.core.wording import bytes_in_words, percent
from maintenance.redis.memory.limits import Ceiling

METRIC = "redis_used_memory_bytes"

#: A month is time enough to trim, to repack or to order memory; a week is not.
WARNING_SECONDS = 30 * DAY_SECONDS
CRITICAL_SECONDS = 7 * DAY_SECONDS


def diagnose_growth(
    name: str, outlook: Outlook, ceiling: Ceiling | None, thresholds: Thresholds
) -> Iterator[Finding]:
    """Foretell when used memory passes its share of the limit."""
    if outlook.trend is None:
        finding = unavailable("redis-growth", name, "how fast its memory grows", outlook.missing)
        yield replace(
            finding, advice="Leave check_redis_memory on its schedule: each run adds a measurement."
        )
        return
    if ceiling is None or ceiling.used_ratio > thresholds.redis_memory_ratio:
        return  # without a limit nothing is met, and past its share that is said already
    share = thresholds.redis_memory_ratio
    # What is resident beside the data grows with it: the trend is that of the data.
    beside = ceiling.used_bytes - outlook.trend.last.value
    forecast = outlook.reaches(share * ceiling.limit_bytes - beside)
    if forecast is None or forecast.seconds_left > WARNING_SECONDS:
        return
    weekly = outlook.trend.per_second * WEEK_SECONDS
    yield Finding(
        code="redis-growth",
        severity=(
            Severity.CRITICAL if forecast.seconds_left <= CRITICAL_SECONDS else Severity.WARNING
        ),
        subject=name,
        sentence=(
            f"{name} grows by {bytes_in_words(weekly)} a week and reaches {percent(share)} of its"
            f" {bytes_in_words(ceiling.limit_bytes)} {forecast.in_words}."
        ),
        evidence=growth_facts(outlook)
        | {"limit_bytes": ceiling.limit_bytes}
        | forecast.to_json("full"),
        advice=(
            "See which kinds of keys grow in the table of this report, trim or expire them, repack"
            " (reclaim_redis_memory), or give the server more memory in time."
        ),
    )


def growth_facts(outlook: Outlook) -> dict[str, Any]:
    """Return the rate with its band as plain values; nothing where it is withheld."""
    trend = outlook.trend
    if trend is None:
        return {}
    return {
        "weekly_growth_bytes": trend.per_second * WEEK_SECONDS,
        "lowest_weekly_growth_bytes": trend.lowest_per_second * WEEK_SECONDS,
        "highest_weekly_growth_bytes": trend.highest_per_second * WEEK_SECONDS,
        "measurements": trend.points,
        "measured_over_seconds": trend.span_seconds,
    }
