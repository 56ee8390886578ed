"""Prefixes with a version; on the memory backend, which has no server."""

from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.locmem import LocMemCache

from maintenance.caching.namespaces import Namespace

BOOKS = Namespace("books")


@pytest.fixture
def cache() -> Iterator[LocMemCache]:
    memory = LocMemCache("namespaces", {})
    memory.clear()
    yield memory
    memory.clear()


def test_all_values_of_a_namespace_go_at_once_and_others_stay(cache: LocMemCache) -> None:
    books, shelves = BOOKS.generation(cache), Namespace("shelves").generation(cache)
    books.set_many({"a": 1, "b": 2}, ttl_seconds=60)
    shelves.set("a", 3, ttl_seconds=60)
    assert BOOKS.generation(cache).get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert BOOKS.invalidate(cache)
    assert BOOKS.generation(cache).get_many(["a", "b"]) == {}
    assert Namespace("shelves").generation(cache).get("a") == 3


def test_a_look_at_a_namespace_without_a_version_finds_nothing_and_writes_nothing(
    cache: LocMemCache,
) -> None:
    assert BOOKS.present_generation(cache).get("a") is None
    assert cache.get(BOOKS.version_key) is None
    BOOKS.generation(cache).set("a", 1, ttl_seconds=60)
    assert BOOKS.present_generation(cache).get("a") == 1


def test_a_version_that_was_evicted_brings_no_old_value_back(cache: LocMemCache) -> None:
    BOOKS.generation(cache).set("a", "old", ttl_seconds=60)
    BOOKS.invalidate(cache)
    BOOKS.generation(cache).set("b", "new", ttl_seconds=60)
    cache.delete(BOOKS.version_key)
    assert BOOKS.generation(cache).get_many(["a", "b"]) == {}


def test_a_value_computed_while_its_namespace_changes_is_a_miss_at_once(
    cache: LocMemCache,
) -> None:
    def compute() -> str:
        BOOKS.invalidate(cache)
        return "from data that has changed since"

    BOOKS.get_or_set(cache, "a", compute, ttl_seconds=60)
    assert BOOKS.get_or_set(cache, "a", lambda: "new", ttl_seconds=60) == "new"


def test_a_stored_value_is_not_computed_again_and_one_can_be_dropped(cache: LocMemCache) -> None:
    values = iter([1, 2])
    found = [BOOKS.get_or_set(cache, "a", lambda: next(values), ttl_seconds=60) for _ in range(2)]
    assert found == [1, 1]
    assert BOOKS.generation(cache).delete("a")
    assert BOOKS.get_or_set(cache, "a", lambda: next(values), ttl_seconds=60) == 2


def test_asynchronous_code_drops_a_namespace_too(cache: LocMemCache) -> None:
    BOOKS.generation(cache).set("a", 1, ttl_seconds=60)
    assert async_to_sync(BOOKS.ainvalidate)(cache)
    assert BOOKS.generation(cache).get("a") is None
