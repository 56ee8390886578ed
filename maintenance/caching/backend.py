"""Opening a cache target through Django's own API, so that keys and values come out as the site's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache

from maintenance.conf import CacheTarget
from maintenance.conf.addresses import redis_url
from maintenance.core.errors import UnknownName
from maintenance.core.job import Progress
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report
from maintenance.core.suggestions import did_you_mean
from maintenance.redis_client.connection import connection_class_of, explained_errors
from maintenance.redis_client.globs import escape_glob
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import server_facts

#: For caches that are opened by URL; an alias has the time-outs of its own settings.
TIMEOUT_SECONDS = 10.0

_PLACEHOLDER = "maintenance-placeholder"


@dataclass(frozen=True, slots=True)
class OpenCache:
    """A cache by its API and, where it lives in Redis, by a client of its primary server.

    The client is the backend's own, with its options: it sees the very keys that the site sees.
    """

    name: str
    cache: BaseCache
    client: redis.Redis | None

    def stored_key(self, key: str) -> bytes:
        """Return the key as it stands on the server, with prefix and version.

        Raises ``ValueError`` for a key that the backend does not accept.
        """
        return str(self.cache.make_and_validate_key(key)).encode()

    def stored_pattern(self, pattern: str) -> str | None:
        """Return the glob of the stored keys; ``None`` where keys are hashed, so none can match.

        Prefix and version are literal text: glob characters in them are escaped.
        """
        around = self._around_keys()
        if around is None:
            return None
        head, tail = around
        return escape_glob(head) + pattern + escape_glob(tail)

    @property
    def stored_head(self) -> bytes:
        """What every stored key begins with: prefix and version; empty where keys are hashed."""
        around = self._around_keys()
        return around[0].encode() if around else b""

    def _around_keys(self) -> tuple[str, str] | None:
        head, found, tail = str(self.cache.make_key(_PLACEHOLDER)).partition(_PLACEHOLDER)
        return (head, tail) if found else None


@contextmanager
def opened(name: str, target: CacheTarget) -> Iterator[OpenCache]:
    """Open the target's Django alias, or a Redis cache on its URL with its prefix and version.

    Errors of a Redis server inside the block become :class:`TargetUnavailable` and
    :class:`MissingRights`. Raises :class:`UnknownName` for an alias that Django does not have and
    :class:`ConfigurationError` for a secret that is missing.
    """
    cache = _cache_of(target)
    client = client_of(cache)
    if client is None:
        yield OpenCache(name, cache, None)
        return
    try:
        with explained_errors(_address(client)):
            client.ping()
            yield OpenCache(name, cache, client)
    finally:
        if target.url is not None:  # an alias keeps its pool for the rest of the process
            client.connection_pool.disconnect()


@contextmanager
def paced(
    cache: OpenCache, progress: Progress, limit_ms: float
) -> Iterator[tuple[Progress, Callable[[Report], Report]]]:
    """Yield a progress that keeps the cache's server responsive, and what adds that to a report.

    A cache outside of Redis has no server of its own to probe: both do nothing more then.
    """
    if cache.client is None:
        yield progress, lambda report: report
        return
    with probing(cache.client) as probe:
        slow = PacedProgress(progress, probe, limit_ms)
        yield (
            slow,
            lambda report: with_latency(
                report, probe.change, limit_ms, stood_still_seconds=slow.stood_still_seconds
            ),
        )


def reason_to_refuse(cache: OpenCache) -> str:
    """Say why nothing may be written on the cache's server; empty where all is well."""
    if cache.client is None:
        return ""
    facts = server_facts(cache.client)
    if facts.is_replica:
        return "the cache's server is a replica; point the target at its primary"
    if facts.cluster_enabled:
        return "the cache's server is one node of a cluster, and has a part of the keys only"
    return ""


def _cache_of(target: CacheTarget) -> BaseCache:
    if target.url is not None:
        url = redis_url(target.url)
        options = {
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "connection_class": connection_class_of(url),
            "protocol": 2,
        }
        parameters: dict[str, Any] = {
            "KEY_PREFIX": target.key_prefix,
            "VERSION": target.version,
            "OPTIONS": options,
        }
        return RedisCache(url, parameters)
    if target.alias not in settings.CACHES:
        raise UnknownName(
            f'Django has no cache "{target.alias}". {did_you_mean(target.alias, settings.CACHES)}'
        )
    return caches[target.alias]


def client_of(cache: BaseCache) -> redis.Redis | None:
    """Return the client of the server that the backend writes to.

    ``None`` outside of Redis, and where keys are spread over several servers (django-redis's ``ShardClient``).
    """
    if isinstance(cache, RedisCache):
        client: redis.Redis = cache._cache.get_client(None, write=True)
        return client
    # django-redis: cache.client.get_client is its documented way to the raw client.
    get_client = getattr(getattr(cache, "client", None), "get_client", None)
    if get_client is None:
        return None
    try:
        raw = get_client(write=True)
    except NotImplementedError:  # there is no one server
        return None
    return raw if isinstance(raw, redis.Redis) else None


def _address(client: redis.Redis) -> str:
    settings_ = client.connection_pool.connection_kwargs
    if "path" in settings_:
        return f"unix://{settings_['path']}"
    host, port = settings_.get("host", "localhost"), settings_.get("port", 6379)
    return f"redis://{host}:{port}/{settings_.get('db') or 0}"
