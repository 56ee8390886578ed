"""The newest runs of each task on each target, in one query however long the history is."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from maintenance.core.attention.standings import Pair
from maintenance.core.runs.ledger_database import ledger_connection

# PostgreSQL cannot skip along an index for DISTINCT ON: it would read every run ever made. One
# probe of maintenance_run_history for each pair reads one row each. The pair is a range, not an
# equation: with equations the planner may walk the index of queued_at backwards instead, through
# the whole history for a pair that has no run (9 s where this takes 10 ms, with 1,000,000 runs).
_RECENT_OF_EACH_PAIR = """
SELECT pair.task, pair.target, run.id, run.state, run.severity,
       coalesce(run.finished_at, run.started_at, run.queued_at)
FROM unnest(%s::text[], %s::text[]) AS pair (task, target)
CROSS JOIN LATERAL (
    SELECT * FROM maintenance_run
    WHERE (task, target) >= (pair.task, pair.target)
      AND (task, target) <= (pair.task, pair.target)
    ORDER BY task, target, queued_at DESC
    LIMIT %s
) AS run
ORDER BY pair.task, pair.target, run.queued_at DESC
"""


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a list says of an earlier run: ``at`` is when it ended, or where it is otherwise."""

    id: uuid.UUID
    state: str
    severity: str
    at: datetime


def recent_runs(pairs: Iterable[Pair], count: int) -> dict[Pair, list[PastRun]]:
    """Return up to ``count`` runs of each (task, target) that has any, the newest first."""
    found: dict[Pair, list[PastRun]] = {}
    wanted = sorted(set(pairs))
    if not wanted:
        return found
    tasks, targets = zip(*wanted, strict=True)
    with ledger_connection().cursor() as cursor:
        cursor.execute(_RECENT_OF_EACH_PAIR, [list(tasks), list(targets), count])
        for task, target, key, state, severity, at in cursor.fetchall():
            found.setdefault((task, target), []).append(PastRun(key, state, severity, at))
    return found
