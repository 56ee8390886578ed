"""Tasks that are not ours, sent by our scheduler: the same slots and rows, their code unchanged."""

from maintenance.core.errors import UnknownName
from maintenance.core.registry import PREFIX, task_named


def is_foreign(task: str) -> bool:
    """Tell whether a task is somebody else's: unknown here, and not named as ours are.

    A task of ours that was renamed is not foreign: its slots fail with the reason.
    """
    try:
        return task_named(task).name != task
    except UnknownName:
        return not task.startswith(PREFIX) or "." in task.removeprefix(PREFIX)
