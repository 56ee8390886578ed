"""How things stand: the newest run of each task on each target that has looked, however long the history."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models.expressions import RawSQL

from maintenance.conf import Configuration
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.registry import all_tasks
from maintenance.models import Run, RunState

#: A task's full name, and a target.
Pair = tuple[str, str]

#: States of runs whose findings say how things are; a skipped or cancelled run has not looked.
RUNS_THAT_LOOKED = (RunState.SUCCEEDED, RunState.FAILED)

#: A verdict is a sentence; of what is longer the beginning is read.
MOST_SUMMARY_CHARACTERS = 400

# PostgreSQL cannot skip along an index for DISTINCT ON: it would read every run ever made. One
# probe of maintenance_run_history for each pair reads one row each. The pair is a range, not an
# equation: with equations the planner may walk the index of queued_at backwards instead, through
# the whole history for a pair that has no run. The pairs come as one JSON text, targets by task: of
# two arrays of thousands of names each would be quoted here and parsed there, one by one.
_STANDINGS = """
SELECT run.task, run.target, run.id::text, run.state, run.severity,
       coalesce(run.finished_at, run.queued_at), left(run.summary, %s)
FROM json_each(%s::json) AS wanted (task, targets)
CROSS JOIN LATERAL json_array_elements_text(wanted.targets) AS named (target)
CROSS JOIN LATERAL (
    SELECT task, target, id, state, severity, finished_at, queued_at, summary
    FROM {runs}
    WHERE (task, target) >= (wanted.task, named.target)
      AND (task, target) <= (wanted.task, named.target)
      AND state = ANY (%s)
    ORDER BY task, target, queued_at DESC
    LIMIT 1
) AS run
"""

_RUNS_NAMED = "SELECT value::uuid FROM json_array_elements_text(%s::json)"


class Standing(NamedTuple):
    """The newest run of one task on one target that has looked; ``run_id`` is ``None`` where none has.

    ``is_failure_muted`` is whether it failed and nobody wants to hear of it. A tuple, because a page has
    thousands of them.
    """

    task: str
    target: str
    run_id: Any = None
    state: str = ""
    severity: str = ""
    finished_at: datetime | None = None
    summary: str = ""
    is_failure_muted: bool = False


def configured_pairs(configuration: Configuration) -> list[Pair]:
    """Return every task's full name with each of its configured targets."""
    return [
        (spec.name, target) for spec in all_tasks() for target in spec.target_names(configuration)
    ]


def standings(pairs: Iterable[Pair]) -> dict[Pair, Standing]:
    """Return the standing of each (task, target) that has one. One query."""
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for task, target in dict.fromkeys(pairs):
        wanted[task].append(target)
    if not wanted:
        return {}
    text = _STANDINGS.format(runs=ledger_connection().ops.quote_name(Run._meta.db_table))
    looked = [state.value for state in RUNS_THAT_LOOKED]
    with ledger_connection().cursor() as cursor:
        cursor.execute(text, [MOST_SUMMARY_CHARACTERS, json.dumps(wanted), looked])
        return {(row[0], row[1]): Standing(*row) for row in cursor.fetchall()}


def runs_named(run_ids: Iterable[Any]) -> RawSQL:
    """Return these runs as a subquery, for ``run__in``: one parameter, however many there are.

    Five hundred targets have thousands of standings, whose ids in a list would be as many parameters,
    checked and quoted one by one; PostgreSQL takes 65,535 at most from a client that binds them.
    """
    return RawSQL(_RUNS_NAMED, [json.dumps([str(run_id) for run_id in run_ids])])  # noqa: S611 - a constant
