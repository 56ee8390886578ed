"""What a subject is given to work with: its target, its options, and a way to report progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

TargetT_co = TypeVar("TargetT_co", covariant=True)
OptionsT_co = TypeVar("OptionsT_co", covariant=True)


class Progress(Protocol):
    """Where work says how far it is. Cheap to call: implementations throttle their writes."""

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        """Record ``done`` of ``total`` ``unit`` in ``phase``.

        Raises :class:`~maintenance.core.errors.Cancelled` if somebody asked the run to stop and
        :class:`~maintenance.core.errors.LostLease` if another worker took it over: call it
        before each table and each batch.
        """


class SilentProgress:
    """Progress that nobody watches: for commands that measure and print, and for tests."""

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Job(Generic[TargetT_co, OptionsT_co]):
    """One piece of work.

    ``previous_state`` is the ``state`` that the last successful run of the same task on the same
    target left in its report, empty on the first run.
    """

    target_name: str
    target: TargetT_co
    options: OptionsT_co
    progress: Progress = field(default_factory=SilentProgress)
    previous_state: Mapping[str, Any] = field(default_factory=dict)
