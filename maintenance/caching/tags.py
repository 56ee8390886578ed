"""Groups of cached values that go stale together.

Each tag has a version in the cache; a value is stored with the versions of its tags at the time,
and is a miss as soon as one of them is another or gone. Dropping a group is one small write,
however many values it has; they leave by their own time-out.

A version is a random token and not a counter: a counter that was evicted would start at 1 again
and bring values back to life that were dropped long ago. For the same reason a group is dropped by
forgetting its version: no token comes a second time, and a removal succeeds on a server that is
out of memory.
"""

import logging
import random
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
from asgiref.sync import sync_to_async
from django.core.cache.backends.base import BaseCache

from maintenance.caching.backend import client_of

logger = logging.getLogger("maintenance.caching")

#: A version that goes is a miss and nothing worse, so versions need not stay for ever: after this
#: time those of groups that nobody uses any more are gone. Values of such a group are computed again
#: once, those with a longer time-out than this among them.
VERSION_SECONDS = 30 * 86_400
#: Of so many hits one has the version stay for this time again, and so has each computation: that of a group
#: with some hits a day never ends, which would make a miss of all its values at once.
RENEWED_ONE_IN = 20

_MISSING = object()
_UNSEEN = object()


@dataclass(frozen=True, slots=True)
class Tag:
    """The name of a group, where keys and groups are named side by side."""

    name: str

    @property
    def version_key(self) -> str:
        """The key of the version."""
        return f"maintenance-tag:{self.name}"


def tag_key(tag: str) -> str:
    """Return the key of a tag's version."""
    return Tag(tag).version_key


def tag_versions(cache: BaseCache, tags: Iterable[str]) -> dict[str, str]:
    """Return the present version of each tag; a tag that has none gets one.

    Read them before the value is computed: a change that comes in between then makes the stored
    value a miss, instead of hiding behind the newer version.
    """
    names = list(dict.fromkeys(tags))
    found = cache.get_many([tag_key(name) for name in names])
    versions = {}
    for name in names:
        key = tag_key(name)
        if stored := found.get(key):
            renew(cache, key)  # beside a computation that costs nothing
        versions[name] = stored or first_version(cache, key)
    return versions


def version_in_use(cache: BaseCache, key: str, found: str | None) -> str:
    """Return the version that was found under ``key``, kept from expiring; a new one where none was."""
    if not found:
        return first_version(cache, key)
    _renew_now_and_then(cache, (key,))
    return found


def _renew_now_and_then(cache: BaseCache, keys: Iterable[str]) -> None:
    if random.random() * RENEWED_ONE_IN < 1:  # noqa: S311 - no secret
        for key in keys:
            renew(cache, key)


def renew(cache: BaseCache, key: str) -> None:
    """Keep a version from expiring. Never raises: who reads has no need of a server that takes writes."""
    try:
        cache.touch(key, timeout=VERSION_SECONDS)
    except Exception as error:  # noqa: BLE001 - of any backend
        logger.debug("The version %s was not renewed: %s", key, type(error).__name__)


def first_version(cache: BaseCache, key: str) -> str:
    """Store a new version under ``key`` and return the one that counts."""
    version = secrets.token_hex(8)
    if cache.add(key, version, timeout=VERSION_SECONDS):
        return version
    # Another process was faster: its version counts. Gone again, ours makes a miss at worst.
    return str(cache.get(key, version))


def tagged_set(
    cache: BaseCache,
    key: str,
    value: Any,
    *,
    tags: Iterable[str],
    ttl_seconds: float | None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """Store ``value`` so that :func:`invalidate_tag` of any of its ``tags`` makes it a miss.

    Pass the ``versions`` that were read before the value was computed.
    """
    stored = dict(versions) if versions is not None else tag_versions(cache, tags)
    cache.set(key, (stored, value), timeout=ttl_seconds)


def tagged_get(cache: BaseCache, key: str, default: Any = None) -> Any:
    """Return the value of :func:`tagged_set`, ``default`` if it is absent or one tag has changed.

    What else stands under the key, written before the site used tags, is a miss too.
    """
    match cache.get(key, _MISSING):
        case [dict() as stored, value]:
            pass
        case _:
            return default
    present = cache.get_many([tag_key(tag) for tag in stored])
    fresh = all(present.get(tag_key(tag)) == version for tag, version in stored.items())
    if fresh:
        _renew_now_and_then(cache, present)
    return value if fresh else default


def has_versions(stored: Any, versions: Mapping[str, str]) -> bool:
    """Return whether what stands under a key was stored with just these versions of tags."""
    match stored:
        case [dict() as found, _]:
            return found == versions
        case _:
            return False


def tagged_get_or_set(
    cache: BaseCache,
    key: str,
    compute: Callable[[], Any],
    *,
    tags: Iterable[str],
    ttl_seconds: float | None,
) -> Any:
    """Return the stored value, or compute and store it under the versions read beforehand."""
    found = tagged_get(cache, key, _MISSING)
    if found is not _MISSING:
        return found
    names = list(tags)
    versions = tag_versions(cache, names)
    value = compute()
    tagged_set(cache, key, value, tags=names, ttl_seconds=ttl_seconds, versions=versions)
    return value


def invalidate_tags(cache: BaseCache, tags: Iterable[str]) -> None:
    """Make every value with one of ``tags`` a miss, in one write."""
    cache.delete_many([tag_key(tag) for tag in tags])


def invalidate_tag(cache: BaseCache, tag: str) -> bool:
    """Make every value with ``tag`` a miss; return whether a second look saw the version gone."""
    return forget_version(cache, tag_key(tag))


def forget_version(cache: BaseCache, key: str) -> bool:
    """Remove a version; return whether a second look found none, or another one.

    Both look on the server that the cache writes to: a replica may not know of a removal yet. A look that
    fails has seen nothing; what the cache itself does not hide is raised.
    """
    client = client_of(cache)
    look = partial(cache.get, key) if client is None else partial(_looked_up, client, cache, key)
    before = look()
    cache.delete(key)
    after = look()
    return _UNSEEN not in (before, after) and (after is None or after != before)


def _looked_up(client: redis.Redis, cache: BaseCache, key: str) -> Any:
    try:
        return client.get(str(cache.make_key(key)))
    except redis.RedisError:
        cache.get(key)  # raises, unless the cache was told to hide it
        return _UNSEEN


atagged_get = sync_to_async(tagged_get)
atagged_set = sync_to_async(tagged_set)
ainvalidate_tag = sync_to_async(invalidate_tag)
ainvalidate_tags = sync_to_async(invalidate_tags)
