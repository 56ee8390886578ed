"""Steps of a run whose earlier attempt was cut short."""

from collections.abc import Mapping

from maintenance.core.plans import Outcome


class OfEarlierAttempt:
    """What an attempt before this one has noted; to do any of it again is an error."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._done = {f"{o.action.kind} {o.action.subject}": o for o in outcomes}

    def done(self) -> Mapping[str, Outcome]:
        return self._done

    def record(self, key: str, outcome: Outcome) -> None:
        raise AssertionError(f"{key} was done again: {outcome}")
