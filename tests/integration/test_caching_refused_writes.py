"""Values that are computed once, on a server that refuses to store them."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest
import redis
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django_redis.cache import RedisCache as DjangoRedisCache

from maintenance.caching.backend import client_of
from maintenance.caching.stampede import MAX_REFRESHES, RETRY_SECONDS, get_or_compute
from tests.polling import eventually

BACKENDS: dict[str, Any] = {"Django": RedisCache, "django-redis": DjangoRedisCache}

#: More readers than there are places among the threads that refresh.
READERS = MAX_REFRESHES + 2

Refusing = Callable[[redis.Redis], AbstractContextManager[None]]


@contextmanager
def out_of_memory(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


@contextmanager
def as_a_replica(client: redis.Redis) -> Iterator[None]:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def without_the_right(client: redis.Redis) -> Iterator[None]:
    client.execute_command("ACL", "SETUSER", "default", "-set")
    try:
        yield
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")


@pytest.fixture(params=[out_of_memory, as_a_replica, without_the_right])
def refusing(request: pytest.FixtureRequest) -> Refusing:
    """Has a server refuse writes for as long as the context lasts."""
    made: Refusing = request.param
    return made


@pytest.fixture(params=BACKENDS)
def cache(request: pytest.FixtureRequest, each_server: str, each_client: redis.Redis) -> Any:
    """A cache of each backend on an emptied server of each kind."""
    made = BACKENDS[request.param](each_server, {"KEY_PREFIX": "site"})
    yield made
    client = client_of(made)
    assert client is not None
    client.connection_pool.disconnect()


def store_expired(cache: BaseCache) -> None:
    """Store "old", past its end but good enough for ten minutes."""
    get_or_compute("books", lambda: "old", 0.001, cache=cache, stale_seconds=600)
    time.sleep(0.002)


def locks(client: redis.Redis) -> list[bytes]:
    return list(client.keys("*maintenance-flight*"))


def nobody_holds_it_long(client: redis.Redis) -> bool:
    """Return whether every right to compute ends within the pause after a failure."""
    return all(client.pttl(lock) <= RETRY_SECONDS * 1000 for lock in locks(client))


def stored(cache: BaseCache) -> Any:
    """Return what a reader finds who refreshes nothing before its end."""
    return get_or_compute("books", lambda: "found nothing", 60, cache=cache, beta=0)


@pytest.mark.parametrize("background", [True, False])
def test_every_reader_of_an_old_value_has_it_and_the_next_refresh_works(
    cache: BaseCache,
    each_client: redis.Redis,
    refusing: Refusing,
    background: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store_expired(cache)
    computed: list[str] = []

    def compute() -> str:
        computed.append("new")
        return "new"

    def read() -> str:
        return get_or_compute("books", compute, 60, cache=cache, background=background)

    with refusing(each_client):
        assert [read() for _ in range(READERS)] == ["old"] * READERS
    assert computed == []
    said = [one for one in caplog.records if "books keeps its old value" in one.getMessage()]
    assert [one.levelno for one in said] == [logging.WARNING] * READERS
    assert read() == ("old" if background else "new")
    eventually(lambda: stored(cache) == "new", 10, "the refresh after the refusals")
    assert computed == ["new"]


def test_every_reader_of_a_missing_value_computes_it_and_nobody_waits(
    cache: BaseCache,
    each_client: redis.Redis,
    refusing: Refusing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = time.monotonic()
    with refusing(each_client):
        found = [get_or_compute("books", lambda: "made", 60, cache=cache) for _ in range(READERS)]
    assert found == ["made"] * READERS
    assert time.monotonic() - started < 10
    assert "books is computed without a lock" in caplog.text
    assert "books was computed and not stored" in caplog.text
    assert {one.levelno for one in caplog.records} == {logging.WARNING}
    assert locks(each_client) == []


def test_a_value_that_was_refused_after_its_computation_is_returned_and_its_flight_ends(
    cache: BaseCache,
    each_client: redis.Redis,
    refusing: Refusing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ExitStack() as until_then:

        def compute() -> str:
            until_then.enter_context(refusing(each_client))
            return "made"

        assert get_or_compute("books", compute, 60, cache=cache) == "made"
        assert "books was computed and not stored" in caplog.text
        started = time.monotonic()
        assert get_or_compute("books", lambda: "again", 60, cache=cache) == "again"
        assert time.monotonic() - started < 10
    # A replica deletes nothing: there the right ends by its time.
    stays = refusing is as_a_replica
    assert len(locks(each_client)) == stays
    assert ("maintenance-flight:books stays until it expires" in caplog.text) == stays


@pytest.mark.parametrize("background", [True, False])
def test_a_refresh_that_is_refused_keeps_the_old_value_and_gives_its_place_back(
    cache: BaseCache,
    each_client: redis.Redis,
    background: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store_expired(cache)
    for number in range(READERS):
        with ExitStack() as until_then:
            computed = threading.Event()

            def compute(
                until_then: ExitStack = until_then, computed: threading.Event = computed
            ) -> str:
                until_then.enter_context(out_of_memory(each_client))
                computed.set()
                return "made"

            found = get_or_compute("books", compute, 60, cache=cache, background=background)
            assert found == ("old" if background else "made"), f"reader {number}"
            assert computed.wait(10), f"reader {number}"
            eventually(lambda: nobody_holds_it_long(each_client), 10, "the end of the flight")
            assert stored(cache) == "old"
        for lock in locks(each_client):
            each_client.delete(lock)  # as if its time had passed
    assert caplog.text.count("books was computed and not stored") == READERS


def unpicklable() -> Any:
    return lambda: "cannot be pickled"


def test_a_value_that_cannot_be_stored_is_returned_and_logged_as_an_error(
    cache: BaseCache, each_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(READERS):
        assert get_or_compute("books", unpicklable, 60, cache=cache)() == "cannot be pickled"
    assert [one.levelno for one in caplog.records] == [logging.ERROR] * READERS
    assert "books was computed and cannot be stored" in caplog.text
    assert "Traceback" in caplog.text
    assert "pickle" in caplog.text
    assert locks(each_client) == []


def test_a_refresh_by_what_cannot_be_stored_is_not_repeated_at_once(
    cache: BaseCache, each_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store_expired(cache)
    computed: list[str] = []

    def compute() -> Any:
        computed.append("one")
        return unpicklable()

    def read() -> Any:
        return get_or_compute("books", compute, 60, cache=cache)

    assert read() == "old"
    eventually(
        lambda: "books was computed and cannot be stored" in caplog.text, 10, "the refresh's end"
    )
    eventually(lambda: nobody_holds_it_long(each_client), 10, "the end of the flight")
    assert [read() for _ in range(READERS)] == ["old"] * READERS
    assert computed == ["one"]


def test_a_cache_without_a_server_returns_what_it_cannot_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = LocMemCache("refused writes", {})
    assert get_or_compute("books", unpicklable, 60, cache=memory)() == "cannot be pickled"
    assert [one.levelno for one in caplog.records] == [logging.ERROR]
