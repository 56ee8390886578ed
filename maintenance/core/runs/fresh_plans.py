"""The dry run on whose figures a person confirms what can harm a site."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone

from maintenance.core.errors import InvalidOptions
from maintenance.core.options import parse_options
from maintenance.core.runs.registry import TaskSpec
from maintenance.models import Run, RunState

#: What a plan was made of may have changed since: later on it is to be made anew.
PLAN_HOLDS = timedelta(hours=1)


def fresh_plan(spec: TaskSpec, target: str, options: Mapping[str, Any]) -> Run | None:
    """Return the dry run that says what a run with these options would do; ``None`` without a fresh one.

    It is old after an hour, and where the same task has run on the target since. An option that is
    left out is the same as its default. Raises ``InvalidOptions`` for options that the task refuses.
    """
    newest = Run.objects.filter(task=spec.name, target=target).order_by("-queued_at").first()
    if newest is None or newest.state != RunState.SUCCEEDED or newest.finished_at is None:
        return None
    wanted = parse_options(spec.options_type, {**options, "dry_run": True})
    try:
        is_of_these = parse_options(spec.options_type, newest.options) == wanted
    except InvalidOptions:  # made by another release, whose options were others
        return None
    is_fresh = timezone.now() - newest.finished_at <= PLAN_HOLDS
    return newest if is_of_these and is_fresh else None
