"""Ctrl-C and its relatives: the first one ends the work, a further one hurries the end."""

import signal as signals
from types import FrameType, TracebackType
from typing import Any, Self

from service.up.errors import StopRequested

# A closed terminal (SIGHUP) ends the service in order too: its servers would die with it anyway.
SIGNALS = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


class StopRequests:
    """Turns the first signal into :class:`StopRequested`; counts the others.

    Use it as a context manager in the main thread, which is where Python runs signal handlers.
    """

    def __init__(self) -> None:
        self._count = 0
        self._count_at_stop: int | None = None
        self._previous: dict[signals.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._previous[number] = signals.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signals.signal(number, handler)

    def begin_stop(self) -> None:
        """Let no signal interrupt what follows: from here on they are counted."""
        if self._count_at_stop is None:
            self._count_at_stop = self._count

    @property
    def were_made(self) -> bool:
        """Whether anybody asked for the end at all."""
        return self._count > 0

    @property
    def hurry(self) -> bool:
        """Whether somebody asked again after the stop had begun."""
        return self._count_at_stop is not None and self._count > self._count_at_stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._count += 1
        if self._count == 1 and self._count_at_stop is None:
            raise StopRequested(signals.Signals(number).name)
