"""Who waits for a lock that a session of ours holds or is before them in the queue for."""

from collections.abc import Collection
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.activity.sessions import session_in_words
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class Waiter:
    """A session of somebody else that waits for the session ``our_pid``, and for how long."""

    pid: int
    our_pid: int
    waited_seconds: float
    in_words: str


def waiters_for(conn: Connection, our_pids: Collection[int]) -> list[Waiter]:
    """Return who waits for one of our sessions, longest first; autovacuum and our own do not count.

    Costs one look at the waiting locks; the lock table itself is only asked where there are any.
    """
    if not our_pids:
        return []
    rows = query(conn, "waiters_for_ours", {"ours": list(our_pids)})
    return [
        Waiter(
            pid=row["pid"],
            our_pid=row["our_pid"],
            waited_seconds=row["waited_seconds"],
            in_words=session_in_words(
                row["pid"],
                row["user_name"],
                row["application_name"],
                row["state"],
                row["transaction_seconds"],
            ),
        )
        for row in rows
    ]
