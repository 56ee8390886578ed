"""Stale values dropped by the site's own code: at once, or when its transaction commits.

A cache that is down never fails the site: it is logged and counted, and what could not be dropped
is remembered in this process, which tries again until the cache is back. What a process remembers
ends with it; the log names it.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import transaction

from maintenance.caching.groups import Stale, keys_of
from maintenance.caching.warm_after import warm_after
from maintenance.conf import configuration
from maintenance.core.errors import ConfigurationError
from maintenance.core.redaction import redact
from maintenance.core.wording import counted, listed

logger = logging.getLogger("maintenance.invalidation")

KEYS_PER_DELETE = 500
#: Keys that one process remembers for a cache that is down: some megabytes.
REMEMBERED_KEYS = 10_000
#: The pause between two attempts doubles from the first to the second of these.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class InvalidationCounts:
    """What this process dropped of one cache, in keys.

    ``failed`` counts drops that the cache did not take, ``waiting`` keys that are remembered,
    ``lost`` those that there was no room to remember. ``broken`` counts rules that raised.
    """

    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    lost: int = 0
    broken: int = 0


@dataclass(slots=True)
class _Memory:
    """What this process knows of one cache; ``keys`` is an ordered set."""

    keys: dict[str, None] = field(default_factory=dict)
    counts: InvalidationCounts = field(default_factory=InvalidationCounts)
    thread: threading.Thread | None = None


_lock = threading.Lock()
_memories: dict[str, _Memory] = {}


def invalidate(*stale: Stale, cache: str = "default") -> None:
    """Drop keys and groups of the Django cache alias ``cache`` now. Raises what its backend raises.

    One DEL for up to 500 of them, whatever the groups cover. Their warmers are asked for, where the
    cache is a target: within a transaction of the ledger's database when that commits, and not where
    it is rolled back.
    """
    _drop(cache, keys_of(stale))


ainvalidate = sync_to_async(invalidate)


def invalidate_on_commit(
    stale: Iterable[Stale], *, cache: str = "default", using: str | None = None
) -> None:
    """Drop keys and groups when the transaction of the database alias ``using`` commits.

    Nothing is dropped if it is rolled back; outside of a transaction they are dropped at once.
    For changes that no signal tells of: raw SQL, ``COPY``. Never raises for the cache.
    """
    keys = keys_of(stale)
    if not keys:
        return
    # Saves in a row share one drop, if they share the savepoints that decide over them.
    connection = transaction.get_connection(using)
    if connection.run_on_commit:
        savepoints, last, *_ = connection.run_on_commit[-1]
        if (
            isinstance(last, _Drop)
            and last.cache == cache
            and savepoints == set(connection.savepoint_ids)
        ):
            last.keys.update(dict.fromkeys(keys))
            return
    transaction.on_commit(_Drop(cache, dict.fromkeys(keys)), using=using)


def invalidation_counts(cache: str = "default") -> InvalidationCounts:
    """Return what this process has dropped of a cache since it started."""
    with _lock:
        memory = _memory_of(cache)
        return replace(memory.counts, waiting=len(memory.keys))


def count_broken(cache: str) -> None:
    """Count a rule that raised where it should have named what is stale."""
    _count(cache, broken=1)


@dataclass(slots=True)
class _Drop:
    """Keys to drop on commit."""

    cache: str
    keys: dict[str, None]

    def __call__(self) -> None:
        keys = list(self.keys)
        try:
            _drop(self.cache, keys)
            _drop_remembered(self.cache)
        except Exception as error:  # noqa: BLE001 - whatever the backend raises, the site goes on
            _remember(self.cache, keys, error)


def _drop(cache: str, keys: Sequence[str]) -> None:
    backend = caches[cache]
    for start in range(0, len(keys), KEYS_PER_DELETE):
        backend.delete_many(keys[start : start + KEYS_PER_DELETE])
    _count(cache, dropped=len(keys))
    _ask_to_warm(cache, keys)


def _ask_to_warm(cache: str, keys: Sequence[str]) -> None:
    """Have a worker compute anew what warmers are registered for, where the cache is a target."""
    try:
        targets = configuration().caches
    except ConfigurationError:
        return  # the system check maintenance.E001 says so
    for name, target in targets.items():
        if target.alias == cache:
            warm_after(caches[cache], name, keys)


def _drop_remembered(cache: str) -> None:
    """Drop what is remembered; it stays so where the cache does not take it."""
    with _lock:
        keys = list(_memory_of(cache).keys)
    if not keys:
        return
    _drop(cache, keys)
    with _lock:
        for key in keys:
            _memory_of(cache).keys.pop(key, None)
    logger.info("Cache %s is back: %s dropped late.", cache, counted(len(keys), "stale key"))


def _remember(cache: str, keys: Sequence[str], error: Exception) -> None:
    with _lock:
        memory = _memory_of(cache)
        room = REMEMBERED_KEYS - len(memory.keys)
        new = [key for key in keys if key not in memory.keys]
        memory.keys.update(dict.fromkeys(new[:room]))
        lost = new[room:]
        if memory.thread is None or not memory.thread.is_alive():
            memory.thread = threading.Thread(
                target=_try_again, args=(cache,), name=f"invalidation-{cache}", daemon=True
            )
            memory.thread.start()
    _count(cache, failed=1, lost=len(lost))
    logger.warning(
        "Cache %s did not take an invalidation (%s: %s); %s will be dropped when it is back: %s.",
        *(cache, type(error).__name__, redact(str(error))),
        *(counted(len(keys) - len(lost), "key"), listed(list(keys))),
    )
    if lost:
        logger.error(
            "%s of cache %s stay stale until their time-out, for lack of room to remember: %s.",
            *(counted(len(lost), "key"), cache, listed(lost)),
        )


def _try_again(cache: str) -> None:
    """Drop what is remembered as soon as the cache takes it, then end."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        try:
            _drop_remembered(cache)
        except Exception as error:  # noqa: BLE001 - an outage goes on, whatever it raises
            logger.debug("Cache %s is still down: %s.", cache, redact(str(error)))
            continue
        with _lock:
            if not _memory_of(cache).keys:
                _memory_of(cache).thread = None
                return


def _memory_of(cache: str) -> _Memory:
    return _memories.setdefault(cache, _Memory())


def _count(cache: str, **more: int) -> None:
    with _lock:
        memory = _memory_of(cache)
        now = {name: getattr(memory.counts, name) + number for name, number in more.items()}
        memory.counts = replace(memory.counts, **now)
