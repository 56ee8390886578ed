"""From the plan that a dry run has shown to the run that carries it out, with the same options."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from maintenance.admin.rights import User, holds, permission_to_run
from maintenance.admin.task_form import TaskForm
from maintenance.admin.wording import danger_words, relative
from maintenance.conf import configuration
from maintenance.core.errors import UnknownName
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.models import Run, RunState
from maintenance.reports.formatting import format_value, headings

#: What a plan was made of may have changed since: later on it is to be made anew.
PLAN_HOLDS = timedelta(hours=1)


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


def fresh_plan(spec: TaskSpec, target: str, options: Mapping[str, Any]) -> Run | None:
    """Return the dry run that says what a run with these options would do; ``None`` without a fresh one.

    It is old after an hour, and where the same task has run on the target since.
    """
    newest = Run.objects.filter(task=spec.name, target=target).order_by("-queued_at").first()
    if newest is None or newest.state != RunState.SUCCEEDED or newest.finished_at is None:
        return None
    is_of_these = newest.options == {**options, "dry_run": True}
    is_fresh = timezone.now() - newest.finished_at <= PLAN_HOLDS
    return newest if is_of_these and is_fresh else None


def figures_of(plan: Run) -> list[tuple[str, str]]:
    """Return what a plan foretells of each thing that it names, or why that would be left alone."""
    outcomes = [Outcome.from_json(body) for body in plan.report.body["outcomes"]]
    return [(outcome.action.subject, _foretold(outcome)) for outcome in outcomes]


def _foretold(outcome: Outcome) -> str:
    predicted = outcome.action.predicted
    figures = "; ".join(
        f"{words}: {format_value(name, predicted[name])}"
        for name, words in zip(predicted, headings(tuple(predicted)), strict=True)
    )
    if outcome.verdict is Verdict.PLANNED:
        return figures
    return f"{_('left alone')}: {outcome.sentence} ({figures})"


def plan_shown(key: str, spec: TaskSpec, target: str) -> str:
    """Return the id of the dry run that a person confirms, empty where it is none of this task."""
    try:
        wanted = uuid.UUID(key)
    except ValueError:
        return ""
    found = Run.objects.filter(id=wanted, task=spec.name, target=target, options__dry_run=True)
    return str(wanted) if found.exists() else ""
