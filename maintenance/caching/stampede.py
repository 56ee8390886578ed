"""Cached values for application code that are computed once, however many readers want them.

    from maintenance.caching.stampede import get_or_compute

    books = get_or_compute("popular_books", popular_books, ttl_seconds=1800)

- **One flight**: of all readers of all processes one computes. It holds a lock on the cache's
  server, a token with an expiry, and lets go of it only if the token is still its own. A process
  that dies lets go by the expiry.
- **Nobody waits while an old value lives**: a value stays on the server for ``stale_seconds`` after
  its end, and readers get it while one thread computes the new one in the background.
- **Early refresh**: the closer the end of a value, and the longer it takes to compute, the more
  likely a reader has it refreshed before (XFetch: A. Vattani, F. Chierichetti, K. Lowenstein,
  "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
- **Time-outs are spread** by a tenth, so that values written together do not end together.
- **A computation that fails keeps the old value**, is logged, and is not tried again for
  :data:`RETRY_SECONDS`.
- **A cache that goes away in between, or refuses to write** (no memory left, a replica, a right that is
  missing) costs the computation and nothing else: readers get the old value, or what they computed.

It works on Django's own Redis backend and on django-redis, instrumented or not, by pickle, JSON or
msgpack. On a backend without a server that all processes share (memory, files, dummy) there is no
lock: every reader who finds nothing, or a value past its end, computes it himself.

Under the key stands an envelope and not the value alone: read it with :func:`get_or_compute`.
"""

import logging
import math
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from traceback import format_exc
from typing import Any, Generic, TypeVar

import redis
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.utils import timezone, translation

from maintenance.caching.backend import client_of
from maintenance.caching.instrumented import Instrumented
from maintenance.caching.stored_writes import jittered
from maintenance.core.errors import MaintenanceError
from maintenance.core.redaction import redact

logger = logging.getLogger("maintenance.caching")

Value = TypeVar("Value")

#: After a computation that failed its lock stays for so long: readers get the old value meanwhile,
#: in place of one failure after the other.
RETRY_SECONDS = 5.0
#: Readers of a value that is not there look for it at these intervals, the longer they wait.
SHORTEST_NAP_SECONDS = 0.01
LONGEST_NAP_SECONDS = 0.2
#: Threads of one process that refresh at once; a value beyond is left to another reader.
MAX_REFRESHES = 8

#: The server is away, or says that it cannot be used now.
_AWAY = (redis.ConnectionError, redis.TimeoutError)
#: It answers, and refuses: it is out of memory, a replica, or its ACL denies the command.
_REFUSED = redis.ResponseError

_ENVELOPE = "maintenance-envelope-1"
_FLIGHT = "maintenance-flight:{}"
_FAILED = "maintenance-failed-computation:{}"
_MISSING = object()

_refreshes = threading.BoundedSemaphore(MAX_REFRESHES)


class NobodyComputed(MaintenanceError):
    """A reader has waited in vain for a value that is not there, while computations of it failed."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A stored value, the end of its time (seconds since the epoch), and what it took to compute."""

    value: Any
    ends_at: float
    compute_seconds: float

    def is_due(self, now: float, beta: float, chance: float) -> bool:
        """Return whether a reader should have it refreshed; ``chance`` is above 0, at most 1.

        XFetch: ``now - delta * beta * ln(chance) >= end``.
        """
        return now - self.compute_seconds * beta * math.log(chance) >= self.ends_at


def get_or_compute(
    key: str,
    compute: Callable[[], Value],
    ttl_seconds: float,
    *,
    cache: BaseCache | str = "default",
    version: int | None = None,
    stale_seconds: float | None = None,
    beta: float = 1.0,
    lock_seconds: float = 60.0,
    background: bool = True,
) -> Value:
    """Return the value of ``key``, computed by one reader if it is not there or near its end.

    ``stale_seconds`` is how long the old value is good enough while a new one is computed: as long
    as the value itself by default. ``beta`` above 1 refreshes earlier, 0 never does before the end.
    ``lock_seconds`` is longer than any computation: after it, another reader takes over from one
    that died, or is slower than that. With ``background`` a refresh runs in a thread of its own,
    with the language and time zone of its reader and without its transaction; else the reader who
    starts it waits for it.

    Where nothing is stored yet, readers wait for the one who computes; if he fails, the next one
    tries. Whoever has waited for twice ``lock_seconds`` computes by himself, unless a computation has
    failed meanwhile: what all of them ask is in trouble then, and they would ask it at once. What was
    computed is returned, whether it could be stored or not: a server that is away or refuses is
    logged as a warning, a value that no server could store (it cannot be pickled) as an error with
    its traceback. Raises what ``compute`` raises where there is no old value,
    :class:`NobodyComputed` for those who waited for computations that failed, and what the cache
    raises when it is asked for the value.
    """
    chosen = caches[cache] if isinstance(cache, str) else cache
    spare = ttl_seconds if stale_seconds is None else stale_seconds
    reader: _Reader[Value] = _Reader(
        chosen, key, version, compute, ttl_seconds, spare, lock_seconds, client_of(chosen)
    )
    found = reader.look()
    if found is None:
        return reader.compute_or_wait()
    if found.is_due(time.time(), beta, 1.0 - random.random()):  # noqa: S311 - no secret
        return reader.refresh(found, background=background)
    value: Value = found.value
    return value


@dataclass(frozen=True, slots=True)
class _Reader(Generic[Value]):
    """One call: who looks for what, and how it is made."""

    cache: BaseCache
    key: str
    version: int | None
    compute: Callable[[], Value]
    ttl_seconds: float
    stale_seconds: float
    lock_seconds: float
    client: redis.Redis | None

    def look(self) -> Envelope | None:
        """Return what is stored; a value that somebody stored as it is never comes to its end."""
        found = self.cache.get(self.key, _MISSING, version=self.version)
        if found is _MISSING:
            return None
        match found:  # a serializer of JSON gives a tuple back as a list
            case [str() as mark, value, ends_at, seconds] if mark == _ENVELOPE:
                return Envelope(value, ends_at, seconds)
            case _:
                return Envelope(found, math.inf, 0.0)

    def compute_or_wait(self) -> Value:
        """Compute what is not there, or wait for the one who does."""
        if self.client is None:
            return self._compute_alone(None)
        # Longer than a lock: when that of a reader who died expires, one of those who wait takes it.
        gives_up_at = time.monotonic() + 2 * self.lock_seconds
        nap_seconds = SHORTEST_NAP_SECONDS
        while time.monotonic() < gives_up_at:
            try:
                flight = self._take_flight(self.client)
                # Looked for under the lock as well: the one who held it may just have stored it.
                found = self._look_under(flight)
            except (*_AWAY, _REFUSED) as error:
                logger.warning("%s is computed without a lock: %s", self.key, redact(str(error)))
                # A server that is away would keep this reader waiting once more.
                return self.compute() if isinstance(error, _AWAY) else self._compute_alone(None)
            if found is not None:
                if flight is not None:
                    flight.end()
                value: Value = found.value
                return value
            if flight is not None:
                return self._fly(flight, None)
            time.sleep(nap_seconds)
            nap_seconds = min(nap_seconds * 1.5, LONGEST_NAP_SECONDS)
        if self._has_failed(self.client):
            raise NobodyComputed(
                f"{self.key} is not there, and nobody could compute it while this reader waited for"
                f" {2 * self.lock_seconds:g} s: see the errors of those who tried."
            )
        return self._compute_alone(None)

    def refresh(self, old: Envelope, *, background: bool) -> Value:
        """Return the old value, or a new one where this reader computes it himself."""
        if self.client is None:
            return self._compute_alone(old)
        value: Value = old.value
        if not background:
            flight, value = self._flight_for(self.client, old)
            return value if flight is None else self._fly(flight, old)
        if not _refreshes.acquire(blocking=False):
            return value
        is_flying = False
        try:
            flight, value = self._flight_for(self.client, old)
            is_flying = flight is not None and self._fly_in_background(flight, old)
        finally:
            if not is_flying:  # a thread gives its place back itself
                _refreshes.release()
        return value

    def _flight_for(self, client: redis.Redis, old: Envelope) -> "tuple[_Flight | None, Value]":
        """Return the right to compute what follows ``old``, if it is to be had, and the value now."""
        try:
            flight = self._take_flight(client)
            newer = self._look_under(flight) if flight is not None else old
        except (*_AWAY, _REFUSED) as error:
            logger.warning("%s keeps its old value: %s", self.key, redact(str(error)))
            return None, old.value
        if newer is not None and newer.ends_at == old.ends_at:
            return flight, old.value
        if flight is not None:  # another one refreshed it, or dropped it, a moment ago
            flight.end()
        return None, old.value if newer is None else newer.value

    def _look_under(self, flight: "_Flight | None") -> Envelope | None:
        """Look for the value; whoever cannot even do that must not keep others from computing."""
        try:
            return self.look()
        except BaseException:
            if flight is not None:
                flight.end()
            raise

    def _take_flight(self, client: redis.Redis) -> "_Flight | None":
        return _Flight.take(client, self._name(_FLIGHT), self.lock_seconds)

    def _name(self, form: str) -> str:
        return str(self.cache.make_key(form.format(self.key), version=self.version))

    def _note_failure(self, client: redis.Redis) -> None:
        """Tell those who wait; a server that does not take it leaves them to themselves."""
        try:
            client.set(self._name(_FAILED), 1, px=max(1, round(2000 * self.lock_seconds)))
        except (*_AWAY, _REFUSED) as error:
            logger.warning("%s failed and nobody is told: %s", self.key, redact(str(error)))

    def _has_failed(self, client: redis.Redis) -> bool:
        """Return whether a computation has failed within the time that a reader waits."""
        try:
            return client.get(self._name(_FAILED)) is not None
        except (*_AWAY, _REFUSED):
            return False

    def _fly_in_background(self, flight: "_Flight", old: Envelope) -> bool:
        """Compute in a thread of its own; return whether there is one."""
        language, zone = translation.get_language(), timezone.get_current_timezone()

        def fly() -> None:
            try:
                with translation.override(language), timezone.override(zone):
                    self._fly(flight, old)
            except Exception:  # noqa: BLE001 - nobody waits for this thread: the log is all there is
                logger.warning("%s was not refreshed\n%s", self.key, redact(format_exc()))
                flight.stay(RETRY_SECONDS)
            finally:
                _refreshes.release()
                connections.close_all()  # Django's connections belong to a thread and die with it

        thread = threading.Thread(target=fly, name=f"refresh-{self.key}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process has no thread left: another one refreshes it
            logger.warning("%s was not refreshed: %s", self.key, error)
            flight.end()
            return False
        return True

    def _fly(self, flight: "_Flight", old: Envelope | None) -> Value:
        """Compute under the lock. A flight that lost it stores nothing: a newer value may be there."""
        started = time.perf_counter()
        try:
            value = self.compute()
        except Exception:
            if old is None:
                self._note_failure(flight.client)
                flight.end()
                raise
            flight.stay(RETRY_SECONDS)
            return self._keep(old)
        except BaseException:
            flight.end()
            raise
        stored = False
        try:
            stored = self._stored(value, time.perf_counter() - started, flight)
        finally:
            if stored or old is None:
                flight.end()
            else:  # readers have the old value: they need not compute one that is not stored
                flight.stay(RETRY_SECONDS)
        return value

    def _compute_alone(self, old: Envelope | None) -> Value:
        """Compute without a lock, for there is no server that could hold one, or it refuses to."""
        started = time.perf_counter()
        try:
            value = self.compute()
        except Exception:
            if old is None:
                raise
            return self._keep(old)
        self._stored(value, time.perf_counter() - started, None)
        return value

    def _stored(self, value: Value, seconds: float, flight: "_Flight | None") -> bool:
        """Store a value, unless the flight has lost its lock; return whether nothing went wrong.

        Never raises: whoever computed the value has it, whatever becomes of the cache.
        """
        try:
            if flight is None or flight.is_ours():
                self._store(value, seconds)
        except (*_AWAY, _REFUSED) as error:
            logger.warning("%s was computed and not stored: %s", self.key, redact(str(error)))
            return False
        except Exception:  # noqa: BLE001 - what a backend raises for a value is its own
            logger.error(
                "%s was computed and cannot be stored, so that every reader computes it\n%s",
                *(self.key, redact(format_exc())),
            )
            return False
        return True

    def _keep(self, old: Envelope) -> Value:
        logger.warning("%s keeps its old value\n%s", self.key, redact(format_exc()))
        value: Value = old.value
        return value

    def _store(self, value: Value, seconds: float) -> None:
        if isinstance(self.cache, Instrumented):
            self.cache.count_compute(self.key, seconds)
        self.cache.set(
            self.key,
            (_ENVELOPE, value, time.time() + jittered(self.ttl_seconds), seconds),
            timeout=self.ttl_seconds + self.stale_seconds,
            version=self.version,
        )


@dataclass(frozen=True, slots=True)
class _Flight:
    """The right to compute one value: a token on the server that expires by itself.

    Compare and change by WATCH and not by a script: it takes no right to run scripts, and outlives
    a restart of the server.
    """

    client: redis.Redis
    name: str
    token: bytes

    @classmethod
    def take(cls, client: redis.Redis, name: str, seconds: float) -> "_Flight | None":
        """Take the right for at most so many seconds; ``None`` where somebody has it."""
        token = secrets.token_hex(16).encode()
        taken = client.set(name, token, nx=True, px=max(1, round(seconds * 1000)))
        return cls(client, name, token) if taken else None

    def is_ours(self) -> bool:
        """Return whether the right has not expired meanwhile."""
        return bool(self.client.get(self.name) == self.token)

    def end(self) -> None:
        """Give the right back, if it is still ours."""
        self._change(lambda server: server.delete(self.name))

    def stay(self, seconds: float) -> None:
        """Keep it for so many seconds from now, if it is still ours."""
        self._change(lambda server: server.pexpire(self.name, round(seconds * 1000)))

    def _change(self, change: Callable[[Any], object]) -> None:
        try:
            self._change_if_ours(change)
        except (redis.WatchError, *_AWAY):
            return  # another reader has it now; where the server is away it will expire
        except _REFUSED as error:
            logger.warning("%s stays until it expires: %s", self.name, redact(str(error)))

    def _change_if_ours(self, change: Callable[[Any], object]) -> None:
        try:
            with self.client.pipeline(transaction=True) as pipeline:
                pipeline.watch(self.name)  # type: ignore[no-untyped-call]
                if pipeline.get(self.name) == self.token:
                    pipeline.multi()
                    change(pipeline)
                    pipeline.execute()
        except redis.exceptions.OutOfMemoryError:
            # Redis queues nothing for EXEC then, but removes. Nobody can take the right before there
            # is memory again, so that the look and the change need not be one step.
            if self.is_ours():
                change(self.client)
