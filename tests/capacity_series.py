"""Series of days for tests of capacity, read as the ledger's are."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from maintenance.core.daily import DailySeries, Day

#: 2026-11-26, and the moment in it that tests take for now.
TODAY = 20_783
NOW = (TODAY + 0.6) * 86_400

Readings = dict[tuple[str, str, str], Sequence[float]]


def read_from(readings: Readings) -> Callable[[Sequence[str], str], Iterable[DailySeries]]:
    """Return a reader of values by target, metric and subject, one a day, the last of today."""
    by_metric: dict[str, list[DailySeries]] = defaultdict(list)
    for (target, metric, subject), values in readings.items():
        first = TODAY - len(values) + 1
        days = [Day(first + n, value, value, value) for n, value in enumerate(values)]
        by_metric[metric].append(DailySeries(target, metric, subject, days))

    def read(targets: Sequence[str], metric: str) -> Iterable[DailySeries]:
        return [series for series in by_metric[metric] if series.target in targets]

    return read
