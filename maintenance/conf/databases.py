"""Databases as targets: where they are, when and how hard they may be worked on."""

import re
from typing import Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from maintenance.conf.references import resolve_secret, shown
from maintenance.conf.values import Section, TimeOfDay, Timezone, Url, Weekday
from maintenance.core.errors import ConfigurationError
from maintenance.core.windows import WEEKDAYS


class ServerFacts(Section):
    """What the machine of a PostgreSQL server has, for advice on its settings.

    Memory and processors are what the server may use, a container's limits where it has some; they
    are read from the machine if the server provably runs on this one. ``dedicated`` is whether
    nothing else needs the memory.
    """

    memory_bytes: int | None = Field(default=None, gt=0)
    cpu_count: int | None = Field(default=None, gt=0)
    storage: Literal["ssd", "hdd"] | None = None
    dedicated: bool | None = None


class MaintenanceWindow(Section):
    """When work that writes may be done: wall-clock times, on every day unless ``days`` says which.

    A window that ends before it starts ends on the next day. ``timezone`` is that of the whole
    configuration unless given.
    """

    start: TimeOfDay
    end: TimeOfDay
    days: tuple[Weekday, ...] = WEEKDAYS
    timezone: Timezone | None = None

    @model_validator(mode="after")
    def _has_a_day(self) -> Self:
        if not self.days:
            raise ValueError('give at least one of "days", or leave them out for every day')
        return self


class Pacing(Section):
    """What a database bears beside its own work. Above a limit our work slows down, then waits.

    ``blocked_limit_seconds`` is how long a statement of the site may wait for one of ours before
    ours ends itself. ``longest_wait_seconds`` is how long a run waits for a quieter moment.
    """

    blocked_limit_seconds: float = Field(default=2, gt=0)
    active_sessions: int | None = Field(default=None, gt=0)  # None: two for each processor
    lock_waiters: int = Field(default=3, gt=0)  # a queue has formed: locks are what we add to
    replica_lag_seconds: float = Field(default=30, gt=0)  # readers of replicas notice a minute
    wal_bytes_per_second: int | None = Field(default=None, gt=0)  # None: max_wal_size in 16 s
    added_latency_ms: float = Field(default=5, gt=0)  # of a small statement, against before
    longest_wait_seconds: float = Field(default=900, ge=0)


#: What can harm a site, and is therefore off until the configuration of a target allows it.
Dangerous = Literal[
    "reindex",
    "vacuum_full",
    "alter_table",
    "reclaim_memory",
    "flush_cache",
    "remove_streams",
    "rewrite_images",
    "remove_media",
    "load_test",
]


class DatabaseTarget(Section):
    """A PostgreSQL database to look after: a Django connection ``alias``, with its ``assume_role``, or a ``url``.

    ``direct_url`` bypasses PgBouncer: maintenance needs sessions of its own. ``pgbouncer`` is the
    address of its admin console, the database ``pgbouncer``, for a user of its ``stats_users``. The time limits are
    set on each connection, in seconds; 0 means none. ``replicas`` are its physical replicas: what
    they read is asked of them, because no server counts the scans of another.
    ``unqueried_replication`` names replication clients that nobody queries, by application or slot: a
    backup's receiver of WAL, a standby that waits for a failover.
    ``log_directory`` is where the server's log
    lies on the worker's machine, a folder or a pattern for the files in it; left out, the log is
    read through the server, where the role may.
    Scheduled work that writes waits for one of ``windows``, where there are any; all work waits while
    ``max_concurrent_runs`` are at work on it.
    """

    alias: str = ""
    url: Url | None = None
    direct_url: Url | None = None
    pgbouncer: Url | None = None
    replicas: tuple[Url, ...] = ()
    unqueried_replication: tuple[str, ...] = ()
    connect_timeout_seconds: int = Field(default=10, gt=0)
    statement_timeout_seconds: float = Field(default=60, ge=0)
    lock_timeout_seconds: float = Field(default=2, gt=0)
    log_directory: str = ""
    exclude_schemas: tuple[str, ...] = ()
    server: ServerFacts = Field(default_factory=ServerFacts)
    size_limit_bytes: int | None = Field(default=None, gt=0)  # of its disk or plan, if known
    windows: tuple[MaintenanceWindow, ...] = ()
    jobs: int = Field(default=2, gt=0, le=64)  # sessions that repair at once
    max_concurrent_runs: int | None = Field(default=None, gt=0)  # over all workers
    pacing: Pacing = Field(default_factory=Pacing)
    allow: tuple[Dangerous, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.alias) == bool(self.url):
            raise ValueError('give either "alias" (a Django connection) or "url", not both or none')
        return self

    def replica_targets(self) -> tuple["DatabaseTarget", ...]:
        """Return a target for each replica, with the limits of this one."""
        own = {"alias": "", "direct_url": None, "pgbouncer": None, "replicas": ()}
        return tuple(self.model_copy(update={**own, "url": url}) for url in self.replicas)

    def connection_parameters(self) -> dict[str, Any]:
        """Return keyword arguments for ``psycopg2.connect``. Raises ``ConfigurationError``."""
        source = self.direct_url or self.url
        if source is not None:
            dsn = resolve_secret(source)
            if not dsn:  # libpq would take a database of its own choice
                raise ConfigurationError(
                    f'The address of a database, "{shown(source)}", is empty. Write it as'
                    " postgres://user:password@host:port/dbname."
                )
            return {"dsn": dsn}
        from django.db import connections  # noqa: PLC0415 - the pure parts need no Django

        django = connections[self.alias]
        parameters = dict(django.get_connection_params())
        if role := django.settings_dict["OPTIONS"].get("assume_role"):
            # What a session begins with is what it goes back to when it is reset.
            given = parameters.get("options", "")
            parameters["options"] = f"{given} -c role={_escaped(role)}".lstrip()
        if "connect_timeout_seconds" in self.model_fields_set:
            parameters["connect_timeout"] = self.connect_timeout_seconds
        # Django's cursor and isolation settings are for the request's connection, not for ours.
        return {k: v for k, v in parameters.items() if k not in {"cursor_factory", "context"}}


def _escaped(text: str) -> str:
    """Return a value for libpq's ``options``, where a space ends it unless a backslash is before."""
    return re.sub(r"([\\\s])", r"\\\1", text)
