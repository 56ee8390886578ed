"""Data checksums: whether the server would notice a page that the disk has changed, and did it.

Source: PostgreSQL documentation, "Data Checksums", ``pg_checksums`` and ``pg_stat_database``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class ChecksumFailures:
    """Pages of one database that did not match, since its counters began."""

    name: str
    failures: int
    last_failure_at: float | None


def examine_checksums(
    conn: Connection,
    thresholds: Thresholds,  # noqa: ARG001 - one failure is one too many
    previous: Mapping[str, Any],  # noqa: ARG001 - what was damaged before is damaged still
) -> Aspect:
    """Judge all databases of the server: they share one disk."""
    rows = query(conn, "checksums")
    is_on = rows[0]["checksums"] == "on"
    ignored = rows[0]["ignore_failure"] == "on"
    failures = [
        ChecksumFailures(row["name"], row["failures"], row["last_failure_at"])
        for row in rows
        if row["failures"]
    ]
    total = sum(f.failures for f in failures)
    clause = "data checksums are off"
    if is_on:
        said = f"{total:,} did" if total else "all of them match"
        clause = f"data checksums are on and {said}{' not match' if total else ''}"
    return Aspect(
        clause,
        tuple(diagnose_checksums(failures, is_on=is_on, ignored=ignored)),
        facts={"data_checksums": is_on, "checksum_failures": total if is_on else None},
    )


def diagnose_checksums(
    failures: Sequence[ChecksumFailures], *, is_on: bool, ignored: bool
) -> Iterator[Finding]:
    """Name damaged databases, and a server that would not notice damage."""
    for damaged in failures:
        when = ""
        if damaged.last_failure_at is not None:
            moment = datetime.fromtimestamp(damaged.last_failure_at, UTC)
            when = f", the last one on {moment:%Y-%m-%d %H:%M} UTC"
        yield Finding(
            code="checksum-failures",
            severity=Severity.CRITICAL,
            subject=damaged.name,
            sentence=(
                f'{counted(damaged.failures, "page")} of "{damaged.name}" did not match'
                f" {'its checksum' if damaged.failures == 1 else 'their checksums'} when read{when}:"
                " the disk, its driver or the memory has changed data."
            ),
            evidence={"failures": damaged.failures},
            advice=(
                "Take a backup of what is readable now, beside the older ones, and keep all of them."
                " The server's log names the files; check disk and memory, then restore the table or"
                " fail over. Do not VACUUM or write to it before."
            ),
        )
    if not is_on:
        yield Finding(
            code="checksums-off",
            severity=Severity.INFO,
            subject="data checksums",
            sentence=(
                "Data checksums are off: a page that the disk has changed is returned as if it were"
                " right, and copied into every backup."
            ),
            advice=(
                "Turn them on while the server is stopped (it reads and writes every page), or on a"
                " standby that is promoted afterwards; the cost in daily use is a few per cent."
            ),
            commands=("pg_checksums --enable --progress --pgdata DATA_DIRECTORY",),
            undo=("pg_checksums --disable --pgdata DATA_DIRECTORY",),
        )
    elif ignored:
        yield Finding(
            code="checksums-ignored",
            severity=Severity.WARNING,
            subject="ignore_checksum_failure",
            sentence="ignore_checksum_failure is on: damaged pages are read as if they were right.",
            advice="Turn it off once what can be rescued has been rescued.",
            commands=("ALTER SYSTEM RESET ignore_checksum_failure;", "SELECT pg_reload_conf();"),
            undo=("ALTER SYSTEM SET ignore_checksum_failure = on;", "SELECT pg_reload_conf();"),
        )
