"""What each statement cost since the last look: differences of pg_stat_statements' counters.

The counters are never reset: somebody else may read them too.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

#: Statements in the state that the next run starts from; the server's own default maximum.
KEPT_STATEMENTS = 5000

_STATE_VERSION = 2

#: Counters that only grow, in the order of the stored state. ``squares_ms2`` is the sum of the
#: squares of all times, from which the spread of any window follows.
_COUNTERS = (
    "calls",
    "total_ms",
    "rows",
    "hit_blocks",
    "read_blocks",
    "temp_blocks",
    "wal_bytes",
    "read_ms",
    "squares_ms2",
)


@dataclass(frozen=True, slots=True)
class StatementCounters:
    """Cumulative counters of one statement by one role; times are milliseconds.

    ``is_top_level`` is false for statements inside of functions, whose time their caller's
    includes. ``worst_ms`` is the longest call since ``worst_since``, or since the statistics began
    where that is ``None`` (before PostgreSQL 17): no window has one of its own, so that
    ``is_worst_recent`` tells whether that call is known to lie in it. ``counted_since`` is seconds
    since the epoch, ``None`` before PostgreSQL 17. ``read_ms`` is 0 without ``track_io_timing``.
    """

    user_oid: int
    query_id: str
    is_top_level: bool
    text: str
    calls: int
    total_ms: float
    rows: int
    hit_blocks: int
    read_blocks: int
    temp_blocks: int
    wal_bytes: int
    read_ms: float = 0.0
    squares_ms2: float = 0.0
    worst_ms: float = 0.0
    worst_since: float | None = None
    counted_since: float | None = None
    user_name: str = ""
    is_worst_recent: bool = True

    @property
    def key(self) -> str:
        """Identify the entry across snapshots, as the extension does within one database."""
        return f"{self.user_oid}/{self.query_id}/{'t' if self.is_top_level else 'n'}"

    @property
    def values(self) -> tuple[float, ...]:
        """The counters, and the longest call behind them, as they are stored."""
        return (*(round(getattr(self, name), 3) for name in _COUNTERS), round(self.worst_ms, 3))

    def minus(self, before: tuple[float, ...]) -> "StatementCounters":
        """Return what was added since ``before``; nothing goes below zero."""
        *now, worst_now = self.values
        *then, worst_then = before
        added = {
            name: max(type(getattr(self, name))(0), value - earlier)
            for name, value, earlier in zip(_COUNTERS, now, then, strict=True)
        }
        return replace(self, **added, is_worst_recent=worst_now > worst_then)

    def beyond(self, earlier_ms: float) -> "StatementCounters | None":
        """Return the least that was added, if no more than ``earlier_ms`` had been taken before.

        Of all counters it is the same part as of the calls, of which whole ones alone count, so that means stay
        what they are. ``None`` where all may be from before.
        """
        if self.total_ms <= earlier_ms:
            return None
        calls = int(self.calls * (1 - earlier_ms / self.total_ms))
        if not calls:
            return None
        added = {
            name: type(getattr(self, name))(round(getattr(self, name) * calls / self.calls, 3))
            for name in _COUNTERS
        }
        return replace(self, **added, is_worst_recent=earlier_ms == 0)

    def plus(self, other: "StatementCounters") -> "StatementCounters":
        """Return both together, under the name of this one."""
        worst = max(self, other, key=lambda s: s.worst_ms)
        return replace(
            self,
            **{name: getattr(self, name) + getattr(other, name) for name in _COUNTERS},
            is_top_level=self.is_top_level or other.is_top_level,
            worst_ms=worst.worst_ms,
            worst_since=worst.worst_since,
            is_worst_recent=worst.is_worst_recent,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All statements of one database at ``taken_at``; times are seconds since the epoch.

    ``reset_at`` is when the statistics began, ``evictions`` how often statements made room since.
    """

    statements: tuple[StatementCounters, ...]
    server_major: int
    reset_at: float
    evictions: int
    taken_at: float

    def to_state(self) -> dict[str, Any]:
        """Return plain JSON for the next run: counters without text, the costliest first."""
        ordered = sorted(self.statements, key=lambda s: -s.total_ms)
        kept, left_out = ordered[:KEPT_STATEMENTS], ordered[KEPT_STATEMENTS:]
        return {
            "version": _STATE_VERSION,
            "server_major": self.server_major,
            "reset_at": self.reset_at,
            "evictions": self.evictions,
            "taken_at": self.taken_at,
            "is_complete": not left_out,
            "left_out_ms": left_out[0].total_ms if left_out else None,
            "statements": {statement.key: list(statement.values) for statement in kept},
        }


@dataclass(frozen=True, slots=True)
class StatementUse:
    """What was counted between two times.

    ``follows_previous`` is false where there was nothing to compare with, and everything since
    ``started_at`` counts. ``unknown`` is how many statements were left out, because the previous
    state had no room for them; since the statistics began each took no more than ``unknown_ms``. Of
    others that it had no room for, the least that they can have added counts. ``whole`` names what shares are shares of: a role that may not see
    the statements of others knows no more than its own.
    """

    statements: tuple[StatementCounters, ...]
    started_at: float
    ended_at: float
    follows_previous: bool
    evictions: int
    unknown: int = 0
    unknown_ms: float = 0.0
    whole: str = "all statement time"

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return max(0.0, self.ended_at - self.started_at)

    @property
    def total_ms(self) -> float:
        """Time of all statements; nested ones are part of their callers'."""
        return sum(s.total_ms for s in self.statements if s.is_top_level)


def use_between(state: Mapping[str, Any], now: Snapshot) -> StatementUse:
    """Return what was added since the run that left ``state``.

    After a reset, a crash or an upgrade there is nothing to subtract from: everything since the
    statistics began counts.
    """
    if not follows(state, now):
        return StatementUse(
            tuple(s for s in now.statements if s.calls),
            started_at=now.reset_at,
            ended_at=now.taken_at,
            follows_previous=False,
            evictions=now.evictions,
        )
    taken_at = float(state["taken_at"])
    before = {key: tuple(values) for key, values in state["statements"].items()}
    # A state of before does not say it: then nothing is known of what was left out.
    left_out_ms = None if state["is_complete"] else state.get("left_out_ms", math.inf)
    added = [_added(s, before.get(s.key), taken_at, left_out_ms) for s in now.statements]
    unknown_ms = [s.total_ms for s, a in zip(now.statements, added, strict=True) if a is None]
    return StatementUse(
        tuple(s for s in added if s is not None and s.calls),
        started_at=taken_at,
        ended_at=now.taken_at,
        follows_previous=True,
        evictions=max(0, now.evictions - int(state["evictions"])),
        unknown=len(unknown_ms),
        unknown_ms=max(unknown_ms, default=0.0),
    )


def follows(state: Mapping[str, Any], now: Snapshot) -> bool:
    """Tell whether the counters have run on since ``state``.

    An upgrade may give statements other identifiers (18 takes lists of any length for one), so
    that a different major version starts anew.
    """
    return (
        state.get("version") == _STATE_VERSION
        and state["server_major"] == now.server_major
        and state["reset_at"] == now.reset_at
        and state["taken_at"] <= now.taken_at
    )


def _added(
    now: StatementCounters,
    before: tuple[float, ...] | None,
    taken_at: float,
    left_out_ms: float | None,
) -> StatementCounters | None:
    """Return what one statement added; ``None`` where that cannot be known.

    What is not among those of before had taken ``left_out_ms`` at most, nothing where that is ``None``.
    """
    began_later = now.counted_since is not None and now.counted_since > taken_at
    if began_later:
        return now
    if before is None:
        return now if left_out_ms is None else now.beyond(left_out_ms)
    # The statement was evicted and came back, or somebody reset it alone.
    started_anew = now.calls < before[0] or now.total_ms < before[1] - 0.001
    return now if started_anew else now.minus(before)


def by_query(statements: Iterable[StatementCounters]) -> list[StatementCounters]:
    """Add up what different roles and levels did with the same statement."""
    merged: dict[str, StatementCounters] = {}
    for statement in statements:
        present = merged.get(statement.query_id)
        merged[statement.query_id] = statement if present is None else present.plus(statement)
    return list(merged.values())
