"""One look at PgBouncer and at the server behind it."""

from collections.abc import Mapping
from typing import Any

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import MissingRights
from maintenance.core.findings import by_seriousness
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted
from maintenance.postgres.connection import connect
from maintenance.postgres.pgbouncer.configuration_file import PoolFacts, guide_rows
from maintenance.postgres.pgbouncer.console import Console, Pool, look_at_console
from maintenance.postgres.pgbouncer.diagnosis import (
    ServerRoom,
    Situation,
    diagnose,
    entries_of,
    most_connections,
)
from maintenance.postgres.pgbouncer.session_features import SessionFeature, features_used
from maintenance.postgres.queries.review import StatementStatistics, take_snapshot
from maintenance.postgres.settings.model import Server
from maintenance.postgres.sql_files import query


def room_of(server: Server) -> ServerRoom | None:
    """Return what clients can have of the server's connections; ``None`` where it is hidden."""
    most = server.number("max_connections")
    if most is None:
        return None
    # reserved_connections came with 16; superusers have 3 of their own unless somebody changed it.
    superusers = server.number("superuser_reserved_connections")
    others = server.number("reserved_connections") or 0
    return ServerRoom(int(most), int((3 if superusers is None else superusers) + others))


def review_pgbouncer(
    name: str,
    target: DatabaseTarget,
    server: Server | None,
    *,
    demand: int | None = None,
    server_side_cursors: bool | None = None,
    previous_state: Mapping[str, Any] | None = None,
) -> Report:
    """Judge the PgBouncer before one database. ``server`` is ``None`` where it could not be asked.

    Reads SHOW and statistics, and changes nothing. Raises what :func:`look_at_console` raises.
    """
    console = look_at_console(target.pgbouncer or "", target.connect_timeout_seconds)
    database, features = _behind(target, console) if server else ("", None)
    situation = Situation(
        console=console,
        database=database,
        traffic=console.traffic.since(previous_state or {}),
        room=None if server is None else room_of(server),
        demand=demand,
        server_side_cursors=server_side_cursors,
        features=features,
    )
    entries = entries_of(console, database)
    facts = facts_of(name, console, situation, server)
    return Report(
        title=f"PgBouncer before {name}",
        summary=(
            f"PgBouncer {console.version_text} before {name}:"
            f" {counted(len(console.pools), 'pool')}, {most_connections(console, entries):,} server"
            f" connections at most, {counted(situation.traffic.transactions, 'transaction')} since"
            " the last look."
        ),
        findings=tuple(by_seriousness(diagnose(name, situation))),
        tables=(
            Table.of(f"The guide's settings of PgBouncer before {name}", list(guide_rows(console, facts))),
            Table.of(f"Pools before {name}", [_row(pool) for pool in console.pools]),
        ),
        facts={"pgbouncer": console.version_text},
        state=console.traffic.to_state(),
    )  # fmt: skip


def facts_of(name: str, console: Console, situation: Situation, server: Server | None) -> PoolFacts:
    """Return what sizes of this PgBouncer follow from."""
    entries = entries_of(console, situation.database)
    names = {entry.name for entry in entries}
    place = entries[0] if entries else None
    return PoolFacts(
        name=name,
        host=place.host if place else "",
        port=place.port if place else 0,
        database=situation.database,
        room=situation.room,
        cpu_count=None if server is None else server.machine.cpu_count,
        demand=situation.demand,
        pools=max(1, sum(pool.database in names for pool in console.pools)),
        version=console.version,
    )


def _behind(
    target: DatabaseTarget, console: Console
) -> tuple[str, tuple[SessionFeature, ...] | None]:
    """Return the database's own name, and what its pooled users ask of sessions, if that is counted."""
    users = {pool.user for pool in console.pools}
    try:
        with connect(target, purpose="pgbouncer") as conn:
            database = str(conn.info.dbname)
            statistics = StatementStatistics(**query(conn, "statement_statistics")[0])
            if statistics.needs():
                return database, None
            snapshot, _hidden = take_snapshot(conn, statistics)
    except MissingRights:
        return "", None
    return database, tuple(features_used(snapshot.statements, users))


def _row(pool: Pool) -> dict[str, Any]:
    return {
        "database": pool.database,
        "user": pool.user,
        "mode": pool.pool_mode,
        "clients_active": pool.clients_active,
        "clients_waiting": pool.clients_waiting,
        "connections": pool.servers,
        "busy": pool.servers_busy,
        "longest_wait_seconds": pool.longest_wait_seconds,
    }
