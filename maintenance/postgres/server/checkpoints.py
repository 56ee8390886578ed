"""Checkpoints and WAL: whether max_wal_size lets checkpoints come by the clock.

Sources: PostgreSQL documentation, "WAL Configuration" (a checkpoint comes when checkpoint_timeout
has passed or max_wal_size is about to be exceeded, whichever is first) and
``CalculateCheckpointSegments`` for the WAL between two of the latter kind.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Sample
from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.server.counted_period import Counted, Period, period_between
from maintenance.postgres.sql_files import query

#: Fewer say nothing about a habit: one load by night makes three.
MINIMUM_REQUESTED = 5

#: More than half of the checkpoints come early.
REQUESTED_RATIO = 0.5

#: Starts that differ by more were separate resets: WAL and checkpoints then cover other times.
SAME_RESET_SECONDS = 60.0

_GIB = 1024**3

_COUNTERS = ("timed", "requested", "wal_bytes", "wal_position")


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """The settings that decide when a checkpoint comes."""

    max_wal_size_bytes: int
    max_wal_size: str  # as the server prints it, for the undo
    segment_bytes: int
    timeout_seconds: float
    completion_target: float

    @property
    def distance_bytes(self) -> int:
        """WAL after which a checkpoint is requested, as CalculateCheckpointSegments has it."""
        segments = self.max_wal_size_bytes / self.segment_bytes / (1 + self.completion_target)
        return max(1, int(segments)) * self.segment_bytes


@dataclass(frozen=True, slots=True)
class CheckpointPeriod:
    """The checkpoints of a period. ``by_wal`` were requested because WAL was written.

    The counters do not tell these from those of CHECKPOINT, a base backup or CREATE DATABASE; no
    more than the WAL accounts for are counted as ``by_wal``. ``is_exact`` tells whether the present
    max_wal_size held all the time, so that the rest can be laid to commands.
    """

    timed: int
    requested: int
    by_wal: int
    wal_bytes: int
    wal_bytes_per_second: float | None
    is_exact: bool

    @property
    def total(self) -> int:
        """All of them."""
        return self.timed + self.requested


def checkpoint_period(period: Period, settings: CheckpointSettings) -> CheckpointPeriod:
    """Split the requested checkpoints of a period by their cause."""
    wal_bytes = period.increase["wal_bytes"]
    requested = period.increase["requested"]
    # The position moves on by whole segments where they are switched before they are full.
    moved = period.increase["wal_position"] if period.since_last_look else wal_bytes
    return CheckpointPeriod(
        timed=period.increase["timed"],
        requested=requested,
        by_wal=min(requested, moved // settings.distance_bytes),
        wal_bytes=wal_bytes,
        wal_bytes_per_second=period.per_second("wal_bytes"),
        is_exact=period.since_last_look,
    )


@dataclass(frozen=True, slots=True)
class CheckpointReading:
    """The counters of this moment, and what they say of the period since the last look.

    It is not ``is_comparable`` where WAL and checkpoints were counted over different times.
    """

    now: Counted
    period: Period
    settings: CheckpointSettings
    seen: CheckpointPeriod
    is_comparable: bool


def read_checkpoints(row: Mapping[str, Any], previous: Mapping[str, Any]) -> CheckpointReading:
    """Read a row of ``sql/checkpoint_counters.sql``; ``previous`` is the state of the last look."""
    starts = (row["checkpoints_since"], row["wal_since"])
    now = Counted(
        {name: int(row[name]) for name in _COUNTERS},
        CounterWindow(max(starts), row["measured_at"]),
        # Another max_wal_size is another regime: its checkpoints are not counted with these.
        f"{row['system_identifier']}/{row['max_wal_size_bytes']}",
    )
    period = period_between(Counted.from_state(previous), now)
    settings = CheckpointSettings(
        row["max_wal_size_bytes"],
        row["max_wal_size"],
        row["wal_segment_bytes"],
        row["timeout_seconds"],
        row["completion_target"],
    )
    return CheckpointReading(
        now,
        period,
        settings,
        checkpoint_period(period, settings),
        is_comparable=period.since_last_look or max(starts) - min(starts) <= SAME_RESET_SECONDS,
    )


def is_wal_size_too_small(seen: CheckpointPeriod) -> bool:
    """Tell whether most checkpoints came because of max_wal_size."""
    return seen.by_wal >= MINIMUM_REQUESTED and seen.by_wal > REQUESTED_RATIO * seen.total


def examine_checkpoints(
    conn: Connection,
    thresholds: Thresholds,  # noqa: ARG001 - the server's own settings decide
    previous: Mapping[str, Any],
) -> Aspect:
    """Judge the checkpoints since the last look; a standby's follow those of its primary."""
    row = query(conn, "checkpoint_counters")[0]
    if row["in_recovery"]:
        return Aspect("the checkpoints of a standby follow its primary's")
    reading = read_checkpoints(row, previous)
    if not reading.is_comparable:
        withheld = unavailable(
            "checkpoints-requested",
            "checkpoints",
            "why checkpoints came",
            "a second look, because WAL and checkpoints were reset at different times",
        )
        return Aspect("checkpoints are withheld", (withheld,), state=reading.now.to_state())
    now, period, settings, seen = reading.now, reading.period, reading.settings, reading.seen
    rate = seen.wal_bytes_per_second
    return Aspect(
        clause=(
            f"{counted(seen.total, 'checkpoint')} ({seen.by_wal:,} early) and"
            f" {bytes_in_words(seen.wal_bytes)} of WAL in {period.in_words}"
        ),
        findings=tuple(diagnose_checkpoints(seen, settings, period.in_words)),
        facts={
            "checkpoints_timed": seen.timed,
            "checkpoints_requested": seen.requested,
            "wal_bytes": seen.wal_bytes,
            "wal_bytes_per_second": rate,
            "max_wal_size_bytes": settings.max_wal_size_bytes,
        },
        samples=() if rate is None else (Sample("wal_bytes_per_second", rate),),
        state=now.to_state(),
    )


def diagnose_checkpoints(
    seen: CheckpointPeriod, settings: CheckpointSettings, in_words: str
) -> Iterator[Finding]:
    """Say when max_wal_size is too small, or when commands request most checkpoints."""
    if is_wal_size_too_small(seen):
        yield _too_small(seen, settings, in_words)
    by_command = seen.requested - seen.by_wal
    if (
        seen.is_exact
        and by_command >= MINIMUM_REQUESTED
        and by_command > REQUESTED_RATIO * seen.total
    ):
        yield Finding(
            code="checkpoints-by-command",
            severity=Severity.INFO,
            subject="checkpoints",
            sentence=(
                f"{by_command:,} of {counted(seen.total, 'checkpoint')} in {in_words} were requested"
                " by a command, not by the clock or by WAL."
            ),
            evidence=_evidence(seen, settings),
            advice=(
                "Look for what runs CHECKPOINT, base backups or CREATE DATABASE so often; each one"
                " writes everything at once."
            ),
        )


def advised_max_wal_size_bytes(seen: CheckpointPeriod, settings: CheckpointSettings) -> int:
    """Return a max_wal_size that lets checkpoints wait for the clock, in whole GiB.

    Twice what the mean rate writes in one checkpoint_timeout, because the mean hides the peaks, and
    at least twice what is set now.
    """
    rate = seen.wal_bytes_per_second or 0.0
    needed = rate * settings.timeout_seconds * (1 + settings.completion_target)
    return math.ceil(max(2 * needed, 2 * settings.max_wal_size_bytes) / _GIB) * _GIB


def _too_small(seen: CheckpointPeriod, settings: CheckpointSettings, in_words: str) -> Finding:
    advised = advised_max_wal_size_bytes(seen, settings)
    return Finding(
        code="checkpoints-requested",
        severity=Severity.WARNING,
        subject="max_wal_size",
        sentence=(
            f"{seen.by_wal:,} of {counted(seen.total, 'checkpoint')}"
            f" ({percent(seen.by_wal / seen.total)}) in {in_words} came early, because"
            f" {bytes_in_words(settings.distance_bytes)} of WAL were written before"
            " checkpoint_timeout; each one writes whole pages to WAL again and disturbs queries."
        ),
        evidence=_evidence(seen, settings),
        advice=(
            f"Raise max_wal_size from {settings.max_wal_size} to about {bytes_in_words(advised)}, if"
            " the disk of pg_wal has that room; recovery after a crash takes longer in turn."
        ),
        commands=(
            f"ALTER SYSTEM SET max_wal_size = '{advised // _GIB}GB';",
            "SELECT pg_reload_conf();",
        ),
        undo=(
            f"ALTER SYSTEM SET max_wal_size = '{settings.max_wal_size}';",
            "SELECT pg_reload_conf();",
        ),
    )


def _evidence(seen: CheckpointPeriod, settings: CheckpointSettings) -> dict[str, Any]:
    return {
        "timed": seen.timed,
        "requested": seen.requested,
        "requested_by_wal": seen.by_wal,
        "wal_bytes": seen.wal_bytes,
        "wal_bytes_per_second": seen.wal_bytes_per_second,
        "max_wal_size_bytes": settings.max_wal_size_bytes,
        "checkpoint_timeout_seconds": settings.timeout_seconds,
        "checkpoint_completion_target": settings.completion_target,
    }
