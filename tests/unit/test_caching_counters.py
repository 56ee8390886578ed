"""Counting lookups by key prefix, in one process."""

import os
import threading
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache

from maintenance.caching.counters import (
    MAX_PREFIXES,
    Metric,
    PrefixCounts,
    ProcessCounts,
    parse_counts,
)
from maintenance.caching.instrumented import LocMemCache
from maintenance.caching.key_prefixes import OTHER, prefix_of


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("book-rating-17", "book-rating"),
        ("book-on-shelf-12-3", "book-on-shelf"),
        ("latest_read_through-5-7", "latest_read_through"),
        ("popular_books", "popular_books"),
        ("book_reviews_12", "book_reviews"),
        ("user:alice:feed", "user"),
        ("home:trending", "home"),
        ("template.cache.sidebar.d41d8cd98f00b204e9800998ecf8427e", "template.cache.sidebar"),
        (
            "views.decorators.cache.cache_page..GET.d41d8cd98f.d41d8cd98f.en-us.UTC",
            "views.decorators.cache.cache_page",
        ),
        ("django.contrib.sessions.cachefk2j8d", "django.contrib.sessions"),
        ("17-home", OTHER),
        ("", OTHER),
        ("élan:1", OTHER),
        ("book12", OTHER),
    ],
)
def test_a_prefix_ends_where_the_values_begin(key: str, prefix: str) -> None:
    assert prefix_of(key) == prefix


def counted(cache: LocMemCache) -> dict[str, PrefixCounts]:
    return {counts.prefix: counts for counts in cache.counts.look()}


def made(name: str, **settings: Any) -> LocMemCache:
    return LocMemCache(name, settings)


def test_lookups_are_hits_and_misses_of_their_prefix() -> None:
    cache = made("lookups")
    cache.set("book-1", "x")
    assert cache.get("book-1") == "x"
    assert cache.get("book-2", "none") == "none"
    assert cache.get_many(["book-1", "book-3", "page:1"]) == {"book-1": "x"}
    found = counted(cache)
    assert (found["book"].hits, found["book"].misses, found["book"].sets) == (2, 2, 1)
    assert (found["page"].hits, found["page"].misses) == (0, 1)
    assert found["book"].hit_ratio == 0.5


def test_a_stored_none_is_a_hit() -> None:
    cache = made("nones")
    cache.set("book-1", None)
    assert cache.get("book-1", "default") is None
    assert counted(cache)["book"].hits == 1


def test_what_a_backend_does_by_other_operations_counts_once() -> None:
    cache = made("once")
    cache.set_many({"book-1": 1, "book-2": 2})
    assert cache.incr("book-1") == 2
    assert cache.has_key("book-2")
    assert cache.incr_version("book-2") == 2
    assert cache.add("book-3", 3)
    assert not cache.add("book-3", 4)
    cache.delete_many(["book-1", "book-3", "book-4"])
    found = counted(cache)["book"]
    assert (found.reads, found.sets, found.deletes) == (0, 3, 2)


def test_get_or_set_is_one_lookup_and_times_what_it_computes() -> None:
    cache = made("get-or-set")
    assert cache.get_or_set("book-1", lambda: "made", 60) == "made"
    assert cache.get_or_set("book-1", lambda: "again", 60) == "made"
    assert cache.get_or_set("book-2", "plain", 60) == "plain"
    found = counted(cache)["book"]
    assert (found.hits, found.misses, found.sets, found.computes) == (1, 2, 2, 1)
    assert found.mean_ttl_seconds == 60


def test_a_value_that_is_stored_after_its_miss_was_computed_meanwhile() -> None:
    cache = made("miss-and-set")
    cache.get("book-1")
    cache.set("book-1", "computed")
    cache.set("book-2", "never asked for")
    found = counted(cache)["book"]
    assert (found.sets, found.computes) == (2, 1)
    assert found.mean_compute_seconds is not None
    assert 0 < found.mean_compute_seconds < 5


def test_a_miss_is_forgotten_at_the_end_of_the_request() -> None:
    cache = made("forgotten")
    cache.get("book-1")
    cache.close()
    cache.set("book-1", "by another request")
    assert counted(cache)["book"].computes == 0


def test_the_size_of_values_is_measured_on_a_sample() -> None:
    cache = made("sizes")
    for number in range(130):
        cache.set(f"book-{number}", b"x" * 1000)
    found = counted(cache)["book"]
    assert (found.sets, found.sized_sets, found.mean_bytes) == (130, 3, 1000)


async def ask_async(cache: LocMemCache) -> list[Any]:
    return [
        await cache.aget_or_set("book-1", lambda: "made"),
        await cache.aget("book-1"),
        await cache.aget_many(["book-1", "book-2"]),
    ]


def test_asynchronous_lookups_count_as_well() -> None:
    import asyncio

    cache = made("async")
    assert asyncio.run(ask_async(cache)) == ["made", "made", {"book-1": "made"}]
    found = counted(cache)["book"]
    assert (found.hits, found.misses, found.sets) == (2, 2, 1)


def test_instances_of_one_alias_share_their_counts_whatever_the_thread() -> None:
    def work() -> None:
        cache = made("shared")
        for _ in range(500):
            cache.get("book-1")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(made("shared"))["book"].misses == 2000
    assert counted(made("another")) == {}


def test_a_site_has_a_rule_of_its_own_and_a_broken_one_harms_nobody() -> None:
    cache = made("ruled", PREFIX_RULE=lambda key: key[:4])
    cache.get("profile-alice")
    assert set(counted(cache)) == {"prof"}
    broken = made("broken", PREFIX_RULE=lambda key: key[0] + 1)
    assert broken.get("profile-alice", "default") == "default"
    assert counted(broken)[OTHER].misses == 1


def test_prefixes_are_bounded() -> None:
    counts = ProcessCounts(rule=str)
    for number in range(MAX_PREFIXES + 50):
        counts.add(f"name-{number}", Metric.HITS)
    looked = {found.prefix: found.hits for found in counts.look()}
    assert len(looked) == MAX_PREFIXES + 1
    assert looked[OTHER] == 50


def test_a_forked_process_begins_anew() -> None:
    counts = ProcessCounts()
    counts.add("book-1", Metric.HITS)
    child = os.fork()
    if child == 0:
        os._exit(len(counts.look()))
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(counts.look()) == 1


def test_taken_counts_add_up_again_over_days() -> None:
    counts = ProcessCounts()
    counts.add("book-1", Metric.HITS, 3)
    counts.add_set("a:b", 100, 0.5, 60)
    fields = {name.encode(): b"%d" % amount for name, amount in counts.take().items()}
    book, other = parse_counts([fields, fields, {b"unknown:book": b"1"}])
    assert (book.prefix, book.hits) == ("book", 6)
    assert (other.prefix, other.sets, other.mean_bytes) == ("a", 2, 100)
    assert (other.mean_compute_seconds, other.mean_ttl_seconds) == (0.5, 60)
    assert counts.look() == ()


def test_every_method_of_a_cache_is_still_there() -> None:
    cache = made("methods")
    assert isinstance(cache, BaseCache)
    cache.set("book-1", 1, version=2)
    assert cache.get("book-1", version=2) == 1
    assert cache.get("book-1") is None
    assert cache.touch("book-1", 60, version=2)
    assert cache.decr("book-1", version=2) == 0
    assert cache.delete("book-1", version=2)
    assert "book-1" not in cache
