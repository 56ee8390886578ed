"""Whether WAL gets to its archive: where it does not, it stays until the disk is full.

Source: PostgreSQL documentation, "Continuous Archiving and Point-in-Time Recovery (PITR)".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.sql_files import query

#: A file is archived within seconds of its end: what waits for an hour waits for a command that
#: hangs, which the server never ends, or for one that is slower than the site writes.
WAITING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Archiver:
    """pg_stat_archiver; ``waiting_files`` is ``None`` where the role may not list them.

    ``waiting_since`` is since when the first of them is ready, in seconds since the epoch.
    """

    mode: str
    in_recovery: bool
    has_destination: bool
    archived_count: int
    failed_count: int
    last_failed_wal: str | None
    last_archived_at: float | None
    last_failed_at: float | None
    measured_at: float
    wal_segment_bytes: int
    waiting_files: int | None
    waiting_since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether this server is to archive WAL at all; a standby is with ``always`` only."""
        return self.mode == "always" or (self.mode == "on" and not self.in_recovery)

    @property
    def is_failing(self) -> bool:
        """Whether nothing has been archived since the last failure."""
        if self.last_failed_at is None:
            return False
        return self.last_archived_at is None or self.last_failed_at > self.last_archived_at

    @property
    def waiting_bytes(self) -> int:
        """The WAL that stays because it is not archived yet."""
        return (self.waiting_files or 0) * self.wal_segment_bytes

    @property
    def waiting_seconds(self) -> float:
        """How long the first file waits."""
        return (
            0.0 if self.waiting_since is None else max(0.0, self.measured_at - self.waiting_since)
        )

    def is_behind(self, thresholds: Thresholds) -> bool:
        """Whether WAL waits for long, or much of it; a command that hangs never fails."""
        much = self.waiting_bytes >= thresholds.slot_retained_warning_bytes
        return much or self.waiting_seconds >= WAITING_SECONDS


def examine_archiver(
    conn: Connection,
    thresholds: Thresholds,
    previous: Mapping[str, Any],  # noqa: ARG001 - the last times say it all
) -> Aspect:
    """Judge the archiver by its last success, its last failure, and what waits for it."""
    row = query(conn, "archiver")[0]
    may_list = row.pop("may_list")
    waiting = query(conn, "wal_to_archive")[0] if may_list else {"waiting_files": None}
    archiver = Archiver(**row, **waiting)
    if not archiver.is_on:
        clause = "WAL is not archived here"
    elif archiver.is_failing:
        clause = "archiving fails"
    elif archiver.is_behind(thresholds):
        clause = "archiving is behind"
    else:
        clause = f"{counted(archiver.archived_count, 'WAL file')} were archived"
    return Aspect(
        clause,
        tuple(diagnose_archiver(archiver, thresholds)),
        facts={"archive_mode": archiver.mode, "wal_files_waiting": archiver.waiting_files},
    )


def diagnose_archiver(archiver: Archiver, thresholds: Thresholds) -> Iterator[Finding]:
    """Name an archiver that fails, that is behind, or that has nowhere to write to."""
    if not archiver.is_on:
        return
    waiting = ""
    if archiver.waiting_files:
        size = bytes_in_words(archiver.waiting_bytes)
        waiting = f" {counted(archiver.waiting_files, 'file')} ({size}) wait and fill the disk."
    evidence = {
        "failed_count": archiver.failed_count,
        "archived_count": archiver.archived_count,
        "last_failed_seconds_ago": _seconds_ago(archiver, archiver.last_failed_at),
        "last_archived_seconds_ago": _seconds_ago(archiver, archiver.last_archived_at),
        "waiting_files": archiver.waiting_files,
        "waiting_seconds": archiver.waiting_seconds,
    }
    if not archiver.has_destination:
        yield Finding(
            code="archiver-without-destination",
            severity=Severity.WARNING,
            subject="archiver",
            sentence=(
                "archive_mode is on, but there is no archive_command: WAL is kept for an archive"
                f" that never comes.{waiting}"
            ),
            evidence=evidence,
            advice="Set archive_command, or turn archive_mode off (it needs a restart).",
        )
    elif archiver.is_failing:
        ago = seconds_in_words(max(0.0, archiver.measured_at - (archiver.last_failed_at or 0.0)))
        yield Finding(
            code="archiver-failing",
            severity=Severity.CRITICAL,
            subject="archiver",
            sentence=(
                f"Archiving WAL fails: the last attempt ({archiver.last_failed_wal}) failed {ago}"
                f" ago and {_silence(archiver)}; backups cannot be brought up to date.{waiting}"
            ),
            evidence=evidence,
            advice="Read the server's log for the archive command's own words, and mend its target.",
        )
    elif archiver.is_behind(thresholds):
        critical = archiver.waiting_bytes >= thresholds.slot_retained_critical_bytes
        yield Finding(
            code="archiver-behind",
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject="archiver",
            sentence=(
                "The oldest WAL that waits for its archive has done so for"
                f" {seconds_in_words(archiver.waiting_seconds)}, without a failure, and"
                f" {_silence(archiver)}; backups are as far behind.{waiting}"
            ),
            evidence={**evidence, "limit_bytes": thresholds.slot_retained_warning_bytes},
            advice=(
                "See whether the archive command hangs (the server waits for it without a limit):"
                " end it there, and give it a time limit. If it works, it is slower than WAL is"
                " written: mend or relieve its target."
            ),
        )


def _silence(archiver: Archiver) -> str:
    if archiver.last_archived_at is None:
        return "nothing has ever been archived"
    seconds = max(0.0, archiver.measured_at - archiver.last_archived_at)
    return f"nothing was archived for {seconds_in_words(seconds)}"


def _seconds_ago(archiver: Archiver, moment: float | None) -> float | None:
    return None if moment is None else max(0.0, archiver.measured_at - moment)
