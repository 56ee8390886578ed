"""Collations whose rules changed under the indexes that were sorted by them.

Source: PostgreSQL documentation, "ALTER COLLATION" and "ALTER DATABASE ... REFRESH COLLATION VERSION":
after an upgrade of libc or ICU, an index in the old order misses rows and lets duplicates in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, listed
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.sql_files import query, server_major

#: Commands in one finding; a database with more affected indexes is rebuilt as a whole.
INDEXES_PRINTED = 50

#: Since when the server records the version of a database's own collation.
DATABASE_VERSION_SINCE = 15


@dataclass(frozen=True, slots=True)
class CollationMismatch:
    """A collation (``kind`` is ``collation``) or a database's own (``database``), and its indexes.

    ``actual_version`` is ``None`` where the library does not know the collation any more.
    """

    kind: str
    qualified_name: str
    recorded_version: str
    actual_version: str | None
    may_refresh: bool
    indexes: tuple[str, ...]

    @property
    def refresh_command(self) -> str:
        """Record the present version, once nothing in the old order is left."""
        if self.kind == "database":
            return f"ALTER DATABASE {self.qualified_name} REFRESH COLLATION VERSION;"
        return f"ALTER COLLATION {self.qualified_name} REFRESH VERSION;"


def examine_collations(
    conn: Connection,
    thresholds: Thresholds,  # noqa: ARG001 - versions are equal or not
    previous: Mapping[str, Any],  # noqa: ARG001
) -> Aspect:
    """Compare the versions that were recorded with those of the libraries in use."""
    found = [
        CollationMismatch(**{**row, "indexes": tuple(row["indexes"])})
        for row in query(conn, "collation_versions")
    ]
    findings = [finding for mismatch in found for finding in diagnose_collation(mismatch)]
    if server_major(conn) < DATABASE_VERSION_SINCE:
        findings.append(
            unavailable(
                "collation-version",
                "the database's own collation",
                "whether its rules changed",
                f"PostgreSQL {DATABASE_VERSION_SINCE} or later, which records its version",
            )
        )
    clause = "no collation changed its rules"
    if found:
        clause = f"{counted(len(found), 'collation')} changed rules since indexes were built"
    return Aspect(clause, tuple(findings), facts={"collations_changed": len(found)})


def diagnose_collation(mismatch: CollationMismatch) -> Iterator[Finding]:
    """Name the indexes that are in the old order, with what repairs them."""
    indexes = mismatch.indexes
    subject = "The collation of database" if mismatch.kind == "database" else "The collation"
    actual = mismatch.actual_version or "nothing that the library still knows"
    affected = (
        f"{counted(len(indexes), 'index', 'indexes')} ({listed(list(indexes))}) may be in the old"
        " order, miss rows and let duplicates in"
        if indexes
        else "no index depends on it"
    )
    rebuild = tuple(f"REINDEX INDEX CONCURRENTLY {name};" for name in indexes[:INDEXES_PRINTED])
    more = len(indexes) - INDEXES_PRINTED
    rest = f" {more:,} more indexes need it: see the evidence." if more > 0 else ""
    by = "" if mismatch.may_refresh else " The last command takes the owner or a superuser."
    yield Finding(
        code="collation-version",
        severity=Severity.WARNING if indexes else Severity.INFO,
        subject=mismatch.qualified_name,
        sentence=(
            f"{subject} {mismatch.qualified_name} was recorded as version"
            f" {mismatch.recorded_version} and is {actual} now: {affected}."
        ),
        evidence={
            "recorded_version": mismatch.recorded_version,
            "actual_version": mismatch.actual_version,
            "indexes": list(indexes)[:1000],
        },
        advice=(
            "Rebuild the indexes (a unique one may fail over duplicates that slipped in: remove them"
            " first), look at range partitions and CHECK constraints on text, then record the new"
            f" version with the last command.{rest}{by}"
        ),
        commands=(*rebuild, mismatch.refresh_command),
    )
