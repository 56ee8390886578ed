"""PgBouncer's admin console: settings, pools and counters, by SHOW alone.

A user of ``stats_users`` may do all of it and change nothing (PgBouncer documentation, "Admin console").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import resolve_secret
from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.core.redaction import address_of
from maintenance.postgres.connection import parameters_of_dsn, reason_of

#: The database of the console; its own pool is none that serves a site.
CONSOLE_DATABASE = "pgbouncer"

NEEDS_USER = "a user that stats_users in pgbouncer.ini names"


@dataclass(frozen=True, slots=True)
class PooledDatabase:
    """A row of SHOW DATABASES: where it leads, and how many connections each user's pool may have.

    ``max_connections`` is that of all its pools together (max_db_connections), 0 for none.
    """

    name: str
    host: str
    port: int
    database: str
    pool_size: int
    reserve_pool_size: int
    pool_mode: str
    max_connections: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A row of SHOW POOLS: one user's connections to one database at this moment."""

    database: str
    user: str
    clients_active: int
    clients_waiting: int
    servers: int
    servers_busy: int
    longest_wait_seconds: float
    pool_mode: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What all databases were asked for since PgBouncer started; it counts in microseconds."""

    transactions: int
    wait_us: int

    def since(self, before: Mapping[str, Any]) -> "Traffic":
        """Return what was added; all of it where the counters began anew."""
        transactions = self.transactions - int(before.get("transactions", 0))
        wait_us = self.wait_us - int(before.get("wait_us", 0))
        return self if transactions < 0 or wait_us < 0 else Traffic(transactions, wait_us)

    def to_state(self) -> dict[str, int]:
        """Return plain JSON for the next look."""
        return {"transactions": self.transactions, "wait_us": self.wait_us}


@dataclass(frozen=True, slots=True)
class Console:
    """One look at a PgBouncer. ``version`` is empty where it cannot be read."""

    version: tuple[int, ...]
    settings: Mapping[str, str]
    databases: tuple[PooledDatabase, ...]
    pools: tuple[Pool, ...]
    traffic: Traffic

    def number(self, name: str) -> int | None:
        """Return a setting that is a number, ``None`` where this version does not have it."""
        value = self.settings.get(name, "")
        return int(float(value)) if re.fullmatch(r"\d+(\.\d+)?", value) else None

    @property
    def version_text(self) -> str:
        """The version as people write it: ``1.18.0``."""
        return ".".join(map(str, self.version))


def look_at_console(url: str, timeout_seconds: int) -> Console:
    """Read everything in one session.

    ``url`` may be a reference to a secret. Raises :class:`ConfigurationError` for an address that is
    no console, :class:`MissingRights` and :class:`TargetUnavailable`.
    """
    address = resolve_secret(url)
    try:
        parameters_of_dsn(address)
    except ConfigurationError:
        raise ConfigurationError(
            'The address of PgBouncer cannot be read. Write "pgbouncer" of this database as'
            " postgres://user:password@host:6432/pgbouncer, special characters of the password"
            " quoted (%2F for /)."
        ) from None
    try:
        conn: Connection = psycopg2.connect(address, connect_timeout=timeout_seconds)
    except psycopg2.OperationalError as error:
        raise _refusal(error, address_of(address)) from None
    try:
        return _read(conn, address_of(address))
    finally:
        conn.close()


def _refusal(error: psycopg2.Error, address: str) -> MissingRights | TargetUnavailable:
    reason = reason_of(error)
    if "not allowed" in reason:
        return MissingRights(f"PgBouncer at {address} refused: {reason}. It needs {NEEDS_USER}.")
    return TargetUnavailable(
        f"PgBouncer at {address} cannot be reached: {reason}. Check the address and the user."
    )


def _read(conn: Connection, address: str) -> Console:
    # The console knows no transactions.
    conn.autocommit = True
    if conn.info.dbname != CONSOLE_DATABASE:
        raise ConfigurationError(
            f'{address} is no admin console: "pgbouncer" of this database must name the database'
            f" {CONSOLE_DATABASE}, not {conn.info.dbname}."
        )
    try:
        databases = _rows(conn, "SHOW DATABASES")
        pools = _rows(conn, "SHOW POOLS")
        stats = _rows(conn, "SHOW STATS")
        settings = {row["key"]: str(row["value"] or "") for row in _rows(conn, "SHOW CONFIG")}
    except psycopg2.Error as error:
        raise _refusal(error, address) from None
    return Console(
        version=_version(conn.info.parameter_status("server_version") or ""),
        settings=settings,
        databases=tuple(_database(row, settings) for row in databases if _is_site(row["name"])),
        pools=tuple(_pool(row) for row in pools if _is_site(row["database"])),
        traffic=Traffic(
            sum(int(row["total_xact_count"]) for row in stats if _is_site(row["database"])),
            sum(int(row["total_wait_time"]) for row in stats if _is_site(row["database"])),
        ),
    )


def _rows(conn: Connection, statement: str) -> list[dict[str, Any]]:
    with conn.cursor() as cursor:
        cursor.execute(statement)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _is_site(database: str) -> bool:
    return database != CONSOLE_DATABASE


def _version(text: str) -> tuple[int, ...]:
    """Read ``1.18.0/bouncer``, which the console reports as the server's version."""
    found = re.match(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _database(row: Mapping[str, Any], settings: Mapping[str, str]) -> PooledDatabase:
    # 1.24 calls it reserve_pool_size, older ones reserve_pool.
    reserve = row.get("reserve_pool_size", row.get("reserve_pool"))
    return PooledDatabase(
        name=row["name"],
        host=row["host"] or "",
        port=int(row["port"] or 5432),
        database=row["database"],
        pool_size=int(row["pool_size"]),
        reserve_pool_size=int(reserve or 0),
        pool_mode=row["pool_mode"] or settings.get("pool_mode", ""),
        max_connections=int(row["max_connections"] or 0),
    )


def _pool(row: Mapping[str, Any]) -> Pool:
    servers = {
        state: int(row[f"sv_{state}"]) for state in ("active", "idle", "used", "tested", "login")
    }
    return Pool(
        database=row["database"],
        user=row["user"],
        clients_active=int(row["cl_active"]),
        clients_waiting=int(row["cl_waiting"]),
        servers=sum(servers.values()),
        servers_busy=servers["active"],
        longest_wait_seconds=int(row["maxwait"]) + int(row.get("maxwait_us", 0)) / 1e6,
        pool_mode=row["pool_mode"] or "",
    )
