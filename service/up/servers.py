"""The servers that the service needs: embedded ones, or those that the environment names."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import redis

from maintenance.conf.addresses import redis_url
from maintenance.core.redaction import address_of, hides_credentials, redact
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.server import EmbeddedServer
from service.embedded.state import StateFolder
from service.embedded.valkey import EmbeddedValkey
from service.up.errors import UpRefused

if TYPE_CHECKING:
    from service.up.supervisor import Supervisor

SITE_ACCESS_LOG = "sample-site-access.log"
SITE_PERFORMANCE_LOG = "sample-site-performance.log"
SITE_MEDIA = "sample-site-media"
SITE_FOLDER = "site"
LEDGER_DATABASE = "maintenance"
SITE_DATABASE = "library"
POSTGRES, BROKER, SITE_REDIS = "postgres", "valkey", "valkey-site"
CONNECT_TIMEOUT_SECONDS = 5
OLDEST_REDIS = (6, 2)  # LMOVE, GETEX and the ACL categories that kombu and we use
UNREADABLE_BROKER = (
    "REDIS_URL cannot be read. Write it as redis://user:password@host:port/0, special characters of the"
    " password quoted (%2F for /, %3F for ?, %23 for #, %40 for @)."
)


class ServerUnit:
    """An embedded server as a unit of the supervisor. Its own class logs to a file, not to us."""

    def __init__(self, name: str, server: EmbeddedServer) -> None:
        self._name = name
        self._server = server
        self._has_run = False

    @property
    def name(self) -> str:
        """What stands before its lines in the terminal."""
        return self._name

    @property
    def stop_patience_seconds(self) -> float:
        """Zero: ``ask_to_stop`` returns when the server has ended."""
        return 0.0

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ``EmbeddedError``.

        Again on its port and no other: every program was given its address, and would not hear of a new one.
        """
        self._server.start(on_same_port=self._has_run)
        self._has_run = True

    def ended(self) -> str | None:
        """Say where to look for the reason, ``None`` while it runs."""
        return None if self._server.running else f"see {self._server.log_path}"

    def ask_to_stop(self) -> None:
        """Shut down with all data on disk."""
        self._server.stop()

    def hurry(self) -> None:
        """Do nothing: an orderly end of a server is quick, and a hard one costs a recovery."""

    def kill(self) -> None:
        """Do nothing: the server's own ``stop`` escalates to SIGKILL."""


@dataclass(slots=True)
class Servers:
    """The servers in use, with their passwords; site addresses are empty without a site."""

    database_url: str
    redis_url: str
    site_database_url: str = ""
    site_redis_url: str = ""
    site_access_log: Path = Path()
    site_performance_log: Path = Path()
    site_media: Path = Path()
    site_port: int = 0
    embedded: list[EmbeddedServer] = field(default_factory=list)
    has_own_database: bool = False

    def environment(self) -> dict[str, str]:
        """Return the variables that ``service.settings`` and ``celeryconfig`` read."""
        values = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        if self.site_database_url:
            values["SITE_DATABASE_URL"] = self.site_database_url
            values["SITE_REDIS_URL"] = self.site_redis_url
            values["SITE_ACCESS_LOG"] = str(self.site_access_log)
            values["SITE_PERFORMANCE_LOG"] = str(self.site_performance_log)
            values["SITE_MEDIA"] = str(self.site_media)
            # What a demonstration tells people goes into files, unless somebody wants it sent.
            values["EMAIL_BACKEND"] = (
                os.environ.get("EMAIL_BACKEND")
                or "django.core.mail.backends.filebased.EmailBackend"
            )
            from service.sample_site import server_configuration  # noqa: PLC0415 - only with a site

            values |= {name: str(path) for name, path in server_configuration.FILES.items()}
            values["SITE_PAGES_URL"] = f"http://{LOOPBACK}:{self.site_port}/"
        return values

    def named_urls(self) -> list[tuple[str, str]]:
        """Return a word and the URL of each server in use."""
        return [
            ("PostgreSQL", self.database_url),
            ("Valkey", self.redis_url),
            ("Sample site's PostgreSQL", self.site_database_url),
            ("Sample site's Valkey", self.site_redis_url),
        ]

    def rotate_logs(self) -> None:
        """Move logs of embedded servers aside that have grown large."""
        for server in self.embedded:
            server.rotate_log()


def start_servers(state: StateFolder, supervisor: "Supervisor", with_site: bool) -> Servers:
    """Start what the environment does not name, and check what it does. With a site it names none of them.

    Raises ``EmbeddedError`` where a server does not start, :class:`UpRefused` where a named one
    cannot be used.
    """
    servers = Servers(os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", ""))
    if servers.database_url:
        refuse_unusable_database(servers.database_url)
    if servers.redis_url:
        refuse_unusable_broker(servers.redis_url)
    if not servers.database_url:
        _start_postgres(state, supervisor, servers, with_site)
    if not servers.redis_url:
        servers.redis_url = _start_valkey(state, supervisor, servers, BROKER, "broker")
    if with_site:
        servers.site_redis_url = _start_valkey(state, supervisor, servers, SITE_REDIS, SITE_FOLDER)
        servers.site_access_log = state.path / SITE_ACCESS_LOG
        servers.site_performance_log = state.path / SITE_PERFORMANCE_LOG
        servers.site_media = state.path / SITE_MEDIA
        servers.site_port = free_port()
    return servers


def _start_postgres(
    state: StateFolder, supervisor: "Supervisor", servers: Servers, with_site: bool
) -> None:
    # No address overrides a service of libpq's that is not there; other PG* variables it does.
    os.environ.pop("PGSERVICE", None)
    server = EmbeddedPostgres(state.postgres, state.secrets.postgres_password)
    supervisor.start(ServerUnit(POSTGRES, server))
    servers.embedded.append(server)
    server.ensure_database(LEDGER_DATABASE)
    # The service looks after its own database too, and reviews its slow queries.
    server.ensure_extension(LEDGER_DATABASE, "pg_stat_statements")
    servers.database_url = server.straight_url(LEDGER_DATABASE)
    servers.has_own_database = True
    if with_site:
        server.ensure_database(SITE_DATABASE)
        servers.site_database_url = server.straight_url(SITE_DATABASE)


def _start_valkey(
    state: StateFolder, supervisor: "Supervisor", servers: Servers, name: str, folder: str
) -> str:
    server = EmbeddedValkey(state.valkey(folder), state.secrets.valkey_password)
    supervisor.start(ServerUnit(name, server))
    servers.embedded.append(server)
    return server.url()


def refuse_unusable_database(url: str) -> None:
    """Raise :class:`UpRefused` where the database of DATABASE_URL does not answer."""
    try:
        psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
    except psycopg2.Error as error:
        # A URL that libpq cannot read is quoted in its message, with the password in it.
        reason = redact(str(error)).strip()
        raise UpRefused(
            f"The database of DATABASE_URL ({_address(url)}) does not answer: {reason}\n"
            "Start that server or correct DATABASE_URL; unset it to use an embedded server."
        ) from None


def refuse_unusable_broker(url: str) -> None:
    """Raise :class:`UpRefused` where the server of REDIS_URL cannot keep messages safely, or Celery cannot read it."""
    if url.startswith("unix://"):
        raise UpRefused(
            "REDIS_URL names a socket as redis-py does (unix://), which Celery cannot read."
            " Write it as redis+socket:///path/of/the.sock?virtual_host=0."
        )
    if hides_credentials(url):
        raise UpRefused(UNREADABLE_BROKER)
    try:
        with redis.Redis.from_url(
            redis_url(url),
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=CONNECT_TIMEOUT_SECONDS,
        ) as client:
            facts = {**client.info("server"), **client.info("memory")}
    except (
        ValueError,
        TypeError,
    ):  # an unknown word behind "?" is a TypeError; both quote the address
        raise UpRefused(UNREADABLE_BROKER) from None
    except (redis.RedisError, OSError) as error:
        raise UpRefused(
            f"The server of REDIS_URL ({_address(url)}) does not answer: {redact(str(error))}\n"
            "Start that server or correct REDIS_URL; unset it to use an embedded server."
        ) from None
    reason = broker_fault(facts)
    if reason:
        raise UpRefused(f"The server of REDIS_URL ({_address(url)}) cannot be the broker: {reason}")


def broker_fault(facts: "dict[str, object]") -> str:
    """Say what in the server's INFO forbids its use as a broker; empty where nothing does."""
    version = str(facts.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        return f"it is version {version}, and 6.2 or newer is needed."
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory") and policy != "noeviction":
        return (
            f"its maxmemory-policy is {policy}, so that it drops queued work when memory is full:"
            " set maxmemory-policy to noeviction, or use a server of its own for the queues."
        )
    return ""


def _address(url: str) -> str:
    try:
        return address_of(url)
    except ValueError:  # a port that is no number, or a broken bracket
        return "not a readable URL"
