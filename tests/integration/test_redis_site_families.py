"""Families of a social site trimmed on data of its shape: streams, counters beside them, old caches."""

from typing import Any

import pytest
import redis

from maintenance.conf import RedisTarget, StreamFamily, parse_configuration
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from tests.first_client import LIMITS, fill_streams

COMPANIONS = ("{key}-unread", "{key}-unread-by-type")


def families() -> dict[str, StreamFamily]:
    given = {
        name: {
            "redis": "main",
            "pattern": f"*-{name}",
            "max_length": limit,
            "companions": list(COMPANIONS) if name != "suggestions" else [],
        }
        for name, limit in LIMITS.items()
    }
    parsed = parse_configuration({"redis": {"main": {"url": "redis://h"}}, "streams": given})
    return parsed.families_on("main")


@pytest.fixture
def site(each_client: redis.Redis) -> dict[bytes, dict[bytes, float]]:
    """The streams as they should come out, by key; the server holds them at up to twice that."""
    return fill_streams(each_client)


def trim(url: str, **options: Any) -> Report:
    job = Job("main", RedisTarget(url=url, role="streams"), TrimOptions(**options))
    return trim_streams(job, families())


def everything_else(client: redis.Redis, streams: dict[bytes, Any]) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter(count=1000) if key not in streams}


def test_every_family_comes_out_right_and_nothing_else_is_touched(
    each_client: redis.Redis, each_server: str, site: dict[bytes, dict[bytes, float]]
) -> None:
    others = everything_else(each_client, site)
    planned = trim(each_server, dry_run=True)
    before = {key: each_client.zcard(key) for key in site}
    report = trim(each_server)
    for key, members in site.items():
        assert dict(each_client.zrange(key, 0, -1, withscores=True)) == members
    assert everything_else(each_client, site) == others
    removed = sum(before.values()) - sum(map(len, site.values()))
    assert removed > 0
    assert sum(outcome.after["members_removed"] for outcome in report.outcomes) == removed
    assert sum(outcome.action.predicted["members"] for outcome in planned.outcomes) == removed
    wrong = [found for found in report.findings if found.code == "stream-wrong-type"]
    assert [found.evidence["examples"] for found in wrong] == [{"django_cache:1:5-home": "string"}]
    assert trim(each_server).summary.startswith("Nothing to trim: none of 300 streams")


def test_keys_of_any_bytes_and_of_a_megabyte_are_trimmed_and_named_shortly(
    each_client: redis.Redis, each_server: str
) -> None:
    members = {f"m{n}": n for n in range(250)}
    odd = [
        b"\xff\xfe\x00 '\"%{}\r\n-home",
        b"x" * 1_000_000 + b"-home",
        "schöne-größe🙂-home".encode(),
    ]
    for key in odd:
        each_client.zadd(key, members)
    report = trim(each_server)
    assert [each_client.zcard(key) for key in odd] == [200, 200, 200]
    longest = next(t for t in report.tables if t.title == "Longest home before the trim")
    names = {str(row[0]) for row in longest.rows}
    assert max(map(len, names)) < 300
    assert any(name.endswith("... (1,000,005 bytes)") for name in names)
    assert any(name.startswith("\\xff\\xfe\x00") for name in names)


def test_a_server_that_is_out_of_memory_is_trimmed_all_the_same(
    each_client: redis.Redis, each_server: str
) -> None:
    each_client.zadd("1-home", {f"m{n}": n for n in range(250)})
    each_client.rpush("1-log", *range(250))
    each_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            each_client.set("one", "more")
        trim(each_server)
        log = StreamFamily(redis="main", pattern="*-log", type="list", max_length=100)
        trim_streams(Job("main", RedisTarget(url=each_server), TrimOptions()), {"log": log})
    finally:
        each_client.config_set("maxmemory", 0)
    assert (each_client.zcard("1-home"), each_client.llen("1-log")) == (200, 100)
