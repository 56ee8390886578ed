"""Keeps units running, and ends them in order."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.embedded.errors import EmbeddedError
from service.up.output import Output
from service.up.processes import ProgramProcess, Unit
from service.up.restarts import RestartPacer

POLL_SECONDS = 0.1
KILL_PATIENCE_SECONDS = 5.0
#: After a request to hurry: time enough for a worker to hand its messages back to the broker.
HURRY_PATIENCE_SECONDS = 3.0


@dataclass(slots=True)
class _Watched:
    unit: Unit
    started_at: float
    pacer: RestartPacer = field(default_factory=RestartPacer)
    restart_at: float | None = None


class Supervisor:
    """Starts units, starts them again when they end by themselves, stops them in order.

    Every method belongs to the main thread: the kernel ties the life of a child to the thread
    that started it.
    """

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._watched: list[_Watched] = []

    def start(self, unit: Unit) -> None:
        """Start a unit and watch it from now on. Raises what the unit's start raises."""
        unit.start()
        self._watched.append(_Watched(unit, self._clock()))

    def tend(self) -> None:
        """Look at every unit once: say who ended, start again whose time has come."""
        now = self._clock()
        for watched in self._watched:
            if watched.restart_at is None:
                how = watched.unit.ended()
                if how is not None:
                    self._plan_restart(watched, f"ended unexpectedly ({how})", now)
            elif now >= watched.restart_at:
                self._restart(watched)

    def _plan_restart(self, watched: _Watched, what: str, now: float) -> None:
        delay = watched.pacer.delay_seconds(now - watched.started_at)
        watched.restart_at = now + delay
        self._output.say(f"{watched.unit.name} {what}; starting it again in {delay:g} s")

    def _restart(self, watched: _Watched) -> None:
        watched.started_at = self._clock()
        watched.restart_at = None
        try:
            watched.unit.start()
        except (EmbeddedError, OSError) as error:
            self._plan_restart(watched, f"could not be started ({error})", self._clock())

    def wait_until(
        self, condition: Callable[[], bool], deadline_seconds: float, pause: float = POLL_SECONDS
    ) -> bool:
        """Tend the units until ``condition`` holds; return whether it did before the deadline."""
        deadline = self._clock() + deadline_seconds
        while not condition():
            if self._clock() > deadline:
                return False
            self.tend()
            time.sleep(pause)
        return True

    def stop(self, groups: Sequence[Sequence[str]], hurried: Callable[[], bool]) -> None:
        """End the units group by group, in the order given; unnamed units come last, in turn.

        The units of one group end side by side. ``hurried`` is asked all the time: as soon as it
        answers true, work is handed back instead of finished.
        """
        units = {watched.unit.name: watched.unit for watched in self._watched}
        self._watched = []
        for names in groups:
            self._stop_group([units.pop(name) for name in names if name in units], hurried)
        for unit in reversed(list(units.values())):
            self._stop_group([unit], hurried)

    def _stop_group(self, group: list[Unit], hurried: Callable[[], bool]) -> None:
        group = [unit for unit in group if unit.ended() is None]
        for unit in group:
            try:
                unit.ask_to_stop()
            except EmbeddedError as error:  # the others must still be stopped
                self._output.say(str(error))
        patience = max((unit.stop_patience_seconds for unit in group), default=0.0)
        left = self._await_end(group, patience, hurried)
        if left and hurried():
            for unit in left:
                unit.hurry()
            left = self._await_end(left, HURRY_PATIENCE_SECONDS, _never)
        for unit in left:
            self._output.say(f"{unit.name} did not end in time and is killed")
            unit.kill()
        for unit in self._await_end(left, KILL_PATIENCE_SECONDS, _never):
            self._output.say(f"{unit.name} cannot be killed")
        for unit in group:
            if isinstance(unit, ProgramProcess):
                unit.finish_output()

    def _await_end(
        self, group: list[Unit], seconds: float, interrupted: Callable[[], bool]
    ) -> list[Unit]:
        """Wait for the group; return the units that still run."""
        deadline = self._clock() + seconds
        while True:
            left = [unit for unit in group if unit.ended() is None]
            if not left or interrupted() or self._clock() > deadline:
                return left
            time.sleep(POLL_SECONDS / 2)


def _never() -> bool:
    return False
