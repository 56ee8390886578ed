"""The runs that a checklist asks for, and sending them."""

import getpass
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maintenance.conf import Configuration
from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.models import Run, Trigger
from maintenance.schedules import CHECKLISTS


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One line of a checklist on one target."""

    spec: TaskSpec
    target: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.spec.short_name}{f' on {self.target}' if self.target else ''}"


@dataclass(frozen=True, slots=True)
class ChecklistPlan:
    """What one checklist runs, and which of its lines an earlier one has run already."""

    name: str
    runs: tuple[PlannedRun, ...]
    repeats: tuple[tuple[PlannedRun, str], ...] = field(default=())


def plan_checklists(names: Iterable[str], configuration: Configuration) -> list[ChecklistPlan]:
    """Return a plan for each checklist, in the given order.

    The same task with the same options on the same target is run once, in the first checklist
    that asks for it: a second time it would find what the first one left.
    """
    first_in: dict[tuple[str, str, str], str] = {}
    plans = []
    for name in dict.fromkeys(names):
        runs: list[PlannedRun] = []
        repeats: list[tuple[PlannedRun, str]] = []
        for schedule in CHECKLISTS[name]:
            spec = task_named(schedule.task)
            for target in spec.target_names(configuration):
                planned = PlannedRun(spec, target, schedule.options)
                key = (spec.name, target, json.dumps(dict(schedule.options), sort_keys=True))
                if key in first_in:
                    repeats.append((planned, first_in[key]))
                else:
                    first_in[key] = name
                    runs.append(planned)
        plans.append(ChecklistPlan(name, tuple(runs), tuple(repeats)))
    return plans


def send(plan: ChecklistPlan) -> list[Run]:
    """Write a ledger row for each run of the plan and send its message."""
    origin = Origin(trigger=Trigger.CLI, actor=operator(), checklist=plan.name)
    return [start_run(p.spec, p.target, p.options, origin) for p in plan.runs]


def operator() -> str:
    """Return the name of the user who typed the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return ""


def current(runs: Sequence[Run]) -> list[Run]:
    """Read the runs again, in the same order."""
    found = Run.objects.in_bulk([run.id for run in runs])
    return [found.get(run.id, run) for run in runs]
