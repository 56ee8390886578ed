"""How much of what queries read lay in shared buffers, since the last look.

Counters are compared with those of the previous run and never reset. Source of the ratio:
PostgreSQL documentation, "The Cumulative Statistics System", ``pg_stat_database``; of the target:
the guide, "Target: > 95% cache hit ratio".
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds, is_above
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.plots import over_time
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.connection import connect
from maintenance.postgres.counters import CounterWindow, measure_common_window
from maintenance.postgres.sql_files import query

METRIC = "database_cache_hit_ratio"

#: Rows in the table of what is read most.
TABLES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BufferCounters:
    """The counters of one database at one moment.

    ``window`` says since when they count; ``identity`` tells this database from another one that
    has taken its place.
    """

    blocks_hit: int
    blocks_read: int
    identity: str
    window: CounterWindow

    def to_state(self) -> dict[str, Any]:
        """Return plain JSON values for the next run."""
        return {
            "blocks_hit": self.blocks_hit,
            "blocks_read": self.blocks_read,
            "identity": self.identity,
            "started_at": self.window.started_at,
            "measured_at": self.window.measured_at,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "BufferCounters | None":
        """Rebuild from :meth:`to_state`; ``None`` for what is not of that form."""
        try:
            return cls(
                int(state["blocks_hit"]),
                int(state["blocks_read"]),
                str(state["identity"]),
                CounterWindow(state["started_at"], float(state["measured_at"])),
            )
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class BufferReads:
    """What was read in a period. ``interruption`` says why it does not begin at the last look."""

    hit: int
    read: int
    period_in_words: str
    seconds: float | None
    interruption: str = ""

    @property
    def total(self) -> int:
        """Blocks asked for."""
        return self.hit + self.read

    @property
    def ratio(self) -> float | None:
        """Share that lay in shared buffers; ``None`` where nothing was read."""
        return self.hit / self.total if self.total else None


def review_database_cache_hit_ratio(
    job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds
) -> Report:
    """Compare the database's buffer cache hit ratio since the last run with its target.

    The first run covers the time since the counters began. Too few reads withhold the ratio, and
    the next run covers them, too. Raises what :func:`connect` raises.
    """
    with connect(job.target, purpose="cache hit ratio") as conn:
        row = query(conn, "buffer_counters")[0]
        window = measure_common_window(conn)
        tables = _most_read(conn, job.target, window)
    now = BufferCounters(row["blocks_hit"], row["blocks_read"], row["database_identity"], window)
    before = BufferCounters.from_state(job.previous_state)
    reads = reads_between(before, now)
    if not row["counts"]:
        return _uncounted(job)
    enough = reads.total >= thresholds.cache_hit_minimum_reads and reads.ratio is not None
    # Without a verdict the period goes on, so that a quiet database gets one in the end.
    carried = now if enough or before is None or reads.interruption else before
    findings = diagnose(reads, thresholds, row["shared_buffers_bytes"])
    return Report(
        title=f"Buffer cache of {job.target_name}",
        summary=_summary(reads, thresholds, enough=enough),
        findings=findings,
        tables=tables,
        facts={
            "blocks_hit": reads.hit,
            "blocks_read": reads.read,
            "period": reads.period_in_words,
            "period_seconds": reads.seconds,
            "interruption": reads.interruption,
            "shared_buffers_bytes": row["shared_buffers_bytes"],
        },
        samples=((Sample(METRIC, reads.ratio),) if enough and reads.ratio is not None else ()),
        plots=over_time(
            f"Reads that lay in shared buffers of {job.target_name}",
            METRIC,
            job.history.series(METRIC),
            Point(time.time(), reads.ratio) if enough and reads.ratio is not None else None,
            limit=thresholds.database_cache_hit_ratio,
        ),
        state=carried.to_state(),
    )


def reads_between(before: BufferCounters | None, now: BufferCounters) -> BufferReads:
    """Return what was read since ``before``, or since the counters began where that is later."""
    interruption = "" if before is None else _interruption(before, now)
    if before is None or interruption:
        return BufferReads(
            now.blocks_hit,
            now.blocks_read,
            now.window.in_words,
            now.window.seconds,
            interruption,
        )
    seconds = now.window.measured_at - before.window.measured_at
    return BufferReads(
        now.blocks_hit - before.blocks_hit,
        now.blocks_read - before.blocks_read,
        f"the {seconds_in_words(max(0.0, seconds))} since the last look",
        seconds,
    )


def _interruption(before: BufferCounters, now: BufferCounters) -> str:
    if before.identity != now.identity:
        return "another database has taken the place of the one that was measured last"
    fewer = now.blocks_hit < before.blocks_hit or now.blocks_read < before.blocks_read
    if fewer or not now.window.continues(before.window):
        return "the counters were reset, or the server crashed, since the last look"
    return ""


def diagnose(
    reads: BufferReads, thresholds: Thresholds, shared_buffers_bytes: int
) -> tuple[Finding, ...]:
    """Judge the ratio of a period; withhold it where too little was read."""
    target = thresholds.database_cache_hit_ratio
    if reads.total < thresholds.cache_hit_minimum_reads or reads.ratio is None:
        return (
            unavailable(
                "database-cache-hit-ratio",
                "shared buffers",
                f"the cache hit ratio of {reads.period_in_words}",
                f"at least {thresholds.cache_hit_minimum_reads:,} block reads, of which there"
                f" were {reads.total:,}{_because(reads)}",
            ),
        )
    if is_above(reads.ratio, target):
        return ()
    return (
        Finding(
            code="database-cache-hit-ratio",
            severity=Severity.WARNING,
            subject="shared buffers",
            sentence=(
                f"{_percent(reads.ratio)} of the blocks that queries read lay in shared buffers;"
                f" the target is more than {_percent(target)} (over {reads.period_in_words}"
                f"{_because(reads)})."
            ),
            evidence={
                "hit_ratio": reads.ratio,
                "limit_ratio": target,
                "blocks_hit": reads.hit,
                "blocks_read": reads.read,
                "period_seconds": reads.seconds,
                "shared_buffers_bytes": shared_buffers_bytes,
            },
            advice=(
                "Look first for queries that read whole tables (analysis queries), then compare"
                f" shared_buffers ({bytes_in_words(shared_buffers_bytes)}) with the tables that are"
                " read most; a quarter of the memory is usual. Blocks that are missed here may still"
                " lie in the operating system's cache."
            ),
        ),
    )


def _percent(ratio: float) -> str:
    """Cut off, not rounded: what misses the target must not read as the target."""
    return f"{math.floor(round(ratio * 1000, 6)) / 10:g} %"


def _because(reads: BufferReads) -> str:
    return f"; {reads.interruption}" if reads.interruption else ""


def _summary(reads: BufferReads, thresholds: Thresholds, *, enough: bool) -> str:
    if not enough or reads.ratio is None:
        return (
            f"The cache hit ratio is withheld: only {counted(reads.total, 'block read')} in"
            f" {reads.period_in_words}{_because(reads)}."
        )
    target = thresholds.database_cache_hit_ratio
    said = f"{_percent(reads.ratio)} of {counted(reads.total, 'block read')} were hits"
    over = f"over {reads.period_in_words}{_because(reads)}"
    if is_above(reads.ratio, target):
        return f"Nothing to do: {said} (target {_percent(target)}), {over}."
    return f"{said}, and the target is more than {_percent(target)}, {over}."


def _most_read(
    conn: Connection, target: DatabaseTarget, window: CounterWindow
) -> tuple[Table, ...]:
    rows = query(
        conn,
        "tables_read_from_disk",
        {"exclude_schemas": list(target.exclude_schemas), "limit": TABLES_SHOWN},
    )
    for row in rows:
        total = row["blocks_hit"] + row["blocks_read"]
        row["hit_ratio"] = row["blocks_hit"] / total
    title = f"Tables that missed shared buffers most, in {window.in_words}"
    return (Table.of(title, rows),) if rows else ()


def _uncounted(job: Job[DatabaseTarget, NoOptions]) -> Report:
    finding = unavailable(
        "database-cache-hit-ratio",
        "shared buffers",
        "the cache hit ratio",
        "track_counts = on in postgresql.conf, because the server counts nothing without it",
    )
    return Report(
        title=f"Buffer cache of {job.target_name}",
        summary="The cache hit ratio is withheld: the server does not count (track_counts is off).",
        findings=(finding,),
        state=job.previous_state,
    )
