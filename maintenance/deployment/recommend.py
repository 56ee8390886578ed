"""A configuration file for one kind of server, from what is known of machine, server and load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from maintenance.conf import Configuration, DatabaseTarget, SiteTarget
from maintenance.core.configuration_file import ConfigurationFile
from maintenance.core.errors import InvalidOptions
from maintenance.core.machine import MachineFacts
from maintenance.core.suggestions import require_known
from maintenance.core.wording import bytes_in_words, counted
from maintenance.deployment.look import (
    Programs,
    celery_of,
    demand_of,
    gunicorn_of,
    machine_of,
)
from maintenance.postgres.connection import address_of_parameters
from maintenance.postgres.pgbouncer.configuration_file import PoolFacts, pgbouncer_ini
from maintenance.postgres.pgbouncer.console import look_at_console
from maintenance.postgres.pgbouncer.diagnosis import ServerRoom
from maintenance.postgres.pgbouncer.review import room_of
from maintenance.postgres.settings.configuration_file import postgresql_conf
from maintenance.postgres.settings.defaults import default_settings
from maintenance.postgres.settings.model import Load, Machine, Server
from maintenance.postgres.settings.review import look_at_settings
from maintenance.queues.worker_review import celery_conf
from maintenance.redis.configuration import (
    RedisSituation,
    look_at_redis,
    redis_conf,
    situation_of,
)
from maintenance.redis.memory.limits import ROLE_WORDS
from maintenance.web.server_configuration.gunicorn_review import gunicorn_conf
from maintenance.web.server_configuration.nginx_file import NginxFacts, nginx_conf

T = TypeVar("T")

#: A server that nobody can ask is taken for one of this version, unless it is given.
USUAL_MAJOR = 17
#: PostgreSQL documentation: superuser_reserved_connections is 3 unless somebody changed it.
RESERVED_CONNECTIONS = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person at the terminal says; what is ``None`` or empty is looked for.

    ``offline`` asks no server. ``dedicated`` says that nothing else needs the machine's memory.
    """

    deployment: str | None = None
    database: str | None = None
    redis: str | None = None
    offline: bool = False
    memory_bytes: int | None = None
    cpu_count: int | None = None
    storage: Literal["ssd", "hdd"] | None = None
    dedicated: bool = False
    major: int | None = None
    role: str | None = None
    max_connections: int | None = None
    clients: int | None = None
    longest_task_seconds: float | None = None
    server_name: str = ""
    static_root: str = ""
    media_root: str = ""
    backends: Sequence[str] = ()


class Adviser:
    """Knows the configuration, and asks servers for what a person did not say."""

    def __init__(self, configuration: Configuration, wish: Wish) -> None:
        self._configuration = configuration
        self._wish = wish
        self._deployment_name, self._deployment = _chosen(
            "deployment", wish.deployment, configuration.deployments
        )
        self._machine = self._machine_facts()

    def file_for(self, kind: str) -> ConfigurationFile:
        """Return the file of one kind of server.

        Raises what the servers' connections raise, ``UnknownName`` and ``InvalidOptions``.
        """
        writers: Mapping[str, Callable[[], ConfigurationFile]] = {
            "postgresql": self._postgresql,
            "pgbouncer": self._pgbouncer,
            "redis": self._redis,
            "nginx": self._nginx,
            "gunicorn": self._gunicorn,
            "celery": self._celery,
        }
        return writers[require_known("kind of server", kind, writers)]()

    def _machine_facts(self) -> MachineFacts:
        seen, wish = machine_of(self._deployment), self._wish
        said = wish.memory_bytes is not None or wish.cpu_count is not None
        return MachineFacts(
            wish.memory_bytes or seen.memory_bytes,
            wish.cpu_count or seen.cpu_count,
            "what was said" if said else seen.origin,
        )

    def _database(self) -> tuple[str, DatabaseTarget | None]:
        wanted = self._wish.database or (self._deployment.database if self._deployment else None)
        return _chosen("database", wanted or None, self._configuration.databases)

    def _server(self, target: DatabaseTarget | None) -> Server:
        """Return the server as it is, or a new one, on the machine that was said or seen."""
        wish = self._wish
        if target is None or wish.offline:
            major = wish.major or USUAL_MAJOR
            machine = Machine(
                memory_bytes=self._machine.memory_bytes,
                cpu_count=self._machine.cpu_count,
                storage=wish.storage,
                dedicated=wish.dedicated,
                origin=self._machine.origin,
            )
            return Server(
                major, default_settings(major, wish.max_connections or 100), machine, Load()
            )
        server = look_at_settings(target, {}).server
        said = {
            "memory_bytes": wish.memory_bytes,
            "cpu_count": wish.cpu_count,
            "storage": wish.storage,
        }
        known = {name: value for name, value in said.items() if value is not None}
        machine = replace(server.machine, **known)  # type: ignore[arg-type]
        if wish.dedicated:
            machine = replace(machine, dedicated=True)
        return replace(server, machine=machine)

    def _postgresql(self) -> ConfigurationFile:
        name, target = self._database()
        server = self._server(target)
        machine = server.machine
        whose = f"the database {name}" if target and not self._wish.offline else "a new server"
        share = "for PostgreSQL alone" if machine.dedicated else "shared with other programs"
        about = (
            f"For {whose}, PostgreSQL {server.major}: {_memory_words(machine.memory_bytes)}"
            f" {share}, {_cpu_words(machine.cpu_count)}, {machine.storage or 'unknown'} storage."
            " Lines that are missing stay as they are."
        )
        return postgresql_conf(server, about)

    def _pgbouncer(self) -> ConfigurationFile:
        name, target = self._database()
        wish = self._wish
        asked = target if target is not None and not wish.offline else None
        server = self._server(asked) if asked else None
        room = room_of(server) if server else None
        if wish.max_connections is not None:
            room = ServerRoom(wish.max_connections, RESERVED_CONNECTIONS)
        host, port, database = _address(target)
        console = look_at_console(asked.pgbouncer, asked.connect_timeout_seconds) if asked and asked.pgbouncer else None  # fmt: skip
        facts = PoolFacts(
            name=name or "site",
            host=host,
            port=port,
            database=database,
            room=room,
            cpu_count=wish.cpu_count or (server.machine.cpu_count if server else None),
            demand=wish.clients if wish.clients is not None else self._demand(),
            version=console.version if console else (),
        )
        return pgbouncer_ini(facts, f"Before {f'the database {name}' if target else 'a database'}.")

    def _demand(self) -> int | None:
        return demand_of(self._programs(), self._machine.cpu_count)

    def _programs(self) -> Programs:
        deployment = self._deployment
        if deployment is None:
            return Programs()
        has_gunicorn = deployment.gunicorn or deployment.gunicorn_process
        has_celery = deployment.celery or deployment.celery_process
        return Programs(
            gunicorn_of(deployment, self._machine) if has_gunicorn else None,
            celery_of(deployment, self._machine) if has_celery else None,
        )

    def _redis(self) -> ConfigurationFile:
        wish = self._wish
        first = self._deployment.redis[0] if self._deployment and self._deployment.redis else None
        name, target = _chosen("Redis target", wish.redis or first, self._configuration.redis)
        roles = self._roles(name)
        if not roles:
            raise InvalidOptions(
                "What the server is for decides on what it may forget: give --role (cache, streams,"
                " broker, sessions, ledger), or name a Redis target."
            )
        if target is not None and not wish.offline:
            situation = situation_of(target, roles, look_at_redis(target))
        else:
            situation = RedisSituation(roles, self._machine.memory_bytes, shared=True)
        if wish.memory_bytes is not None:
            situation = replace(situation, memory_bytes=wish.memory_bytes)
        if wish.dedicated:
            situation = replace(situation, shared=False)
        about = (
            f"For {name or 'a server'} ({', '.join(roles)}):"
            f" {_memory_words(situation.memory_bytes)}"
            f"{', shared with other programs' if situation.shared else ''}."
        )
        return redis_conf(situation, about)

    def _roles(self, name: str) -> tuple[str, ...]:
        if self._wish.role:
            given = {role.strip() for role in self._wish.role.split(",")}
            return tuple(sorted(require_known("role", role, ROLE_WORDS) for role in given))
        return self._configuration.roles_on(name) if name else ()

    def _nginx(self) -> ConfigurationFile:
        wish, deployment = self._wish, self._deployment
        gunicorn = self._programs().gunicorn
        cookie = deployment.session_cookie if deployment else "sessionid"
        site = next(iter(self._configuration.sites.values()), None)
        facts = NginxFacts(
            name=self._deployment_name or "site",
            server_name=wish.server_name or (_host_of(site) if site else ""),
            static_root=wish.static_root or (site.static_root if site else ""),
            media_root=wish.media_root,
            backends=tuple(wish.backends) or ("127.0.0.1:8000",),
            session_cookie=cookie,
            keeps_connections=None if gunicorn is None else gunicorn.worker_class != "sync",
        )
        return nginx_conf(facts, "A site's file, for sites-available or conf.d (inside of http).")

    def _gunicorn(self) -> ConfigurationFile:
        settings = self._programs().gunicorn
        machine = self._machine
        about = (
            f"For {_cpu_words(machine.cpu_count)} and {_memory_words(machine.memory_bytes)}"
            f" ({machine.origin})."
        )
        return gunicorn_conf(machine, settings.worker_bytes if settings else None, about)

    def _celery(self) -> ConfigurationFile:
        machine = self._machine
        about = f"For {_cpu_words(machine.cpu_count)} ({machine.origin})."
        return celery_conf(machine, self._wish.longest_task_seconds, about)


def _host_of(site: SiteTarget) -> str:
    """Return the host that visitors ask for. Raises ``ConfigurationError`` where nothing says it."""
    return urlsplit(site.resolved().url).hostname or ""


def _chosen(kind: str, name: str | None, targets: Mapping[str, T]) -> tuple[str, T | None]:
    """Return the named target, or the only one; nothing where there is none, or a choice."""
    if name:
        return name, targets[require_known(kind, name, targets)]
    if len(targets) == 1:
        return next(iter(targets.items()))
    return "", None


def _address(target: DatabaseTarget | None) -> tuple[str, int, str]:
    """Return where a database is, without credentials; of several hosts, the first."""
    if target is None:
        return "localhost", 5432, "site"
    place, _, database = address_of_parameters(target.connection_parameters()).rpartition("/")
    host, _, port = place.rpartition(":")
    return host.partition(",")[0], int(port.partition(",")[0] or 5432), database


def _memory_words(memory_bytes: int | None) -> str:
    return f"{bytes_in_words(memory_bytes)} of memory" if memory_bytes else "an unknown memory"


def _cpu_words(cpu_count: int | None) -> str:
    return counted(cpu_count, "processor") if cpu_count else "an unknown number of processors"
