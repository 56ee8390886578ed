"""The register of warmers, and running their functions."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache.backends.redis import RedisCache

from maintenance.caching.namespaces import Namespace
from maintenance.caching.options import WarmOptions
from maintenance.caching.pages import environ_of
from maintenance.caching.tags import Tag
from maintenance.caching.warm_after import warm_after, warmers_for
from maintenance.caching.warmer_functions import run_function
from maintenance.caching.warmers import (
    PageRequest,
    Warmer,
    unregister,
    warm_view,
    warmer,
    warmers_of,
)
from maintenance.caching.warming import by_demand, choose_warmers
from maintenance.conf import CacheTarget
from maintenance.core.errors import ConfigurationError, UnknownName

CACHE = "unit-tests"


@pytest.fixture(autouse=True)
def forget_warmers() -> Iterator[None]:
    yield
    for name in warmers_of(CACHE):
        unregister(CACHE, name)


def made(function: Any, timeout_seconds: float = 10.0) -> Warmer:
    return Warmer("w", CACHE, function, "key", 60, timeout_seconds)


def register(name: str, **settings: Any) -> None:
    given = {"key": name, "ttl_seconds": 60, "cache": CACHE, "name": name, **settings}
    warmer(**given)(lambda: name)


def test_a_warmer_is_registered_under_the_name_of_its_function() -> None:
    @warmer(key="home:trending", ttl_seconds=900, cache=CACHE)
    def trending() -> list[int]:
        return [1]

    found = warmers_of(CACHE)["trending"]
    assert (found.key, found.ttl_seconds, found.many) == ("home:trending", 900, False)
    assert trending() == [1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"key": None}, "needs either key"),
        ({"many": True}, "needs either key"),
        ({"ttl_seconds": 0}, "above 0"),
        ({"timeout_seconds": -1}, "above 0"),
        ({"tags": "books"}, r'needs a list of names, tags=\["books"\]'),
        ({"after": ["books"]}, "cannot come after 'books': name groups"),
    ],
)
def test_a_warmer_that_cannot_work_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        register("bad", **settings)


def test_two_functions_cannot_share_a_name_but_one_can_come_again() -> None:
    def trending() -> int:
        return 1

    decorate = warmer(key="a", ttl_seconds=60, cache=CACHE, name="trending")
    decorate(trending)
    decorate(trending)
    with pytest.raises(ConfigurationError, match='are named "trending"'):
        register("trending")


def test_the_target_and_the_options_limit_what_runs() -> None:
    for name in ("one", "two", "three"):
        register(name)
    target = CacheTarget(alias="default", warmers=("one", "two"))
    everything = choose_warmers(CACHE, target, WarmOptions())
    some = choose_warmers(CACHE, target, WarmOptions(only=("two",)))
    assert [one.name for one in everything] == ["one", "two"]
    assert [one.name for one in some] == ["two"]


def test_a_misspelt_warmer_is_corrected() -> None:
    register("trending")
    with pytest.raises(UnknownName, match='Did you mean "trending"'):
        choose_warmers(CACHE, CacheTarget(alias="default"), WarmOptions(only=("trendign",)))


def test_a_function_answers_from_a_thread_of_its_own() -> None:
    answer = run_function(made(lambda: threading.current_thread().name))
    assert (answer.value, answer.error, answer.finished) == ("warmer-w", None, True)


def test_what_a_function_raises_is_its_answer() -> None:
    def fails() -> None:
        raise RuntimeError("no such shelf")

    answer = run_function(made(fails))
    assert answer.finished
    assert str(answer.error) == "no such shelf"


def test_a_function_that_takes_too_long_is_left_to_itself() -> None:
    release = threading.Event()
    answer = run_function(made(release.wait, timeout_seconds=0.05))
    release.set()
    assert answer.seconds < 5
    assert answer.value is None


def test_the_most_read_come_first_and_equal_ones_in_their_own_order() -> None:
    chosen = [replace(made(lambda: 1), name=name) for name in ("one", "two", "three", "four")]
    ordered = by_demand(chosen, {"three": 9, "two": 2})
    assert [one.name for one in ordered] == ["three", "two", "one", "four"]


def test_a_view_needs_its_whole_url() -> None:
    with pytest.raises(ConfigurationError, match="needs a whole URL"):
        warm_view("/popular/", cache=CACHE)


def test_a_view_is_asked_for_once_for_each_set_of_headers() -> None:
    languages = [{"Accept-Language": "en"}, {"Accept-Language": "de"}]
    warm_view(lambda: ["https://a/", "https://b/"], headers=languages, cache=CACHE, name="pages")
    found = warmers_of(CACHE)["pages"].function()
    assert [(page.url, page.headers["Accept-Language"]) for page in found] == [
        ("https://a/", "en"),
        ("https://a/", "de"),
        ("https://b/", "en"),
        ("https://b/", "de"),
    ]


def test_a_request_is_what_a_web_server_would_make_of_the_url() -> None:
    page = PageRequest("https://books.example:8443/caf%C3%A9/?page=2", {"Accept-Language": "de"})
    environ = environ_of(page)
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "books.example:8443"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/café/"
    assert environ["QUERY_STRING"] == "page=2"
    assert environ["HTTP_ACCEPT_LANGUAGE"] == "de"


def test_dropped_keys_name_their_warmers() -> None:
    register("front", key="home:trending")
    register("books", key=None, many=True, prefix="book-rating")
    assert [one.name for one in warmers_for(CACHE, ["home:trending"])] == ["front"]
    assert [one.name for one in warmers_for(CACHE, ["book-rating-7", "other-1"])] == ["books"]
    assert [one.name for one in warmers_for(CACHE, [], prefixes=["home:"])] == ["front"]
    assert warmers_for(CACHE, ["home:other"]) == []


def test_dropped_groups_name_their_warmers() -> None:
    register("front", key="front", tags=["books", "books"])
    register("rows", key="row", namespace="sidebar")
    register("derived", after=Tag("books"))
    assert [one.name for one in warmers_for(CACHE, [Tag("books")])] == ["front", "derived"]
    assert [one.name for one in warmers_for(CACHE, Namespace("sidebar"))] == ["rows"]
    assert [one.name for one in warmers_for(CACHE, [Tag("sidebar"), Namespace("books")])] == []
    # Its key begins with the namespace and its version.
    assert [one.name for one in warmers_for(CACHE, ["row"], ["row"])] == []
    assert [one.name for one in warmers_for(CACHE, [], ["sidebar:"])] == ["rows"]
    assert warmers_of(CACHE)["front"].tags == ("books",)


def test_what_cannot_be_noted_is_not_raised() -> None:
    register("front", key="home:trending")
    away = RedisCache("redis://127.0.0.1:1/0", {})
    assert warm_after(away, CACHE, ["home:trending"]) == ("front",)
