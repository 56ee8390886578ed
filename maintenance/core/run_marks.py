"""Which attempt of which run is at work here, so that its sessions on a target can carry its name.

Subjects open the sessions and know no engine; the engine knows no subject. Both know this.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_MARKED = re.compile(r":(?P<run_id>[0-9a-f]{32}):(?P<attempt>\d+)\Z")


@dataclass(frozen=True, slots=True)
class RunMark:
    """One attempt of a run; ``run_id`` is 32 hexadecimal digits."""

    run_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run_id}:{self.attempt}"

    @classmethod
    def at_end_of(cls, name: str) -> "RunMark | None":
        """Read the mark that a session's name ends in; ``None`` where it carries none."""
        found = _MARKED.search(name)
        return cls(found["run_id"], int(found["attempt"])) if found else None


#: Chooses the attempts, among those that have sessions on a target, whose sessions are to end.
Choose = Callable[[Collection[RunMark]], Collection[RunMark]]


@dataclass(frozen=True, slots=True)
class Ended:
    """Sessions that were ended and sessions that stay, each by name; ``refusal`` says why those do."""

    ended: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    refusal: str = ""


_current: ContextVar[RunMark | None] = ContextVar("run_mark", default=None)


def current_mark() -> RunMark | None:
    """Return the attempt at work in this thread; ``None`` outside of a run."""
    return _current.get()


@contextmanager
def marked(mark: RunMark) -> Iterator[None]:
    """Have the sessions that the body opens in this thread carry ``mark``."""
    token = _current.set(mark)
    try:
        yield
    finally:
        _current.reset(token)
