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
from maintenance.postgres.connection import query
from maintenance.postgres.server.aspect import Aspect


@dataclass(frozen=True, slots=True)
class Archiver:
    """pg_stat_archiver; ``waiting_files`` is ``None`` where the role may not list them."""

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


def examine_archiver(
    conn: Connection,
    thresholds: Thresholds,  # noqa: ARG001 - a failure is one whatever its size
    previous: Mapping[str, Any],  # noqa: ARG001 - the last times say it all
) -> Aspect:
    """Judge the archiver by its last success and its last failure."""
    row = query(conn, "archiver")[0]
    may_list = row.pop("may_list")
    waiting = query(conn, "wal_to_archive")[0]["waiting_files"] if may_list else None
    archiver = Archiver(**row, waiting_files=waiting)
    if not archiver.is_on:
        clause = "WAL is not archived here"
    elif archiver.is_failing:
        clause = "archiving fails"
    else:
        clause = f"{counted(archiver.archived_count, 'WAL file')} were archived"
    return Aspect(
        clause,
        tuple(diagnose_archiver(archiver)),
        facts={"archive_mode": archiver.mode, "wal_files_waiting": waiting},
    )


def diagnose_archiver(archiver: Archiver) -> Iterator[Finding]:
    """Name an archiver that fails, or that has nowhere to write to."""
    if not archiver.is_on:
        return
    waiting = ""
    if archiver.waiting_files:
        size = bytes_in_words(archiver.waiting_files * archiver.wal_segment_bytes)
        waiting = f" {counted(archiver.waiting_files, 'file')} ({size}) wait and fill the disk."
    evidence = {
        "failed_count": archiver.failed_count,
        "archived_count": archiver.archived_count,
        "last_failed_seconds_ago": _seconds_ago(archiver, archiver.last_failed_at),
        "last_archived_seconds_ago": _seconds_ago(archiver, archiver.last_archived_at),
        "waiting_files": archiver.waiting_files,
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
        since = (
            "nothing has ever been archived"
            if archiver.last_archived_at is None
            else "nothing was archived for"
            f" {seconds_in_words(max(0.0, archiver.measured_at - archiver.last_archived_at))}"
        )
        yield Finding(
            code="archiver-failing",
            severity=Severity.CRITICAL,
            subject="archiver",
            sentence=(
                f"Archiving WAL fails: the last attempt ({archiver.last_failed_wal}) failed {ago}"
                f" ago and {since}; backups cannot be brought up to date.{waiting}"
            ),
            evidence=evidence,
            advice="Read the server's log for the archive command's own words, and mend its target.",
        )


def _seconds_ago(archiver: Archiver, moment: float | None) -> float | None:
    return None if moment is None else max(0.0, archiver.measured_at - moment)
