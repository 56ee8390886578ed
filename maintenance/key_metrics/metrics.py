"""The guide's key metrics of each kind of target, and how one of them stands. Pure.

Source of the limits: the guide, "Key Performance Metrics" and "High Redis Memory"; the configuration's
thresholds where an operator has others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.conf import Configuration, Thresholds, is_above, is_below
from maintenance.core.runs.registry import TargetKind
from maintenance.key_metrics.sparkline import Sparkline, sparkline
from maintenance.reports.formatting import format_value

#: A line has so many stretches; of each the worst value is drawn, so that no peak is lost.
STRETCHES = 40
#: Below, nothing is said of a trend: two values always lie on a line.
MINIMUM_FOR_TREND = 4
#: A change by less is called none.
STEADY_RATIO = 0.05
#: How far back a line goes: a week of an hourly check, a month of a daily one, a quarter of a weekly.
HOURLY_DAYS, DAILY_DAYS, WEEKLY_DAYS = 7, 30, 91


@dataclass(frozen=True, slots=True)
class KeyMetric:
    """One number of a target: the task that measures it, its limit, and how far back its line goes.

    ``limit`` says from the thresholds and the target where the number is to stay; ``is_ceiling`` tells
    whether it is to stay below or above.
    """

    metric: str
    label: str | Promise
    task: str
    days: int
    limit: Callable[[Thresholds, Any], float]
    is_ceiling: bool = True


_QUEUE_DEPTH = KeyMetric(
    "queue_depth_messages",
    gettext_lazy("waiting messages"),
    "maintenance.check_queue_depths",
    HOURLY_DAYS,
    lambda _thresholds, target: float(target.max_pending),
)
KEY_METRICS: Mapping[TargetKind, tuple[KeyMetric, ...]] = {
    TargetKind.LOG: (
        KeyMetric(
            "response_p95_seconds",
            gettext_lazy("response time, p95"),
            "maintenance.review_error_rates",
            DAILY_DAYS,
            lambda thresholds, _target: thresholds.response_p95_ms / 1000,
        ),
        KeyMetric(
            "response_p99_seconds",
            gettext_lazy("response time, p99"),
            "maintenance.review_error_rates",
            DAILY_DAYS,
            lambda thresholds, _target: thresholds.response_p99_ms / 1000,
        ),
        KeyMetric(
            "server_error_ratio",
            gettext_lazy("5xx errors"),
            "maintenance.review_error_rates",
            DAILY_DAYS,
            lambda thresholds, _target: thresholds.server_error_ratio,
        ),
    ),
    TargetKind.DATABASE: (
        KeyMetric(
            "active_connections_count",
            gettext_lazy("active connections"),
            "maintenance.review_activity",
            WEEKLY_DAYS,
            lambda thresholds, _target: float(thresholds.active_connections),
        ),
        KeyMetric(
            "database_cache_hit_ratio",
            gettext_lazy("cache hit ratio"),
            "maintenance.review_database_cache_hit_ratio",
            WEEKLY_DAYS,
            lambda thresholds, _target: thresholds.database_cache_hit_ratio,
            is_ceiling=False,
        ),
    ),
    TargetKind.REDIS: (
        KeyMetric(
            "cache_hit_ratio",
            gettext_lazy("cache hit ratio"),
            "maintenance.review_cache_hit_ratios",
            WEEKLY_DAYS,
            lambda thresholds, _target: thresholds.cache_hit_ratio,
            is_ceiling=False,
        ),
        KeyMetric(
            "redis_used_memory_ratio",
            gettext_lazy("memory in use"),
            "maintenance.check_redis_memory",
            DAILY_DAYS,
            lambda thresholds, _target: thresholds.redis_memory_ratio,
        ),
    ),
    TargetKind.BROKER: (_QUEUE_DEPTH,),
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line of one target: what the query asks for, and where it goes."""

    target: str
    key_metric: KeyMetric
    subject: str
    limit: float

    @property
    def span(self) -> timedelta:
        """How far back it goes."""
        return timedelta(days=self.key_metric.days)

    @property
    def label(self) -> str:
        """What it is called, with the queue where it is one of several."""
        label = str(self.key_metric.label)
        if not self.subject:
            return label
        return _("%(label)s in %(subject)s") % {"label": label, "subject": self.subject}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The values of a stretch of time: its place from the left, lowest, highest and last."""

    place: int
    lowest: float
    highest: float
    last: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of a tile, in words. ``kind`` is ``ok``, or ``warning`` where it misses its limit."""

    label: str
    value: str
    limit: str
    kind: str
    trend: str
    trend_kind: str
    picture: Sparkline
    in_words: str


def series_of(name: str, kind: TargetKind, configuration: Configuration) -> Iterator[Series]:
    """Yield the lines of one target: of a broker, one for each of its queues."""
    target = kind.targets(configuration)[name]
    for key_metric in KEY_METRICS.get(kind, ()):
        limit = key_metric.limit(configuration.thresholds, target)
        subjects = target.queues if key_metric is _QUEUE_DEPTH else ("",)
        for subject in subjects:
            yield Series(name, key_metric, subject, limit)


def reading(series: Series, stretches: Sequence[Stretch]) -> Reading:
    """Say how a line stands that has at least one stretch."""
    key_metric, limit, label = series.key_metric, series.limit, series.label
    worst = [(s.place, s.highest if key_metric.is_ceiling else s.lowest) for s in stretches]
    worst[-1] = (stretches[-1].place, stretches[-1].last)
    now = stretches[-1].last
    is_met = is_below(now, limit) if key_metric.is_ceiling else is_above(now, limit)
    trend_kind, trend = _trend([s.last for s in stretches])
    values = [value for _place, value in worst]
    return Reading(
        label=label,
        value=_said(key_metric, now),
        limit=_limit_words(key_metric, limit),
        kind="ok" if is_met else "warning",
        trend=trend,
        trend_kind=trend_kind,
        picture=sparkline(worst, STRETCHES - 1, limit),
        in_words=_("%(label)s in the last %(days)s days: between %(low)s and %(high)s, now %(now)s")
        % {
            "label": label,
            "days": key_metric.days,
            "low": _said(key_metric, min(values)),
            "high": _said(key_metric, max(values)),
            "now": _said(key_metric, now),
        },
    )


def _limit_words(key_metric: KeyMetric, limit: float) -> str:
    said = _said(key_metric, limit)
    if key_metric.is_ceiling:
        return _("target: under %(limit)s") % {"limit": said}
    return _("target: over %(limit)s") % {"limit": said}


def _said(key_metric: KeyMetric, value: float) -> str:
    return format_value(key_metric.metric.removesuffix("_messages"), value)


def _trend(values: Sequence[float]) -> tuple[str, str]:
    """Return a kind and words for the change from the first third to the last, by their medians.

    Medians take no notice of a single peak. The change is a share of the larger of both, so that a
    queue that was empty does not rise without end.
    """
    if len(values) < MINIMUM_FOR_TREND:
        return "", ""
    third = max(len(values) // 3, 1)
    before, after = median(values[:third]), median(values[-third:])
    largest = max(abs(before), abs(after))
    if largest == 0 or abs(after - before) / largest < STEADY_RATIO:
        return "steady", _("steady")
    return ("rising", _("rising")) if after > before else ("falling", _("falling"))
