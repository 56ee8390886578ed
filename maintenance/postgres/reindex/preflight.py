"""Whether a rebuild may begin now: who works on the table, whom it would wait for, and the disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, unavailable
from maintenance.core.wording import listed, seconds_in_words
from maintenance.postgres.activity.sessions import XminHolder, lock_holder_in_words
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.plan import ReindexStep
from maintenance.postgres.repair.disk import disk_of, refusal_for_disk, unknown_disk
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A transaction that a rebuild of an index has to wait for; ``holds_lock`` on its table."""

    holder: XminHolder
    holds_lock: bool

    @property
    def in_words(self) -> str:
        """Name it so that a person can find it."""
        return self.holder.in_words


def refusal_now(
    conn: Connection, step: ReindexStep, target: DatabaseTarget, options: ReindexOptions
) -> str:
    """Return why a step would not be done at this moment; empty where nothing is in its way.

    A dry run asks the same as the run, so that it tells what would be left alone.
    """
    if step.leftover is not None:
        users = _users_of(conn, step.table_oid)
        return _in_use(users) if users else ""
    if step.index is None:
        return ""
    return (
        refusal_for_table(conn, step.table_oid)
        or refusal_for_transactions(
            obstacles(conn, step.table_oid), options.oldest_transaction_seconds
        )
        or refusal_for_disk(disk_of(conn, step.index.oid), step.disk_bytes, target.size_limit_bytes)
    )


def in_use_by(conn: Connection, table_oid: int) -> str:
    """Say whose transactions use a table, so that an index of it cannot be dropped yet."""
    users = _users_of(conn, table_oid)
    return _in_use(users) if users else "its table was in use"


def _users_of(conn: Connection, table_oid: int) -> list[str]:
    return [o.in_words for o in obstacles(conn, table_oid) if o.holds_lock]


def _in_use(users: Sequence[str]) -> str:
    return f"its table is used by {listed(list(users), 3)}"


def obstacles(conn: Connection, table_oid: int) -> list[Obstacle]:
    """Return the transactions that a rebuild on this table would wait for now, oldest first."""
    return [
        Obstacle(
            XminHolder(
                row["kind"],
                row["name"],
                row["user_name"],
                row["application_name"],
                row["state"],
                row["transaction_seconds"],
                xid_age=0,
            ),
            row["holds_lock"],
        )
        for row in query(conn, "reindex_obstacles", {"table_oid": table_oid})
    ]


def sees_others(conn: Connection) -> bool:
    """Tell whether the role sees the snapshots and ages of others' transactions."""
    return bool(query(conn, "replication_role")[0]["shows_everything"])


def unseen_before(
    conn: Connection, rebuilds: Sequence[ReindexStep], target: DatabaseTarget
) -> Iterator[Finding]:
    """Yield what could not be looked at before these rebuilds."""
    if rebuilds and not sees_others(conn):
        yield unavailable(
            "reindex-preflight",
            "transactions",
            "whom a rebuild would wait for",
            "GRANT pg_monitor to the maintenance role; until then a rebuild is begun, and ended when it"
            " has waited too long",
        )
    if rebuilds and rebuilds[0].index is not None:
        disk = disk_of(conn, rebuilds[0].index.oid)
        yield from unknown_disk("reindex-disk", disk, target.size_limit_bytes)


def refusal_for_transactions(found: Sequence[Obstacle], oldest_seconds: float) -> str:
    """Return whom a rebuild would wait for too long; empty where nobody's age is a reason.

    One whose age the role may not see is taken to be short: the rebuild is watched all the same.
    """
    old = [o.in_words for o in found if (o.holder.transaction_seconds or 0) > oldest_seconds]
    if not old:
        return ""
    return (
        f"it would wait for {listed(old, 3)}; a rebuild is not begun while a transaction has been"
        f" open for more than {seconds_in_words(oldest_seconds)}"
    )


def refusal_for_table(conn: Connection, table_oid: int) -> str:
    """Return who changes the table or its indexes at this moment; empty where nobody does."""
    holders = query(conn, "lock_holders", {"oid": table_oid, "any_mode": False})
    if not holders:
        return ""
    by = listed([lock_holder_in_words(row) for row in holders], 3)
    return f"its table is being worked on by {by}"
