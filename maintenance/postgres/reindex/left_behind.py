"""What a run of rebuilds leaves: dropped once more at its end, and named until it is gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import (
    Cancelled,
    LeaseUnknown,
    LostLease,
    MissingRights,
    TargetUnavailable,
)
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.reports import FollowUp
from maintenance.core.wording import bytes_in_words, listed
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.driver import MARKER
from maintenance.postgres.indexes.catalog import IndexState, indexes_of_table
from maintenance.postgres.reindex.leftovers import leftovers_among
from maintenance.postgres.reindex.measure import drop_statement
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.preflight import in_use_by
from maintenance.postgres.repair.sessions import repair_session
from maintenance.postgres.sql_files import query

#: A DROP INDEX CONCURRENTLY waits for locks up to three times, and others behind it. What nobody
#: watches may take so much of their limit each time.
DROP_WAIT_RATIO = 0.2
#: The statement itself only removes a file.
DROP_LIMIT_SECONDS = 60.0
#: Whoever keeps a leftover from being dropped is mostly gone after some minutes.
FOLLOW_UP_SECONDS = 600.0
#: A server that was away through all tries of a run is asked again less often.
AWAY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Remaining:
    """A leftover that could not be dropped, and why. ``may_drop`` is whether the role has the right."""

    index: IndexState
    statement: str
    reason: str
    may_drop: bool


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What stays, and the tables on which something may stay because nobody could look."""

    remaining: tuple[Remaining, ...] = ()
    unseen_tables: tuple[str, ...] = ()
    unseen_reason: str = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A warning for each leftover, and one for all tables that nobody could look at."""
        return tuple(self._findings())

    def _findings(self) -> Iterator[Finding]:
        for one in self.remaining:
            yield _leftover(one)
        if self.unseen_tables:
            yield _unseen(self.unseen_tables, self.unseen_reason)

    @property
    def follow_up(self) -> FollowUp | None:
        """The run that tries again, where that may help."""
        if self.unseen_tables or any(one.may_drop for one in self.remaining):
            return tidying_up(FOLLOW_UP_SECONDS)
        return None


def tidying_up(delay_seconds: float) -> FollowUp:
    """Return a run that drops leftovers and rebuilds nothing."""
    return FollowUp({"leftovers_only": True}, delay_seconds)


def _leftover(one: Remaining) -> Finding:
    index = one.index
    cost = "; every write still keeps it up to date" if index.is_ready and index.is_live else ""
    return Finding(
        code="reindex-leftover",
        severity=Severity.WARNING,
        subject=index.qualified_name,
        sentence=(
            f"{index.qualified_name} ({bytes_in_words(index.size_bytes)}) is left over from an"
            f" interrupted rebuild and cannot be dropped yet{cost}: {one.reason}."
        ),
        evidence={"table": index.table_name, "size_bytes": index.size_bytes},
        advice=_advice(one),
        commands=(f"{one.statement};",),
    )


def _advice(one: Remaining) -> str:
    if one.may_drop:
        return (
            "It is dropped as soon as that goes: a run with leftovers_only tries again by itself."
        )
    if one.index.qualified_name.startswith("pg_toast."):
        return (
            "Have a superuser drop it: an index of a TOAST table can be named only with the right"
            " USAGE on the schema pg_toast, which the owner of the table lacks as well."
        )
    return "Have the owner of the table drop it: the maintenance role has no right to."


def _unseen(tables: Sequence[str], reason: str) -> Finding:
    return Finding(
        code="reindex-leftovers-unseen",
        severity=Severity.WARNING,
        subject="leftovers",
        sentence=(
            f"An interrupted rebuild may have left an invalid index on {listed(list(tables), 3)}:"
            f" it could not be looked at ({reason})."
        ),
        evidence={"tables": list(tables)},
        advice="A run with leftovers_only looks by itself, and drops what it finds.",
    )


def drop_what_is_left(
    job: Job[DatabaseTarget, ReindexOptions], tables: Mapping[int, str]
) -> LeftBehind:
    """Try once more to drop the leftovers of these tables, by oid with their names; return what stays.

    Also after a run that was cancelled or lost its server. Where this run is somebody else's by now,
    he begins with it.
    """
    if not tables or not _is_still_ours(job):
        return LeftBehind()
    try:
        with repair_session(
            job.target, "reindex", statement_timeout_seconds=DROP_LIMIT_SECONDS
        ) as conn:
            patience = job.target.pacing.blocked_limit_seconds * DROP_WAIT_RATIO
            query(conn, "lock_time_limit", {"milliseconds": round(patience * 1000)})
            return LeftBehind(tuple(_remaining(conn, sorted(tables))))
    except (TargetUnavailable, MissingRights) as error:
        reason = str(error).rstrip(".")
    except psycopg2.OperationalError as error:
        reason = reason_of(error)
    return LeftBehind((), tuple(sorted(tables.values())), reason)


def _is_still_ours(job: Job[DatabaseTarget, ReindexOptions]) -> bool:
    """Tell whether this run may write: one that was cancelled may tidy up, one that is lost may not."""
    try:
        job.progress.check()
    except Cancelled:
        return True
    except (LostLease, LeaseUnknown):
        return False
    return True


def _remaining(conn: Connection, tables: Sequence[int]) -> Iterator[Remaining]:
    for table_oid in tables:
        for leftover in leftovers_among(indexes_of_table(conn, table_oid)):
            statement = drop_statement(conn, leftover)
            reason, may_drop = _drop(conn, table_oid, statement)
            if reason:
                yield Remaining(leftover, statement, reason, may_drop=may_drop)


def _drop(conn: Connection, table_oid: int, statement: str) -> tuple[str, bool]:
    """Drop a leftover; return why it stays, empty where it does not, and whether rights suffice."""
    try:
        with conn.cursor() as cursor:
            cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), sql.SQL(statement)))
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
        return in_use_by(conn, table_oid), True
    except psycopg2.errors.InsufficientPrivilege as error:
        return reason_of(error), False
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        return reason_of(error), True
    return "", True
