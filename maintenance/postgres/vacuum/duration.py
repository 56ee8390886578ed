"""How long a VACUUM or ANALYZE will take, learned from those of past runs. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from maintenance.core.job import History
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Sample

#: What is kept from run to run: of each table with its name, and of all together without one.
RATE_METRIC = "vacuum_bytes_per_second"
SECONDS_METRIC = "vacuum_seconds"
#: Of a table that took less nothing is kept: ten thousand small ones would fill the ledger.
LEAST_SECONDS_KEPT = 1.0
#: Of smaller tables the rate says more about beginning and ending than about reading.
LEAST_BYTES_OF_A_RATE = 8 * 1024**2

BLOCK_BYTES = 8192
#: ANALYZE reads 300 pages for each unit of default_statistics_target, which is 100.
ANALYZED_PAGES = 30_000
#: What a disk of today reads and writes with ease: for the order of what was never measured.
ASSUMED_BYTES_PER_SECOND = 100e6


def work_bytes(pages: int, *, vacuum: bool) -> int:
    """Return how much a statement reads of a table: a VACUUM at the most all of it."""
    return (pages if vacuum else min(pages, ANALYZED_PAGES)) * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Durations:
    """Rates in bytes a second: of single tables when they were vacuumed last, and of all tables."""

    by_subject: Mapping[str, float] = field(default_factory=dict)
    overall: float | None = None

    @classmethod
    def from_history(cls, history: History) -> "Durations":
        """Read what earlier runs stored; one query, however many tables."""
        found = history.series_by_subject(RATE_METRIC)
        rates = {subject: points[-1].value for subject, points in found.items() if points}
        overall = rates.pop("", None)
        return cls(rates, overall)

    def predict(self, subject: str, size_bytes: int) -> float | None:
        """Return the seconds that a table of this size will take; ``None`` where nobody can tell.

        A table that was timed takes as long as then, in proportion to its size; another one goes
        by the rate of all.
        """
        rate = self.by_subject.get(subject, self.overall)
        return size_bytes / rate if rate else None


def duration_samples(outcomes: Iterable[Outcome]) -> Iterator[Sample]:
    """Yield what the next runs predict from: seconds and rates of what was vacuumed."""
    all_bytes = 0
    all_seconds = 0.0
    for outcome in outcomes:
        size_bytes = int(outcome.before.get("pages") or 0) * BLOCK_BYTES
        seconds = outcome.duration_seconds
        vacuumed = "vacuum" in outcome.action.kind
        if not vacuumed or outcome.verdict not in {Verdict.WORKED, Verdict.NO_GAIN} or not seconds:
            continue
        if size_bytes >= LEAST_BYTES_OF_A_RATE:
            all_bytes += size_bytes
            all_seconds += seconds
        if seconds >= LEAST_SECONDS_KEPT and size_bytes:
            yield Sample(SECONDS_METRIC, seconds, outcome.action.subject)
            yield Sample(RATE_METRIC, size_bytes / seconds, outcome.action.subject)
    if all_seconds:
        yield Sample(RATE_METRIC, all_bytes / all_seconds)
