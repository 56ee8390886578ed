"""Pools against what the server has, clients against what they ask for, waiting, and the mode. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, percent, seconds_in_words
from maintenance.postgres.pgbouncer.console import Console, PooledDatabase, Traffic
from maintenance.postgres.pgbouncer.session_features import SessionFeature

#: Of the clients that it lets in: a deploy starts new processes beside the old ones.
CLIENTS_WARNING_RATIO = 0.8
#: A visitor notices a second; a pool that keeps one waiting so long is empty, not busy.
LONGEST_WAIT_SECONDS = 1.0
#: On average a transaction of a page takes a few milliseconds: waiting as long doubles it.
MEAN_WAIT_MS = 10.0
#: Of fewer transactions a mean says little.
MINIMUM_TRANSACTIONS = 100
#: PgBouncer changelog, 1.21: protocol-level prepared statements in transaction mode.
PREPARED_SINCE = (1, 21)

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "/tmp"})  # noqa: S108 - an address to compare


@dataclass(frozen=True, slots=True)
class ServerRoom:
    """How many connections the server has for everybody, without those that it reserves."""

    max_connections: int
    reserved: int

    @property
    def free_for_all(self) -> int:
        """What clients without special rights can have."""
        return self.max_connections - self.reserved


@dataclass(frozen=True, slots=True)
class Situation:
    """A PgBouncer with all that it stands between.

    ``room`` is ``None`` where the server could not be asked, ``demand`` where nobody knows how many
    connections the site's processes open. ``server_side_cursors`` says whether Django uses them,
    ``None`` where that cannot be seen. ``features`` is ``None`` without pg_stat_statements.
    """

    console: Console
    database: str
    traffic: Traffic
    room: ServerRoom | None = None
    demand: int | None = None
    server_side_cursors: bool | None = None
    features: Sequence[SessionFeature] | None = None


def diagnose(name: str, situation: Situation) -> Iterator[Finding]:
    """Judge one PgBouncer; ``name`` is that of the database target."""
    yield from _pools_against_server(name, situation)
    yield from _clients(name, situation)
    yield from _waiting(name, situation)
    yield from _mode(name, situation)
    yield from _settings(name, situation.console)


def entries_of(console: Console, database: str) -> list[PooledDatabase]:
    """Return the entries that lead to the same server as the one for this database.

    Where none does, all of them if they share a server.
    """
    own = next((entry for entry in console.databases if entry.database == database), None)
    if own is not None:
        return [e for e in console.databases if (e.host, e.port) == (own.host, own.port)]
    places = {(entry.host, entry.port) for entry in console.databases}
    return list(console.databases) if len(places) == 1 else []


def most_connections(console: Console, entries: Sequence[PooledDatabase]) -> int:
    """Return how many connections the pools may open at once: one pool a database and user.

    Pools of users who have not connected yet are not known; a database without any counts as one.
    """
    total = 0
    per_user = console.number("max_user_connections") or 0
    for entry in entries:
        users = {pool.user for pool in console.pools if pool.database == entry.name}
        each = entry.pool_size + entry.reserve_pool_size
        each = min(each, per_user) if per_user else each
        all_pools = max(1, len(users)) * each
        total += min(all_pools, entry.max_connections) if entry.max_connections else all_pools
    return total


def _pools_against_server(name: str, situation: Situation) -> Iterator[Finding]:
    room, console = situation.room, situation.console
    if room is None:
        yield unavailable(
            "pgbouncer-room",
            name,
            "whether its pools fit the server",
            "max_connections of the server (direct_url of this database)",
        )
        return
    most = most_connections(console, entries_of(console, situation.database))
    if most <= room.free_for_all:
        return
    yield Finding(
        code="pgbouncer-pools-too-large",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"The pools of PgBouncer before {name} may open {counted(most, 'connection')}, and"
            f" the server has {room.free_for_all:,} for them: under load the last ones are refused,"
            " and clients get the server's error."
        ),
        evidence={
            "pool_connections": most,
            "max_connections": room.max_connections,
            "reserved_connections": room.reserved,
        },
        advice=(
            "Lower default_pool_size or set max_db_connections; more connections than the server's"
            " processors can serve only wait for one another. maintenance recommend --for pgbouncer"
            " prints sizes that fit."
        ),
    )


def _clients(name: str, situation: Situation) -> Iterator[Finding]:
    console, demand = situation.console, situation.demand
    limit = console.number("max_client_conn")
    if limit is None:
        return
    now = sum(pool.clients_active + pool.clients_waiting for pool in console.pools)
    if now > limit * CLIENTS_WARNING_RATIO:
        yield Finding(
            code="pgbouncer-clients-near-limit",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{now:,} of the {limit:,} clients that PgBouncer before {name} lets in are"
                f" connected ({percent(now / limit)}); when none is left, new ones are refused."
            ),
            evidence={"clients": now, "max_client_conn": limit},
            advice="Raise max_client_conn (and the limit on open files), a waiting client costs 2 kB.",
        )
    if demand is not None and demand > limit:
        yield Finding(
            code="pgbouncer-too-few-clients",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"The site's processes may open {counted(demand, 'connection')}, and PgBouncer"
                f" before {name} lets in {limit:,}: under load the last ones are refused."
            ),
            evidence={"client_connections": demand, "max_client_conn": limit},
            advice=(
                f"Set max_client_conn to at least {2 * demand:,}, since a deploy doubles them for a"
                " moment, and let the limit on open files be higher."
            ),
        )


def _waiting(name: str, situation: Situation) -> Iterator[Finding]:
    waiting = [
        pool
        for pool in situation.console.pools
        if pool.clients_waiting and pool.longest_wait_seconds >= LONGEST_WAIT_SECONDS
    ]
    for pool in waiting:
        yield Finding(
            code="pgbouncer-clients-wait",
            severity=Severity.WARNING,
            subject=f"{pool.database}/{pool.user}",
            sentence=(
                f"{counted(pool.clients_waiting, 'client')} of {pool.user} wait for a connection to"
                f" {pool.database}, the first for {seconds_in_words(pool.longest_wait_seconds)};"
                f" {pool.servers_busy:,} of {pool.servers:,} connections are at work."
            ),
            evidence={
                "clients_waiting": pool.clients_waiting,
                "longest_wait_seconds": pool.longest_wait_seconds,
                "servers_busy": pool.servers_busy,
            },
            advice=(
                "Look for long transactions first (review_activity): a transaction that idles keeps"
                " its connection. A larger pool helps while the server has processors to spare."
            ),
        )
    seen = situation.traffic
    mean_ms = seen.wait_us / 1000 / seen.transactions if seen.transactions else 0.0
    if seen.transactions >= MINIMUM_TRANSACTIONS and mean_ms >= MEAN_WAIT_MS:
        yield Finding(
            code="pgbouncer-waits",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Each transaction waited {mean_ms:.0f} ms on average for a connection of PgBouncer"
                f" before {name}, over {counted(seen.transactions, 'transaction')}."
            ),
            evidence={"mean_wait_ms": mean_ms, "transactions": seen.transactions},
            advice="As long as the server has processors to spare, raise default_pool_size.",
        )


def _mode(name: str, situation: Situation) -> Iterator[Finding]:
    console = situation.console
    modes = {entry.pool_mode for entry in entries_of(console, situation.database)}
    modes = modes or {console.settings.get("pool_mode", "session")}
    if "statement" in modes:
        yield Finding(
            code="pgbouncer-mode",
            severity=Severity.CRITICAL,
            subject=name,
            sentence=(
                f"PgBouncer before {name} pools by statement: it refuses every transaction of more"
                " than one, and Django opens one for each atomic block."
            ),
            advice="Set pool_mode = transaction.",
        )
    if "session" in modes:
        yield from _session_mode(name, console)
    if "transaction" in modes:
        yield from _transaction_mode(name, situation)


def _session_mode(name: str, console: Console) -> Iterator[Finding]:
    yield Finding(
        code="pgbouncer-mode",
        severity=Severity.INFO,
        subject=name,
        sentence=(
            f"PgBouncer before {name} pools by session: a client keeps its connection until it"
            " leaves, so that many idle ones (CONN_MAX_AGE, Celery) hold as many as they are."
        ),
        advice="pool_mode = transaction serves them with few; read its hazards in the documentation first.",
    )
    if not console.settings.get("server_reset_query"):
        yield Finding(
            code="pgbouncer-no-reset",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"PgBouncer before {name} gives a session to the next client as the last one left it:"
                " its settings, locks and temporary tables are inherited."
            ),
            advice="Set server_reset_query = DISCARD ALL.",
        )


def _transaction_mode(name: str, situation: Situation) -> Iterator[Finding]:
    console = situation.console
    if situation.server_side_cursors:
        yield Finding(
            code="pgbouncer-server-side-cursors",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Django uses server-side cursors on {name}, and PgBouncer pools by transaction:"
                " iterator() outside of an atomic block meets a session without its cursor."
            ),
            advice="Set DISABLE_SERVER_SIDE_CURSORS to True for this alias in DATABASES.",
        )
    elif situation.server_side_cursors is None:
        yield unavailable(
            "pgbouncer-server-side-cursors",
            name,
            "whether Django's server-side cursors are off (DISABLE_SERVER_SIDE_CURSORS)",
            "the site's settings; a database given by alias shows them",
        )
    for feature in situation.features or ():
        yield Finding(
            code="pgbouncer-session-feature",
            severity=Severity.WARNING,
            subject=f"{name}: {feature.name}",
            sentence=(
                f"Users of the pool before {name} used {feature.name}"
                f" {counted(feature.calls, 'time')}; in transaction mode {feature.consequence}."
            ),
            evidence={"calls": feature.calls, "example": feature.example},
            advice=(
                "Give what needs it a connection past PgBouncer (direct_url), or an entry of its own"
                " with pool_mode=session. Statements that already go past it count here as well."
            ),
        )
    if situation.features is None:
        yield unavailable(
            "pgbouncer-session-features",
            name,
            "whether the site uses what transaction mode cannot keep (LISTEN, SET, advisory locks)",
            "pg_stat_statements on the server, and the right to read it",
        )
    yield from _prepared_statements(name, console)
    if console.number("server_reset_query_always"):
        yield Finding(
            code="pgbouncer-resets-always",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"PgBouncer before {name} sends server_reset_query after each transaction: one more"
                " round trip each, to hide session features that transaction mode does not support."
            ),
            advice="Find out who leaves something in sessions, then set server_reset_query_always = 0.",
        )


def _prepared_statements(name: str, console: Console) -> Iterator[Finding]:
    old = console.version[:2] < PREPARED_SINCE
    if not console.version or (not old and console.number("max_prepared_statements")):
        return
    yield Finding(
        code="pgbouncer-prepared-statements",
        severity=Severity.INFO,
        subject=name,
        sentence=(
            f"PgBouncer {console.version_text} before {name}"
            + (" knows no prepared statements" if old else " keeps no prepared statements")
            + ": a driver that prepares by itself (psycopg 3 with prepare_threshold, asyncpg) fails."
        ),
        evidence={"version": console.version_text},
        advice=(
            "Django's psycopg backends do not prepare unless told to. "
            + (
                "Upgrade to 1.21 or later to allow it."
                if old
                else "Set max_prepared_statements = 200 to allow it."
            )
        ),
    )


def _settings(name: str, console: Console) -> Iterator[Finding]:
    if console.settings.get("query_wait_timeout") in {"0", "0.0"}:
        yield Finding(
            code="pgbouncer-waits-for-ever",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Clients wait without limit for a connection of PgBouncer before {name}: when the"
                " pool is stuck, every process of the site is."
            ),
            advice="Set query_wait_timeout = 120, its own default.",
        )
    reserve, wait = console.number("reserve_pool_timeout"), console.number("query_wait_timeout")
    if console.number("reserve_pool_size") and reserve and wait and reserve >= wait:
        yield Finding(
            code="pgbouncer-reserve-unused",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"The reserve of PgBouncer before {name} opens after {reserve:,} s, and clients give"
                f" up after {wait:,} s: it never helps anybody."
            ),
            advice="Set reserve_pool_timeout = 5.",
        )
    hosts = {part.strip() for part in console.settings.get("listen_addr", "").split(",")} - {""}
    if console.settings.get("auth_type") in {"any", "trust"} and hosts - _LOOPBACK:
        yield Finding(
            code="pgbouncer-open",
            severity=Severity.CRITICAL,
            subject=name,
            sentence=(
                f"PgBouncer before {name} listens on {', '.join(sorted(hosts))} and asks nobody for a"
                f" password (auth_type {console.settings['auth_type']})."
            ),
            advice="Set auth_type = scram-sha-256 with auth_file or auth_query.",
        )
