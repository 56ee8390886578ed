"""The signal of Celery's soft time limit: where it strikes, and what it must not interrupt."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

logger = logging.getLogger("maintenance.runner")

#: What a pool's process gets from its worker (billiard); there is none on Windows.
_SIGNAL = getattr(signal, "SIGUSR1", None)


class _Struck(BaseException):
    """The soft time limit, for code that takes every ``Exception`` for a fault of its own."""


class _PassedBy:
    """The handler that notes a limit while the one ``before`` it stands aside."""

    def __init__(self) -> None:
        self.before: Any = None
        self.came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True


@contextmanager
def soft_limit_passes_by() -> Iterator[None]:
    """Let a soft time limit that strikes in the body strike nothing; the hard limit still holds.

    For a run from its claim on, but for its work. An error out of the middle of its end would leave a run
    that seems to be at work until its lease is over, and is then done once more.
    """
    limit = _PassedBy()
    try:
        with _handled_by(limit) as limit.before:
            yield
    finally:
        if limit.came:
            logger.warning("The soft time limit came while a run was ended, and was passed by.")


@contextmanager
def soft_limit_strikes() -> Iterator[None]:
    """Let the soft time limit end the body, in the midst of what it passes by.

    Raises ``SoftTimeLimitExceeded``, at once where the limit came before.
    """
    limit = signal.getsignal(_SIGNAL) if _SIGNAL is not None else None
    if not isinstance(limit, _PassedBy):
        yield
        return
    with _handled_by(limit.before) as replaced:
        if replaced is limit and limit.came:
            limit.came = False
            raise SoftTimeLimitExceeded
        yield


@contextmanager
def soft_limit_goes_through() -> Iterator[None]:
    """Let the soft time limit out of a body that takes every ``Exception`` for a fault of its own.

    Raises ``SoftTimeLimitExceeded`` in place of whatever became of the body.
    """
    came = False

    def strike(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise _Struck

    try:
        with _handled_by(strike):
            yield
    finally:
        if came:
            raise SoftTimeLimitExceeded from None


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None] | Any) -> Iterator[Any]:
    """Let ``handler`` have the signal meanwhile; yield the one before, ``None`` where nothing changed."""
    try:
        before = signal.signal(_SIGNAL, handler) if _SIGNAL is not None else None
    except ValueError:  # in a thread, which no such signal reaches
        before = None
    try:
        yield before
    finally:
        if before is not None and _SIGNAL is not None:
            signal.signal(_SIGNAL, before)
