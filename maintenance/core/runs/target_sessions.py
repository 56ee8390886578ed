"""How the sessions of runs on a kind of target are found and ended: said by the tasks of that kind.

The engine ends them and knows no subject; a subject knows how and knows no engine.
"""

from collections.abc import Callable
from typing import Any, Protocol

from maintenance.core.run_marks import Choose, Ended, RunMark
from maintenance.core.runs.registry import TargetKind


class TargetSessions(Protocol):
    """How sessions of runs are found and ended on targets of one kind.

    Each opens a connection of its own, and raises what that raises.
    """

    def end(self, target: Any, choose: Choose) -> Ended:
        """End the sessions of the attempts that ``choose`` picks, and wait for their end."""

    def cancel(self, target: Any, mark: RunMark, *, older_than_seconds: float) -> int:
        """Cancel the statements of one attempt that have lasted for so long; return how many."""


_by_kind: dict[TargetKind, Callable[[], TargetSessions]] = {}


def find_sessions_by(kind: TargetKind, sessions: Callable[[], TargetSessions]) -> None:
    """Let what ``sessions`` returns end the sessions of runs on targets of this kind.

    It is called when the first one is to be ended, so that it may import its subject then.
    """
    _by_kind[kind] = sessions


def sessions_on(kind: TargetKind) -> TargetSessions | None:
    """Return what ends sessions on targets of this kind; ``None`` where they have none."""
    return _by_kind[kind]() if kind in _by_kind else None
