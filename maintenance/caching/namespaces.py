"""Prefixes with a version: all values under one are dropped by one small write.

>>> books = Namespace("books")
>>> books.get_or_set(cache, f"reviews:{book.id}", compute, ttl_seconds=1800)  # doctest: +SKIP
>>> books.invalidate(cache)  # doctest: +SKIP

The version is part of each key, so a value of an earlier version is never read again and leaves by
its own time-out; that is why a time-out must be given. Versions are random tokens, as those of
tags are: a version that was evicted drops the values and never brings old ones back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import BaseCache

from maintenance.caching.tags import forget_version, version_in_use

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Generation:
    """A namespace at one version. Take it before a value is computed: a change that comes in
    between makes what is stored then a miss, instead of hiding behind the newer version."""

    cache: BaseCache
    prefix: str

    def key(self, key: str) -> str:
        """Return ``key`` as the cache has it."""
        return self.prefix + key

    def get(self, key: str, default: Any = None) -> Any:
        """Return one value."""
        return self.cache.get(self.key(key), default)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are there, by key."""
        found = self.cache.get_many([self.key(key) for key in keys])
        return {key.removeprefix(self.prefix): value for key, value in found.items()}

    def set(self, key: str, value: Any, *, ttl_seconds: float) -> None:
        """Store one value."""
        self.cache.set(self.key(key), value, timeout=ttl_seconds)

    def set_many(self, values: Mapping[str, Any], *, ttl_seconds: float) -> None:
        """Store many values."""
        stored = {self.key(key): value for key, value in values.items()}
        self.cache.set_many(stored, timeout=ttl_seconds)

    def delete(self, key: str) -> bool:
        """Drop one value; return whether it was there."""
        return bool(self.cache.delete(self.key(key)))


@dataclass(frozen=True, slots=True)
class Namespace:
    """A group of keys that begin alike and go stale together."""

    name: str

    @property
    def version_key(self) -> str:
        """The key of the version."""
        return f"maintenance-namespace:{self.name}"

    def generation(self, cache: BaseCache) -> Generation:
        """Return the namespace at its present version; one without a version gets one."""
        found = cache.get(self.version_key)
        return self._at(cache, version_in_use(cache, self.version_key, found))

    def present_generation(self, cache: BaseCache) -> Generation:
        """Return the namespace at its present version, to read from it: nothing is written, and one
        without a version is empty."""
        return self._at(cache, cache.get(self.version_key) or "")

    def _at(self, cache: BaseCache, version: str) -> Generation:
        return Generation(cache, f"{self.name}:{version}:")

    def get_or_set(
        self, cache: BaseCache, key: str, compute: Callable[[], Any], *, ttl_seconds: float
    ) -> Any:
        """Return the stored value, or compute it and store it at the version before."""
        generation = self.generation(cache)
        found = generation.get(key, _MISSING)
        if found is _MISSING:
            found = compute()
            generation.set(key, found, ttl_seconds=ttl_seconds)
        return found

    def invalidate(self, cache: BaseCache) -> bool:
        """Drop every value; return whether a second look saw the version gone."""
        return forget_version(cache, self.version_key)

    async def ainvalidate(self, cache: BaseCache) -> bool:
        """Drop every value from asynchronous code."""
        return bool(await sync_to_async(self.invalidate)(cache))
