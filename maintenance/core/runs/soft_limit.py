"""The signal of Celery's soft time limit, while the end of a run is written."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("maintenance.runner")

#: What a pool's process gets from its worker (billiard); there is none on Windows.
_SIGNAL = getattr(signal, "SIGUSR1", None)


@contextmanager
def soft_limit_passes_by() -> Iterator[None]:
    """Let a soft time limit that strikes in the body strike nothing; the hard limit still holds.

    The work is done by then. An error out of the middle of its end would leave a run that seems to be at
    work until its lease is over, and is then done once more.
    """
    try:
        before = signal.signal(_SIGNAL, _note) if _SIGNAL is not None else None
    except ValueError:  # in a thread, which no such signal reaches
        before = None
    try:
        yield
    finally:
        if before is not None and _SIGNAL is not None:
            signal.signal(_SIGNAL, before)


def _note(_number: int, _frame: FrameType | None) -> None:
    logger.warning(
        "The soft time limit came while the end of a run was written, and was passed by."
    )
