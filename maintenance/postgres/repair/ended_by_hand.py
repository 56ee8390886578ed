"""Whether somebody ended a session of ours, which is not to be undone, or its server or network went away.

A server that shuts down says the same to every session as ``pg_terminate_backend`` says to one. But it
has refused new sessions from before it says so, and when it takes some again it has another start.
"""

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import MissingRights, TargetUnavailable
from maintenance.postgres.connection import connect
from maintenance.postgres.repair.session import SessionLost
from maintenance.postgres.sql_files import query


def server_started_at(conn: Connection) -> float:
    """Return when the server was started, in seconds since the epoch by its clock."""
    started_at: float = query(conn, "server_start")[0]["started_at"]
    return started_at


def was_ended_by_hand(lost: SessionLost, target: DatabaseTarget, started_at: float) -> bool:
    """Tell whether the server said farewell to this session and stands as it was ``started_at``."""
    if not lost.farewell:
        return False
    try:
        with connect(target, purpose="watch", may_be_kept=False) as conn:
            return server_started_at(conn) == started_at
    except (TargetUnavailable, MissingRights):
        return False
