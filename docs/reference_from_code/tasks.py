"""The page of tasks: what each does, takes, needs and may take, from the registry."""

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from docs.reference_from_code.markdown import code, page, prose, table
from docs.reference_from_code.types_in_words import type_words
from maintenance.core.runs.registry import TaskSpec, all_tasks
from maintenance.schedules import CHECKLISTS

_INTRODUCTION = """
Every task is run by its schedule, in the admin (*Run now*), by `maintenance run <task>` or through the API.
Options are checked before anything runs. Limits are Celery's; statements of ours have the server's own before.
"""


def tasks_page() -> str:
    """Return the page."""
    return page("Tasks", _INTRODUCTION.strip(), *_tasks())


def _tasks() -> Iterator[str]:
    for spec in all_tasks():
        yield f"## {spec.short_name}"
        yield prose(inspect.getdoc(spec.function) or "")
        yield table(("", ""), facts(spec))
        options = list(_options(spec.options_type))
        if options:
            yield table(("option", "value", "default"), options)
            yield prose(_own_words(spec.options_type))


def facts(spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """Yield what an operator wants to know of a task before it runs."""
    checklists = [
        name for name, lines in CHECKLISTS.items() if any(s.task == spec.short_name for s in lines)
    ]
    yield "target", f"{spec.target_kind}"
    yield "queue", code(spec.queue)
    yield "scheduled", ", ".join(checklists) or "never, only by hand"
    yield "writes", _writing(spec)
    yield (
        "time limit",
        f"{spec.soft_time_limit_seconds:,.0f} s, hard {spec.time_limit_seconds:,.0f} s",
    )
    yield "attempts", f"{spec.retry.max_attempts}, of failures that can pass"
    if spec.rate_limit:
        yield "rate limit", f"{spec.rate_limit} over all workers"
    if spec.max_concurrent:
        yield "at once", f"{spec.max_concurrent} over all workers"
    if spec.shared_resource:
        yield "never beside", f"tasks of the same resource: {code(spec.shared_resource)}"


def _writing(spec: TaskSpec) -> str:
    if spec.dangerous:
        return (
            f"yes, and off until the target's `allow` names {code(spec.dangerous)}; has a dry run"
        )
    if spec.writes:
        return f"yes{'; has a dry run' if spec.has_dry_run else ''}"
    return "no"


def _options(options_type: type[Any]) -> Iterator[tuple[str, str, str]]:
    hints = get_type_hints(options_type)
    for field in fields(options_type):
        yield code(field.name), type_words(hints[field.name]), _default(field)


def _default(field: "Field[Any]") -> str:
    if field.default is not MISSING:
        return code(repr(field.default))
    if field.default_factory is not MISSING:
        return code(repr(field.default_factory()))
    return "must be given"


def _own_words(options_type: type[Any]) -> str:
    """Return the docstring of the options, unless it is the signature that dataclasses make."""
    words = options_type.__doc__ or ""
    return "" if words.startswith(f"{options_type.__name__}(") else inspect.cleandoc(words)
