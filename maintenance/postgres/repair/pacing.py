"""How fast to work beside a site: at full speed, gently, or not now. Pure.

A VACUUM cannot be slowed down once it is at work: its cost limits are those of its session when it
began. So what takes long begins gently, and only short work uses the full speed of a quiet server.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from maintenance.conf import Pacing
from maintenance.core.wording import bytes_in_words
from maintenance.postgres.repair.load import Load

#: Of a server whose processors nobody told us.
ASSUMED_PROCESSORS = 4
#: WAL that fills max_wal_size forces a checkpoint, after which every page is written whole once
#: (PostgreSQL documentation, "WAL Configuration"). More often than every so many seconds a site feels it.
FORCED_CHECKPOINT_SECONDS = 16.0
#: Above this share of a limit work goes on gently, in one session.
GENTLE_RATIO = 0.5
#: What takes longer outlasts the quiet moment in which it was begun.
LONG_SECONDS = 30.0


class Speed(Enum):
    """``vacuum_cost_delay`` in milliseconds and ``vacuum_cost_limit`` of a session.

    Gentle is how autovacuum works by default; steady does five times as much in the same time
    (PostgreSQL documentation, "Cost-based Vacuum Delay": a delay of 0 is no limit).
    """

    FULL = (0, 200)
    STEADY = (2, 1000)
    GENTLE = (2, 200)

    @property
    def settings(self) -> dict[str, str]:
        """The settings by name."""
        delay_ms, limit = self.value
        return {"vacuum_cost_delay": f"{delay_ms}ms", "vacuum_cost_limit": str(limit)}


@dataclass(frozen=True, slots=True)
class Pace:
    """``sessions`` that may work at once, 0 for none, with the reason why not all."""

    sessions: int
    speed: Speed
    reason: str = ""


def pace_of(load: Load, limits: Pacing, *, jobs: int, processors: int | None) -> Pace:
    """Decide how fast to work under this load.

    A load that is not known (a role without ``pg_monitor``) limits nothing: what we do to others is
    measured all the same, by the waits and by the latency.
    """
    exceeded = []
    near = []
    for ratio, sentence in _loads(load, limits, processors):
        if ratio > 1:
            exceeded.append(sentence)
        elif ratio > GENTLE_RATIO:
            near.append(sentence)
    if exceeded:
        return Pace(0, Speed.GENTLE, "; ".join(exceeded))
    if near:
        return Pace(1, Speed.GENTLE, "; ".join(near))
    if load.active_sessions or load.recent_sessions:
        # What ANALYZE computes keeps a processor busy at any cost delay: others need one as well.
        return Pace(max(1, jobs // 2), Speed.GENTLE, "the site is at work")
    return Pace(jobs, Speed.FULL)


def speed_for(pace: Pace, predicted_seconds: float | None) -> Speed:
    """Return the speed at which to begin a statement that is expected to take so long."""
    is_long = predicted_seconds is not None and predicted_seconds > LONG_SECONDS
    return Speed.STEADY if pace.speed is Speed.FULL and is_long else pace.speed


def _loads(load: Load, limits: Pacing, processors: int | None) -> Iterator[tuple[float, str]]:
    """Yield each load as a part of its limit, in words."""
    sessions = limits.active_sessions or 2 * (processors or ASSUMED_PROCESSORS)
    if load.active_sessions is not None:
        yield (
            load.active_sessions / sessions,
            f"{load.active_sessions} active sessions (limit {sessions})",
        )
    yield (
        load.lock_waiters / limits.lock_waiters,
        f"{load.lock_waiters} sessions wait for locks (limit {limits.lock_waiters})",
    )
    if load.replica_lag_seconds is not None:
        yield (
            load.replica_lag_seconds / limits.replica_lag_seconds,
            (
                f"a standby is {load.replica_lag_seconds:.0f} s behind"
                f" (limit {limits.replica_lag_seconds:g} s)"
            ),
        )
    if load.catching_up_bytes is not None:
        # Whatever is written now comes behind all that it was away from, and may cost it its slot.
        behind = bytes_in_words(load.catching_up_bytes)
        yield math.inf, f"a standby was away and catches up with {behind} of WAL"
    if load.wal_bytes_per_second is not None:
        most = limits.wal_bytes_per_second or load.max_wal_bytes / FORCED_CHECKPOINT_SECONDS
        yield (
            load.wal_bytes_per_second / most,
            (
                f"WAL grows by {load.wal_bytes_per_second / 1e6:.0f} MB a second"
                f" (limit {most / 1e6:.0f} MB)"
            ),
        )
    if load.added_latency_ms is not None:
        ratio = load.added_latency_ms / limits.added_latency_ms
        # Below its limit, what nobody is there to feel is our own statements that feel each other.
        yield (
            ratio if ratio > 1 or not _is_alone(load) else 0.0,
            (
                f"a small statement takes {load.added_latency_ms:.1f} ms longer than before"
                f" (limit {limits.added_latency_ms:g} ms)"
            ),
        )


def _is_alone(load: Load) -> bool:
    """Whether no session but ours has had a statement at work within the last second, as far as we see."""
    return load.active_sessions == 0 and not load.recent_sessions
