"""What must hold before a task that writes may work: its target's leave, and the right time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from maintenance.conf import configuration
from maintenance.core.errors import Postponed, Skipped
from maintenance.core.job import OpenWindow
from maintenance.core.runs.registry import TaskSpec
from maintenance.core.windows import Window, closes_at, opens_at
from maintenance.models import Run, RunState
from maintenance.reports.formatting import format_time


def require_leave(spec: TaskSpec, target_name: str, target: Any) -> None:
    """Raise ``Skipped`` for a dangerous task that the configuration of its target does not allow."""
    if spec.dangerous is None or spec.dangerous in getattr(target, "allow", ()):
        return
    raise Skipped(
        f'{spec.dangerous} is off for {spec.target_kind} "{target_name}":'
        f' add allow = ["{spec.dangerous}"] to it.'
    )


def open_window(windows: Sequence[Window], now: datetime) -> OpenWindow | None:
    """Return the window that is open now, ``None`` where there is none."""
    closes = closes_at(windows, now)
    if closes is None:
        return None
    opens_again = opens_at(windows, closes) or closes  # none comes where they leave no time out
    return OpenWindow(closes.timestamp(), opens_again.timestamp())


def like_that_waits(run: Run) -> Run | None:
    """Return a run of the same work that waits already, for a better time or for others to end."""
    queued = Run.objects.filter(task=run.task, target=run.target, state=RunState.QUEUED)
    return queued.filter(options=run.options).exclude(reason="").exclude(id=run.id).first()


def require_good_time(run: Run, windows: Sequence[Window], now: datetime) -> None:
    """Raise ``Postponed`` outside of a target's windows, ``Skipped`` where its like waits already.

    A run that a person started goes on.
    """
    opens = None if closes_at(windows, now) else opens_at(windows, now)
    if opens is None or run.is_by_hand:
        return
    waiting = like_that_waits(run)
    opening = format_time(opens.astimezone(ZoneInfo(configuration().timezone)))
    where = f"outside of its maintenance windows; the next one opens at {opening}"
    if waiting is not None:
        raise Skipped(f"{where}, and run {waiting.id} of the same work waits for it already.")
    raise Postponed(f"{where}.", opens.timestamp())
