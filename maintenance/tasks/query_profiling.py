"""Celery's signals around a task: its queries are profiled as those of a request are.

On by the same settings as the middleware. Tasks of our own are left out: their work on a database
goes through sessions of their own.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from celery import signals

from maintenance.core.runs.registry import PREFIX
from maintenance.web.profiling_settings import ProfilingSettings

if TYPE_CHECKING:
    from maintenance.web.profile import QueryProfile

#: What is at work in this process, by the task's id; an eager retry runs inside of its first try.
_at_work: dict[str, list[tuple["QueryProfile", AbstractContextManager[None]]]] = {}


def profile_tasks() -> bool:
    """Connect to the signals where profiling is enabled; tell whether it is."""
    if not ProfilingSettings.current().enabled:
        return False
    from maintenance.web.profile import watch_connections

    watch_connections()
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid="maintenance.query_profile")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid="maintenance.query_profile")
    return True


def _begin(task_id: str, task: Any, **_kwargs: Any) -> None:
    from maintenance.web.performance_logging import is_sampled
    from maintenance.web.profile import QueryProfile, counting, watch_connections

    if task.name.startswith(PREFIX) or not is_sampled(ProfilingSettings.current()):
        return
    watch_connections()  # those of a process that was forked with open ones
    profile = QueryProfile()
    around = counting(profile)
    around.__enter__()
    _at_work.setdefault(task_id, []).append((profile, around))


def _end(task_id: str, task: Any, state: str | None = None, **_kwargs: Any) -> None:
    from maintenance.web.logger_names import TASK_LOGGER
    from maintenance.web.performance_logging import logger_named, write

    tries = _at_work.get(task_id)
    if not tries:
        return
    profile, around = tries.pop()
    if not tries:
        del _at_work[task_id]
    around.__exit__(None, None, None)
    facts = {"kind": "task", "name": task.name, "view": task.name, "status": state}
    write(profile, ProfilingSettings.current(), logger_named(TASK_LOGGER), facts)
