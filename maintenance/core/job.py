"""What a subject is given to work with: target, options, progress, and what earlier runs stored."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from maintenance.core.loose_ends import LooseEnds
from maintenance.core.plans import Outcome

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

    def check(self) -> None:
        """Raise what :meth:`update` would, and record nothing.

        Called right before each statement and each batch that writes: it costs a look at a clock.
        """


class SilentProgress:
    """Progress that nobody watches: for commands that measure and print, and for tests."""

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing."""


#: How far back a series reaches where nobody asks for more: every season of a site once.
YEAR_SECONDS = 365 * 86_400.0

#: A trend needs no more: of a year of daily runs about every second one stands.
POINTS_PER_SERIES = 200


@dataclass(frozen=True, slots=True)
class Point:
    """One value that an earlier run stored, and when, in seconds since the epoch."""

    at_epoch_seconds: float
    value: float


class History(Protocol):
    """The samples that earlier runs stored for one target, whichever task took them.

    Every series is in the order of time. One of more than :data:`POINTS_PER_SERIES` values is
    thinned to the last value of each of so many equal stretches, and the first of all.
    """

    def series(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Sequence[Point]:
        """Return the values of one subject in the last ``since_seconds``; none is an empty one."""

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> Mapping[str, Sequence[Point]]:
        """Return the values of many subjects, all that are known where none is named.

        Subjects without a value are left out. One query, however many subjects.
        """

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        """Return the highest value, which thinning might have lost; ``None`` where there is none."""


class NoHistory:
    """The history of what nobody has measured before."""

    def series(
        self,
        metric: str,  # noqa: ARG002 - the protocol's signature, here and below
        subject: str = "",  # noqa: ARG002
        *,
        since_seconds: float = YEAR_SECONDS,  # noqa: ARG002
    ) -> Sequence[Point]:
        """Return nothing."""
        return ()

    def series_by_subject(
        self,
        metric: str,  # noqa: ARG002
        subjects: Collection[str] | None = None,  # noqa: ARG002
        *,
        since_seconds: float = YEAR_SECONDS,  # noqa: ARG002
    ) -> Mapping[str, Sequence[Point]]:
        """Return nothing."""
        return {}

    def highest(
        self,
        metric: str,  # noqa: ARG002
        subject: str = "",  # noqa: ARG002
        *,
        since_seconds: float = YEAR_SECONDS,  # noqa: ARG002
    ) -> Point | None:
        """Return nothing."""
        return None


class EarlierRuns(Protocol):
    """What earlier runs left, for whoever measures outside of a run: see :class:`NoEarlierRuns`."""

    def previous_state(self, task: str, target_name: str) -> Mapping[str, Any]:
        """Return ``previous_state`` as a run of ``task`` on this target would get it."""

    def history(self, target_name: str) -> History:
        """Return the history as a run on this target would get it."""


class NoEarlierRuns:
    """Nothing has run before, or nobody can tell."""

    def previous_state(self, task: str, target_name: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return nothing."""
        return {}

    def history(self, target_name: str) -> History:  # noqa: ARG002
        """Return nothing."""
        return NoHistory()


class Steps(Protocol):
    """What a run has done so far, so that an interrupted one goes on and repeats nothing.

    Safe to call from several threads.
    """

    def done(self) -> Mapping[str, Outcome]:
        """Return what earlier attempts of this run have done, by the key they gave it."""

    def record(self, key: str, outcome: Outcome) -> None:
        """Note that the step ``key`` is done.

        It may be stored a moment later, together with others. Raises
        :class:`~maintenance.core.errors.LostLease` if another worker took the run over.
        """


class NoSteps:
    """Steps of what cannot be taken up again: a command that measures, and tests."""

    def done(self) -> Mapping[str, Outcome]:
        """Return nothing."""
        return {}

    def record(self, key: str, outcome: Outcome) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """The maintenance window that a run is in, in seconds since the epoch."""

    closes_epoch_seconds: float
    next_opens_epoch_seconds: float


@dataclass(frozen=True, slots=True)
class Job(Generic[TargetT_co, OptionsT_co]):
    """One piece of work.

    ``previous_state`` is the ``state`` that the last successful run of the same task on the same
    target left in its report, empty on the first run. ``history`` holds the samples of all runs on
    this target. ``loose_ends`` takes what is to be named and taken up where the work ends early. ``run_id`` is 32 hexadecimal digits, empty outside of a run. ``by_hand`` is whether a person started it,
    who may do so outside of a window. ``window`` is the one that is open; ``None`` where the target
    has none, or none is open.
    """

    target_name: str
    target: TargetT_co
    options: OptionsT_co
    progress: Progress = field(default_factory=SilentProgress)
    previous_state: Mapping[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=NoHistory)
    steps: Steps = field(default_factory=NoSteps)
    loose_ends: LooseEnds = field(default_factory=LooseEnds)
    run_id: str = ""
    by_hand: bool = False
    window: OpenWindow | None = None
