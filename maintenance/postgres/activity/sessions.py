"""Who stands in the way: sessions, prepared transactions, slots and standbys, named in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.wording import counted, seconds_in_words
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class XminHolder:
    """Something that keeps VACUUM from removing rows that died after it began.

    ``kind`` is ``session``, ``standby``, ``prepared transaction`` or ``replication slot``; ``name``
    is its process id, transaction identifier or slot name. ``catalogs_only`` holders (a slot of
    logical replication) keep rows of the system catalogs alone. ``kept_wal_bytes`` is the WAL that
    a slot keeps; ``inactive_seconds`` is known from 17 on. ``elsewhere`` names the database of a
    transaction in another one, which keeps rows of the catalogs that all databases share.
    """

    kind: str
    name: str
    user_name: str | None
    application_name: str | None
    state: str | None
    transaction_seconds: float | None
    xid_age: int
    catalogs_only: bool = False
    kept_wal_bytes: int | None = None
    inactive_seconds: float | None = None
    elsewhere: str = ""

    def keeps_rows_of(self, *, catalog: bool, shared: bool) -> bool:
        """Tell whether it holds back VACUUM of such a table of this database."""
        return (catalog or not self.catalogs_only) and (shared or not self.elsewhere)

    @property
    def in_words(self) -> str:
        """Name it so that a person can find it."""
        where = f' in database "{self.elsewhere}"' if self.elsewhere else ""
        return f"{self._own_words}{where}"

    @property
    def _own_words(self) -> str:
        if self.kind == "replication slot":
            if self.inactive_seconds is None:
                return f'the {self.state} replication slot "{self.name}"'
            since = seconds_in_words(self.inactive_seconds)
            return f'the replication slot "{self.name}" (inactive for {since})'
        if self.kind == "prepared transaction":
            return f'the prepared transaction "{self.name}"{_by(self.user_name)}{self._for}'
        if self.kind == "standby":
            return f"the standby served by process {self.name}{_by(self.application_name)}"
        return session_in_words(
            int(self.name),
            self.user_name,
            self.application_name,
            self.state,
            self.transaction_seconds,
        )

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        if self.kind == "replication slot" and self.state == "active":
            if self.catalogs_only:
                return "Find out why its consumer confirms nothing."
            return "End the long query on its standby, or turn hot_standby_feedback off there."
        return {
            "session": "End that transaction, or find out why the application left it open.",
            "prepared transaction": "COMMIT PREPARED or ROLLBACK PREPARED it.",
            "replication slot": "Bring its consumer back, or drop the slot if nobody needs it.",
            "standby": "End the long query on the standby, or turn hot_standby_feedback off there.",
        }[self.kind]

    @property
    def _for(self) -> str:
        if self.transaction_seconds is None:
            return ""
        return f", open for {seconds_in_words(self.transaction_seconds)}"


def _by(name: str | None) -> str:
    return f" ({name})" if name else ""


def session_in_words(
    pid: int,
    user_name: str | None,
    application_name: str | None,
    state: str | None,
    transaction_seconds: float | None,
) -> str:
    """Name a session: process id, user, application, state and the age of its transaction."""
    who = [f"user {user_name}"] if user_name else []
    who += [f"application {application_name}"] if application_name else []
    who += [state] if state else []
    if transaction_seconds is not None:
        who.append(f"transaction open for {seconds_in_words(transaction_seconds)}")
    return f"process {pid} ({', '.join(who)})" if who else f"process {pid}"


def held_clause(holder: XminHolder | None) -> str:
    """Say what a session holds back, as the end of a sentence about it."""
    if holder is None:
        return ""
    return (
        " and keeps VACUUM from removing rows that died in the last"
        f" {counted(holder.xid_age, 'transaction')}"
    )


def xmin_holders(
    conn: Connection, *, with_catalogs: bool = False, with_shared: bool = False
) -> list[XminHolder]:
    """Return what holds back VACUUM in this database, the oldest first.

    The oldest one decides: until it ends, rows that died after its start stay. Those that keep rows
    of the system catalogs only are among them ``with_catalogs``, and those of other databases, which
    keep rows of the catalogs that all share, ``with_shared``.
    """
    holders = [XminHolder(**row) for row in query(conn, "xmin_holders")]
    return [h for h in holders if h.keeps_rows_of(catalog=with_catalogs, shared=with_shared)]


def lock_holder_in_words(row: Mapping[str, Any]) -> str:
    """Name a session of ``sql/lock_holders.sql`` and its lock."""
    if row["pid"] is None:
        return f"a prepared transaction with {row['mode']}"
    session = session_in_words(
        row["pid"],
        row["user_name"],
        row["application_name"],
        row["state"],
        row["transaction_seconds"],
    )
    return f"{session} with {row['mode']}"
