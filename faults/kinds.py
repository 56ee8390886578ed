"""Every kind of fault, which of them make a run of so many, and what it is compared with."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from faults import beats, clocks, services, targets, workers
from faults.stack import STOCK_SCHEDULER

ALL = (*beats.KINDS, *workers.KINDS, *services.KINDS, *targets.KINDS, *clocks.KINDS)
BY_NAME = {kind.name: kind for kind in (*ALL, beats.SECOND_BEAT)}

#: Faults of one stack: a start takes as long as three of them.
PER_STACK = 24

#: The group of the product itself, whole.
MATRIX = "matrix"

#: By name: what runs, and the faults that it meets.
COMPARISONS: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = {
    "at production settings": (
        {"times": "production"},
        (
            "worker killed: claimed",
            "beat killed: before_publish",
            "worker killed: mid_sql",
            "both beats killed: recording",
            "worker killed: report_half_written",
            "beat killed: published",
            "worker killed: received",
            "beat killed: recording",
            "worker killed: effect_done",
            "worker killed: before_ack",
        ),
    ),
    "on RabbitMQ": (
        {"broker": "rabbitmq"},
        (
            "beat killed: before_publish",
            "beat killed: published",
            "beat killed: recording",
            "both beats killed: recording",
            "leader stopped: published",
            "worker killed: received",
            "worker killed: claimed",
            "worker killed: mid_sql",
            "worker killed: report_half_written",
            "worker killed: before_ack",
            "pool process killed: claimed",
            "worker stopped: claimed",
            "worker cut from broker: claimed",
            "database killed: worker.claimed",
        )
        * 2,
    ),
    "django-celery-beat alone": (
        {"scheduler": STOCK_SCHEDULER},
        (
            "beat killed: before_publish",
            "beat killed: published",
            "broker restarted",
            "broker flushed: beat.published",
            "worker killed: received",
            "worker killed: claimed",
            "worker killed: effect_done",
            "a second beat",
        )
        * 3,
    ),
    "without the unique key": (
        {"without": "unique key"},
        ("schedules restored from before", "leader stopped: recording", "beat killed: published")
        * 4,
    ),
    "without the fence": (
        {"without": "fence"},
        ("worker stopped: claimed", "worker silent from database: claimed") * 6,
    ),
}


@dataclass(frozen=True, slots=True)
class StackOfFaults:
    """What one stack is to go through: ``names`` in their order."""

    group: str
    names: Sequence[str]
    variant: Mapping[str, Any] = field(default_factory=dict)


def matrix(number: int, seed: int, pattern: str = "") -> Iterator[StackOfFaults]:
    """Yield stacks of ``number`` faults or a few more, by their shares, in an order that the seed decides.

    Each kind comes at least once. Those that need the same schedules and variant come together.
    """
    groups: dict[str, list[str]] = {}
    for name in chosen(number, seed, pattern):
        kind = BY_NAME[name]
        groups.setdefault(repr((sorted(kind.variant.items()), kind.needs)), []).append(name)
    for names in groups.values():
        for start in range(0, len(names), PER_STACK):
            yield StackOfFaults(MATRIX, names[start : start + PER_STACK], BY_NAME[names[0]].variant)


def chosen(number: int, seed: int, pattern: str = "") -> list[str]:
    """Return the names of the faults of a run."""
    kinds = [kind for kind in ALL if pattern in kind.name or pattern in kind.row]
    shares = sum(kind.times for kind in kinds)
    names = [kind.name for kind in kinds for _time in range(ceil(kind.times * number / shares))]
    random.Random(seed).shuffle(names)
    return names


def comparison(name: str) -> Iterator[StackOfFaults]:
    """Yield the stacks of one comparison."""
    variant, names = COMPARISONS[name]
    yield StackOfFaults(name, names, variant)
