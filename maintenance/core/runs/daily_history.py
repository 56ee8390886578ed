"""The samples of many targets as one value a day, read from the ledger."""

from collections.abc import Collection, Iterator
from datetime import timedelta
from itertools import groupby
from operator import itemgetter

from django.utils import timezone

from maintenance.core.daily import DailySeries, Day
from maintenance.core.job import YEAR_SECONDS
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.models import StoredSample

#: Of one metric, in whole years of days: some hundred sequences a database are sampled, so that twenty
#: databases fit. Series beyond, in the order of their names, are left out.
MAXIMUM_ROWS = 2_000 * 366

# The index on (target, metric, subject, measured_at) serves it: a range for each target.
_DAYS = """
SELECT
    target,
    subject,
    floor(extract(epoch FROM measured_at) / 86400)::int AS day,
    (array_agg(value ORDER BY measured_at DESC, id DESC))[1] AS last,
    min(value) AS lowest,
    max(value) AS highest
FROM {samples}
WHERE target = ANY(%(targets)s) AND metric = %(metric)s AND measured_at >= %(oldest)s
    AND value NOT IN ('NaN', 'Infinity', '-Infinity')
GROUP BY target, subject, day
ORDER BY target, subject, day
LIMIT %(rows)s
"""


def daily_series(
    targets: Collection[str], metric: str, *, since_seconds: float = YEAR_SECONDS
) -> Iterator[DailySeries]:
    """Yield the series of one metric on these targets, in the order of their names.

    One query, whose result of at most :data:`MAXIMUM_ROWS` is held meanwhile. Raises Django's
    ``DatabaseError`` where the ledger cannot be read.
    """
    text = _DAYS.format(samples=ledger_connection().ops.quote_name(StoredSample._meta.db_table))
    oldest = timezone.now() - timedelta(seconds=since_seconds)
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            text,
            {
                "targets": list(targets),
                "metric": metric,
                "oldest": oldest,
                "rows": MAXIMUM_ROWS + 1,
            },
        )
        rows = cursor.fetchall()
    # The last series may have been cut in the middle.
    cut = rows[-1][:2] if len(rows) > MAXIMUM_ROWS else None
    for (target, subject), days in groupby(rows, key=itemgetter(0, 1)):
        if (target, subject) == cut:
            return
        yield DailySeries(target, metric, subject, [Day(*row[2:]) for row in days])
