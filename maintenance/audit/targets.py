"""The guide's key performance metrics: each with its target, the sample that measures it, and where."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maintenance.conf import Configuration, Thresholds, is_above, is_below
from maintenance.core.job import History, Point
from maintenance.core.plots import Plot
from maintenance.core.runs.registry import TargetKind
from maintenance.core.trend import DAY_SECONDS
from maintenance.reports.formatting import format_value

MONTH_SECONDS = 30 * DAY_SECONDS
#: A plot shows so much, so that the month is seen beside those before it.
SHOWN_SECONDS = 180 * DAY_SECONDS
#: Lines that are drawn of one metric with many subjects (queues, file systems).
SUBJECTS = 6


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that the guide tracks. ``limit`` reads its target from the configuration of where it is
    measured.

    ``at_least`` says that more is better. Without a limit it is a course that is only shown.
    ``of_moments`` says that a value is that of one moment, and the next one may be far from it: the target
    is to hold all month, so that its highest is judged.
    """

    title: str
    metric: str
    kind: TargetKind
    limit: Callable[[Configuration, str], float] | None = None
    at_least: bool = False
    of_moments: bool = False

    def is_met(self, value: float, limit: float) -> bool:
        """Tell whether a value is on the right side of its target."""
        return is_above(value, limit) if self.at_least else is_below(value, limit)


def _threshold(read: Callable[[Thresholds], float]) -> Callable[[Configuration, str], float]:
    """A target that is the same wherever it is measured."""
    return lambda configuration, _target: read(configuration.thresholds)


METRICS: Sequence[Metric] = (
    Metric(
        "p95",
        "response_p95_seconds",
        TargetKind.LOG,
        _threshold(lambda t: t.response_p95_ms / 1000),
    ),
    Metric(
        "p99",
        "response_p99_seconds",
        TargetKind.LOG,
        _threshold(lambda t: t.response_p99_ms / 1000),
    ),
    Metric(
        "5xx errors",
        "server_error_ratio",
        TargetKind.LOG,
        _threshold(lambda t: t.server_error_ratio),
    ),
    Metric(
        "active connections",
        "active_connections_count",
        TargetKind.DATABASE,
        _threshold(lambda t: t.active_connections),
        of_moments=True,
    ),
    Metric(
        "database cache hits",
        "database_cache_hit_ratio",
        TargetKind.DATABASE,
        _threshold(lambda t: t.database_cache_hit_ratio),
        at_least=True,
    ),
    Metric(
        "cache hits",
        "cache_hit_ratio",
        TargetKind.REDIS,
        _threshold(lambda t: t.cache_hit_ratio),
        at_least=True,
    ),
    Metric(
        "pending tasks",
        "queue_depth_messages",
        TargetKind.BROKER,
        lambda c, broker: c.brokers[broker].max_pending,
        of_moments=True,
    ),
    Metric(
        "Redis memory of its limit",
        "redis_used_memory_ratio",
        TargetKind.REDIS,
        _threshold(lambda t: t.redis_memory_ratio),
    ),
    Metric(
        "disk used", "disk_used_ratio", TargetKind.HOST, _threshold(lambda t: t.disk_warning_ratio)
    ),
    Metric("size of the database", "database_bytes", TargetKind.DATABASE),
    Metric("Redis memory", "redis_used_memory_bytes", TargetKind.REDIS),
    Metric("memory of processes", "process_group_memory_bytes", TargetKind.HOST),
)


@dataclass(frozen=True, slots=True)
class Course:
    """One metric of one subject of one target over time, oldest first, at least one point.

    ``highest`` is that of the last month, which a thinned course may have lost; of moments alone.
    """

    metric: Metric
    target: str
    subject: str
    points: tuple[Point, ...]
    highest: float | None = None

    @property
    def title(self) -> str:
        """What it is the course of: ``p95 site``."""
        return " ".join(part for part in (self.metric.title, self.target, self.subject) if part)

    @property
    def newest(self) -> float:
        """The value that was measured last."""
        return self.points[-1].value

    @property
    def judged(self) -> float:
        """The value that the target is compared with."""
        return self.newest if self.highest is None else self.highest

    def a_month_before(self) -> float | None:
        """The value that was the newest a month before the last one; ``None`` where none is so old."""
        moment = self.points[-1].at_epoch_seconds - MONTH_SECONDS
        older = [point for point in self.points if point.at_epoch_seconds <= moment]
        return older[-1].value if older else None


def read_courses(
    configuration: Configuration, history_of: Callable[[str], History]
) -> list[Course]:
    """Return every course that has samples: two queries a metric and target, and one a subject of moments."""
    return [
        course
        for metric in METRICS
        for name in metric.kind.targets(configuration)
        for course in _largest(_courses_of(metric, name, history_of(name)))
    ]


def _courses_of(metric: Metric, target: str, history: History) -> Iterator[Course]:
    found = history.series_by_subject(metric.metric, since_seconds=SHOWN_SECONDS)
    for subject, points in found.items():
        peak = (
            history.highest(metric.metric, subject, since_seconds=MONTH_SECONDS)
            if metric.of_moments
            else None
        )
        yield Course(metric, target, subject, tuple(points), peak.value if peak else None)


def _largest(courses: Iterable[Course]) -> list[Course]:
    """Return the courses with the highest values that are judged, in the order of their subjects."""
    largest = sorted(courses, key=lambda course: -course.judged)[:SUBJECTS]
    return sorted(largest, key=lambda course: course.subject)


def limit_of(course: Course, configuration: Configuration) -> float | None:
    """Return the target of a course, ``None`` where it has none."""
    if course.metric.limit is None:
        return None
    return course.metric.limit(configuration, course.target)


def target_rows(
    courses: Sequence[Course], configuration: Configuration
) -> Iterator[dict[str, Any]]:
    """Yield a row for each course that has a target; values are in words, since units differ."""
    for course in courses:
        limit = limit_of(course, configuration)
        if limit is not None:
            sign = ">" if course.metric.at_least else "<"
            yield {
                "metric": course.title,
                "target": f"{sign} {_said(course, limit)}",
                **_now_and_before(course),
                "highest_of_30_days": None
                if course.highest is None
                else _said(course, course.highest),
                "verdict": "met" if course.metric.is_met(course.judged, limit) else "missed",
            }


def course_rows(
    courses: Sequence[Course], configuration: Configuration
) -> Iterator[dict[str, Any]]:
    """Yield a row for each course without a target."""
    for course in courses:
        if limit_of(course, configuration) is None:
            values = [point.value for point in course.points]
            yield {
                "course": course.title,
                **_now_and_before(course),
                "lowest": _said(course, min(values)),
                "highest": _said(course, max(values)),
                "measurements": len(values),
            }


def _now_and_before(course: Course) -> dict[str, Any]:
    before = course.a_month_before()
    newest = datetime.fromtimestamp(course.points[-1].at_epoch_seconds, UTC)
    return {
        "now": _said(course, course.newest),
        "a_month_ago": None if before is None else _said(course, before),
        "measured_at": newest.isoformat(timespec="seconds"),
    }


def plots_of(courses: Sequence[Course], configuration: Configuration) -> tuple[Plot, ...]:
    """Return a plot for each course."""
    return tuple(
        Plot(
            course.title,
            course.metric.metric,
            tuple((point.at_epoch_seconds, point.value) for point in course.points),
            limit_of(course, configuration),
        )
        for course in courses
    )


def _said(course: Course, value: float) -> str:
    return format_value(course.metric.metric, value)
