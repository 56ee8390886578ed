"""Stretches of a server's counters of lookups in which a walk of ours was at work.

A look at a million keys is a million hits, on the whole server: beside them those of a site are few. Which
of them were ours no server tells, so that whoever judges a hit ratio leaves out what was counted from the
beginning of each walk to its end. The counters only grow: they are what the stretches are noted in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from maintenance.core.job import History, Point
from maintenance.core.reports import Sample
from maintenance.redis_client.server import ServerFacts

METRIC = "redis_own_walk"
_EDGES = ("hits before", "hits after", "misses before", "misses after")


def walk_samples(before: ServerFacts, after: ServerFacts | None) -> Iterator[Sample]:
    """Note a walk by what the counters said before and after it, under the server's run_id."""
    if after is None or after.run_id != before.run_id:
        return
    counters = (
        *(before.keyspace_hits, after.keyspace_hits),
        *(before.keyspace_misses, after.keyspace_misses),
    )
    for edge, counter in zip(_EDGES, counters, strict=True):
        yield Sample(METRIC, counter, f"{before.run_id} {edge}")


@dataclass(frozen=True, slots=True)
class OwnWalks:
    """Stretches of both counters, as first and last count; they may overlap."""

    hits: Sequence[tuple[float, float]] = ()
    misses: Sequence[tuple[float, float]] = ()

    @classmethod
    def noted(cls, histories: Sequence[History], run_id: str, since_seconds: float) -> "OwnWalks":
        """Collect what the runs on all targets noted of the server with this ``run_id``."""
        subjects = [f"{run_id} {edge}" for edge in _EDGES]
        hits: list[tuple[float, float]] = []
        misses: list[tuple[float, float]] = []
        for history in histories:
            found = history.series_by_subject(METRIC, subjects, since_seconds=since_seconds)
            hits += _pairs(found, *subjects[:2])
            misses += _pairs(found, *subjects[2:])
        return cls(hits, misses)


def _pairs(
    found: Mapping[str, Sequence[Point]], before: str, after: str
) -> Iterator[tuple[float, float]]:
    """Join what was stored at one moment: what a run noted."""
    ends = {point.at_epoch_seconds: point.value for point in found.get(after, ())}
    for point in found.get(before, ()):
        end = ends.get(point.at_epoch_seconds)
        if end is not None:
            yield point.value, end


def covered(stretches: Sequence[tuple[float, float]], first: int, last: int) -> int:
    """Return how much of a counter's way from ``first`` to ``last`` the stretches cover together."""
    total, reached = 0.0, float(first)
    for begin, end in sorted(stretches):
        until = min(end, last)
        total += max(0.0, until - max(begin, reached))
        reached = max(reached, until)
    return round(total)
