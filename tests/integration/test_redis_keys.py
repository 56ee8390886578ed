"""What a look at a server's keys says, on real servers filled with a known truth."""

import secrets
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from maintenance.conf import RedisTarget, Thresholds
from maintenance.core.errors import Cancelled, InvalidOptions
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job, SilentProgress
from maintenance.core.options import parse_options
from maintenance.core.reports import Report
from maintenance.redis.key_sample import MOST_KEYS, KeySample, shares_of, take_sample
from maintenance.redis.memory.options import MemoryCheckOptions
from maintenance.redis.memory.review import (
    Neighbourhood,
    check_redis_memory,
)
from maintenance.redis_client.idle_times import IDLE_TIMES_SINCE
from maintenance.redis_client.packed import exchange
from tests.postgres_clients import ODD_NAME


def check(
    server: str,
    *roles: str,
    forever: tuple[str, ...] = (),
    url: str = "",
    previous_state: dict[str, Any] | None = None,
    **options: Any,
) -> Report:
    target = RedisTarget(url=url or server)
    job = Job("main", target, MemoryCheckOptions(**options), previous_state=previous_state or {})
    thresholds = Thresholds(redis_big_key_bytes=1024**2)
    return check_redis_memory(job, thresholds, Neighbourhood(roles or ("cache",), forever))


def found(report: Report, code: str) -> Finding:
    return next(finding for finding in report.findings if finding.code == code)


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.measured}


def sampled(client: redis.Redis, count: int) -> KeySample:
    with exchange(client) as lane:
        return take_sample(lane, client.dbsize(), count, is_lfu=False)


def fill_kinds(client: redis.Redis) -> None:
    """4,000 small values without a time to live and 1,000 large ones with one."""
    with client.pipeline(transaction=False) as pipeline:
        for number in range(4000):
            pipeline.set(f":1:rating-{number}", "x" * 40)
        for number in range(1000):
            pipeline.set(f"page:{secrets.token_hex(16)}:{number}", "x" * 4000, ex=900)
        pipeline.execute()


def test_a_sample_estimates_each_kind_within_its_band(each_client: redis.Redis) -> None:
    fill_kinds(each_client)
    truth: dict[str, int] = {}
    with each_client.pipeline(transaction=False) as pipeline:
        keys = list(each_client.scan_iter(count=1000))
        for key in keys:
            pipeline.memory_usage(key)
        for key, size in zip(keys, pipeline.execute(), strict=True):
            kind = ":1:rating-*" if key.startswith(b":1:") else "page:*:*"
            truth[kind] = truth.get(kind, 0) + size

    estimated = {share.shape: share for share in shares_of(sampled(each_client, 1000))}

    assert set(estimated) == set(truth)
    for shape, size in truth.items():
        share = estimated[shape]
        assert share.size_bytes is not None
        assert share.size_bytes == pytest.approx(size, rel=0.3)
        assert (share.lowest_bytes or 0) < share.size_bytes < (share.highest_bytes or 0)
    assert estimated[":1:rating-*"].without_ttl_ratio == 1.0
    assert estimated["page:*:*"].without_ttl_ratio == 0.0


def test_a_database_that_fits_the_sample_is_counted_and_not_estimated(
    each_client: redis.Redis,
) -> None:
    with each_client.pipeline(transaction=False) as pipeline:
        for number in range(300):
            pipeline.set(f"value:{number}", "x" * 50)
        pipeline.execute()
    sample = sampled(each_client, 1000)
    (share,) = shares_of(sample)
    assert sample.is_whole
    assert share.keys == 300
    assert share.size_bytes == share.lowest_bytes == share.highest_bytes


def test_large_and_everlasting_keys_of_a_cache_are_named(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_kinds(each_client)
    each_client.zadd("1-home", {str(number): number for number in range(100)})
    each_client.set(ODD_NAME, "x" * 3 * 1024**2)
    report = check(each_server, sample_keys=10_000, forever=("*-home",))
    big = found(report, "redis-big-keys")
    assert big.evidence["largest_key"] == ODD_NAME
    assert big.evidence["largest_bytes"] > 3 * 1024**2
    everlasting = found(report, "redis-keys-without-ttl")
    assert ":1:rating-*" in everlasting.evidence["kinds"]
    assert "page:*:*" not in everlasting.sentence
    assert "*-home" not in everlasting.sentence
    assert "redis-keys-without-ttl" not in codes(check(each_server, "streams"))


def test_large_keys_that_a_sample_misses_are_missed_in_the_memory(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_kinds(each_client)
    each_client.set("one", "x" * 40 * 1024**2)
    with each_client.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.set(f"small:{number}", "x")
        pipeline.execute()
    report = check(each_server, sample_keys=200)
    if "redis-big-keys" not in codes(report):  # once in fifty samples the key is drawn
        assert found(report, "redis-unseen-keys").evidence["dataset_bytes"] > 40 * 1024**2


class EndsAt(SilentProgress):
    """Cancels at its nth update."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        self.left -= 1
        if self.left == 0:
            raise Cancelled(f"at {done} of {total} {unit}")


@pytest.mark.parametrize("sample_keys", [1000, 900])
def test_a_look_at_keys_ends_at_its_next_batch(
    each_server: str, each_client: redis.Redis, sample_keys: int
) -> None:
    each_client.mset({f"key:{number}": "x" for number in range(1000)})
    job = Job(
        *("main", RedisTarget(url=each_server), MemoryCheckOptions(sample_keys)),
        progress=EndsAt(3),
    )
    with pytest.raises(Cancelled, match=rf"at 2\d\d of {sample_keys} keys"):
        check_redis_memory(job, Thresholds())


def test_no_more_keys_may_be_looked_at_than_a_worker_can_hold() -> None:
    assert parse_options(MemoryCheckOptions, {"sample_keys": MOST_KEYS})
    with pytest.raises(InvalidOptions, match="sample_keys"):
        parse_options(MemoryCheckOptions, {"sample_keys": MOST_KEYS + 1})


def test_kinds_of_keys_that_nobody_uses_are_named_unless_they_are_meant_to_stay(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.set("payload", "x" * 20_000)
    payload = each_client.dump("payload") or b""
    for number in range(60):
        idle = 40 * 86_400 + number
        each_client.restore(f"bookwyrm:1:{number}", 0, payload, idletime=idle)
        each_client.restore(f"{number}-home", 0, payload, idletime=idle)
        each_client.restore(f"used:{number}", 0, payload, idletime=idle)
    each_client.get("used:7")
    # Redis 6.2 reads an idle time back as 97 days where its clock of 24 bits has begun anew since.
    idle = each_client.object("idletime", "bookwyrm:1:0")
    assert idle >= 40 * 86_400
    first = check(each_server, forever=("*-home",))
    withheld = found(first, "redis-keys-unused")
    assert not withheld.measured
    assert "bookwyrm:*:*" in withheld.sentence
    (reign,) = first.state[IDLE_TIMES_SINCE]
    state = {IDLE_TIMES_SINCE: {reign: time.time() - 32 * 86_400}}
    report = check(each_server, forever=("*-home",), previous_state=state)
    unused = found(report, "redis-keys-unused")
    assert unused.evidence["kinds"] == ["bookwyrm:*:*"]
    assert unused.evidence["unused_seconds"] == pytest.approx(idle, abs=60)


def test_hot_keys_need_a_policy_that_counts(each_server: str, each_client: redis.Redis) -> None:
    each_client.set("cold", 1)
    withheld = found(check(each_server), "redis-hot-keys")
    assert not withheld.measured
    assert "allkeys-lfu or volatile-lfu" in withheld.sentence
    each_client.config_set("maxmemory-policy", "allkeys-lfu")
    each_client.config_set("lfu-log-factor", 0)
    each_client.delete("cold")  # its clock of the other policy would be read as a counter
    each_client.set("lukewarm", "text")  # equal small numbers are one object, with one counter
    each_client.set("hot", "words")
    for _ in range(200):
        each_client.get("hot")
    each_client.config_set("lfu-log-factor", 10)
    hot = found(check(each_server), "redis-hot-keys")
    assert hot.evidence["keys"] == ["hot"]


def test_queues_beside_a_cache_under_allkeys_lru_are_seen_by_celery_s_own_keys(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.config_set("maxmemory-policy", "allkeys-lru")
    assert "redis-policy" not in codes(check(each_server))
    each_client.sadd("_kombu.binding.celery", "celery")
    policy = found(check(each_server), "redis-policy")
    assert policy.severity is Severity.CRITICAL


def test_slow_commands_and_stalls_are_said_once_and_without_values(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.config_set("latency-monitor-threshold", 1)
    each_client.config_set("slowlog-log-slower-than", 0)
    each_client.set("session:4711", "the-secret")
    each_client.config_set("slowlog-log-slower-than", 10_000)
    each_client.eval("for i = 1, 20000000 do end return 'the-secret'", 0)
    first = check(each_server)
    slow = found(first, "redis-slow-commands")
    assert slow.evidence["slowest_command"] == "EVAL"
    assert "the-secret" not in str(first.to_json())
    assert "redis-latency" in codes(first)
    job = Job(
        "main",
        RedisTarget(url=each_server),
        MemoryCheckOptions(),
        previous_state=first.state,
    )
    again = codes(check_redis_memory(job, Thresholds()))
    assert "redis-slow-commands" not in again
    assert "redis-latency" not in again


def test_each_missing_right_withholds_its_own_part(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.set("key", "value")
    parts = urlsplit(each_server)
    user = "reader"
    try:
        for rules, withheld in (
            (["+scan", "+type", "+ttl", "~*"], "+memory|usage"),
            (["+type", "+ttl", "~*"], "+scan"),
            (["+scan", "+type", "+ttl", "+memory|usage", "~other:*"], "~*"),
        ):
            each_client.acl_deluser(user)
            each_client.execute_command(
                "ACL", "SETUSER", user, "on", ">secret", "+ping", "+info", *rules
            )
            url = f"redis://{user}:secret@{parts.hostname}:{parts.port}/0"
            report = check(each_server, url=url)
            assert any(
                withheld in finding.sentence for finding in report.findings if not finding.measured
            ), withheld
    finally:
        each_client.acl_deluser(user)


def test_keys_of_a_megabyte_and_of_odd_bytes_are_looked_at(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.set(b"k" * 1024**2, 1)
    each_client.set(b"\xff\xfe%s{}", 1)
    report = check(each_server)
    rows = next(t for t in report.tables if t.title == "Largest keys looked at").rows
    names = [row[0] for row in rows]
    assert names[0].endswith("... (1,048,576 bytes)")
    assert "\\xff\\xfe%s{}" in names
    assert len(names[0]) < 200
