"""Groups of cached values that go stale together; on the memory backend, which has no server."""

from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.locmem import LocMemCache

from maintenance.caching.tags import (
    ainvalidate_tag,
    invalidate_tag,
    invalidate_tags,
    tag_versions,
    tagged_get,
    tagged_get_or_set,
    tagged_set,
)


@pytest.fixture
def cache() -> Iterator[LocMemCache]:
    memory = LocMemCache("tags", {})
    memory.clear()
    yield memory
    memory.clear()


def test_a_tagged_value_is_read_back_until_one_of_its_tags_is_invalidated(
    cache: LocMemCache,
) -> None:
    tagged_set(cache, "page", "<html>", tags=["book:1", "author:7"], ttl_seconds=60)
    assert tagged_get(cache, "page") == "<html>"
    assert invalidate_tag(cache, "author:7")
    assert tagged_get(cache, "page", "miss") == "miss"


def test_invalidating_a_tag_leaves_values_of_other_tags(cache: LocMemCache) -> None:
    tagged_set(cache, "one", 1, tags=["a"], ttl_seconds=60)
    tagged_set(cache, "two", 2, tags=["b"], ttl_seconds=60)
    invalidate_tag(cache, "a")
    assert (tagged_get(cache, "one"), tagged_get(cache, "two")) == (None, 2)


def test_none_is_a_value_like_any_other(cache: LocMemCache) -> None:
    tagged_set(cache, "nothing", None, tags=["a"], ttl_seconds=60)
    assert tagged_get(cache, "nothing", "miss") is None


def test_a_tag_whose_version_was_evicted_makes_its_values_a_miss_for_good(
    cache: LocMemCache,
) -> None:
    tagged_set(cache, "page", "old", tags=["a"], ttl_seconds=60)
    first = tag_versions(cache, ["a"])["a"]
    cache.delete("maintenance-tag:a")
    assert tagged_get(cache, "page", "miss") == "miss"
    assert tag_versions(cache, ["a"])["a"] != first
    assert tagged_get(cache, "page", "miss") == "miss"


def test_a_value_computed_while_its_tag_changes_is_a_miss_at_once(cache: LocMemCache) -> None:
    def compute() -> str:
        invalidate_tag(cache, "a")
        return "computed from data that has changed since"

    tagged_get_or_set(cache, "page", compute, tags=["a"], ttl_seconds=60)
    assert tagged_get(cache, "page", "miss") == "miss"


def test_what_stood_under_the_key_before_tags_were_used_is_a_miss(cache: LocMemCache) -> None:
    for other in ("<html>", ("a", "b"), [1, 2, 3], None):
        cache.set("page", other)
        assert tagged_get(cache, "page", "miss") == "miss"


def test_many_tags_are_invalidated_in_one_write_and_from_asynchronous_code(
    cache: LocMemCache,
) -> None:
    for name in "abc":
        tagged_set(cache, name, 1, tags=[name], ttl_seconds=60)
    invalidate_tags(cache, ["a", "b"])
    assert [tagged_get(cache, name) for name in "abc"] == [None, None, 1]
    assert async_to_sync(ainvalidate_tag)(cache, "c")
    assert tagged_get(cache, "c") is None


def test_a_stored_value_is_not_computed_again(cache: LocMemCache) -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return 42

    found = [
        tagged_get_or_set(cache, "page", compute, tags=["a"], ttl_seconds=60) for _ in range(3)
    ]
    assert (found, len(calls)) == ([42, 42, 42], 1)
