"""What earlier runs stored, read from the ledger."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from maintenance.core.job import POINTS_PER_SERIES, YEAR_SECONDS, History, Point
from maintenance.core.runs import ledger
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.registry import task_named
from maintenance.models import SUBJECT_LENGTH, StoredSample

# Up to so many values all stand; of more, the last one of each stretch of the time they cover.
_SERIES = """
WITH found AS (
    SELECT
        subject,
        extract(epoch FROM measured_at)::float8 AS at_epoch_seconds,
        value,
        row_number() OVER in_time AS place,
        count(*) OVER all_of_it AS total,
        extract(epoch FROM min(measured_at) OVER all_of_it)::float8 AS oldest,
        extract(epoch FROM max(measured_at) OVER all_of_it)::float8 AS newest
    FROM {samples}
    WHERE target = %(target)s AND metric = %(metric)s AND measured_at >= %(oldest)s {and_subjects}
    WINDOW
        all_of_it AS (PARTITION BY subject),
        in_time AS (PARTITION BY subject ORDER BY measured_at, id)
)
SELECT DISTINCT ON (subject, stretch) subject, at_epoch_seconds, value
FROM (
    SELECT
        found.*,
        CASE
            WHEN total <= %(points)s THEN place
            ELSE ceil((at_epoch_seconds - oldest) * %(points)s / nullif(newest - oldest, 0))
        END AS stretch
    FROM found
) AS s
ORDER BY subject, stretch, place DESC
"""


@dataclass(frozen=True, slots=True)
class LedgerHistory:
    """The samples of one target: see :class:`maintenance.core.job.History`.

    Targets of two kinds that share a name share a history; their metrics have different names.
    Raises Django's ``DatabaseError`` where the ledger cannot be read.
    """

    target_name: str

    def series(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Sequence[Point]:
        """Return the values of one subject in the last ``since_seconds``."""
        stored_subject = subject[:SUBJECT_LENGTH]
        found = self._read(metric, [stored_subject], since_seconds)
        return found.get(stored_subject, ())

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> Mapping[str, Sequence[Point]]:
        """Return the values of many subjects by one query."""
        if subjects is None:
            return self._read(metric, None, since_seconds)
        stored = {subject[:SUBJECT_LENGTH]: subject for subject in subjects}
        found = self._read(metric, list(stored), since_seconds)
        return {stored[name]: points for name, points in found.items()}

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        """Return the highest value in the last ``since_seconds``, the latest of equal ones."""
        sample = (
            StoredSample.objects.filter(
                target=self.target_name,
                metric=metric,
                subject=subject[:SUBJECT_LENGTH],
                measured_at__gte=_oldest(since_seconds),
            )
            .order_by("-value", "-measured_at")
            .first()
        )
        if sample is None:
            return None
        return Point(sample.measured_at.timestamp(), sample.value)

    def _read(
        self, metric: str, subjects: Sequence[str] | None, since_seconds: float
    ) -> dict[str, list[Point]]:
        text = _SERIES.format(
            samples=ledger_connection().ops.quote_name(StoredSample._meta.db_table),
            and_subjects="" if subjects is None else "AND subject = ANY(%(subjects)s)",
        )
        parameters: dict[str, Any] = {
            "target": self.target_name,
            "metric": metric,
            "subjects": subjects,
            "oldest": _oldest(since_seconds),
            "points": POINTS_PER_SERIES,
        }
        found: dict[str, list[Point]] = {}
        with ledger_connection().cursor() as cursor:
            cursor.execute(text, parameters)
            for subject, at_epoch_seconds, value in cursor.fetchall():
                found.setdefault(subject, []).append(Point(at_epoch_seconds, value))
        return found


def _oldest(since_seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=since_seconds)


class LedgerRuns:
    """What the ledger knows of earlier runs: see :class:`maintenance.core.job.EarlierRuns`."""

    def previous_state(self, task: str, target_name: str) -> Mapping[str, Any]:
        """Return what the last successful run left. Raises ``DatabaseError`` and ``UnknownName``."""
        return ledger.previous_state(task_named(task), target_name)

    def history(self, target_name: str) -> History:
        """Return the samples of a target."""
        return LedgerHistory(target_name)
