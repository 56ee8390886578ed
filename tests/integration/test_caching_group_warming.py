"""Warmers of tags and namespaces: stored as members of these, and run again once one is dropped."""

from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import transaction
from django.test import override_settings

from maintenance.caching import instrumented
from maintenance.caching.backend import client_of
from maintenance.caching.fragments import warm_fragment
from maintenance.caching.groups import Group
from maintenance.caching.invalidation import invalidate_caches
from maintenance.caching.namespaces import Namespace
from maintenance.caching.options import InvalidateOptions, WarmOptions
from maintenance.caching.signals import forget, invalidates
from maintenance.caching.stale import invalidate, invalidate_on_commit
from maintenance.caching.tags import Tag, invalidate_tag, tagged_get, tagged_set
from maintenance.caching.warm_after import NOTED_SECONDS, start_with, warm_after
from maintenance.caching.warmers import unregister, warm_view, warmer, warmers_of
from maintenance.caching.warming import warm_caches
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.models import Run
from maintenance.tasks import caching as tasks
from tests.testapp.models import Author

TARGET, ALIAS = "pages", "shop"
BACKENDS = {
    "Django": "django.core.cache.backends.redis.RedisCache",
    "django-redis": "django_redis.cache.RedisCache",
}


@pytest.fixture(params=BACKENDS)
def cache(
    request: pytest.FixtureRequest, each_server: str, each_client: redis.Redis
) -> Iterator[BaseCache]:
    """The site's cache, a target by its alias: of each backend, on an emptied server of each kind."""
    cached = {ALIAS: {"BACKEND": BACKENDS[request.param], "LOCATION": each_server}}
    targets = {"caches": {TARGET: {"alias": ALIAS}}}
    with override_settings(CACHES=cached, MAINTENANCE=targets):
        made = caches[ALIAS]
        yield made
        client = client_of(made)
        assert client is not None
        client.connection_pool.disconnect()
    for name in warmers_of(TARGET):
        unregister(TARGET, name)


@pytest.fixture
def asked_for() -> Iterator[list[str]]:
    """Warmers for which a run was started."""
    names: list[str] = []
    start_with(lambda _target, warmers: names.extend(warmers))
    yield names
    start_with(tasks._warm_soon, tasks._when_it_stays)


def register(name: str, function: Callable[[], Any], **settings: Any) -> None:
    given = {"ttl_seconds": 600, "cache": TARGET, "name": name, **settings}
    if "many" not in given:
        given.setdefault("key", name)
    warmer(**given)(function)


def warm(**options: Any) -> Report:
    return warm_caches(Job(TARGET, CacheTarget(alias=ALIAS), WarmOptions(**options)))


def backend_of(cache: BaseCache) -> str:
    return "Django" if type(cache).__module__.startswith("django.") else "django-redis"


class Counter:
    """A function that returns how often it was called, under one key or several."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.calls = 0

    def value(self) -> Any:
        self.calls += 1
        return dict.fromkeys(self.keys, self.calls) if self.keys else self.calls


# --- As members of their groups ------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("front",), ("front", "back")])
def test_a_tagged_reader_finds_what_was_warmed_until_the_tag_is_dropped(
    cache: BaseCache, keys: tuple[str, ...]
) -> None:
    counter = Counter(*keys) if len(keys) > 1 else Counter()
    key = {} if len(keys) > 1 else {"key": "front"}
    register("w", counter.value, many=len(keys) > 1, tags=["books", "reviews"], **key)
    assert warm().outcomes[0].verdict is Verdict.WORKED
    assert [tagged_get(cache, one) for one in keys] == [1] * len(keys)
    assert warm(cold_only=True).summary.startswith("Nothing to do")
    assert warm(expiring_within_seconds=60).summary.startswith("Nothing to do")
    for options in ({"cold_only": True}, {"expiring_within_seconds": 60}):
        invalidate_tag(cache, "reviews")
        assert [tagged_get(cache, one) for one in keys] == [None] * len(keys)
        report = warm(**options)
        assert report.tables[0].rows[0][1] == "cold"
        assert [tagged_get(cache, one) for one in keys] == [counter.calls] * len(keys)


@pytest.mark.parametrize("keys", [("front",), ("front", "back")])
def test_a_reader_of_a_namespace_finds_what_was_warmed_until_it_is_dropped(
    cache: BaseCache, keys: tuple[str, ...]
) -> None:
    sidebar = Namespace("sidebar")
    counter = Counter(*keys) if len(keys) > 1 else Counter()
    key = {} if len(keys) > 1 else {"key": "front"}
    register("w", counter.value, many=len(keys) > 1, namespace="sidebar", **key)
    report = warm()
    assert report.state["prefixes"] == {"w": "sidebar"}
    assert sidebar.generation(cache).get_many(keys) == dict.fromkeys(keys, 1)
    assert warm(cold_only=True).summary.startswith("Nothing to do")
    assert warm(expiring_within_seconds=60).summary.startswith("Nothing to do")
    for options in ({"cold_only": True}, {"expiring_within_seconds": 60}):
        sidebar.invalidate(cache)
        assert sidebar.generation(cache).get_many(keys) == {}
        warm(**options)
        assert sidebar.generation(cache).get_many(keys) == dict.fromkeys(keys, counter.calls)


def test_values_of_a_tag_that_others_stored_are_left_or_renewed_one_by_one(
    cache: BaseCache,
) -> None:
    tagged_set(cache, "a:1", "theirs", tags=["books"], ttl_seconds=600)
    cache.set("a:2", "without a tag", 600)
    register(
        "many", lambda: {f"a:{number}": "ours" for number in (1, 2, 3)}, many=True, tags=["books"]
    )
    report = warm(cold_only=True)
    assert report.summary == "2 values written by 1 warmer."
    found = [tagged_get(cache, f"a:{number}") for number in (1, 2, 3)]
    assert found == ["theirs", "ours", "ours"]


def test_a_value_that_cannot_be_read_any_more_is_written_anew(
    cache: BaseCache, each_client: redis.Redis
) -> None:
    each_client.set(":1:front", b"\x80\x04no pickle of today", px=600_000)
    register("front", lambda: "new", tags=["books"])
    assert warm(cold_only=True).summary == "1 value written by 1 warmer."
    assert tagged_get(cache, "front") == "new"


def test_a_dry_run_gives_no_group_a_version(cache: BaseCache, each_client: redis.Redis) -> None:
    register("front", lambda: 1, tags=["books"], namespace="sidebar")
    report = warm(dry_run=True, expiring_within_seconds=60)
    assert report.summary == "1 warmer would run, 1 on a cold key (dry run)."
    assert "tagged_set(cache, Namespace('sidebar')" in report.outcomes[0].action.statement
    assert each_client.dbsize() == 0


def test_a_tag_that_is_dropped_while_its_value_is_computed_makes_it_a_miss_and_warms_it_again(
    cache: BaseCache, asked_for: list[str]
) -> None:
    def computed_too_late() -> str:
        invalidate(Tag("books"), cache=ALIAS)
        return "of before"

    register("front", computed_too_late, tags=["books"])
    report = warm()
    assert tagged_get(cache, "front") is None
    assert report.follow_up is not None
    assert report.follow_up.options == {"only": ["front"]}


def test_a_full_server_that_takes_no_version_fails_one_warmer_alone(
    cache: BaseCache, each_client: redis.Redis
) -> None:
    register("front", lambda: 1, tags=["books"])
    register("quiet", lambda: None)
    each_client.config_set("maxmemory", 1)
    report = warm()
    assert report.outcomes[0].sentence == (
        "The versions of its groups could not be stored: command not allowed when used memory >"
        " 'maxmemory'."
    )
    assert "returned None" in report.outcomes[1].sentence


def test_the_rights_that_the_report_names_are_enough_for_groups(
    cache: BaseCache, each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("front", lambda: 1, tags=["books"])
    register("rows", lambda: {"a": 1}, many=True, tags=["books"], namespace="sidebar")
    rights = warm(dry_run=True).facts["needs_acl"]
    each_client.execute_command("ACL", "SETUSER", "warmer", "on", ">pass", "~:1:*", *rights)
    with_login = f"redis://warmer:pass@{each_server.rpartition('@')[2]}"
    as_warmer = {ALIAS: {"BACKEND": BACKENDS[backend_of(cache)], "LOCATION": with_login}}
    monkeypatch.setattr("maintenance.caching.tags.RENEWED_ONE_IN", 1)  # each look renews them
    try:
        for target in (CacheTarget(url=with_login), CacheTarget(alias=ALIAS)):
            with override_settings(CACHES=as_warmer):
                for options in (
                    WarmOptions(),
                    WarmOptions(expiring_within_seconds=60, cold_only=True),
                ):
                    report = warm_caches(Job(TARGET, target, options))
                client = client_of(caches[ALIAS])
                assert client is not None
                client.connection_pool.disconnect()
    finally:
        each_client.execute_command("ACL", "DELUSER", "warmer")
    assert report.summary == "Nothing to do: every value of 2 warmers is there."


def test_what_a_warmer_looks_at_is_not_asked_for_by_a_visitor(
    each_server: str, each_client: redis.Redis
) -> None:
    backend = "maintenance.caching.instrumented.RedisCache"
    cached = {ALIAS: {"BACKEND": backend, "LOCATION": each_server, "KEY_PREFIX": "counting"}}
    with override_settings(CACHES=cached):
        counted = caches[ALIAS]
        assert isinstance(counted, instrumented.RedisCache)
        try:
            register("many", lambda: {"a:1": 1, "a:2": 2}, many=True, tags=["books"])
            warm()
            warm(cold_only=True)
            assert sum(counts.reads for counts in counted.counts.look()) == 0
        finally:
            unregister(TARGET, "many")
            client = client_of(counted)
            assert client is not None
            client.connection_pool.disconnect()


# --- After a drop --------------------------------------------------------------------------------


def register_one_of_each() -> None:
    register("tagged", lambda: 1, tags=["books", "reviews"])
    register("namespaced", lambda: {"7": 1}, many=True, namespace="sidebar")
    register("derived", lambda: 1, after=[Tag("books"), Namespace("sidebar")])
    register("other", lambda: 1, tags=["shelves"], after=Namespace("shelves"))
    warm_view("https://books.example/", cache=TARGET, name="page", after=Tag("books"))
    warm_fragment(
        "box",
        template="books.html",
        contexts=list,
        ttl_seconds=60,
        cache=TARGET,
        name="fragment",
        after=[Namespace("sidebar")],
    )


@pytest.mark.parametrize(
    ("dropped", "names"),
    [
        (Tag("books"), ["tagged", "derived", "page"]),
        (Tag("reviews"), ["tagged"]),
        (Namespace("sidebar"), ["namespaced", "derived", "fragment"]),
        (Namespace("books"), []),
        (Tag("sidebar"), []),
    ],
)
def test_a_dropped_group_asks_for_its_warmers(
    cache: BaseCache, asked_for: list[str], dropped: Group, names: list[str]
) -> None:
    register_one_of_each()
    assert warm_after(cache, TARGET, [dropped]) == tuple(names)
    assert asked_for == names
    asked_for.clear()
    warm(only=("tagged", "namespaced", "derived"))
    each = client_of(cache)
    assert each is not None
    each.delete(cache.make_key("maintenance-warm-asked"))
    invalidate(dropped, cache=ALIAS)
    assert asked_for == names


def test_a_prefix_that_is_dropped_asks_for_the_warmers_of_namespaces_under_it(
    cache: BaseCache, asked_for: list[str]
) -> None:
    register_one_of_each()
    warm(only=("tagged", "namespaced", "derived"))
    rule = InvalidationRule(prefixes=("sidebar:",))
    target = CacheTarget(alias=ALIAS, invalidate={"sidebar": rule})
    report = invalidate_caches(Job(TARGET, target, InvalidateOptions()))
    assert report.facts["warmers_asked_for"] == ["namespaced"]


def test_groups_that_a_scheduled_rule_drops_ask_for_their_warmers(
    cache: BaseCache, asked_for: list[str]
) -> None:
    register_one_of_each()
    rule = InvalidationRule(tags=("reviews",), namespaces=("sidebar",))
    target = CacheTarget(alias=ALIAS, invalidate={"stale": rule})
    planned = invalidate_caches(Job(TARGET, target, InvalidateOptions(dry_run=True)))
    assert (planned.facts["warmers_asked_for"], asked_for) == ([], [])
    report = invalidate_caches(Job(TARGET, target, InvalidateOptions()))
    assert asked_for == ["tagged", "namespaced", "derived", "fragment"]
    assert report.facts["warmers_asked_for"] == asked_for
    assert "4 warmers will compute anew" in report.summary


@pytest.mark.django_db(transaction=True)
def test_warming_is_queued_when_the_transaction_that_drops_a_group_commits(
    cache: BaseCache, each_server: str, settings: Any
) -> None:
    settings.CELERY_BROKER_URL = each_server
    register_one_of_each()
    with transaction.atomic():
        invalidate_on_commit([Tag("reviews")], cache=ALIAS)
        assert not Run.objects.exists()
    (run,) = Run.objects.all()
    assert (run.task, run.target) == ("maintenance.warm_caches", TARGET)
    assert run.options == {"only": ["tagged"]}


@pytest.mark.django_db(transaction=True)
def test_a_model_whose_change_drops_a_group_has_it_warmed_unless_it_is_rolled_back(
    cache: BaseCache, asked_for: list[str]
) -> None:
    register_one_of_each()
    rule = invalidates(Author, lambda _author: [Namespace("sidebar")], cache=ALIAS)
    try:
        with transaction.atomic():
            Author.objects.create(name="never")
            transaction.set_rollback(True)
        assert asked_for == []
        Author.objects.create(name="Ann")
    finally:
        forget(rule)
    assert asked_for == ["namespaced", "derived", "fragment"]


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_rolled_back_is_asked_for_again(
    cache: BaseCache, each_server: str, settings: Any
) -> None:
    settings.CELERY_BROKER_URL = each_server
    register_one_of_each()
    with transaction.atomic():
        invalidate(Tag("reviews"), cache=ALIAS)
        transaction.set_rollback(True)
    assert not Run.objects.exists()
    invalidate(Tag("reviews"), cache=ALIAS)
    assert Run.objects.get().options == {"only": ["tagged"]}


def test_a_run_that_could_not_be_started_is_asked_for_by_the_next_change(
    cache: BaseCache, asked_for: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    register_one_of_each()

    def fail(_target: str, _warmers: Sequence[str]) -> None:
        raise ConnectionError("the ledger is away")

    start_with(fail)
    assert warm_after(cache, TARGET, [Tag("reviews")]) == ("tagged",)
    assert "not asked for: the ledger is away" in caplog.text
    start_with(lambda _target, warmers: asked_for.extend(warmers))
    warm_after(cache, TARGET, [Tag("reviews")])
    assert asked_for == ["tagged"]


def test_a_run_that_was_lost_is_asked_for_again_however_often_others_are(
    cache: BaseCache, asked_for: list[str]
) -> None:
    register_one_of_each()
    client = client_of(cache)
    assert client is not None
    for age_seconds, asked in ((NOTED_SECONDS - 60, []), (NOTED_SECONDS + 1, ["tagged"])):
        noted = {"tagged": time() - age_seconds, "other": time()}
        client.zadd(cache.make_key("maintenance-warm-asked"), noted)
        warm_after(cache, TARGET, [Tag("reviews"), Tag("shelves")])
        assert asked_for == asked
