"""Watching runs: a live table in a terminal, a line at each end in a pipe."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from django.utils import timezone
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from maintenance.models import Run, RunState
from service.up.output import Output, plain_line

BAR_WIDTH = 20
STATE_STYLES = {
    RunState.QUEUED: "dim",
    RunState.RUNNING: "cyan",
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "bold red",
    RunState.SKIPPED: "dim",
    RunState.CANCELLED: "yellow",
}
SEVERITY_STYLES = {"ok": "green", "info": "cyan", "warning": "yellow", "critical": "bold red"}


class View(Protocol):
    """Shows the runs of one checklist while they last."""

    def update(self, runs: Sequence[Run]) -> None:
        """Show the runs as they are now."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, leaving the last state in the terminal."""


def view_for(output: Output, checklist: str) -> View:
    """Return the view that fits standard output."""
    if output.console.is_terminal:
        return TableView(output, checklist)
    return LineView(output, checklist)


class LineView:
    """One line a run, when it ends."""

    def __init__(self, output: Output, checklist: str) -> None:
        self._output = output
        self._checklist = checklist
        self._told: set[object] = set()

    def update(self, runs: Sequence[Run]) -> None:
        """Print a line for each run that has ended since the last call."""
        for run in runs:
            if run.is_finished and run.id not in self._told:
                self._told.add(run.id)
                count = f"{len(self._told)}/{len(runs)}"
                self._output.say(
                    f"{self._checklist} {count}: {run} {run.state} after {_seconds(run)}"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is open."""


class TableView:
    """A table that is drawn again and again in the same place."""

    def __init__(self, output: Output, checklist: str) -> None:
        self._checklist = checklist
        self._live = Live(console=output.console, auto_refresh=False)

    def update(self, runs: Sequence[Run]) -> None:
        """Draw the runs as they are now."""
        self._live.update(run_table(self._checklist, runs), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()


def run_table(checklist: str, runs: Sequence[Run]) -> Table:
    """Return the table of one checklist: task, target, state, progress, time and verdict."""
    ended = sum(run.is_finished for run in runs)
    table = Table(
        title=f"{checklist}: {ended} of {len(runs)} done", title_justify="left", expand=True
    )
    for heading in ("Task", "Target", "State", "Phase"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Progress", width=BAR_WIDTH)
    table.add_column("Time", justify="right", no_wrap=True)
    table.add_column("Verdict", ratio=1, no_wrap=True, overflow="ellipsis")
    for run in runs:
        verdict = Text(plain_line(run.summary), style=SEVERITY_STYLES.get(run.severity, ""))
        state = Text(run.state, style=STATE_STYLES.get(RunState(run.state), ""))
        table.add_row(
            *(run.short_task, run.target, state, Text(run.phase)),
            _bar(run),
            _seconds(run),
            verdict,
        )
    return table


def _bar(run: Run) -> ProgressBar | Text:
    if run.state == RunState.RUNNING and run.progress_total:
        return ProgressBar(run.progress_total, run.progress_done, width=BAR_WIDTH)
    if run.state == RunState.RUNNING and run.progress_done:
        return Text(f"{run.progress_done} {run.progress_unit}")
    return Text("")


def _seconds(run: Run, now: datetime | None = None) -> str:
    if run.started_at is None:
        return ""
    lasted: timedelta = (run.finished_at or now or timezone.now()) - run.started_at
    return f"{lasted.total_seconds():.1f} s"
