"""Sessions that runs have on a server, found by their names, and ended."""

from collections.abc import Collection

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.run_marks import Choose, Ended, RunMark
from maintenance.postgres.connection import connect, reason_of
from maintenance.postgres.sql_files import query


def sessions_of_runs(conn: Connection) -> dict[int, str]:
    """Return the names of other sessions that carry the mark of a run, by process id."""
    return {
        row["pid"]: row["name"]
        for row in query(conn, "sessions_of_runs")
        if RunMark.at_end_of(row["name"]) is not None
    }


def end_sessions(conn: Connection, marks: Collection[RunMark]) -> Ended:
    """End the sessions of these attempts; return which ended, which did not, and why.

    Waits for their end, at most five seconds each: until then they hold their locks. Sessions of the
    same role can be ended always; those of another one need ``pg_signal_backend`` (PostgreSQL
    documentation, "Server Signaling Functions").
    """
    ended, left, refusal = [], [], ""
    for pid, name in sessions_of_runs(conn).items():
        if RunMark.at_end_of(name) not in marks:
            continue
        try:
            rows = query(conn, "end_session", {"pid": pid, "name": name})
        except psycopg2.errors.InsufficientPrivilege as error:
            refusal = reason_of(error)
            left.append(name)
            continue
        if all(row["has_ended"] for row in rows):
            ended.append(name)
        else:
            refusal = refusal or "it did not end within five seconds"
            left.append(name)
    return Ended(tuple(ended), tuple(left), refusal)


def cancel_statements(conn: Connection, mark: RunMark, older_than_seconds: float) -> int:
    """Cancel the statements of one attempt that have lasted for so long; return how many."""
    name_end = f":{mark}"
    rows = query(conn, "cancel_statements", {"name_end": name_end, "seconds": older_than_seconds})
    return sum(bool(row["was_cancelled"]) for row in rows)


class DatabaseSessions:
    """What the engine asks for sessions on database servers: see ``maintenance.core.runs.sessions``."""

    def end(self, target: DatabaseTarget, choose: Choose) -> Ended:
        """End the sessions of the attempts that ``choose`` picks among those that have any."""
        with connect(target, purpose="sessions", may_be_kept=False) as conn:
            marks = map(RunMark.at_end_of, sessions_of_runs(conn).values())
            chosen = choose({mark for mark in marks if mark is not None})
            return end_sessions(conn, chosen) if chosen else Ended()

    def cancel(self, target: DatabaseTarget, mark: RunMark, *, older_than_seconds: float) -> int:
        """Cancel the statements of one attempt that have lasted for so long; return how many."""
        with connect(target, purpose="sessions", may_be_kept=False) as conn:
            return cancel_statements(conn, mark, older_than_seconds)
