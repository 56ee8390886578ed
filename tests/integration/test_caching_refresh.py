"""Warming in the long run: order, refresh before expiry, limits, cut-offs, kills and repetition."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django_redis.cache import RedisCache as DjangoRedisCache

from maintenance.caching import instrumented
from maintenance.caching.backend import client_of
from maintenance.caching.invalidation import invalidate_caches
from maintenance.caching.options import InvalidateOptions, WarmOptions
from maintenance.caching.warm_after import start_with, warm_after
from maintenance.caching.warmers import warmer
from maintenance.caching.warming import warm_caches
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.rates import RateLimit
from maintenance.core.reports import Report
from maintenance.core.runs.limits import wait_for_start
from maintenance.tasks import caching as tasks
from tests.warmed_caches import CACHE, forget_warmers, redis_url, site_cache

__all__ = ["forget_warmers", "redis_url", "site_cache"]


def register(name: str, function: Callable[[], Any], **settings: Any) -> None:
    given = {"ttl_seconds": 600, "cache": CACHE, "name": name, **settings}
    if "many" not in given:
        given.setdefault("key", name)
    warmer(**given)(function)


def warm(url: str, wait: Any = None, steps: Any = None, **options: Any) -> Report:
    job = Job(CACHE, CacheTarget(url=url), WarmOptions(**options))
    if steps is not None:
        job = Job(CACHE, CacheTarget(url=url), WarmOptions(**options), steps=steps)
    return warm_caches(job, wait)


def names(report: Report) -> list[str]:
    return [row[0] for row in report.tables[0].rows]


def test_what_is_asked_for_most_is_warmed_first(redis_url: str) -> None:
    counted = instrumented.RedisCache(redis_url, {})
    for _ in range(5):
        counted.get("book-rating-1")
    counted.get("home:trending")
    counted.flush_counts()
    register("quiet", lambda: 1, key="shelf:1")
    register("home", lambda: 1, key="home:trending")
    register("ratings", lambda: {"book-rating-1": 4.5}, many=True, prefix="book-rating")
    report = warm(redis_url)
    assert names(report) == ["ratings", "home", "quiet"]
    assert [row[2] for row in report.tables[0].rows] == [5, 1, None]
    client = client_of(counted)
    assert client is not None
    client.connection_pool.disconnect()


def test_the_kind_of_many_keys_is_learned_from_their_first_run(redis_url: str) -> None:
    register("ratings", lambda: {"book-rating-1": 4.5}, many=True)
    register("shelves", lambda: {"shelf:1": 4.5}, many=True)
    first = warm(redis_url)
    assert first.state["prefixes"] == {"ratings": "book-rating", "shelves": "shelf"}
    job = Job(
        CACHE,
        CacheTarget(url=redis_url),
        WarmOptions(only=("ratings",), cold_only=True),
        previous_state=first.state,
    )
    assert warm_caches(job).state == first.state


def test_values_are_refreshed_before_they_expire_and_not_much_earlier(
    redis_url: str, site_cache: RedisCache
) -> None:
    computed: list[str] = []
    register("one", lambda: computed.append("one") or 1)
    register("many", lambda: computed.append("many") or {"a:1": 1, "a:2": 2}, many=True)
    warm(redis_url, expiring_within_seconds=60)
    assert computed == ["one", "many"]
    report = warm(redis_url, expiring_within_seconds=60)
    assert computed == ["one", "many"]
    assert report.summary == "Nothing to do: every value of 2 warmers is there."
    said = report.outcomes[0].sentence
    assert re.search(r"Nothing was written: its values stay for another (9|10)\b", said), said
    warm(redis_url, expiring_within_seconds=600)
    assert computed == ["one", "many"] * 2


def test_time_outs_of_values_written_together_are_spread(redis_url: str) -> None:
    register("many", lambda: {f"a:{n}": n for n in range(200)}, many=True)
    warm(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        left = [client.pttl(f":1:a:{number}") / 1000 for number in range(200)]
    assert 530 < min(left) < 550
    assert 590 < max(left) <= 600


def test_a_value_that_cannot_be_stored_is_named_and_the_others_are_written(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set("a:2", "old")
    register("many", lambda: {"a:1": 1, "a:2": lambda: 1, "a:3": 3}, many=True)
    report = warm(redis_url)
    assert site_cache.get_many(["a:1", "a:2", "a:3"]) == {"a:1": 1, "a:2": "old", "a:3": 3}
    (found,) = report.findings
    assert found.code == "warmed-values-refused"
    assert "1 value of many could not be stored" in found.sentence


def test_a_full_server_refuses_and_keeps_what_it_has(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set("a:1", "old")
    register("many", lambda: {f"a:{n}": "x" * 1000 for n in range(5)}, many=True)
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            report = warm(redis_url)
        finally:
            client.config_set("maxmemory", 0)
    assert "could not be stored" in report.findings[0].sentence
    assert site_cache.get("a:1") == "old"


def test_the_rights_that_the_report_names_are_enough(redis_url: str) -> None:
    register("one", lambda: 1)
    register("many", lambda: {"a:1": 1}, many=True)
    rights = warm(redis_url, dry_run=True).facts["needs_acl"]
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "warmer", "on", ">pass", "~:1:*", *rights)
        address = redis_url.rpartition("@")[2]
        try:
            report = warm(f"redis://warmer:pass@{address}", expiring_within_seconds=60)
        finally:
            client.execute_command("ACL", "DELUSER", "warmer")
    assert report.findings == ()
    assert report.summary == "2 values written by 2 warmers."


def test_a_cache_of_django_redis_reads_what_was_warmed(redis_url: str) -> None:
    from django.test import override_settings

    cached = {"redis": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}}
    register("many", lambda: {"a:1": [1.5, "x"], "a:2": 2, "a:3": True}, many=True)
    with override_settings(CACHES=cached):
        report = warm_caches(Job(CACHE, CacheTarget(alias="redis"), WarmOptions()))
    assert report.summary == "3 values written by 1 warmer."
    reader = DjangoRedisCache(redis_url, {})
    assert reader.get_many(["a:1", "a:2", "a:3"]) == {"a:1": [1.5, "x"], "a:2": 2, "a:3": True}
    assert 0 < reader.ttl("a:2") <= 600
    reader.client.get_client().connection_pool.disconnect()


@pytest.mark.django_db(transaction=True)
def test_a_query_that_takes_too_long_is_cancelled_on_the_server(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set("slow", "old")
    seen: list[str] = []

    def sleeps() -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute("SELECT pg_sleep(60)")
            except Exception as error:
                seen.append(str(error))
                raise

    register("slow", sleeps, timeout_seconds=0.3)
    register("quick", lambda: "new")
    report = warm(redis_url)
    assert "canceling statement due to user request" in seen[0]
    (found,) = [found for found in report.findings if found.subject == "slow"]
    assert "it took longer than 0.3 seconds" in found.sentence
    assert (site_cache.get("slow"), site_cache.get("quick")) == ("old", "new")


@pytest.mark.django_db(transaction=True)
def test_computations_wait_for_a_limit_that_all_workers_share(redis_url: str) -> None:
    waited: list[float] = []
    limit = RateLimit(1, 0.3)

    def wait(progress: Any) -> None:
        waited.append(wait_for_start("warming pages", limit, progress))

    for name in ("one", "two", "three"):
        register(name, lambda: 1)
    warm(redis_url, wait)
    assert len(waited) == 3
    assert sum(waited) > 0.5


class EarlierSteps:
    """Steps of a run whose first attempt has done some."""

    def __init__(self, *done: str) -> None:
        action = Action("warm", "", "", "")
        self._done = {name: Outcome(action, Verdict.WORKED, "1 values written.") for name in done}
        self.recorded: list[str] = []

    def done(self) -> dict[str, Outcome]:
        return self._done

    def record(self, key: str, outcome: Outcome) -> None:
        self.recorded.append(key)


def test_what_an_earlier_attempt_has_done_is_not_computed_again(redis_url: str) -> None:
    computed: list[str] = []
    register("one", lambda: computed.append("one") or 1)
    register("two", lambda: computed.append("two") or 2)
    register("bad", lambda: None)
    steps = EarlierSteps("one")
    report = warm(redis_url, steps=steps)
    assert computed == ["two"]
    assert steps.recorded == ["two"]
    assert "1 had done their work in an earlier attempt of this run" in report.summary


KILLED = """
import sys, time
from django.conf import settings
settings.configure(DATABASES={})
import django
django.setup()
from maintenance.caching.options import WarmOptions
from maintenance.caching.warming import warm_caches, warmer
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.job import Job, SilentProgress

class StopsHalfway(SilentProgress):
    def update(self, done, total=None, *, phase="", unit=""):
        if phase.startswith("writing") and done >= 5000:
            print("halfway", flush=True)
            time.sleep(600)

warmer(ttl_seconds=600, many=True, cache="pages", name="many")(
    lambda: {f"a:{n}": f"new {n}" for n in range(10000)}
)
warm_caches(Job("pages", CacheTarget(url=sys.argv[1]), WarmOptions(), progress=StopsHalfway()))
"""


def test_a_run_that_was_killed_in_mid_warm_loses_nothing_and_doubles_nothing(
    redis_url: str, site_cache: RedisCache
) -> None:
    site_cache.set_many({f"a:{n}": "old" for n in range(10_000)}, timeout=600)
    script = textwrap.dedent(KILLED)
    with subprocess.Popen(
        [sys.executable, "-c", script, redis_url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halfway\n"
        process.kill()

    def values() -> list[str]:
        found = site_cache.get_many([f"a:{n}" for n in range(10_000)])
        assert len(found) == 10_000
        return [found[f"a:{n}"] for n in range(10_000)]

    halfway = values()
    assert 5000 <= sum(value != "old" for value in halfway) < 10_000
    register("many", lambda: {f"a:{n}": f"new {n}" for n in range(10_000)}, many=True)
    warm(redis_url)
    assert values() == [f"new {n}" for n in range(10_000)]
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 10_001  # and the note of when they expire
        assert min(client.ttl(f":1:a:{n}") for n in range(0, 10_000, 500)) > 500


def test_dropped_values_are_asked_for_once_until_a_run_takes_them(
    redis_url: str, site_cache: RedisCache
) -> None:
    started: list[tuple[str, list[str]]] = []
    start_with(lambda target, warmers: started.append((target, list(warmers))))
    try:
        register("front", lambda: 1, key="home:trending")
        for _ in range(100):
            assert warm_after(site_cache, CACHE, ["home:trending", "home:other"]) == ("front",)
        assert started == [(CACHE, ["front"])]
        assert warm(redis_url, only=("front",)).follow_up is None
        warm_after(site_cache, CACHE, ["home:trending"])
        assert len(started) == 2
    finally:
        start_with(tasks._warm_soon)


def test_what_is_dropped_while_a_run_is_at_work_is_warmed_by_the_next(
    redis_url: str, site_cache: RedisCache
) -> None:
    start_with(lambda *_asked: None)
    try:
        register(
            "front", lambda: warm_after(site_cache, CACHE, ["home:trending"]), key="home:trending"
        )
        follow_up = warm(redis_url).follow_up
        assert follow_up is not None
        assert follow_up.options == {"only": ["front"]}
    finally:
        start_with(tasks._warm_soon)


def test_a_warmer_that_the_target_leaves_out_is_not_followed_up(
    redis_url: str, site_cache: RedisCache
) -> None:
    start_with(lambda *_asked: None)
    try:
        register("front", lambda: 1, key="home:trending")
        register("wanted", lambda: warm_after(site_cache, CACHE, ["home:trending"]), key="shelf:1")
        target = CacheTarget(url=redis_url, warmers=("wanted",))
        assert warm_caches(Job(CACHE, target, WarmOptions())).follow_up is None
    finally:
        start_with(tasks._warm_soon)


@pytest.mark.django_db(transaction=True)
def test_an_invalidation_queues_a_run_for_its_warmers(
    redis_url: str, site_cache: RedisCache, settings: Any
) -> None:
    from maintenance.models import Run

    settings.MAINTENANCE = {"caches": {CACHE: {"url": redis_url}}}
    settings.CELERY_BROKER_URL = redis_url
    register("front", lambda: 1, key="home:trending")
    warm_after(site_cache, CACHE, ["home:trending"])
    (run,) = Run.objects.all()
    assert (run.task, run.target, run.options) == (
        "maintenance.warm_caches",
        CACHE,
        {"only": ["front"]},
    )


@pytest.fixture
def asked_for() -> Iterator[list[str]]:
    """Warmers for which a run was started."""
    names: list[str] = []
    start_with(lambda _target, warmers: names.extend(warmers))
    yield names
    start_with(tasks._warm_soon)


def test_what_a_model_or_a_view_drops_is_asked_for(redis_url: str, asked_for: list[str]) -> None:
    from django.test import override_settings

    from maintenance.caching.stale import invalidate

    backend = "django.core.cache.backends.redis.RedisCache"
    cached = {"shop": {"BACKEND": backend, "LOCATION": redis_url}}
    register("front", lambda: 1, key="home:trending")
    with override_settings(CACHES=cached, MAINTENANCE={"caches": {CACHE: {"alias": "shop"}}}):
        invalidate("home:trending", "home:other", cache="shop")
    assert asked_for == ["front"]


def test_what_a_scheduled_rule_drops_is_asked_for(
    redis_url: str, site_cache: RedisCache, asked_for: list[str]
) -> None:
    site_cache.set_many({"home:trending": 1, "book-rating-1": 1})
    register("front", lambda: 1, key="home:trending")
    register("ratings", lambda: {"book-rating-1": 1}, many=True, prefix="book-rating")
    register("other", lambda: 1, key="shelf:1")
    rule = InvalidationRule(keys=("home:trending",), prefixes=("book-rating-",))
    target = CacheTarget(url=redis_url, invalidate={"stale": rule})
    planned = invalidate_caches(Job(CACHE, target, InvalidateOptions(dry_run=True)))
    assert (planned.facts["warmers_asked_for"], asked_for) == ([], [])
    report = invalidate_caches(Job(CACHE, target, InvalidateOptions()))
    assert report.facts["warmers_asked_for"] == ["front", "ratings"]
    assert asked_for == ["front", "ratings"]
