"""What the ledger would know of a database that has been looked after for a month."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from maintenance.core.job import YEAR_SECONDS, History, NoEarlierRuns, Point
from maintenance.core.reports import Report
from maintenance.postgres.analyses import ANALYSES

#: A value a day: enough for every trend to be drawn.
DAYS = 30
DAY_SECONDS = 86_400.0


class EarlierRounds(NoEarlierRuns):
    """States of the round before, and its samples as if each day of a month had brought them."""

    def __init__(self) -> None:
        self._states: dict[str, Mapping[str, Any]] = {}
        self._values: dict[str, dict[str, float]] = {}

    def note(self, reports: Mapping[str, Report]) -> None:
        """Remember a round: reports by the names of their analyses."""
        for name, report in reports.items():
            self._states |= {part.task: report.state for part in ANALYSES[name].parts}
            for sample in report.samples:
                self._values.setdefault(sample.metric, {})[sample.subject] = sample.value

    def previous_state(self, task: str, target_name: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return what the last round of this task left."""
        return self._states.get(task, {})

    def history(self, target_name: str) -> History:  # noqa: ARG002
        """Return the samples of all days."""
        return DailyHistory(self._values)


class DailyHistory:
    """Values by metric and subject, the same on each of the last :data:`DAYS` days."""

    def __init__(self, values: Mapping[str, Mapping[str, float]]) -> None:
        self._values = values

    def series(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Sequence[Point]:
        """Return the days of one subject, in order."""
        value = self._values.get(metric, {}).get(subject)
        return () if value is None else _days(value, since_seconds)

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> Mapping[str, Sequence[Point]]:
        """Return the days of many subjects."""
        return {
            subject: _days(value, since_seconds)
            for subject, value in self._values.get(metric, {}).items()
            if subjects is None or subject in subjects
        }

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        """Return the last day: none is higher."""
        return next(reversed(self.series(metric, subject, since_seconds=since_seconds)), None)


def _days(value: float, since_seconds: float) -> list[Point]:
    now = time.time()
    days = range(min(DAYS, int(since_seconds / DAY_SECONDS)), 0, -1)
    return [Point(now - day * DAY_SECONDS, value) for day in days]
