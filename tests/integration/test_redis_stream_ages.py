"""Members older than a family keeps them go, and no others, on real servers."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.errors import MissingRights
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.redis import streams, trimming
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from maintenance.redis_client.packed import Exchange
from tests.polling import eventually

HOUR = 3600.0


def hours_ago(hours: float) -> float:
    """Return that moment in seconds since the epoch, by now and not by when the tests were collected."""
    return time.time() - hours * HOUR


def family(**given_: Any) -> StreamFamily:
    return StreamFamily(
        **{
            "redis": "main",
            "pattern": "s*",
            "max_length": 5,
            "max_age_seconds": 24 * HOUR,
            **given_,
        }
    )


def trim(url: str, rule: StreamFamily, **options: Any) -> Report:
    job = Job("main", RedisTarget(url=url, role="streams"), TrimOptions(**options))
    return trim_streams(job, {"f": rule})


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


hours_old = st.integers(min_value=0, max_value=47).map(lambda h: h + 0.5)


@settings(max_examples=60, deadline=None)
@given(
    sets=st.lists(
        st.dictionaries(st.binary(min_size=1, max_size=4), hours_old, min_size=1, max_size=10),
        min_size=1,
        max_size=5,
    ),
    max_length=st.integers(min_value=1, max_value=10),
    keep=st.sampled_from(["highest", "lowest"]),
    unit=st.sampled_from(["seconds", "milliseconds"]),
)
def test_sets_trimmed_by_length_and_age_equal_a_plain_model(
    each_server: str,
    sets: list[dict[bytes, float]],
    max_length: int,
    keep: str,
    unit: str,
) -> None:
    """In pieces of three: lengths and ages of one set take several writes."""
    factor = (1000 if unit == "milliseconds" else 1) * (-1 if keep == "lowest" else 1)
    rule = family(max_length=max_length, keep=keep, score_unit=unit)
    removed = 0
    with redis.Redis.from_url(each_server) as client:
        client.flushall()
        scored = [
            {m: int(hours_ago(age) * factor) for m, age in members.items()} for members in sets
        ]
        for number, members in enumerate(scored):
            client.zadd(f"s{number}", members)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trimming, "PIECE_MEMBERS", 3)
            report = trim(each_server, rule)
        for number, members in enumerate(scored):
            ordered = sorted(members, key=lambda m: (members[m], m))
            longest = ordered[-max_length:] if keep == "highest" else ordered[:max_length]
            kept = [m for m in longest if sets[number][m] < 24]
            assert client.zrange(f"s{number}", 0, -1) == kept
            removed += len(ordered) - len(kept)
    assert sum(outcome.after["members_removed"] for outcome in report.outcomes) == removed


@settings(max_examples=40, deadline=None)
@given(
    ages=st.lists(st.lists(hours_old, min_size=1, max_size=10), min_size=1, max_size=4),
    max_length=st.integers(min_value=1, max_value=10),
)
def test_redis_streams_trimmed_by_length_and_age_equal_a_plain_model(
    each_server: str, ages: list[list[float]], max_length: int
) -> None:
    rule = family(type="stream", max_length=max_length)
    with redis.Redis.from_url(each_server) as client:
        client.flushall()
        for number, hours in enumerate(ages):
            for place, age in enumerate(sorted(hours, reverse=True)):
                client.xadd(
                    f"s{number}", {"a": age}, id=f"{int(hours_ago(age) * 1000)}-{place + 1}"
                )
        trim(each_server, rule)
        for number, hours in enumerate(ages):
            kept = [age for age in sorted(hours, reverse=True)[-max_length:] if age < 24]
            found = [float(fields[b"a"]) for _id, fields in client.xrange(f"s{number}")]
            assert found == kept


@pytest.mark.parametrize("kind", ["zset", "stream"])
def test_many_old_members_go_in_steps(
    each_server: str, each_client: redis.Redis, kind: str
) -> None:
    old, new = hours_ago(48), hours_ago(1)
    with each_client.pipeline(transaction=False) as pipeline:
        for number in range(3500):
            if kind == "zset":
                # Every tenth score is shared by ten: a step never ends within them.
                pipeline.zadd("s", {f"m{number}": old + number // 10})
            else:
                pipeline.xadd("s", {"n": number}, id=f"{int(old * 1000) + number}-0")
        for number in range(7):
            if kind == "zset":
                pipeline.zadd("s", {f"new{number}": new + number})
            else:
                pipeline.xadd("s", {"n": "new"}, id=f"{int(new * 1000) + number}-0")
        pipeline.execute()
    report = trim(each_server, family(type=kind, max_length=3400))
    length = each_client.zcard("s") if kind == "zset" else each_client.xlen("s")
    assert length == 7
    assert report.outcomes[0].after["members_removed"] == 3500
    assert report.outcomes[0].after["keys_over_length"] == 0


def test_a_dry_run_counts_what_is_too_old(each_server: str, each_client: redis.Redis) -> None:
    each_client.zadd("s1", {"old": hours_ago(48), "new": hours_ago(1)})
    report = trim(each_server, family(), dry_run=True)
    assert each_client.zcard("s1") == 2
    assert report.findings[0].sentence == (
        "1 of 1 f streams held more than 5 members or members older than 1 day,"
        " the longest s1 2; 1 members would be removed."
    )


def test_a_score_that_is_no_time_is_never_too_old(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.zadd("s-counts", {"friend": 3, "stranger": 0})
    each_client.zadd("s-seconds", {"status": hours_ago(48)})
    trim(each_server, family(score_unit="milliseconds"))
    assert each_client.zcard("s-counts") == 2
    assert each_client.zcard("s-seconds") == 1


def test_a_stream_whose_ids_are_no_times_is_left_and_named(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.xadd("s1", {"n": 1}, id="1-0")
    each_client.xadd("s1", {"n": 2}, id="2-0")
    report = trim(each_server, family(type="stream"))
    assert each_client.xlen("s1") == 2
    assert codes(report) == ["stream-ids-are-no-times"]


def acting_between_the_looks(
    monkeypatch: pytest.MonkeyPatch, client: redis.Redis, keys: int, act: Callable[[], Any]
) -> None:
    """Have another client act when the server has answered the first look at a page of ``keys``."""
    send = Exchange.send
    client.config_resetstat()

    def measured() -> int:
        return int(client.info("commandstats").get("cmdstat_zcard", {}).get("calls", 0))

    def sent_in_two(self: Exchange, commands: Sequence[bytes]) -> None:
        second = next((n for n, one in enumerate(commands) if b"\r\nZCOUNT\r\n" in one), None)
        if second is not None:
            self._connection.send_packed_command([b"".join(commands[:second])])
            eventually(lambda: measured() >= keys, 10, "the first look is answered")
            act()
        send(self, commands[second:])

    monkeypatch.setattr(Exchange, "send", sent_in_two)


def test_a_key_that_changes_its_type_between_the_looks_at_length_and_age_is_left_alone(
    each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        each_client.zadd(f"s{number}", {str(n): hours_ago(47 - 4 * n) for n in range(8)})
    acting_between_the_looks(monkeypatch, each_client, 3, lambda: each_client.set("s1", "a word"))
    report = trim(each_server, family())
    assert [each_client.zcard("s0"), each_client.zcard("s2")] == [2, 2]
    assert each_client.get("s1") == b"a word"
    found = next(f for f in report.findings if f.code == "stream-wrong-type")
    assert found.evidence == {"keys": 1, "examples": {"s1": "string"}}


def test_a_clock_that_is_wrong_removes_nothing_by_age(
    each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    each_client.zadd("s1", {str(n): hours_ago(40 - n) for n in range(8)})
    monkeypatch.setattr(streams, "CLOCKS_APART_SECONDS", -1.0)
    report = trim(each_server, family())
    assert each_client.zcard("s1") == 5
    assert "stream-ages" in codes(report)


def test_the_rights_that_the_report_names_are_enough_and_the_clock_is_one_of_them(
    each_server: str, each_client: redis.Redis
) -> None:
    rules = {
        "zset": family(pattern="z*"),
        "stream": family(pattern="x*", type="stream"),
    }
    each_client.zadd("z1", {str(n): hours_ago(n * 10) for n in range(8)})
    each_client.xadd("x1", {"n": 1}, id=f"{int((hours_ago(48)) * 1000)}-0")
    host = each_server.rpartition("@")[2]
    job = Job("main", RedisTarget(url=each_server), TrimOptions(dry_run=True))
    needed = trim_streams(job, rules).facts["needs_acl"]
    each_client.execute_command("ACL", "SETUSER", "ages", "on", ">pw", "~*", *needed)
    try:
        own = RedisTarget(url=f"redis://ages:pw@{host}")
        report = trim_streams(Job("main", own, TrimOptions()), rules)
        assert (each_client.zcard("z1"), each_client.xlen("x1")) == (3, 0)
        assert len(report.outcomes) == 2
        each_client.execute_command("ACL", "SETUSER", "ages", "-time")
        with pytest.raises(MissingRights, match=r"needs ACL \+time"):
            trim_streams(Job("main", own, TrimOptions()), rules)
    finally:
        each_client.acl_deluser("ages")
