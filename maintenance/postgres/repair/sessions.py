"""Sessions of a repair, which may write, and the two that watch them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.job import Job
from maintenance.postgres.connection import connect
from maintenance.postgres.driver import MARKER
from maintenance.postgres.repair.lookout import Lookout
from maintenance.postgres.repair.watch import Watch

#: A little less than ``deadlock_timeout``, which is a second by default: then an autovacuum in the way
#: is cancelled (PostgreSQL documentation, "The Autovacuum Daemon").
BEFORE_DEADLOCK_TIMEOUT_SECONDS = 0.8


@contextmanager
def repair_session(
    target: DatabaseTarget, kind: str, *, statement_timeout_seconds: float
) -> Iterator[Connection]:
    """Open a session that may write; see :func:`connect` for what it raises.

    It waits for no lock longer than the target bears: whoever came after it would wait as well; and
    not until the server cancels an autovacuum that it waits for.
    """
    with connect(
        target,
        purpose=kind,
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


@contextmanager
def watching(job: Job[DatabaseTarget, Any], jobs: int) -> Iterator[Watch]:
    """Open the watch over a repair in up to ``jobs`` sessions.

    Raises what :func:`connect` raises, also when one of its two sessions is lost in the body.
    """
    with (
        connect(job.target, purpose="watch", may_be_kept=False) as conn,
        connect(job.target, purpose="lookout", may_be_kept=False, gives_way=False) as lookout_conn,
    ):
        lookout = Lookout(lookout_conn, job.target.pacing)
        yield Watch(conn, lookout, job.target, jobs)
