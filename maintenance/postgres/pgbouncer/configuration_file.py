"""pgbouncer.ini for one site: pools that fit the server, clients that fit the processes. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.configuration_file import ConfigurationFile, Line, stays, withheld
from maintenance.core.wording import counted
from maintenance.postgres.pgbouncer.console import Console
from maintenance.postgres.pgbouncer.diagnosis import PREPARED_SINCE, ServerRoom

#: What the guide prints for pgbouncer.ini.
GUIDE_SETTINGS: Mapping[str, str] = {
    "pool_mode": "transaction",
    "max_client_conn": "100",
    "default_pool_size": "20",
    "reserve_pool_size": "5",
    "reserve_pool_timeout": "5",
}

#: The guide's 20 for four or five processors: some sessions wait for the disk, or for Python.
POOL_PER_CPU = 4
GUIDE_POOL_SIZE = 20
GUIDE_RESERVE = 5
GUIDE_CLIENTS = 100
#: For people, migrations, backups and this crew, who go past PgBouncer.
KEPT_DIRECT = 10
#: A deploy starts new processes beside the old ones.
DEPLOY_FACTOR = 2
#: PgBouncer changelog: the default since 1.24.
PREPARED_STATEMENTS = 200


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What sizes follow from. ``demand`` is how many connections the site's processes may open.

    ``pools`` is how many pairs of database and user there are. ``version`` is PgBouncer's, empty
    where it is not known; so are ``room``, ``cpu_count`` (of the server) and ``demand`` (``None``).
    """

    name: str
    host: str
    port: int
    database: str
    room: ServerRoom | None = None
    cpu_count: int | None = None
    demand: int | None = None
    pools: int = 1
    version: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Connections of each pool, and those of its reserve."""

    pool: int
    reserve: int


def sizes_for(facts: PoolFacts) -> Sizes | None:
    """Return sizes with which all pools together fit the server; ``None`` where that is not known."""
    if facts.room is None:
        return None
    most = max(2, (facts.room.free_for_all - KEPT_DIRECT) // facts.pools)
    wanted = GUIDE_POOL_SIZE if facts.cpu_count is None else POOL_PER_CPU * facts.cpu_count
    reserve = min(GUIDE_RESERVE, max(1, most // 5))
    return Sizes(pool=max(1, min(wanted, most - reserve)), reserve=reserve)


def clients_for(demand: int) -> int:
    """Return max_client_conn for so many connections, in whole hundreds, the guide's at the least."""
    return max(GUIDE_CLIENTS, -(-demand * DEPLOY_FACTOR // 100) * 100)


def pgbouncer_ini(facts: PoolFacts, about: str) -> ConfigurationFile:
    """Return the whole file. Passwords stand in auth_file, never here."""
    lines = (
        Line("[databases]", "Where clients are led; the direct address is for this crew and for migrations."),
        Line(f"{_word(facts.name)} = host={_value(facts.host)} port={facts.port} dbname={_value(facts.database)}"),
        Line("[pgbouncer]", "One process of PgBouncer uses one processor, which serves most sites."),
        *_listening(),
        *_pools(facts),
        *_sessions(facts),
    )  # fmt: skip
    return ConfigurationFile("pgbouncer.ini", about, lines)


def _listening() -> Iterator[Line]:
    yield Line(
        "listen_addr = 127.0.0.1",
        "Without it PgBouncer listens on a Unix socket alone, and HOST = 'localhost' with PORT ="
        " '6432' finds nobody. Another machine needs this one's address here, and TLS.",
    )
    yield Line("listen_port = 6432", "PgBouncer's usual port.")
    yield Line(
        "auth_type = scram-sha-256",
        "As PostgreSQL stores passwords since 14; older md5 hashes in auth_file need auth_type = md5.",
    )
    yield Line(
        "auth_file = /etc/pgbouncer/userlist.txt",
        'Without users nobody is let in. One line a user: "user" "SCRAM-SHA-256$..." from'
        " pg_authid.rolpassword.",
    )
    yield Line(
        "stats_users = maintenance",
        "This user may SHOW and nothing else: enough for review_server_configuration"
        " (pgbouncer = postgres://maintenance:...@127.0.0.1:6432/pgbouncer).",
    )


def _pools(facts: PoolFacts) -> Iterator[Line]:
    yield Line(
        "pool_mode = transaction",
        "A connection is lent for a transaction, so that few serve many. In Django's DATABASES set"
        " DISABLE_SERVER_SIDE_CURSORS = True; LISTEN, session settings and session advisory locks"
        " need the direct address.",
    )
    if facts.demand is None:
        yield withheld(
            "max_client_conn",
            "the number of connections that the site's processes open (gunicorn and celery of a"
            " deployment, --clients)",
        )
    else:
        yield Line(
            f"max_client_conn = {clients_for(facts.demand)}",
            f"The site's processes may open {facts.demand}; a deploy doubles that for a moment. The"
            " limit on open files (ulimit -n) must be higher.",
        )
    sizes = sizes_for(facts)
    if sizes is None:
        needs = "max_connections of the server (a database target, --max-connections)"
        yield withheld("default_pool_size, reserve_pool_size and max_db_connections", needs)
    else:
        yield from _sized(facts, sizes)
    yield Line(
        f"reserve_pool_timeout = {GUIDE_RESERVE}",
        "The reserve opens for a client that has waited for 5 s, which is no usual peak.",
    )


def _sized(facts: PoolFacts, sizes: Sizes) -> Iterator[Line]:
    room = facts.room
    by = (
        "the guide's number; how many processors the server has is not known"
        if facts.cpu_count is None
        else f"{POOL_PER_CPU} for each of the server's {facts.cpu_count} processors"
    )
    free = 0 if room is None else room.free_for_all
    yield Line(
        f"default_pool_size = {sizes.pool}",
        f"For {counted(facts.pools, 'pair')} of user and database: {by}, as far as they fit into the"
        f" server's {free} connections with {KEPT_DIRECT} left for those who go past PgBouncer.",
    )
    yield Line(
        f"reserve_pool_size = {sizes.reserve}",
        "For a moment in which long transactions hold the whole pool.",
    )
    yield Line(
        f"max_db_connections = {facts.pools * (sizes.pool + sizes.reserve)}",
        "Whatever users come, no more are opened for one database.",
    )


def _sessions(facts: PoolFacts) -> Iterator[Line]:
    if not facts.version:
        yield withheld(
            "max_prepared_statements",
            "PgBouncer's version (pgbouncer of a database target): before 1.21 the file would be"
            " refused for it",
        )
    elif facts.version[:2] < PREPARED_SINCE:
        yield Line(
            "",
            "max_prepared_statements is left out: this version is older than 1.21 and knows no"
            " prepared statements in transaction mode. Django's psycopg backends send none.",
        )
    else:
        yield Line(
            f"max_prepared_statements = {PREPARED_STATEMENTS}",
            "Drivers that prepare by themselves work in transaction mode, too.",
        )
    yield stays(
        "server_reset_query",
        "DISCARD ALL",
        "it is sent in session mode only, and server_reset_query_always would cost a round trip"
        " a transaction",
    )
    yield stays("query_wait_timeout", "120", "nobody waits for ever for a connection")


def guide_rows(console: Console, facts: PoolFacts) -> Iterator[dict[str, Any]]:
    """Yield each setting of the guide beside what is deployed and what is advised."""
    sizes = sizes_for(facts)
    advised: dict[str, str | None] = {
        "pool_mode": "transaction",
        "max_client_conn": None if facts.demand is None else str(clients_for(facts.demand)),
        "default_pool_size": str(sizes.pool) if sizes else None,
        "reserve_pool_size": str(sizes.reserve) if sizes else None,
        "reserve_pool_timeout": str(GUIDE_RESERVE),
    }
    for name, printed in GUIDE_SETTINGS.items():
        deployed = console.settings.get(name)
        yield {
            "setting": name,
            "guide": printed,
            "deployed": deployed,
            "advised": advised[name],
            "verdict": _verdict(name, deployed, advised[name]),
        }


def _verdict(name: str, deployed: str | None, advised: str | None) -> str:
    if advised is None:
        return "withheld: facts are missing"
    if deployed is None:
        return "hidden"
    if name == "pool_mode":
        return "fits" if deployed == advised else "change"
    number = float(deployed)
    # More clients cost little, more server connections crowd the server.
    fits = number >= float(advised) if name == "max_client_conn" else number <= float(advised)
    return "fits" if fits else "change"


def _word(name: str) -> str:
    """Quote the name of an entry (PgBouncer documentation, "Section [databases]")."""
    return name if name.isidentifier() else '"' + name.replace('"', '""') + '"'


def _value(text: str) -> str:
    """Quote a value of a connection string: spaces and quotes end it otherwise."""
    if text and all(c.isalnum() or c in "._-/:" for c in text):
        return text
    return "'" + text.replace("'", "''") + "'"
