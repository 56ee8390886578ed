"""The audit of encodings on real servers: hashes, sets and lists, and a trial that decides."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

from maintenance.conf import RedisTarget
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.plans import Outcome
from maintenance.core.reports import Report
from maintenance.redis.reclaim import trial as trial_part
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.run import reclaim_redis_memory
from tests.redis_servers import COMPACT, known_setting

KEYS = 200
LIST_SETTING = "list-max-listpack-size"


def reclaim(server: str, *parts: str) -> Report:
    asked = ReclaimOptions(parts=parts)  # type: ignore[arg-type]
    return reclaim_redis_memory(Job("main", RedisTarget(url=server), asked))


def found(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def repacked(report: Report) -> Outcome:
    return next(one for one in report.outcomes if one.action.kind == "repack")


@pytest.fixture
def client(each_client: redis.Redis) -> Iterator[redis.Redis]:
    """A server whose limits of encodings are put back, whichever of them it knows."""
    before = each_client.config_get("*-max-*")
    yield each_client
    for setting in ("hash-max-listpack-value", "set-max-listpack-entries", LIST_SETTING):
        name = known_setting(each_client, setting)
        if name in before:
            each_client.config_set(name, before[name])


def fill_hashes(client: redis.Redis, fields: int) -> None:
    for number in range(KEYS):
        client.hset(f"book:{number}", mapping={f"field-{n}": f"value-{n}" for n in range(fields)})


def fill_numbers(client: redis.Redis, members: int) -> None:
    for number in range(KEYS):
        client.sadd(f"ids:{number}", *range(number, 7919 * members, 7919))


def fill_words(client: redis.Redis, members: int) -> None:
    for number in range(KEYS):
        client.sadd(f"tags:{number}", *(f"word-{n}" for n in range(members)))


@pytest.mark.parametrize(
    ("fill", "setting", "limit"),
    [
        (partial(fill_hashes, fields=600), "hash-max-listpack-entries", 1024),
        (partial(fill_numbers, members=700), "set-max-intset-entries", 1024),
        (partial(fill_words, members=200), "set-max-listpack-entries", 256),
    ],
    ids=["hashes", "numbers", "words"],
)
def test_values_just_over_their_limit_are_advised_tried_and_repacked(
    each_server: str,
    client: redis.Redis,
    fill: Callable[[redis.Redis], None],
    setting: str,
    limit: int,
) -> None:
    fill(client)
    setting = known_setting(client, setting)
    if not client.config_get(setting):  # sets of words are compact since Redis 7.2 only
        assert found(reclaim(each_server, "trial"), "redis-encoding-limit") == []
        return
    key = client.randomkey()
    assert client.object("encoding", key) == b"hashtable"

    report = reclaim(each_server, "trial")

    (advice,) = found(report, "redis-encoding-limit")
    assert advice.commands[0] == f"CONFIG SET {setting} {limit}"
    assert advice.evidence["keys"] == KEYS
    assert not advice.advice.startswith("See first")
    (trial,) = found(report, "redis-encoding-trial")
    assert trial.subject == setting
    assert trial.evidence["compact_bytes"] < 0.6 * trial.evidence["now_bytes"]
    for what in ("find_now_ms", "find_compact_ms", "write_now_ms", "write_compact_ms"):
        assert 0 < trial.evidence[what] < 1
    assert client.dbsize() == KEYS
    (audit,) = found(reclaim(each_server, "encodings"), "redis-encoding-limit")
    assert audit.advice.startswith("See first what it costs here, by the part trial.")

    client.config_set(setting, limit)
    done = reclaim(each_server, "repack")
    assert client.object("encoding", key) in COMPACT | {b"intset"}
    won = repacked(done).before["repacked_bytes"] - repacked(done).after["repacked_bytes"]
    assert won == pytest.approx(advice.evidence["saved_bytes"], rel=0.1)
    (reminder,) = found(done, "redis-limit-permanent")
    assert (reminder.subject, reminder.evidence["value"]) == (setting, limit)


def test_a_limit_that_takes_too_long_on_this_server_is_not_advised(
    each_server: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_hashes(client, 600)
    for number in range(KEYS):
        size = 500 if number % 2 else 200
        client.zadd(f"{number}-home", {str(n): 1.7e9 + n for n in range(size)})
    monkeypatch.setattr(trial_part, "MOST_ADDED_SECONDS", -1.0)
    report = reclaim(each_server, "trial")
    assert found(report, "redis-encoding-limit") == []
    assert found(report, "redis-encoding-trial") == []
    refused = {one.subject: one for one in found(report, "redis-encoding-too-slow")}
    # 512 was tried before 256.
    of_streams = refused[known_setting(client, "zset-max-listpack-entries")]
    of_hashes = refused[known_setting(client, "hash-max-listpack-entries")]
    assert (of_streams.evidence["limit"], of_hashes.evidence["limit"]) == (256, 1024)
    assert "is not advised" in of_hashes.sentence
    assert client.dbsize() == 2 * KEYS


def test_a_trial_writes_to_its_copies_alone(each_server: str, client: redis.Redis) -> None:
    fill_hashes(client, 600)
    fill_numbers(client, 700)
    for number in range(KEYS):
        client.zadd(f"{number}-home", {str(n): 1.7e9 + n for n in range(200)})
    contents = everything(client)
    report = reclaim(each_server, "trial")
    assert len(found(report, "redis-encoding-trial")) == 3
    assert everything(client) == contents


def everything(client: redis.Redis) -> dict[bytes, Any]:
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: read[client.type(key)](key) for key in client.scan_iter()}


def test_hashes_beyond_every_limit_are_named_and_not_advised(
    each_server: str, client: redis.Redis
) -> None:
    fill_hashes(client, 1500)
    report = reclaim(each_server, "encodings")
    assert found(report, "redis-encoding-limit") == []
    (finding,) = found(report, "redis-encoding-too-large")
    assert finding.evidence["keys"] == KEYS
    held = sum(client.memory_usage(key) for key in client.scan_iter())
    assert finding.evidence["size_bytes"] == pytest.approx(held, rel=0.01)


def test_lists_in_needlessly_small_nodes_are_named(each_server: str, client: redis.Redis) -> None:
    def fill() -> None:
        for number in range(KEYS):
            client.delete(f"log:{number}")
            client.rpush(f"log:{number}", *(f"entry-{n}" for n in range(1000)))

    setting = known_setting(client, LIST_SETTING)
    client.config_set(setting, 4)
    fill()
    (finding,) = found(reclaim(each_server, "encodings"), "redis-list-nodes")
    assert finding.evidence[setting.replace("-", "_")] == 4
    assert finding.undo == (f"CONFIG SET {setting} 4",)
    before = sum(client.memory_usage(f"log:{number}") for number in range(KEYS))
    assert finding.evidence["list_bytes"] == pytest.approx(before, rel=0.01)
    for command in finding.commands:
        client.execute_command(command)
    assert found(reclaim(each_server, "encodings"), "redis-list-nodes") == []
    fill()
    assert sum(client.memory_usage(f"log:{number}") for number in range(KEYS)) < 0.7 * before


def test_few_lists_in_small_nodes_are_no_matter(each_server: str, client: redis.Redis) -> None:
    client.config_set(known_setting(client, LIST_SETTING), 4)
    client.rpush("log", *range(1000))
    assert found(reclaim(each_server, "encodings"), "redis-list-nodes") == []
