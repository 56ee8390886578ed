"""Fixture: tasks that are made for one test, of a function in the test itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind, TaskSpec, _specs, register, task_named

Work = Callable[[Job[Any, Any]], Report]
TaskFactory = Callable[..., TaskSpec]


@pytest.fixture
def task_that() -> Iterator[TaskFactory]:
    """Register a task for this test only: ``task_that(returns_something, writes=True)``."""
    added: list[str] = []

    def add(function: Work, **fields: Any) -> TaskSpec:
        spec = replace(
            task_named("note_low"),
            name=f"maintenance.{function.__name__}",
            function=function,
            summary="Made for a test.",
            **{"target_kind": TargetKind.NONE, "options_type": NoOptions, **fields},
        )
        register(spec)
        added.append(spec.name)
        return spec

    yield add
    for name in added:
        del _specs[name]
