"""From the plan that a dry run has shown to the run that carries it out, with the same options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from maintenance.admin.rights import permission_to_run
from maintenance.admin.task_form import TaskForm
from maintenance.admin.wording import danger_words, relative
from maintenance.conf import configuration
from maintenance.core.errors import UnknownName
from maintenance.core.runs.fresh_plans import PLAN_HOLDS, fresh_plan
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.models import Run, RunState
from maintenance.people import User, holds


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """What stands beside the plan of a dry run. ``form`` carries its options, hidden; none of an old plan."""

    spec: TaskSpec
    age: str
    form: TaskForm | None
    danger: str


def plan_offer(run: Run, following: Run | None, user: User) -> PlanOffer | None:
    """Return the way from a dry run to the real one; ``None`` where there is none for this person.

    A plan is old after an hour, and where the same task has run on the target since.
    """
    if run.state != RunState.SUCCEEDED or not run.options.get("dry_run"):
        return None
    try:
        spec = task_named(run.task)
    except UnknownName:  # the task was renamed or removed since
        return None
    parsed = configuration()
    is_there = run.target in spec.target_names(parsed)
    if not spec.writes or not is_there or not holds(user, permission_to_run(spec)):
        return None
    made_at, now = run.finished_at or run.queued_at, timezone.now()
    is_old = following is not None or now - made_at > PLAN_HOLDS
    form = None if is_old else TaskForm(spec, parsed, target=run.target, options=run.options)
    return PlanOffer(spec, relative(made_at, now), form, danger_words(spec.dangerous))


def plan_shown(key: str, spec: TaskSpec, target: str, options: Mapping[str, Any]) -> str:
    """Return the id of the dry run that a person confirms, empty where it says no more what would be done.

    Raises ``InvalidOptions`` for options that the task refuses.
    """
    plan = fresh_plan(spec, target, options) if key and spec.has_dry_run else None
    return key if plan is not None and str(plan.id) == key else ""
