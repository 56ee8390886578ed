"""How a worker takes a message: what is none of a task is discarded, and ends no worker.

Celery (5.7, ``celery.worker.strategy`` and ``request``) unpacks body and headers where it expects no error.
A body that is JSON, but no list of three, ends the worker; it gives the message back as it ends, and so ends
the next one as well.
"""

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def checked(task: Any, app: Any, consumer: Any, **details: Any) -> Callable[..., Any]:
    """Return Celery's own handler of a task's messages, behind a look at each."""
    handle = default(task, app, consumer, **details)

    def handle_checked(message: Any, body: Any, *answers: Any, **more: Any) -> Any:
        try:
            if body is None:  # protocol 2, the only one that Celery sends
                _require_form(message.payload)
            return handle(message, body, *answers, **more)
        except _UNREADABLE as error:
            raise InvalidTaskError(f"the message cannot be read: {error}") from error

    return handle_checked


def _require_form(payload: Any) -> None:
    match payload:
        case [list() | tuple(), dict(), dict() | None]:
            return
    raise InvalidTaskError("its body is not arguments, keyword arguments and options")
