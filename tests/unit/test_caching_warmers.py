"""The register of warmers, and running their functions."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from maintenance.caching.warmers import Warmer, unregister, warmer, warmers_of
from maintenance.caching.warming import WarmOptions, choose_warmers, run_function
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
