"""Running the function of a warmer, and cutting it off when it takes too long."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from maintenance.caching.warmers import Warmer

logger = logging.getLogger("maintenance.caching")

#: What a function whose query was cancelled may still take to clear up.
GRACE_SECONDS = 1.0


@dataclass(slots=True)
class Answer:
    """What a warmer's function returned or raised, and how long it took."""

    value: Any = None
    error: BaseException | None = None
    finished: bool = False
    seconds: float = 0.0
    databases: list[BaseDatabaseWrapper] = field(default_factory=list)


def run_function(one: Warmer, function: Callable[[], Any] | None = None) -> Answer:
    """Run a warmer's function, or ``function``, in a thread for at most its ``timeout_seconds``.

    One that takes longer is cut off: the queries of its Django connections are cancelled on the
    server, which ends it. Python cannot stop a thread that waits for something else: it runs on,
    and what it returns is dropped. The thread also tells foreign errors from those of the run
    itself: a time limit of the worker is raised here, in the waiting thread, and ends the run.
    """
    answer = Answer()
    work = function or one.function

    def compute() -> None:
        answer.databases = [connections[alias] for alias in connections]
        try:
            answer.value = work()
        except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises is its finding
            answer.error = error
        finally:
            answer.finished = True
            connections.close_all()  # Django's connections belong to a thread and die with it

    started = time.perf_counter()
    thread = threading.Thread(target=compute, name=f"warmer-{one.name}", daemon=True)
    thread.start()
    thread.join(one.timeout_seconds)
    answer.seconds = time.perf_counter() - started
    if answer.finished:
        return answer
    cut_off = Answer(seconds=answer.seconds)  # what the function may still answer is dropped
    _cancel_queries(answer.databases)
    thread.join(GRACE_SECONDS)
    return cut_off


def _cancel_queries(databases: list[BaseDatabaseWrapper]) -> None:
    for database in databases:
        cancel = getattr(database.connection, "cancel", None)
        if cancel is None:
            continue
        try:
            cancel()
        except Exception as error:  # noqa: BLE001 - any driver; the query may just have ended
            logger.debug("A query was not cancelled: %s", type(error).__name__)


def values_of(one: Warmer, answer: Answer) -> tuple[Mapping[str, Any], str]:
    """Return the values by key, or why there are none."""
    failure = failure_of(one, answer)
    if failure:
        return {}, failure
    if answer.value is None:
        return {}, "it returned None, which a reader could not tell from a miss"
    if one.key is not None:
        return {one.key: answer.value}, ""
    if not isinstance(answer.value, Mapping):
        return {}, f"it returned {type(answer.value).__name__} where many=True needs a mapping"
    return answer.value, ""


def failure_of(one: Warmer, answer: Answer) -> str:
    """Say why a function has no answer; empty where it has one."""
    if not answer.finished:
        return f"it took longer than {one.timeout_seconds:g} seconds"
    if answer.error is not None:
        return f"it raised {describe(answer.error)}"
    return ""


def describe(error: BaseException) -> str:
    """Name an error with its text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
