"""How many runs may be at work at once: of a task, and on a target, over all workers.

Counted where a run is claimed, in the same transaction, under an advisory lock a cap: two workers
that claim at the same moment count one after the other. A task or target without a cap locks nothing.
"""

import random
from datetime import timedelta

from django.db.models import QuerySet

from maintenance.conf import configuration
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.registry import TaskSpec, all_tasks
from maintenance.models import Run, RunState

#: A run that has to wait for others comes again after this part of the time it has waited so far:
#: soon at first, and not too often where the others take hours.
WAIT_RATIO = 1 / 5
SHORTEST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0


def has_a_cap(spec: TaskSpec, target: str) -> bool:
    """Tell whether runs have to be counted before one of ``spec`` on ``target`` may start."""
    return spec.max_concurrent is not None or _limit_of_target(spec, target) is not None


def reason_to_wait(run: Run, spec: TaskSpec) -> str:
    """Say which cap is used up by runs at work; empty where the run may start.

    Holds what it counted by until the end of the transaction. Costs nothing without a cap, a lock and
    a count of the runs at work for each.
    """
    at_work = Run.objects.filter(state=RunState.RUNNING).exclude(id=run.id)
    if spec.max_concurrent is not None:
        same_task = at_work.filter(task=spec.name)
        if _is_full(f"task {spec.name}", same_task, spec.max_concurrent):
            return f"{_runs(spec.max_concurrent)} of {spec.short_name} at work, which is its limit"
    limit = _limit_of_target(spec, run.target)
    if limit is not None:
        kind = spec.target_kind
        tasks = [other.name for other in all_tasks() if other.target_kind is kind]
        on_target = at_work.filter(target=run.target, task__in=tasks)
        if _is_full(f"{kind} {run.target}", on_target, limit):
            return (
                f"{_runs(limit)} at work on {kind} {run.target}, which is its limit"
                " (max_concurrent_runs)"
            )
    return ""


def _limit_of_target(spec: TaskSpec, name: str) -> int | None:
    target = spec.target_kind.targets(configuration()).get(name)
    limit: int | None = getattr(target, "max_concurrent_runs", None)
    return limit


def _is_full(cap: str, runs: QuerySet[Run], limit: int) -> bool:
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))",
            [f"maintenance cap: {cap}"],
        )
    return runs.count() >= limit


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def wait_seconds(waited: timedelta) -> float:
    """Draw how long a run waits that has ``waited`` already, so that several do not come together."""
    wait = waited.total_seconds() * WAIT_RATIO
    wait = min(max(wait, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
    return wait * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, not a secret
