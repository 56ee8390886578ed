"""Which statements are new, slower or faster than in the period before.

Statements are compared by their shape and not by their identifier: the server gives new ones after
a major upgrade, when a table is created anew, and (before 18) for each length of a list.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.statement_text import (
    NORMALISED,
    command_of,
    shape_of,
    without_literals,
)
from maintenance.postgres.queries.statement_counters import (
    KEPT_STATEMENTS,
    Snapshot,
    StatementCounters,
    StatementUse,
)

#: Of a longer statement the end is not read (``sql/statement_counters.sql``), and two that begin alike are not taken for one.
READ_TEXT = 4000

#: Calls on both sides. A mean of fewer says more about the moments than about the statement.
MINIMUM_CALLS = 10
#: Times are kept to a microsecond: the factor between shorter ones says nothing.
MINIMUM_MEAN_MS = 0.001
#: Slower by less comes and goes with caches and load; a lost plan costs more.
MINIMUM_TIMES = 2.0
#: The difference of the means, in standard errors: 3 leave one false alarm in a thousand.
MINIMUM_ERRORS = 3.0
#: Time that a change adds, or a new statement takes, in the window and as a share of all time.
#: Below, nobody gains by a look.
MINIMUM_ADDED_MS = 1000.0
MINIMUM_ADDED_RATIO = 0.01

_STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Usual:
    """What a statement cost in the last period in which it was called often enough to tell."""

    calls: int
    total_ms: float
    squares_ms2: float

    @property
    def mean_ms(self) -> float:
        """Time of a call."""
        return self.total_ms / self.calls

    @property
    def error_ms2(self) -> float:
        """Square of the mean's standard error."""
        variance = max(0.0, self.squares_ms2 / self.calls - self.mean_ms**2)
        return variance / self.calls

    @classmethod
    def of(cls, statement: StatementCounters) -> "Usual":
        """Take it from the counters of a window."""
        return cls(statement.calls, round(statement.total_ms, 3), round(statement.squares_ms2, 3))


@dataclass(frozen=True, slots=True)
class Change:
    """How a mean time changed: ``after_ms`` is ``times`` times ``before_ms``."""

    before_ms: float
    after_ms: float

    @property
    def times(self) -> float:
        """The factor; above 1 it is slower."""
        return self.after_ms / self.before_ms


@dataclass(frozen=True, slots=True)
class UsedShape:
    """What statements of one shape cost in a window, all lengths of lists and all roles together.

    ``query_ids`` and ``users`` have the costliest first. ``change`` is ``None`` where the mean
    stayed what it was, or where too little is known.
    """

    shape: str
    counters: StatementCounters
    query_ids: tuple[str, ...]
    users: tuple[str, ...]
    change: Change | None = None
    is_new: bool = False


class Periods:
    """What is known of earlier periods, from the state that their runs left."""

    def __init__(self, state: Mapping[str, Any], now: Snapshot) -> None:
        known = state.get("shapes", {})
        follows = known.get("version") == _STATE_VERSION
        self._usual = {
            shape: Usual(*values) if values else None
            for shape, values in (known["usual"].items() if follows else ())
        }
        # Another major version may write the same statement in another way.
        self._can_tell_new = (
            follows and known["is_complete"] and known["server_major"] == now.server_major
        )
        self._server_major = now.server_major
        self._shapes = shapes_of(now.statements)

    def used(self, use: StatementUse) -> list[UsedShape]:
        """Return what each shape cost in the window, and how that compares with before."""
        total_ms = use.total_ms
        return [self._compared(used, total_ms) for used in by_shape(use.statements, self._shapes)]

    def _compared(self, used: UsedShape, total_ms: float) -> UsedShape:
        counters = used.counters
        is_new = self._can_tell_new and used.shape not in self._usual
        usual = self._usual.get(used.shape)
        return UsedShape(
            used.shape,
            counters,
            used.query_ids,
            used.users,
            change=None if usual is None else change_between(usual, Usual.of(counters), total_ms),
            is_new=is_new and _matters(counters.total_ms, total_ms),
        )

    def to_state(self, used: Iterable[UsedShape]) -> dict[str, Any]:
        """Return plain JSON for the next run: hashes and numbers, the costliest first."""
        usual: dict[str, Usual | None] = {}
        for each in sorted(used, key=lambda u: -u.counters.total_ms):
            added = Usual.of(each.counters)
            before = self._usual.get(each.shape)
            if added.calls < MINIMUM_CALLS and before is not None:
                is_enough = before.calls >= MINIMUM_CALLS
                added = before if is_enough else _together(before, added)
            usual[each.shape] = added
        for shape in (*self._shapes.values(), *self._usual):
            usual.setdefault(shape, self._usual.get(shape))
        kept = dict(list(usual.items())[:KEPT_STATEMENTS])
        return {
            "version": _STATE_VERSION,
            "server_major": self._server_major,
            "is_complete": len(kept) == len(usual),
            "usual": {
                shape: [values.calls, values.total_ms, values.squares_ms2] if values else []
                for shape, values in kept.items()
            },
        }


def _together(one: Usual, other: Usual) -> Usual:
    return Usual(
        one.calls + other.calls,
        one.total_ms + other.total_ms,
        one.squares_ms2 + other.squares_ms2,
    )


def change_between(before: Usual, after: Usual, total_ms: float) -> Change | None:
    """Return the change of the mean, ``None`` where it is noise or does not matter.

    Source of the test: Welch's for two means of unequal spread.
    """
    if min(before.calls, after.calls) < MINIMUM_CALLS:
        return None
    if min(before.mean_ms, after.mean_ms) < MINIMUM_MEAN_MS:
        return None
    change = Change(before.mean_ms, after.mean_ms)
    if max(change.times, 1 / change.times) < MINIMUM_TIMES:
        return None
    difference_ms = abs(after.mean_ms - before.mean_ms)
    if difference_ms < MINIMUM_ERRORS * math.sqrt(before.error_ms2 + after.error_ms2):
        return None
    return change if _matters(difference_ms * after.calls, total_ms) else None


def _matters(added_ms: float, total_ms: float) -> bool:
    return added_ms >= max(MINIMUM_ADDED_MS, MINIMUM_ADDED_RATIO * total_ms)


def by_shape(statements: Iterable[StatementCounters], shapes: Mapping[str, str]) -> list[UsedShape]:
    """Add up what statements of the same shape cost, at any level and by any role.

    ``shapes`` come from :func:`shapes_of`.
    """
    groups: dict[str, list[StatementCounters]] = {}
    for statement in statements:
        groups.setdefault(shapes[statement.query_id], []).append(statement)
    return [_merged(shape, group) for shape, group in groups.items()]


def _merged(shape: str, group: list[StatementCounters]) -> UsedShape:
    first, *others = sorted(group, key=lambda s: (-s.total_ms, s.query_id))
    counters = first
    for other in others:
        counters = counters.plus(other)
    return UsedShape(
        shape,
        counters,
        query_ids=tuple(dict.fromkeys(s.query_id for s in (first, *others))),
        users=tuple(dict.fromkeys(s.user_name for s in (first, *others) if s.user_name)),
    )


def shapes_of(statements: Iterable[StatementCounters]) -> dict[str, str]:
    """Return, by query identifier, a short name for what differs in its values alone.

    Where the text does not tell (a utility statement, or one too long to be read whole) each
    identifier is a shape of its own.
    """
    texts = {statement.query_id: statement.text for statement in statements}
    return {query_id: _shape(query_id, text) for query_id, text in texts.items()}


def _shape(query_id: str, text: str) -> str:
    if len(text) > READ_TEXT or command_of(text[:200]) not in NORMALISED:
        return query_id
    shape = shape_of(without_literals(text, READ_TEXT))
    return hashlib.blake2b(shape.encode(), digest_size=6).hexdigest()
