"""The configuration: one ``MAINTENANCE`` mapping, checked as a whole.

The same keys stand in a Django project's ``settings.MAINTENANCE`` and in the service's
``maintenance.toml``. Secrets are referenced, never written: ``"env:NAME"`` is read from the
environment and ``"file:/run/secrets/name"`` from a file, at the moment a connection is made.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import time
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from maintenance.core.errors import ConfigurationError
from maintenance.core.globs import common_key
from maintenance.core.rates import RateLimit
from maintenance.core.suggestions import did_you_mean, require_known
from maintenance.core.windows import WEEKDAYS, Window


def resolve_secret(reference: str) -> str:
    """Return the text behind ``env:NAME`` or ``file:/path``; any other text is itself.

    Raises :class:`ConfigurationError` naming the variable or file that is missing.
    """
    kind, _, rest = reference.partition(":")
    if kind == "env":
        try:
            return os.environ[rest]
        except KeyError:
            raise ConfigurationError(
                f"The environment variable {rest} is not set, but the configuration refers to it."
                f" Set {rest}, or change the reference."
            ) from None
    if kind == "file":
        try:
            return Path(rest).read_text().strip()
        except OSError as error:
            raise ConfigurationError(
                f"The secret file {rest} cannot be read: {error.strerror}. Create it, or change the reference."
            ) from None
    return reference


def _a_reference_or_url(text: str) -> str:
    if text.partition(":")[0] in {"env", "file"} or "://" in text:
        return text
    raise ValueError('must be a URL ("postgres://...", "redis://...") or a reference "env:NAME"')


def _a_timezone(name: str) -> str:
    known = available_timezones()
    if name not in known:
        raise ValueError(f'"{name}" is no time zone. {did_you_mean(name, known)}')
    return name


def _a_weekday(name: str) -> str:
    if name not in WEEKDAYS:
        raise ValueError(f'"{name}" is no day of the week. {did_you_mean(name, WEEKDAYS)}')
    return name


def _a_time_of_day(given: Any) -> Any:
    """Read "01:30"; TOML's own 01:30:00 is a time already."""
    try:
        read = time.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        read = None
    if not isinstance(read, time) or read.tzinfo is not None:
        raise ValueError('must be a time of day from "00:00" to "23:59"')
    return read


def _a_rate(text: str) -> str:
    try:
        RateLimit.parse(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return text


Timezone = Annotated[str, AfterValidator(_a_timezone)]
Weekday = Annotated[str, AfterValidator(_a_weekday)]
TimeOfDay = Annotated[time, BeforeValidator(_a_time_of_day)]
Url = Annotated[str, AfterValidator(_a_reference_or_url)]
Rate = Annotated[str, AfterValidator(_a_rate)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    wal_bytes_per_second: int = Field(default=64 * 1024**2, gt=0)  # 1 GB in 16 s: max_wal_size
    added_latency_ms: float = Field(default=5, gt=0)  # of a small statement, against before
    longest_wait_seconds: float = Field(default=900, ge=0)


#: What can harm a site, and is therefore off until the configuration of a target allows it.
Dangerous = Literal[
    "reindex", "vacuum_full", "alter_table", "reclaim_memory", "flush_cache", "remove_streams"
]


class DatabaseTarget(Section):
    """A PostgreSQL database to look after: a Django connection ``alias`` or a ``url``.

    ``direct_url`` bypasses PgBouncer: maintenance needs sessions of its own. The time limits are
    set on each connection, in seconds; 0 means none. ``replicas`` are its physical replicas: what
    they read is asked of them, because no server counts the scans of another.
    ``log_directory`` is where the server's log
    lies on the worker's machine, a folder or a pattern for the files in it; left out, the log is
    read through the server, where the role may.
    Scheduled work that writes waits for one of ``windows``, where there are any.
    """

    alias: str = ""
    url: Url | None = None
    direct_url: Url | None = None
    replicas: tuple[Url, ...] = ()
    connect_timeout_seconds: int = Field(default=10, gt=0)
    statement_timeout_seconds: float = Field(default=60, ge=0)
    lock_timeout_seconds: float = Field(default=2, gt=0)
    log_directory: str = ""
    exclude_schemas: tuple[str, ...] = ()
    server: ServerFacts = Field(default_factory=ServerFacts)
    size_limit_bytes: int | None = Field(default=None, gt=0)  # of its disk or plan, if known
    windows: tuple[MaintenanceWindow, ...] = ()
    jobs: int = Field(default=2, gt=0, le=64)  # sessions that repair at once
    pacing: Pacing = Field(default_factory=Pacing)
    allow: tuple[Dangerous, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.alias) == bool(self.url):
            raise ValueError('give either "alias" (a Django connection) or "url", not both or none')
        return self

    def replica_targets(self) -> tuple["DatabaseTarget", ...]:
        """Return a target for each replica, with the limits of this one."""
        own = {"alias": "", "direct_url": None, "replicas": ()}
        return tuple(self.model_copy(update={**own, "url": url}) for url in self.replicas)

    def connection_parameters(self) -> dict[str, Any]:
        """Return keyword arguments for ``psycopg2.connect``. Raises ``ConfigurationError``."""
        source = self.direct_url or self.url
        if source is not None:
            return {"dsn": resolve_secret(source)}
        from django.db import connections  # noqa: PLC0415 - the pure parts need no Django

        parameters = dict(connections[self.alias].get_connection_params())
        # Django's cursor and isolation settings are for the request's connection, not for ours.
        return {k: v for k, v in parameters.items() if k not in {"cursor_factory", "context"}}


#: What a server is for; each role forbids other things.
RedisRole = Literal["cache", "streams", "broker", "sessions", "ledger"]


class ReclaimRules(Section):
    """What ``reclaim_redis_memory`` may do on a server beside repacking; nothing unless it is named.

    ``exceptions`` are glob patterns of keys that no part of it touches. Keys that begin with one of
    ``abandoned_prefixes`` are removed once nobody has used them for ``minimum_idle_seconds``.
    ``time_outs`` gives keys that begin with a prefix, and have no time to live, so many seconds.
    """

    exceptions: tuple[str, ...] = ()
    abandoned_prefixes: tuple[str, ...] = ()
    minimum_idle_seconds: float = Field(default=7 * 86_400, ge=0)  # a weekly job has come by
    time_outs: Mapping[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    keys_per_second: float | None = Field(
        default=None, gt=0
    )  # of those written to; None: as it bears

    @model_validator(mode="after")
    def _prefixes_say_something(self) -> Self:
        for prefix in (*self.abandoned_prefixes, *self.time_outs):
            if len(prefix.strip(":*? ")) == 0 and not re.fullmatch(r":\d+:", prefix):
                raise ValueError(
                    f'the prefix "{prefix}" says too little: it would mean other keys as well'
                )
        return self


class RedisTarget(Section):
    """A Redis or Valkey server that a site uses. ``role`` decides which rules apply to it.

    ``memory_limit_bytes`` is what its container or plan may use, where that is less than its
    machine has. ``allow`` names what can harm a site and may be done all the same.

    Of a cluster any node will do: streams are looked after on all of its primaries. Where
    ``sentinels`` are named, they say which server is the primary of ``sentinel_name``, in place of
    host and port of ``url``.
    """

    url: Url
    sentinels: tuple[Url, ...] = ()
    sentinel_name: str = ""
    role: RedisRole = "cache"
    timeout_seconds: float = Field(default=10, gt=0)
    windows: tuple[MaintenanceWindow, ...] = ()
    added_latency_ms: float = Field(default=5, gt=0)  # of a PING; above, our writes pause
    memory_limit_bytes: int | None = Field(default=None, gt=0)
    reclaim: ReclaimRules = Field(default_factory=ReclaimRules)
    allow: tuple[Dangerous, ...] = ()

    @model_validator(mode="after")
    def _sentinels_have_a_name(self) -> Self:
        if bool(self.sentinels) != bool(self.sentinel_name):
            raise ValueError('"sentinels" and "sentinel_name" belong together')
        return self

    def resolved_url(self) -> str:
        """Return the URL with its secret. Raises ``ConfigurationError``."""
        return resolve_secret(self.url)

    def resolved_sentinels(self) -> tuple[str, ...]:
        """Return the URLs of the sentinels with their secrets. Raises ``ConfigurationError``."""
        return tuple(map(resolve_secret, self.sentinels))


class BrokerTarget(Section):
    """A Celery broker whose queues are watched, by LLEN only: no worker ever runs on it."""

    url: Url
    queues: tuple[str, ...] = Field(min_length=1)
    key_prefix: str = ""
    max_pending: int = Field(default=1000, gt=0)  # the guide: "Target: < 1000 pending tasks"
    timeout_seconds: float = Field(default=10, gt=0)

    def resolved_url(self) -> str:
        """Return the URL with its secret. Raises ``ConfigurationError``."""
        return resolve_secret(self.url)


class StreamFamily(Section):
    """Keys of one kind that must not grow past ``max_length`` members.

    ``pattern`` finds them, or ``provider``, a registered callable, names them. ``keep`` says which
    end stays: ``highest`` or ``lowest`` scores of a sorted set, ``head`` or ``tail`` of a list; a
    Redis stream always keeps its newest entries. Members older than ``max_age_seconds`` go as well:
    the scores of a sorted set are then times since the epoch in ``score_unit`` (negative ones where
    the lowest stay), those of a stream are its entry IDs.

    ``companions`` are keys that belong to a stream, such as ``{key}-unread``: they are never
    trimmed, and go where their stream is removed. ``owners`` names those whose streams these are;
    the one ``*`` of the pattern stands for the owner's id then.
    """

    redis: str
    pattern: str = ""
    provider: str = ""
    type: Literal["zset", "list", "stream"] = "zset"
    max_length: int = Field(gt=0)
    max_age_seconds: float | None = Field(default=None, gt=0)
    score_unit: Literal["seconds", "milliseconds"] = "seconds"
    keep: Literal["highest", "lowest", "head", "tail", "newest"] | None = None
    companions: tuple[str, ...] = ()
    owners: str = ""
    # The most: fewer where the server takes more than a millisecond for them. A SCAN of 1,000 is
    # a quarter of that.
    keys_per_batch: int = Field(default=1000, gt=0, le=10_000)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.pattern) == bool(self.provider):
            raise ValueError('give either "pattern" or "provider" (a registered callable)')
        return self

    @model_validator(mode="after")
    def _keep_fits_type(self) -> Self:
        fits = {"zset": ("highest", "lowest"), "list": ("head", "tail"), "stream": ("newest",)}
        if self.keep is not None and self.keep not in fits[self.type]:
            raise ValueError(f'"keep" of a {self.type} must be one of {", ".join(fits[self.type])}')
        return self

    @model_validator(mode="after")
    def _ages_fit_type(self) -> Self:
        if self.type == "list" and self.max_age_seconds is not None:
            raise ValueError(
                '"max_age_seconds" is for sorted sets and streams: a list has no times'
            )
        if self.score_unit != "seconds" and self.type != "zset":
            raise ValueError('"score_unit" is for sorted sets')
        return self

    @model_validator(mode="after")
    def _companions_belong_to_their_stream(self) -> Self:
        for template in self.companions:
            if template.count("{key}") != 1 or template == "{key}":
                raise ValueError(
                    f'the companion "{template}" must hold {{key}} once and more than that,'
                    ' as "{key}-unread" does'
                )
        return self

    @model_validator(mode="after")
    def _owners_stand_in_the_pattern(self) -> Self:
        if self.owners and (self.pattern.count("*") != 1 or set("?[]\\") & set(self.pattern)):
            raise ValueError(
                '"owners" needs a pattern with one "*", which stands for the owner\'s id, and no'
                " other wildcard"
            )
        return self

    @property
    def kept_end(self) -> str:
        """The end that stays: as configured, else highest scores, head of a list, newest."""
        return self.keep or {"zset": "highest", "list": "head", "stream": "newest"}[self.type]


class StreamOwners(Section):
    """Whose streams may stay, for removing those of owners who are gone.

    A query (``sql`` on one of the databases) or a registered function (``provider``) gives their
    ids, one column of them. ``answers`` says who they are: with ``kept`` every other owner is gone,
    with ``gone`` nobody else is. ``exceptions`` are ids whose streams stay in any case. Where more
    than ``share_limit_ratio`` of a family would go, nothing does.
    """

    answers: Literal["kept", "gone"]
    database: str = ""
    sql: str = ""
    provider: str = ""
    exceptions: tuple[str, ...] = ()
    # Sites that drop feeds of inactive users lose about a third of them the first time.
    share_limit_ratio: Ratio = 0.4

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.database) != bool(self.sql):
            raise ValueError('"database" and "sql" belong together')
        if bool(self.sql) == bool(self.provider):
            raise ValueError('give either "sql" with its "database", or "provider"')
        return self


def overlap_of(
    families: Mapping[str, StreamFamily], servers: Mapping[str, RedisTarget]
) -> str | None:
    """Name two families of one type and server whose patterns match the same key, with that key.

    ``None`` where there are none. Which keys a provider names is known to nobody before it is asked.
    """
    for (name, one), (other_name, other) in combinations(families.items(), 2):
        if one.type != other.type or not (one.pattern and other.pattern):
            continue
        if servers[one.redis].url != servers[other.redis].url:
            continue
        key = common_key(one.pattern, other.pattern)
        if key is not None:
            return (
                f'streams.{name} and streams.{other_name} overlap: "{key}" matches both'
                f' "{one.pattern}" and "{other.pattern}", and one key can have one limit only.'
                " Narrow one of the patterns"
            )
    return None


class InvalidationRule(Section):
    """Cached values that a scheduled run drops.

    By glob ``patterns`` of the key as the site writes it, by ``prefixes`` (literal text), by
    ``keys``, or as groups by ``tags`` and ``namespaces``. Of what patterns and prefixes match,
    ``keep`` names patterns that stay, and ``older_than_seconds`` spares what was read or written
    since (idle time; without it all goes).
    """

    patterns: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    older_than_seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not (self.patterns or self.prefixes or self.keys or self.tags or self.namespaces):
            raise ValueError(
                'give at least one of "patterns", "prefixes", "keys", "tags" and "namespaces"'
            )
        if any(pattern.strip("*?") == "" for pattern in self.patterns) or "" in self.prefixes:
            raise ValueError("a pattern that matches every key is a flush, which is refused")
        if (self.keep or self.older_than_seconds) and not (self.patterns or self.prefixes):
            raise ValueError('"keep" and "older_than_seconds" are for patterns and prefixes only')
        return self


class CacheTarget(Section):
    """A Django cache: an ``alias`` of ``settings.CACHES``, or the ``url`` of its Redis.

    ``key_prefix`` and ``version`` are those of the site, so that keys come out the same.
    """

    alias: str = ""
    url: Url | None = None
    key_prefix: str = ""
    version: int = 1
    added_latency_ms: float = Field(default=5, gt=0)  # of a PING; above, our writes pause
    warmers: tuple[str, ...] = ()  # names; empty means every registered warmer of this cache
    # Values and pages that are computed, over all workers: each costs about what a visitor costs.
    warming_limit: Rate = "10/s"
    invalidate: Mapping[str, InvalidationRule] = Field(default_factory=dict)
    allow: tuple[Dangerous, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.alias) == bool(self.url):
            raise ValueError('give either "alias" (of settings.CACHES) or "url", not both or none')
        return self


class HostTarget(Section):
    """File systems of the machine that a worker runs on."""

    paths: tuple[str, ...] = ("/",)


class Thresholds(Section):
    """Where a measurement becomes a finding. Ratios are 0 to 1."""

    table_bloat_warning_ratio: Ratio = 0.3
    table_bloat_critical_ratio: Ratio = 0.6
    index_bloat_warning_ratio: Ratio = 0.3
    index_bloat_critical_ratio: Ratio = 0.6
    minimum_bloat_bytes: int = Field(default=8 * 1024**2, ge=0)  # below, a rewrite gains nothing
    unused_index_window_seconds: float = Field(default=30 * 86_400, gt=0)  # a month's jobs have run
    unused_index_minimum_bytes: int = Field(default=1024**2, ge=0)
    # A scan saves at most a reading of the whole table. A page holds dozens of rows and somebody
    # waits for it, an entry more is one step down a tree: ten of these weigh as much.
    rare_index_writes_per_page_saved: float = Field(default=10, gt=0)
    redundant_index_minimum_bytes: int = Field(default=64 * 1024, ge=0)  # below, nobody feels it
    # Below, a deleted row costs a millisecond: less than keeping an index up to date is worth.
    missing_index_minimum_bytes: int = Field(default=1024**2, ge=0)
    sequential_scan_minimum_bytes: int = Field(default=8 * 1024**2, ge=0)  # some 10 ms a scan
    sequential_scans_per_day: float = Field(default=24, gt=0)  # more than a dump and hourly jobs
    sequential_rows_ratio: Ratio = 0.9  # below, indexes do their part of the reading
    slow_query_mean_ms: float = Field(
        default=100, gt=0
    )  # the guide: profile_queries --min-duration 100
    slow_query_limit: int = Field(default=20, gt=0)  # the guide: LIMIT 20
    long_running_seconds: float = Field(default=300, gt=0)
    # Past its trigger a table is due until the next worker comes; at twice the trigger none came.
    autovacuum_overdue_ratio: float = Field(default=2, ge=1)
    # A gibibyte is max_wal_size by default: as much again as WAL takes in any case.
    slot_retained_warning_bytes: int = Field(default=1024**3, gt=0)
    slot_retained_critical_bytes: int = Field(default=16 * 1024**3, gt=0)
    standby_lag_seconds: float = Field(default=60, gt=0)  # readers notice a minute
    standby_lag_bytes: int = Field(default=1024**3, gt=0)
    temporary_files_bytes_per_day: int = Field(default=10 * 1024**3, gt=0)
    autovacuum_large_trigger_rows: int = Field(default=1_000_000, gt=0)  # minutes of work at once
    database_cache_hit_ratio: Ratio = 0.95  # the guide: "> 95% cache hit ratio"
    cache_hit_ratio: Ratio = 0.80  # the guide: "> 80% cache hit rate"
    cache_hit_minimum_reads: int = Field(default=1000, ge=0)  # below, a ratio is noise
    # A table that grows by a tenth a week is twice its size in two months, and a GB is worth a word.
    table_growth_weekly_ratio: float = Field(default=0.10, gt=0)
    table_growth_weekly_bytes: int = Field(default=1024**3, gt=0)
    active_connections: int = Field(default=100, gt=0)  # the guide: "< 100 active connections"
    redis_memory_ratio: Ratio = 0.80  # the guide: "Redis memory > 80% of maxmemory"
    # One command on a value of this size, or its expiry, is felt by everybody: 16 MB take 10 ms.
    redis_big_key_bytes: int = Field(default=16 * 1024**2, gt=0)
    # The server's own expiry leaves up to a tenth of the expired keys (redis.conf,
    # active-expire-effort): more is a backlog.
    redis_expired_ratio: Ratio = 0.10
    # A fork stops the server for about 10 ms a GB (Redis documentation, "Diagnosing latency issues");
    # a visitor notices a tenth of a second.
    redis_fork_seconds: float = Field(default=0.1, gt=0)
    redis_connections_ratio: Ratio = 0.80  # of maxclients: a deploy doubles them for a moment
    disk_warning_ratio: Ratio = 0.80
    disk_critical_ratio: Ratio = 0.90


class ReportSettings(Section):
    """Where reports lie beside the ledger. ``storage`` is an alias of ``settings.STORAGES``."""

    storage: str = "maintenance"
    prefix: str = "reports"
    retention_days: int = Field(default=400, gt=0)  # a year and a month: last year stays comparable


class Configuration(Section):
    """Everything that the operator decides."""

    databases: Mapping[str, DatabaseTarget] = Field(default_factory=dict)
    redis: Mapping[str, RedisTarget] = Field(default_factory=dict)
    brokers: Mapping[str, BrokerTarget] = Field(default_factory=dict)
    streams: Mapping[str, StreamFamily] = Field(default_factory=dict)
    stream_owners: Mapping[str, StreamOwners] = Field(default_factory=dict)
    caches: Mapping[str, CacheTarget] = Field(default_factory=dict)
    hosts: Mapping[str, HostTarget] = Field(default_factory=lambda: {"local": HostTarget()})
    hook_modules: tuple[str, ...] = ()  # imported at start; they register warmers and checks
    thresholds: Thresholds = Field(default_factory=Thresholds)
    reports: ReportSettings = Field(default_factory=ReportSettings)
    timezone: Timezone = "UTC"
    flower_url: str = ""

    @model_validator(mode="after")
    def _streams_have_a_server(self) -> Self:
        for name, family in self.streams.items():
            if family.redis not in self.redis:
                raise ValueError(
                    f'streams.{name}.redis names "{family.redis}", which is no Redis target;'
                    f" {did_you_mean(family.redis, self.redis)}"
                )
        return self

    @model_validator(mode="after")
    def _owners_are_known(self) -> Self:
        for name, family in self.streams.items():
            if family.owners and family.owners not in self.stream_owners:
                raise ValueError(
                    f'streams.{name}.owners names "{family.owners}", which is none of stream_owners;'
                    f" {did_you_mean(family.owners, self.stream_owners)}"
                )
        for name, owners in self.stream_owners.items():
            if owners.database and owners.database not in self.databases:
                raise ValueError(
                    f'stream_owners.{name}.database names "{owners.database}", which is no database;'
                    f" {did_you_mean(owners.database, self.databases)}"
                )
        return self

    @model_validator(mode="after")
    def _no_stream_has_two_rules(self) -> Self:
        fault = overlap_of(self.streams, self.redis)
        if fault:
            raise ValueError(fault)
        return self

    def windows_of(self, target: Any) -> tuple[Window, ...]:
        """Return a target's maintenance windows, none for a target without any."""
        return tuple(
            Window(
                start=window.start,
                end=window.end,
                timezone=window.timezone or self.timezone,
                days=frozenset(WEEKDAYS.index(day) for day in window.days),
            )
            for window in getattr(target, "windows", ())
        )

    def families_on(self, redis_name: str) -> dict[str, StreamFamily]:
        """Return the configured stream families that live on one Redis target."""
        return {name: f for name, f in self.streams.items() if f.redis == redis_name}

    def roles_on(self, redis_name: str) -> tuple[RedisRole, ...]:
        """Return all that one Redis server serves as, sorted: its role and those of its neighbours.

        Targets, brokers, caches and streams that lie on the same host and port share its memory
        and its policy, whatever their database number.
        """
        address = server_address(self.redis[redis_name].url)
        roles: set[RedisRole] = {
            target.role for target in self.redis.values() if server_address(target.url) == address
        }
        if any(server_address(broker.url) == address for broker in self.brokers.values()):
            roles.add("broker")
        if any(
            cache.url and server_address(cache.url) == address for cache in self.caches.values()
        ):
            roles.add("cache")
        if any(
            server_address(self.redis[family.redis].url) == address
            for family in self.streams.values()
        ):
            roles.add("streams")
        return tuple(sorted(roles))

    def database(self, name: str) -> DatabaseTarget:
        """Return one database target. Raises ``UnknownName`` with a suggestion."""
        return self.databases[require_known("database", name, self.databases)]


def server_address(reference: str) -> tuple[str, int | str | None]:
    """Return host and port, or the socket's path, of a Redis URL or a reference to one.

    What cannot be read is an address of its own: the target that needs it says so itself.
    """
    try:
        parts = urlsplit(resolve_secret(reference))
        port = parts.port
    except (ConfigurationError, ValueError):
        return reference, None
    if parts.scheme == "unix":
        return "unix", parts.path
    host = parts.hostname or "localhost"
    return "127.0.0.1" if host == "localhost" else host, port or 6379


def parse_configuration(given: Mapping[str, Any]) -> Configuration:
    """Check the whole mapping. Raises :class:`ConfigurationError` listing every fault at once."""
    try:
        return Configuration.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_faults(error))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        path = [str(part) for part in fault["loc"]]
        where = ".".join(path) or "configuration"
        if fault["type"] == "extra_forbidden":
            yield f"{where}: unknown setting. {did_you_mean(path[-1], _known_keys(path[:-1]))}"
        else:
            # The rejected value is left out: it may be a URL with a password.
            message = fault["msg"].removeprefix("Value error, ").rstrip(".")
            yield f"{where}: {message}{'' if message.endswith('?') else '.'}"


def sentence_of_faults(error: ValidationError) -> str:
    """Say every fault of one section in a sentence each."""
    return " ".join(_faults(error))


def _known_keys(path: list[str]) -> list[str]:
    """Return the setting names that are known at ``path``; names of targets are skipped over."""
    section: Any = Configuration
    for part in path:
        if isinstance(section, type) and issubclass(section, Section):
            section = section.model_fields[part].annotation
        elif part.isdecimal() and get_origin(section) is tuple:
            section = section.__args__[0]
        else:  # inside a mapping: this part is a target's own name
            section = section.__args__[1]
    return list(section.model_fields) if hasattr(section, "model_fields") else []


@cache
def configuration() -> Configuration:
    """Return the checked ``settings.MAINTENANCE``. Raises :class:`ConfigurationError`.

    Cached for the life of the process; ``setting_changed`` clears it in tests.
    """
    from django.conf import settings  # noqa: PLC0415 - the pure parts need no Django

    return parse_configuration(getattr(settings, "MAINTENANCE", {}))
