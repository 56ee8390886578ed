"""Django caches that count what they are asked for, by key prefix.

Change one line of ``settings.CACHES``, and everything else of the backend stays as it is::

    CACHES = {
        "default": {
            "BACKEND": "maintenance.caching.instrumented.RedisCache",
            "LOCATION": "redis://127.0.0.1:6379/1",
            "PREFIX_RULE": "mysite.caching.prefix_of",  # optional: str -> str
        }
    }

For django-redis it is ``maintenance.caching.instrumented_django_redis.RedisCache``; any other
backend is instrumented by a class of the site's own: ``class Cache(Instrumented, TheirCache)``.

What counting adds to the processor time of a lookup `make bench ARGS=warming` could not tell from
nothing; its limit is 10 microseconds. The counts go to the cache's own server
(:mod:`maintenance.caching.counters`), at most once a minute a process; those of a backend outside of
Redis stay in the process. Of values that ``delete_many`` drops those count that were there, as far as
the backend says how many.
"""

import asyncio
import contextlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
from django.core.cache.backends import locmem
from django.core.cache.backends import redis as django_redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from maintenance.caching.backend import client_of
from maintenance.caching.counters import FLUSH_SECONDS, Metric, ProcessCounts, flush
from maintenance.caching.key_prefixes import prefix_of

#: Pickling a value once more costs about as much as storing it: one in so many is measured, and
#: the first of each prefix after a flush.
SIZED_ONE_IN = 64
#: A miss whose value is stored later than this was not computed all that time.
LONGEST_COMPUTE_SECONDS = 300.0
#: Misses that are remembered until their value is stored, of one thread.
REMEMBERED_MISSES = 64

#: Work without requests flushes in the middle of a lookup, so much later than one at its end.
OVERDUE_SECONDS = 2 * FLUSH_SECONDS

_MISSING = object()

if TYPE_CHECKING:
    _Base = BaseCache
else:
    _Base = object

_counts: dict[str, ProcessCounts] = {}


def _counts_of(location: object, parameters: Mapping[str, Any]) -> ProcessCounts:
    """Return the counts that all instances of one alias share: each thread has one of its own."""
    identity = repr((location, sorted(parameters.items(), key=lambda item: item[0])))
    if identity not in _counts:
        rule = parameters.get("PREFIX_RULE", prefix_of)
        made = ProcessCounts(import_string(rule) if isinstance(rule, str) else rule)
        _counts.setdefault(identity, made)
    return _counts[identity]


class Instrumented(_Base):
    """Put it before a backend of Django's. As there, an instance belongs to one thread."""

    def __init__(self, location: Any, params: dict[str, Any]) -> None:
        super().__init__(location, params)  # type: ignore[call-arg]
        self.counts = _counts_of(location, params)
        self._missed: dict[str, float] = {}
        # Some backends do one operation by others, which must not count again.
        self._counting = True

    # --- Lookups -------------------------------------------------------------------------------

    def get(self, key: Any, default: Any = None, version: int | None = None, **options: Any) -> Any:
        value = super().get(key, _MISSING, version, **options)
        if value is _MISSING:
            if self._counting:
                self._count_miss(key)
            return default
        if self._counting:
            counts = self.counts
            counts.hit(key)
            if monotonic() - counts.flushed_at > OVERDUE_SECONDS:
                self.flush_counts()
        return value

    def get_many(
        self, keys: Iterable[Any], version: int | None = None, **options: Any
    ) -> dict[Any, Any]:
        asked = list(keys)
        with self._counted_once():
            found: dict[Any, Any] = super().get_many(asked, version, **options)
        for key in asked if self._counting else ():
            if key in found:
                self.counts.hit(key)
            else:
                self._count_miss(key)
        self._flush_after(OVERDUE_SECONDS)
        return found

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        value = self.get(key, _MISSING, version)
        if value is not _MISSING:
            return value
        made = default() if callable(default) else default
        if not callable(default):
            self._missed.pop(str(key), None)  # it was there all along: nothing was computed
        if self.add(key, made, timeout=timeout, version=version):
            return made
        with self._counted_once():  # another process was faster: its value counts, as in Django
            return super().get(key, made, version)

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - Django's signature
        version: int | None = None,
    ) -> Any:
        value = await self.aget(key, _MISSING, version=version)
        if value is not _MISSING:
            return value
        if asyncio.iscoroutinefunction(default):
            made = await default()
        else:
            made = default() if callable(default) else default
        if await self.aadd(key, made, timeout=timeout, version=version):
            return made
        return await self.aget(key, made, version=version)

    def has_key(self, key: Any, version: int | None = None, **options: Any) -> bool:
        with self._counted_once():
            return super().has_key(key, version, **options)

    def incr(self, key: Any, delta: int = 1, version: int | None = None, **options: Any) -> int:
        with self._counted_once():
            return super().incr(key, delta, version, **options)

    def incr_version(
        self, key: Any, delta: int = 1, version: int | None = None, **options: Any
    ) -> int:
        with self._counted_once():
            return super().incr_version(key, delta, version, **options)

    # --- Writes --------------------------------------------------------------------------------

    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        **options: Any,
    ) -> Any:
        answer = super().set(key, value, timeout, version, **options)
        # django-redis says whether a conditional SET has stored; Django's own says nothing.
        if self._counting and answer is not False:
            self._count_set(key, value, timeout)
        return answer

    def add(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        **options: Any,
    ) -> bool:
        with self._counted_once():
            added = super().add(key, value, timeout, version, **options)
        if self._counting and added:
            self._count_set(key, value, timeout)
        return added

    def set_many(
        self,
        data: dict[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        **options: Any,
    ) -> list[Any]:
        with self._counted_once():
            refused = super().set_many(data, timeout, version, **options)
        for key, value in data.items():
            if not refused or key not in refused:
                self._count_set(key, value, timeout)
        return refused

    def delete(self, key: Any, version: int | None = None, **options: Any) -> bool:
        with self._counted_once():
            deleted = super().delete(key, version, **options)
        if self._counting and deleted:
            self.counts.add(key, Metric.DELETES)
        return deleted

    def delete_many(self, keys: Iterable[Any], version: int | None = None, **options: Any) -> Any:
        asked = list(keys)
        # A backend that deletes one after the other counts on its way.
        answer: Any = super().delete_many(asked, version, **options)
        if self._counting and isinstance(answer, int):
            self._count_deletes(asked, answer)
        return answer

    def close(self, **options: Any) -> None:
        """Django calls this when a response has been sent: the best moment for a flush."""
        self._missed.clear()
        self._flush_after(FLUSH_SECONDS)
        super().close(**options)

    # --- Counting ------------------------------------------------------------------------------

    def count_compute(self, key: str, seconds: float) -> None:
        """Count what a value took to compute, where its miss cannot tell."""
        self._missed.pop(key, None)
        self.counts.add(key, Metric.COMPUTES)
        self.counts.add(key, Metric.COMPUTE_MICROSECONDS, round(seconds * 1e6))

    def uncounted(self) -> contextlib.AbstractContextManager[None]:
        """Count no lookup in the block: it is not a visitor's."""
        return self._counted_once()

    def flush_counts(self) -> None:
        """Bring the counts of this process to the cache's server now, if it lives in Redis."""
        with contextlib.suppress(Exception):  # opening the client is the site's own, and may fail
            client = client_of(self)
            if client is not None:
                flush(self.counts, client, self)

    @contextlib.contextmanager
    def _counted_once(self) -> Iterator[None]:
        before, self._counting = self._counting, False
        try:
            yield
        finally:
            self._counting = before

    def _count_miss(self, key: Any) -> None:
        self.counts.miss(key)
        if len(self._missed) >= REMEMBERED_MISSES:
            self._missed.clear()
        self._missed[str(key)] = monotonic()
        self._flush_after(OVERDUE_SECONDS)

    def _count_set(self, key: Any, value: Any, timeout: Any) -> None:
        name = str(key)
        missed_at = self._missed.pop(name, None)
        seconds = None if missed_at is None else monotonic() - missed_at
        if seconds is not None and seconds > LONGEST_COMPUTE_SECONDS:
            seconds = None
        ttl = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        size = _size_of(value) if self.counts.sets_of(name) % SIZED_ONE_IN == 0 else None
        self.counts.add_set(name, size, seconds, ttl)

    def _count_deletes(self, asked: list[Any], deleted: int) -> None:
        """Count as many as were there, spread over the keys: the server does not say which."""
        for number, key in enumerate(asked):
            if number * deleted // len(asked) != (number + 1) * deleted // len(asked):
                self.counts.add(key, Metric.DELETES)

    def _flush_after(self, seconds: float) -> None:
        if monotonic() - self.counts.flushed_at > seconds:
            self.flush_counts()


def _size_of(value: Any) -> int | None:
    if isinstance(value, bytes):
        return len(value)
    try:
        return len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001 - a value that the backend could store in another way
        return None


class _SaysHowManyWereThere(django_redis.RedisCache):
    """Django's own backend for Redis, whose ``delete_many`` returns what DEL answers."""

    def delete_many(  # type: ignore[override]  # as that of django-redis does
        self, keys: Iterable[Any], version: int | None = None
    ) -> int:
        stored = [self.make_and_validate_key(key, version=version) for key in keys]
        if not stored:
            return 0
        client: redis.Redis = self._cache.get_client(None, write=True)
        return client.delete(*stored)


class RedisCache(Instrumented, _SaysHowManyWereThere):
    """Django's own backend for Redis, counting."""


class LocMemCache(Instrumented, locmem.LocMemCache):
    """Django's cache in the memory of one process, counting for that process alone."""
