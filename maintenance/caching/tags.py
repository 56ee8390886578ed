"""Groups of cached values that go stale together.

Each tag has a version in the cache; a value is stored with the versions of its tags at the time,
and is a miss as soon as one of them has changed. Dropping a group is one write, however many
values it has; they vanish by their own time-out.

A version is a random token and not a counter: a counter that was evicted would start at 1 again
and bring values back to life that were dropped long ago.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import BaseCache

_TAG_KEY = "maintenance-tag:{}"
_MISSING = object()


def tag_versions(cache: BaseCache, tags: Iterable[str]) -> dict[str, str]:
    """Return the present version of each tag; a tag that has none gets one.

    Read them before the value is computed: a change that comes in between then makes the stored
    value a miss, instead of hiding behind the newer version.
    """
    names = list(dict.fromkeys(tags))
    found = cache.get_many([_TAG_KEY.format(name) for name in names])
    return {name: found.get(_TAG_KEY.format(name)) or _first_version(cache, name) for name in names}


def _first_version(cache: BaseCache, tag: str) -> str:
    key = _TAG_KEY.format(tag)
    version = secrets.token_hex(8)
    if cache.add(key, version, timeout=None):
        return version
    # Another process was faster: its version counts.
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
    """Return the value of :func:`tagged_set`, ``default`` if it is absent or one tag has changed."""
    found = cache.get(key, _MISSING)
    if found is _MISSING:
        return default
    stored, value = found
    present = cache.get_many([_TAG_KEY.format(tag) for tag in stored])
    fresh = all(present.get(_TAG_KEY.format(tag)) == version for tag, version in stored.items())
    return value if fresh else default


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


def invalidate_tag(cache: BaseCache, tag: str) -> bool:
    """Make every value with ``tag`` a miss; return whether a second look saw the new version."""
    version = secrets.token_hex(8)
    cache.set(_TAG_KEY.format(tag), version, timeout=None)
    return bool(cache.get(_TAG_KEY.format(tag)) == version)
