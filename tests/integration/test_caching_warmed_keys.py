"""What a run before expiry knows of the values of a warmer of many keys."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache

from maintenance.caching.options import WarmOptions
from maintenance.caching.warmers import warmer
from maintenance.caching.warming import warm_caches
from maintenance.conf import CacheTarget
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from tests.warmed_caches import CACHE, forget_warmers, redis_url, site_cache

__all__ = ["forget_warmers", "redis_url", "site_cache"]


def register(name: str, function: Callable[[], Any], **settings: Any) -> None:
    warmer(**{"ttl_seconds": 600, "cache": CACHE, "name": name, "many": True, **settings})(function)


def warm(url: str, **options: Any) -> Report:
    return warm_caches(Job(CACHE, CacheTarget(url=url), WarmOptions(**options)))


class FillsUp(dict[str, int]):
    """Values in the middle of which the server they are written to runs out of memory."""

    def __init__(self, client: redis.Redis, keys: int) -> None:
        super().__init__({f"a:{number}": number for number in range(keys)})
        self.client = client

    def items(self) -> Any:
        for number, item in enumerate(super().items()):
            if number == len(self) // 2:
                self.client.config_set("maxmemory", 1)
            yield item


class Computed:
    """A function of ``keys`` values that counts its calls."""

    def __init__(self, keys: int = 3) -> None:
        self.keys = keys
        self.calls = 0

    def values(self) -> dict[str, int]:
        self.calls += 1
        return {f"a:{number}": number for number in range(self.keys)}


def test_a_server_that_fills_up_in_the_middle_leaves_a_report_and_the_other_warmers(
    redis_url: str, each_client: redis.Redis, site_cache: RedisCache
) -> None:
    site_cache.set("single", "old")
    register("many", lambda: FillsUp(each_client, 4000))
    register("single", lambda: "new", many=False, key="single")
    register("quiet", lambda: None, many=False, key="quiet")
    report = warm(redis_url)
    by_name = {outcome.action.subject: outcome for outcome in report.outcomes}
    written = by_name["many"].after["keys_written"]
    assert 0 < written < 4000
    assert by_name["many"].sentence == f"{written:,} values written, {4000 - written:,} not."
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.FAILED}
    assert {(found.subject, found.code) for found in report.findings} >= {
        ("many", "warmed-values-refused"),
        ("single", "warmer-failed"),
        ("quiet", "warmer-failed"),
    }
    assert site_cache.get("single") == "old"


# Redis 6.2 has no rule for keys that may be read alone.
@pytest.mark.parametrize("each_server", ["valkey", "redis"], indirect=True, scope="module")
def test_a_note_that_is_refused_costs_no_report(
    redis_url: str, each_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The right to write the values and not the note, which lies under the same prefix."""
    compute = Computed()
    register("many", compute.values)
    each_client.execute_command(
        *("ACL", "SETUSER", "warmer", "on", ">pass", "+@all"),
        *("~:1:a:*", "~:1:maintenance-warm-asked", "%R~:1:maintenance-*"),
    )
    address = redis_url.rpartition("@")[2]
    try:
        report = warm(f"redis://warmer:pass@{address}")
        again = warm(f"redis://warmer:pass@{address}", expiring_within_seconds=60)
    finally:
        each_client.execute_command("ACL", "DELUSER", "warmer")
    assert report.outcomes[0].verdict is Verdict.WORKED
    assert again.summary == "3 values written by 1 warmer."
    assert compute.calls == 2
    assert [one.levelno for one in caplog.records] == [logging.WARNING] * 2
    assert "will be computed by the next run" in caplog.text


def test_values_that_a_run_left_alone_are_not_taken_for_fresh(
    redis_url: str, each_client: redis.Redis
) -> None:
    compute = Computed()
    register("many", compute.values)
    warm(redis_url)
    for number in range(3):
        each_client.expire(f":1:a:{number}", 100)
    each_client.delete(*each_client.keys("*maintenance-warmed*"))  # as if its time had passed
    assert warm(redis_url, cold_only=True).summary.startswith("Nothing to do")
    report = warm(redis_url, expiring_within_seconds=120)
    assert report.summary == "3 values written by 1 warmer."
    assert min(each_client.ttl(f":1:a:{number}") for number in range(3)) > 500


def test_a_value_that_is_gone_is_computed_again_before_the_others_expire(
    redis_url: str, each_client: redis.Redis, site_cache: RedisCache
) -> None:
    compute = Computed()
    register("many", compute.values)
    warm(redis_url, expiring_within_seconds=60)
    assert warm(redis_url, expiring_within_seconds=60).summary.startswith("Nothing to do")
    site_cache.delete("a:1")
    report = warm(redis_url, expiring_within_seconds=60)
    assert report.summary == "3 values written by 1 warmer."
    assert site_cache.get("a:1") == 1
    each_client.expire(":1:a:2", 30)
    warm(redis_url, expiring_within_seconds=60)
    assert compute.calls == 3


def test_of_very_many_values_a_part_that_is_gone_is_noticed(
    redis_url: str, site_cache: RedisCache
) -> None:
    compute = Computed(keys=5000)
    register("many", compute.values)
    warm(redis_url)
    site_cache.delete_many([f"a:{number}" for number in range(0, 5000, 20)])
    warm(redis_url, expiring_within_seconds=60)
    assert compute.calls == 2
    assert site_cache.get("a:20") == 20


@pytest.mark.parametrize("old", [None, "old"])
def test_values_that_were_refused_are_tried_again_by_the_next_run(
    redis_url: str, site_cache: RedisCache, old: str | None
) -> None:
    values: dict[str, Any] = {"a:1": 1, "a:2": 2}
    register("many", lambda: values)
    warm(redis_url)
    if old is not None:
        site_cache.set("a:3", old, 600)
    values["a:3"] = lambda: "cannot be pickled"
    warm(redis_url)
    assert site_cache.get("a:3") == old
    values["a:3"] = 3
    warm(redis_url, expiring_within_seconds=60)
    assert site_cache.get("a:3") == 3
