"""What earlier runs left, for commands: as much of it as the ledger gives."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError

from maintenance.commands.errors import sentence_of
from maintenance.conf import Configuration, configuration
from maintenance.core.job import YEAR_SECONDS, EarlierRuns, History, Job, Point
from maintenance.core.runs.accepted_targets import configuration_in_force
from maintenance.core.runs.history import LedgerRuns

T = TypeVar("T")
TargetT = TypeVar("TargetT")
OptionsT = TypeVar("OptionsT")


class ReachableRuns:
    """What the ledger knows of earlier runs; nothing from the moment on at which it is away.

    ``note`` is told so once. A command stores nothing itself, so that a look by hand does not move
    the window of the next scheduled run.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._runs = LedgerRuns()
        self._is_away = False

    def previous_state(self, task: str, target_name: str) -> Mapping[str, Any]:
        """Return what the last successful run left."""
        return self.read(lambda: self._runs.previous_state(task, target_name), {})

    def history(self, target_name: str) -> History:
        """Return the samples of a target."""
        return _ReachableHistory(self, self._runs.history(target_name))

    def configuration(self) -> Configuration:
        """Return the configuration with the accepted targets; as it is while the ledger is away."""
        return self.read(configuration_in_force, configuration())

    def read(self, ask: Callable[[], T], nothing: T) -> T:
        """Ask the ledger, unless it was away before."""
        if self._is_away:
            return nothing
        try:
            return ask()
        except (DatabaseError, InterfaceError) as error:
            self._is_away = True
            reason = sentence_of(error)
            self._note(f"Nothing is compared with earlier runs. {reason}")
            return nothing


class _ReachableHistory:
    """A history that is empty while the ledger is away."""

    def __init__(self, runs: ReachableRuns, history: History) -> None:
        self._runs = runs
        self._history = history

    def series(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Sequence[Point]:
        """Return the values of one subject."""
        return self._runs.read(
            lambda: self._history.series(metric, subject, since_seconds=since_seconds), ()
        )

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> Mapping[str, Sequence[Point]]:
        """Return the values of many subjects."""
        return self._runs.read(
            lambda: self._history.series_by_subject(metric, subjects, since_seconds=since_seconds),
            {},
        )

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        """Return the highest value."""
        return self._runs.read(
            lambda: self._history.highest(metric, subject, since_seconds=since_seconds), None
        )


def job_after(
    earlier: EarlierRuns, task: str, target_name: str, target: TargetT, options: OptionsT
) -> Job[TargetT, OptionsT]:
    """Return the job that a run of ``task`` would get now."""
    return Job(
        target_name,
        target,
        options,
        previous_state=earlier.previous_state(task, target_name),
        history=earlier.history(target_name),
    )
