"""The samples of key metrics, a stretch of time at a time: one query for all lines."""

from collections.abc import Sequence
from datetime import datetime

from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.key_metrics.metrics import STRETCHES, Series, Stretch
from maintenance.models import StoredSample

# A range of maintenance_sample_series for each line; of each stretch what can be drawn.
_STRETCHES = """
SELECT wanted.number, sample.stretch, min(sample.value), max(sample.value),
       (array_agg(sample.value ORDER BY sample.measured_at DESC))[1]
FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::float8[])
    AS wanted (number, target, metric, subject, seconds)
CROSS JOIN LATERAL (
    SELECT value, measured_at, least(floor(
        (1 - extract(epoch FROM %s - measured_at)::float8 / wanted.seconds) * %s
    ), %s - 1)::int AS stretch
    FROM {samples}
    WHERE target = wanted.target AND metric = wanted.metric AND subject = wanted.subject
      AND measured_at >= %s - make_interval(secs => wanted.seconds)
) AS sample
GROUP BY wanted.number, sample.stretch
ORDER BY wanted.number, sample.stretch
"""


def stretches(lines: Sequence[Series], now: datetime) -> list[list[Stretch]]:
    """Return the values of each line, in the order of ``lines``, from its beginning to now."""
    found: list[list[Stretch]] = [[] for _ in lines]
    if not lines:
        return found
    text = _STRETCHES.format(
        samples=ledger_connection().ops.quote_name(StoredSample._meta.db_table)
    )
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            text,
            [
                list(range(len(lines))),
                [line.target for line in lines],
                [line.key_metric.metric for line in lines],
                [line.subject for line in lines],
                [line.span.total_seconds() for line in lines],
                now,
                STRETCHES,
                STRETCHES,
                now,
            ],
        )
        for number, place, lowest, highest, last in cursor.fetchall():
            found[number].append(Stretch(max(place, 0), lowest, highest, last))
    return found
