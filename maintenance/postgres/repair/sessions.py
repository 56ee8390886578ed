"""Sessions of a repair: named after their run, so that a successor finds and ends what is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.job import Job
from maintenance.postgres.connection import MARKER, connect, query
from maintenance.postgres.repair.watch import Watch

#: A little less than ``deadlock_timeout``, which is a second by default: then an autovacuum in the way
#: is cancelled (PostgreSQL documentation, "The Autovacuum Daemon").
BEFORE_DEADLOCK_TIMEOUT_SECONDS = 0.8


def purpose_of(kind: str, run_id: str) -> str:
    """Return the purpose of a session: with its prefix it fits into the 63 bytes of its name."""
    return f"{kind}:{run_id.replace('-', '')}" if run_id else kind


@contextmanager
def repair_session(
    target: DatabaseTarget, kind: str, run_id: str, *, statement_timeout_seconds: float
) -> Iterator[Connection]:
    """Open a session that may write; see :func:`connect` for what it raises.

    It waits for no lock longer than the target bears: whoever came after it would wait as well; and
    not until the server cancels an autovacuum that it waits for.
    """
    with connect(
        target,
        purpose=purpose_of(kind, run_id),
        read_only=False,
        statement_timeout_seconds=statement_timeout_seconds,
        lock_timeout_seconds=min(
            target.lock_timeout_seconds,
            target.pacing.blocked_limit_seconds / 2,
            BEFORE_DEADLOCK_TIMEOUT_SECONDS,
        ),
        may_be_kept=False,
    ) as conn:
        _speak_english(conn)
        yield conn


def _speak_english(conn: Connection) -> None:
    """Ask for untranslated messages, which is a superuser's right; without it, fewer are read."""
    with conn.cursor() as cursor:
        try:
            cursor.execute(f"{MARKER} SET lc_messages = 'C'")
        except psycopg2.errors.InsufficientPrivilege:
            return


def end_sessions_of(conn: Connection, run_id: str) -> list[int]:
    """End the sessions that an earlier attempt of this run has left; return their process ids.

    Only sessions of the same role and database, named after this very run. A worker that was killed
    leaves its statements at work until the server notices (``client_connection_check_interval``).
    """
    if not run_id:
        return []
    name = purpose_of("", run_id)
    return [row["pid"] for row in query(conn, "end_sessions_of_run", {"name_end": name})]


@contextmanager
def watching(job: Job[DatabaseTarget, Any], jobs: int) -> Iterator[Watch]:
    """Open the watch over a repair in up to ``jobs`` sessions, and end what an earlier attempt left.

    Raises what :func:`connect` raises, also when the watch's own session is lost in the body.
    """
    with connect(job.target, purpose=purpose_of("watch", job.run_id), may_be_kept=False) as conn:
        end_sessions_of(conn, job.run_id)
        yield Watch(conn, job.target, jobs)
