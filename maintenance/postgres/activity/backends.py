"""What the server's sessions do at one moment, as ``pg_stat_activity`` and ``pg_locks`` show it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, unavailable
from maintenance.core.statement_text import command_of, without_literals
from maintenance.core.wording import counted
from maintenance.postgres.activity.locks import Lock
from maintenance.postgres.activity.sessions import session_in_words
from maintenance.postgres.sql_files import query

#: Stands for every prepared transaction among those that ``pg_blocking_pids`` names.
PREPARED_TRANSACTION = 0

CLIENT = "client backend"


@dataclass(frozen=True, slots=True)
class Backend:
    """One session. What it does is ``None`` or empty where ``hidden`` for lack of a right.

    ``here`` says that it is connected to the target's database. ``statement`` holds no literals.
    ``statement_seconds`` and ``transaction_seconds`` are ages, ``state_seconds`` is the time since
    the state last changed; the times ``..._started_at`` are exact to the microsecond, so that a
    command can make sure that it meets the same statement. ``waited_seconds`` may be ``None`` in
    the first moment of a wait.
    """

    pid: int
    leader_pid: int | None
    database: str | None
    here: bool
    user_name: str | None
    application_name: str | None
    client_address: str | None
    backend_type: str | None
    state: str | None
    hidden: bool
    query_id: str | None
    statement: str
    statement_seconds: float | None
    transaction_seconds: float | None
    state_seconds: float | None
    statement_started_at: str | None
    transaction_started_at: str | None
    blocked_by: tuple[int, ...]
    lock_mode: str | None
    lock_on: str | None
    waited_seconds: float | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Backend":
        """Build from a row of ``sql/backends.sql``; literals of the statement end here."""
        values = {name: value for name, value in row.items() if name != "query"}
        values["blocked_by"] = tuple(sorted(set(row["blocked_by"])))
        return cls(**values, statement=_shown_statement(row))

    @property
    def is_client(self) -> bool:
        """Whether it takes one of ``max_connections``; a hidden one is taken for a client."""
        if self.hidden:
            return self.user_name is not None and self.database is not None
        return self.backend_type == CLIENT

    @property
    def is_idle_in_transaction(self) -> bool:
        """Whether it has a transaction open and does nothing in it."""
        return (self.state or "").startswith("idle in transaction")

    @property
    def is_upkeep(self) -> bool:
        """Whether it is ours or the server's own and expected to take long."""
        ours = (self.application_name or "").startswith("maintenance:")
        return ours or (not self.hidden and self.backend_type != CLIENT)

    @property
    def is_autovacuum(self) -> bool:
        """Whether it is a worker of autovacuum."""
        return not self.hidden and self.backend_type == "autovacuum worker"

    @property
    def prevents_wraparound(self) -> bool:
        """Whether it is an autovacuum that gives way to nobody, by the server's own mark."""
        return self.is_autovacuum and self.statement.endswith("(to prevent wraparound)")

    @property
    def subject(self) -> str:
        """Name it in a finding."""
        return f"process {self.pid}"

    @property
    def in_words(self) -> str:
        """Name it so that a person can find it."""
        return session_in_words(
            self.pid,
            self.user_name,
            self.application_name,
            self.state or self.backend_type,
            self.transaction_seconds,
        )

    @property
    def lock_in_words(self) -> str:
        """Name the lock that it waits for, empty where it waits for none."""
        return f"{self.lock_mode} on {self.lock_on}" if self.lock_mode else ""

    def cancel_command(self) -> str:
        """Return SQL that ends its statement, and only while that statement is still the same."""
        return _guarded("pg_cancel_backend", self.pid, "query_start", self.statement_started_at)

    def terminate_command(self) -> str:
        """Return SQL that ends the session, and only while its transaction is still the same."""
        return _guarded("pg_terminate_backend", self.pid, "xact_start", self.transaction_started_at)


def _shown_statement(row: Mapping[str, Any]) -> str:
    if row["hidden"] or not row["query"]:
        return ""
    if row["state"] == "idle in transaction (aborted)":
        # It may be no valid SQL at all, and then nothing tells a value from a name.
        return command_of(row["query"])
    return without_literals(row["query"])


def _guarded(function: str, pid: int, column: str, started_at: str | None) -> str:
    condition = f"pid = {pid} AND {column} = '{started_at}'"
    return f"SELECT {function}(pid) FROM pg_stat_activity WHERE {condition};"  # noqa: S608 - shown, not run


@dataclass(frozen=True, slots=True)
class ActivitySnapshot:
    """All sessions but our own, and how many the server takes.

    ``reserved_connections`` of ``max_connections`` are kept, of which
    ``superuser_reserved_connections`` for superusers and the others for members of
    pg_use_reserved_connections. ``role_name`` is our role, quoted. ``locks``
    are those that somebody waits for.
    """

    backends: tuple[Backend, ...]
    max_connections: int
    reserved_connections: int
    role_name: str
    superuser_reserved_connections: int = 0
    locks: tuple[Lock, ...] = ()

    @property
    def hidden_count(self) -> int:
        """Number of sessions whose state our role may not see."""
        return sum(backend.hidden for backend in self.backends)

    @property
    def untracked_count(self) -> int:
        """Number of sessions that do not say what they do: ``track_activities`` is off there."""
        return sum(backend.state == "disabled" for backend in self.backends)

    @property
    def shows_everything(self) -> bool:
        """Whether the state of every session is known."""
        return not self.hidden_count and not self.untracked_count


def measure_activity(conn: Connection) -> ActivitySnapshot:
    """Take the snapshot."""
    limits = query(conn, "connection_limits")[0]
    backends = tuple(Backend.from_row(row) for row in query(conn, "backends"))
    locks: tuple[Lock, ...] = ()
    if any(backend.blocked_by for backend in backends):
        locks = tuple(Lock(**row) for row in query(conn, "lock_queue"))
    return ActivitySnapshot(backends=backends, locks=locks, **limits)


def visibility_findings(snapshot: ActivitySnapshot) -> list[Finding]:
    """Say which sessions could not be looked into, and what that needs."""
    findings = []
    if snapshot.hidden_count:
        findings.append(
            unavailable(
                "session-state",
                "sessions",
                f"what {_of_all(snapshot.hidden_count, snapshot)} do",
                f"GRANT pg_read_all_stats TO {snapshot.role_name}",
            )
        )
    if snapshot.untracked_count:
        findings.append(
            unavailable(
                "session-tracking",
                "sessions",
                f"what {_of_all(snapshot.untracked_count, snapshot)} do",
                "track_activities = on for them",
            )
        )
    return findings


def _of_all(count: int, snapshot: ActivitySnapshot) -> str:
    return f"{count:,} of {counted(len(snapshot.backends), 'session')}"


def by_pid(backends: Iterable[Backend]) -> dict[int, Backend]:
    """Index sessions by process id."""
    return {backend.pid: backend for backend in backends}
