"""Values that are computed once, on a real Valkey and by real processes."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.utils import translation
from django_redis.cache import RedisCache as DjangoRedisCache

from bench.stampede import OLD, stampede
from maintenance.caching import instrumented
from maintenance.caching.backend import client_of
from maintenance.caching.stampede import RETRY_SECONDS, NobodyComputed, get_or_compute
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually

BACKENDS: dict[str, Any] = {
    "django.core.cache.backends.redis.RedisCache": RedisCache,
    "django_redis.cache.RedisCache": DjangoRedisCache,
}


class JsonSerializer:
    """What a site may give Django's backend: a tuple comes back as a list."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, stored: bytes) -> Any:
        return json.loads(stored)


#: Each backend with its option for a serializer that knows no tuples.
LISTS_FOR_TUPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "django json": (RedisCache, {"serializer": JsonSerializer}),
    "django-redis json": (
        DjangoRedisCache,
        {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    ),
    "django-redis msgpack": (
        DjangoRedisCache,
        {"SERIALIZER": "django_redis.serializers.msgpack.MSGPackSerializer"},
    ),
}


def closing(cache: Any) -> Iterator[Any]:
    yield cache
    client = client_of(cache)
    assert client is not None
    client.connection_pool.disconnect()


@pytest.fixture
def redis_url(each_server: str, each_client: "redis.Redis") -> str:
    """The URL of an emptied Valkey, then of an emptied Redis."""
    return each_server


@pytest.fixture
def cache(redis_url: str) -> Iterator[RedisCache]:
    yield from closing(RedisCache(redis_url, {"KEY_PREFIX": "site"}))


def store_expired(cache: BaseCache, key: str = "books") -> None:
    """Store "old" under ``key``, past its end but good enough for ten minutes."""
    cache.delete(key)
    get_or_compute(key, lambda: "old", 0.001, cache=cache, stale_seconds=600)
    time.sleep(0.002)


def locks(url: str) -> list[bytes]:
    with redis.Redis.from_url(url) as client:
        return list(client.keys("*maintenance-flight*"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_200_readers_of_an_expired_value_one_computes_and_none_waits(
    redis_url: str, backend: str
) -> None:
    for cache in closing(BACKENDS[backend](redis_url, {})):
        done = stampede(redis_url, cache, processes=4, threads=50, backend=backend)
        # The computation ends only after the last of them has its answer.
        assert done.values == (OLD,) * 200
        assert done.computations == 1
        assert get_or_compute("popular_books", lambda: "no", 60, cache=cache) == "computation 1"
    assert locks(redis_url) == []


def test_of_many_readers_of_a_value_that_is_not_there_one_computes_for_all(
    redis_url: str, cache: RedisCache
) -> None:
    plain = RedisCache(redis_url, {})
    done = stampede(redis_url, plain, processes=2, threads=20, expired=False)
    assert done.values == ("computation 1",) * 40
    assert done.computations == 1
    for _ in closing(plain):
        pass


def test_a_value_is_computed_once_and_then_read(cache: RedisCache) -> None:
    computed: list[int] = []

    def compute() -> None:
        computed.append(1)

    assert get_or_compute("nothing", compute, 600, cache=cache, beta=0) is None
    assert get_or_compute("nothing", compute, 600, cache=cache, beta=0) is None
    assert len(computed) == 1


@pytest.mark.parametrize("name", LISTS_FOR_TUPLES)
def test_every_reader_gets_the_value_where_the_serializer_knows_no_tuples(
    redis_url: str, name: str
) -> None:
    backend, options = LISTS_FOR_TUPLES[name]
    for cache in closing(backend(redis_url, {"OPTIONS": options})):
        books = [get_or_compute("books", lambda: {"of": [1, 2]}, 60, cache=cache) for _ in "12"]
        assert books == [{"of": [1, 2]}] * 2
        store_expired(cache)
        new = get_or_compute("books", lambda: "new", 60, cache=cache, background=False)
        assert new == "new"


def test_a_value_that_the_site_stored_by_itself_is_taken_as_it_is(cache: RedisCache) -> None:
    cache.set("books", [1, 2], 600)
    assert get_or_compute("books", lambda: [3], 600, cache=cache) == [1, 2]


def test_the_time_out_on_the_server_covers_the_stale_time(
    cache: RedisCache, redis_url: str
) -> None:
    get_or_compute("books", lambda: 1, 600, cache=cache, stale_seconds=50)
    with redis.Redis.from_url(redis_url) as client:
        assert 640 < client.ttl("site:1:books") <= 650


def test_a_computation_that_fails_keeps_the_old_value_and_is_not_repeated_at_once(
    cache: RedisCache, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store_expired(cache)
    tried: list[int] = []

    def fails() -> str:
        tried.append(1)
        raise RuntimeError("no such shelf, password=hunter2")

    for _ in range(3):
        assert get_or_compute("books", fails, 60, cache=cache, background=False) == "old"
    assert len(tried) == 1
    assert "books keeps its old value" in caplog.text
    assert "hunter2" not in caplog.text
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.pttl(locks(redis_url)[0]) <= RETRY_SECONDS * 1000


def test_a_computation_that_fails_without_an_old_value_raises_and_frees_the_flight(
    cache: RedisCache, redis_url: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        get_or_compute("books", lambda: 1 // 0, 60, cache=cache)
    assert locks(redis_url) == []
    assert get_or_compute("books", lambda: 1, 60, cache=cache) == 1


def test_who_waited_while_others_failed_does_not_compute_as_well(
    cache: RedisCache, redis_url: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        get_or_compute("books", lambda: 1 // 0, 60, cache=cache, lock_seconds=0.2)
    hold_the_flight(cache)
    with pytest.raises(NobodyComputed, match="books is not there, and nobody could compute it"):
        get_or_compute("books", lambda: "again", 60, cache=cache, lock_seconds=0.1)
    assert len(locks(redis_url)) == 1, "it is left to whoever computes"


def test_who_waited_for_one_that_lasts_computes_and_stores_it_for_the_next(
    cache: RedisCache, redis_url: str
) -> None:
    hold_the_flight(cache)
    assert get_or_compute("books", lambda: "mine", 60, cache=cache, lock_seconds=0.1) == "mine"
    assert len(locks(redis_url)) == 1
    assert get_or_compute("books", lambda: "again", 60, cache=cache, beta=0) == "mine"


def hold_the_flight(cache: BaseCache) -> None:
    """Have somebody else compute "books" for a minute."""
    client = client_of(cache)
    assert client is not None
    client.set(cache.make_key("maintenance-flight:books"), "somebody", ex=60)


CRASHES = """
import os, sys
from django.conf import settings
settings.configure(DATABASES={}, CACHES={"default": {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": sys.argv[1], "KEY_PREFIX": "site"}})
from maintenance.caching.stampede import get_or_compute
get_or_compute("books", lambda: os.kill(os.getpid(), 9), 60, lock_seconds=1)
"""


def test_a_process_that_dies_in_mid_computation_frees_the_flight(
    cache: RedisCache, redis_url: str
) -> None:
    died = subprocess.run([sys.executable, "-c", CRASHES, redis_url], check=False)
    assert died.returncode == -9
    assert len(locks(redis_url)) == 1
    started = time.monotonic()
    assert get_or_compute("books", lambda: "new", 60, cache=cache, lock_seconds=10) == "new"
    assert time.monotonic() - started < 5


def test_a_flight_that_lost_its_lock_overwrites_nothing(cache: RedisCache, redis_url: str) -> None:
    store_expired(cache)

    def slow() -> str:
        with redis.Redis.from_url(redis_url) as client:
            client.delete(*locks(redis_url))  # as if it had expired
        assert (
            get_or_compute("books", lambda: "newer", 60, cache=cache, background=False) == "newer"
        )
        return "late"

    assert get_or_compute("books", slow, 60, cache=cache, background=False) == "late"
    assert get_or_compute("books", lambda: "no", 60, cache=cache, beta=0) == "newer"


def test_nobody_ends_the_flight_of_another(cache: RedisCache, redis_url: str) -> None:
    def taken_over() -> str:
        with redis.Redis.from_url(redis_url) as client:
            client.set(locks(redis_url)[0], "token of another", px=60_000)
        return "late"

    get_or_compute("books", taken_over, 60, cache=cache)
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(locks(redis_url)[0]) == b"token of another"


def test_a_computation_that_failed_late_leaves_the_flight_of_another_alone(
    cache: RedisCache, redis_url: str
) -> None:
    def taken_over() -> str:
        with redis.Redis.from_url(redis_url) as client:
            client.set(locks(redis_url)[0], "token of another", px=60_000)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        get_or_compute("books", taken_over, 60, cache=cache)
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(locks(redis_url)[0]) == b"token of another"


class ReadsLate(RedisCache):
    """A reader between whose look and whose lock another one refreshes the value."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        found = super().get(key, default, version)
        if not self.overtaken:
            self.overtaken = True
            other = RedisCache(self._servers, {"KEY_PREFIX": "site"})
            get_or_compute(key, lambda: "newer", 60, cache=other, background=False)
            other._cache.get_client(None, write=True).connection_pool.disconnect()
        return found

    overtaken = True


@pytest.mark.parametrize("background", [True, False])
def test_who_comes_late_to_the_lock_takes_what_another_has_computed(
    redis_url: str, background: bool
) -> None:
    for cache in closing(ReadsLate(redis_url, {"KEY_PREFIX": "site"})):
        store_expired(cache)
        cache.overtaken = False
        found = get_or_compute("books", lambda: "twice", 60, cache=cache, background=background)
        assert found == "newer"
        assert locks(redis_url) == []
        assert get_or_compute("books", lambda: "twice", 60, cache=cache, beta=0) == "newer"


def test_a_refresh_in_the_background_has_the_language_of_its_reader(cache: RedisCache) -> None:
    store_expired(cache)

    def in_thread() -> str:
        return f"{translation.get_language()} in {threading.current_thread().name}"

    with translation.override("de"):
        assert get_or_compute("books", in_thread, 60, cache=cache) == "old"
    eventually(
        lambda: get_or_compute("books", lambda: "no", 60, cache=cache, beta=0) != "old",
        seconds=10,
        what="the refresh in the background",
    )
    found = get_or_compute("books", lambda: "no", 60, cache=cache, beta=0)
    assert found == "de in refresh-books"


def test_a_value_is_refreshed_before_its_end_the_earlier_the_dearer_it_is(
    cache: RedisCache,
) -> None:
    get_or_compute("books", lambda: time.sleep(0.05) or "old", 600, cache=cache)  # type: ignore[func-returns-value]
    assert get_or_compute("books", lambda: "no", 600, cache=cache, beta=0.001) == "old"
    # 50 ms * a million is more than the ten minutes that are left, whatever the chance.
    early = get_or_compute("books", lambda: "early", 600, cache=cache, beta=1e9, background=False)
    assert early == "early"


def test_a_server_that_goes_away_in_mid_computation_costs_no_value(
    server_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def leaves() -> str:
        with redis.Redis.from_url(server.url()) as client:
            client.shutdown(nosave=True)
        return "made"

    with EmbeddedValkey(server_root / "leaving", secrets.token_hex(16)) as server:
        for cache in closing(RedisCache(server.url(), {})):
            assert get_or_compute("books", leaves, 60, cache=cache) == "made"
    assert "books was computed and not stored" in caplog.text


def test_a_cache_that_hides_its_outages_computes(caplog: pytest.LogCaptureFixture) -> None:
    hiding = DjangoRedisCache("redis://127.0.0.1:1/0", {"OPTIONS": {"IGNORE_EXCEPTIONS": True}})
    assert get_or_compute("books", lambda: "made", 60, cache=hiding) == "made"
    assert "books is computed without a lock" in caplog.text


def test_without_a_shared_server_every_reader_computes_what_has_come_to_its_end() -> None:
    memory = LocMemCache("stampede", {})
    assert (
        get_or_compute("books", lambda: "first", 0.001, cache=memory, stale_seconds=60) == "first"
    )
    time.sleep(0.002)
    assert get_or_compute("books", lambda: "second", 60, cache=memory) == "second"
    assert get_or_compute("books", lambda: "third", 60, cache=memory, beta=0) == "second"
    store_expired(memory)
    assert get_or_compute("books", lambda: 1 // 0, 60, cache=memory) == "old"


def test_a_counting_cache_knows_what_it_took_to_compute(redis_url: str) -> None:
    for counted in closing(instrumented.RedisCache(redis_url, {})):
        counted.counts.take()
        store_expired(counted)
        get_or_compute("books", lambda: "new", 60, cache=counted, background=False)
        (found,) = counted.counts.look()
        assert (found.prefix, found.sets, found.computes) == ("books", 2, 2)
