"""What is measured of a broker's queues, whichever broker it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from maintenance.redis_client.server import ServerFacts


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What waits in one queue: ``by_priority`` holds only priorities with messages.

    ``wrong_type`` says that the key of this name is no list, ``missing`` that the broker knows no
    queue of this name. ``next_message`` identifies the message that is taken next, where the broker
    shows it; ``consumers`` counts the workers that take from the queue, where it counts them.
    """

    queue: str
    pending: int
    by_priority: Mapping[int, int]
    wrong_type: bool = False
    missing: bool = False
    next_message: str | None = None
    consumers: int | None = None


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """Messages that workers hold and have not acknowledged, over all queues of the broker.

    ``oldest_seconds`` is how long the oldest has been held, ``None`` where none is.
    """

    count: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Withheld:
    """What could not be measured: the code of its finding, ``what`` it is, and what it ``needs``."""

    code: str
    what: str
    needs: str


@dataclass(frozen=True, slots=True)
class BrokerMeasurement:
    """All queues of one broker at one moment.

    ``server`` and ``unacknowledged`` are ``None`` where the broker does not tell them; ``withheld``
    is what rights are missing for.
    """

    queues: tuple[QueueDepth, ...]
    measured_at_seconds: float  # since the epoch
    server: ServerFacts | None = None
    unacknowledged: Unacknowledged | None = None
    withheld: tuple[Withheld, ...] = ()
