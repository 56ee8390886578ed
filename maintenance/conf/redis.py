"""Redis and Valkey servers and brokers as targets, and what of their memory may be won back."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from maintenance.conf.addresses import database_of, redis_url, server_address
from maintenance.conf.databases import Dangerous, MaintenanceWindow
from maintenance.conf.values import Section, Url

#: What a server is for; each role forbids other things.
RedisRole = Literal["cache", "streams", "broker", "sessions", "ledger"]


class ReclaimRules(Section):
    """What ``reclaim_redis_memory`` may do on a server beside repacking; nothing unless it is named.

    ``exceptions`` are glob patterns of keys that no part of it touches. Keys that begin with one of
    ``abandoned_prefixes`` are removed once nobody has used them for ``minimum_idle_seconds``.
    ``time_outs`` gives keys that begin with a prefix, and have no time to live, so many seconds.
    ``keys_per_second`` holds for ``remove_abandoned_streams`` as well.
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
    max_concurrent_runs: int | None = Field(default=None, gt=0)  # over all workers

    @model_validator(mode="after")
    def _sentinels_have_a_name(self) -> Self:
        if bool(self.sentinels) != bool(self.sentinel_name):
            raise ValueError('"sentinels" and "sentinel_name" belong together')
        return self

    def resolved_url(self) -> str:
        """Return the URL with its secret, as redis-py reads it. Raises ``ConfigurationError``."""
        return redis_url(self.url)

    def resolved_sentinels(self) -> tuple[str, ...]:
        """Return the URLs of the sentinels with their secrets. Raises ``ConfigurationError``."""
        return tuple(map(redis_url, self.sentinels))

    def shares_keys_with(self, other: "RedisTarget") -> bool:
        """Whether both are one database of one server, as far as their addresses tell.

        Two nodes of a cluster, or two names of one machine, are not known to be one.
        """
        address, number = database_of(self.url)
        other_address, other_number = database_of(other.url)
        if self.sentinels and other.sentinels:
            common = set(map(server_address, self.sentinels))
            is_one = self.sentinel_name == other.sentinel_name and not common.isdisjoint(
                map(server_address, other.sentinels)
            )
        else:
            is_one = address == other_address
        return is_one and number == other_number


class BrokerTarget(Section):
    """A Celery broker, Redis or RabbitMQ, whose queues are read: no worker ever runs on it."""

    url: Url
    queues: tuple[str, ...] = Field(min_length=1)
    key_prefix: str = ""
    max_pending: int = Field(default=1000, gt=0)  # the guide: "Target: < 1000 pending tasks"
    # What has waited for longer, nobody takes: the longest tasks of most sites take minutes.
    max_wait_seconds: float = Field(default=3600, gt=0)
    # The site's own setting; this is Celery's default on Redis.
    visibility_timeout_seconds: float = Field(default=3600, gt=0)
    timeout_seconds: float = Field(default=10, gt=0)
    # On Redis: LLEN alone. Otherwise the message that is next in each queue is read whole, of which only
    # what tells it from others is kept: a queue that nobody takes from is seen by it.
    depths_only: bool = False

    def resolved_url(self) -> str:
        """Return the URL with its secret, as redis-py reads it. Raises ``ConfigurationError``."""
        return redis_url(self.url)
