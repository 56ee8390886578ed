"""One line in a site's ``celery.py``: its workers tell the ledger what becomes of its scheduled tasks.

::

    app = Celery("site")
    watch_tasks(app)

The tasks themselves are unchanged. A slot that was delivered twice, because its worker took longer than
the broker's visibility timeout or because two beats sent it, is executed once.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Celery, Task
from celery.signals import celeryd_after_setup

#: The header of a message that says which slot it is for.
SLOT_HEADER = "maintenance_slot"

_MARK = "maintenance_watches_tasks"
_OURS = "maintenance."


def watch_tasks(app: Celery) -> None:
    """Let workers of ``app`` note in the ledger when a scheduled task starts and how it ends.

    To be called where the application is made, which both beat and workers import. Costs a scheduled
    task three short transactions; a task that no schedule sent costs nothing.
    """
    setattr(app, _MARK, True)

    def wrap_all(**_details: Any) -> None:
        for name, task in app.tasks.items():
            if not name.startswith(_OURS):
                task.run = _watched(task)  # type: ignore[method-assign]  # as Celery's autoretry

    celeryd_after_setup.connect(wrap_all, weak=False)


def is_watched(app: Celery) -> bool:
    """Tell whether the workers of an application tell the ledger what becomes of its own tasks."""
    return bool(getattr(app, _MARK, False))


def _watched(task: "Task[Any, Any]") -> Callable[..., Any]:
    run = task.run

    @wraps(run)
    def watched(*args: Any, **kwargs: Any) -> Any:
        request = task.request
        if request.called_directly or not request.get(SLOT_HEADER):
            return run(*args, **kwargs)
        # Imported late: the application is made before Django's registry is ready.
        from maintenance.core.runs.foreign_runs import execute_once  # noqa: PLC0415

        return execute_once(task, lambda: run(*args, **kwargs))

    return watched
