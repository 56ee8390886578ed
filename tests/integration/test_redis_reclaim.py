"""Memory is won back on real servers, and nothing is lost by it."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

import maintenance.tasks  # noqa: F401 - registers the tasks
from maintenance.conf import ReclaimRules, RedisTarget, StreamFamily, configuration
from maintenance.core.errors import MissingRights, TargetUnavailable
from maintenance.core.findings import Finding
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.registry import task_named
from maintenance.redis.providers import key_provider, unregister
from maintenance.redis.reclaim import repack as repack_part
from maintenance.redis.reclaim import report as report_part
from maintenance.redis.reclaim.expiry import ExpiryLook
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.run import reclaim_redis_memory
from maintenance.redis_client.idle_times import IDLE_TIMES_SINCE
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME
from tests.redis_servers import (
    COMPACT,
    Cluster,
    expiry_times_ms,
    is_before_7,
    known_setting,
)

FAR_MS = 4_102_444_800_123  # 2100
SETTING = "zset-max-listpack-entries"


def set_limit(client: redis.Redis, limit: int, setting: str = SETTING) -> None:
    client.config_set(known_setting(client, setting), limit)


def reclaim(
    server: str,
    *parts: str,
    rules: dict[str, Any] | None = None,
    families: tuple[str, ...] = (),
    url: str = "",
    previous_state: dict[str, Any] | None = None,
    **options: Any,
) -> Report:
    target = RedisTarget(url=url or server, role="streams", reclaim=ReclaimRules(**(rules or {})))
    asked = ReclaimOptions(parts=parts, **options)  # type: ignore[arg-type]
    known = {pattern: stream_family(pattern) for pattern in families}
    job = Job("main", target, asked, previous_state=previous_state or {})
    return reclaim_redis_memory(job, known)


def stream_family(pattern: str) -> StreamFamily:
    return StreamFamily(redis="main", pattern=pattern, max_length=200)


def outcome(report: Report, kind: str) -> Outcome:
    return next(one for one in report.outcomes if one.action.kind == kind)


def found(report: Report, code: str) -> Finding:
    return next(finding for finding in report.findings if finding.code == code)


def fill_streams(client: redis.Redis, users: int, seed: int = 1) -> None:
    """Streams as the first client has them: 199 or 200 ids by their time, and companion keys."""
    chance = random.Random(seed)
    with client.pipeline(transaction=False) as pipeline:
        for user in range(users):
            members = chance.choice((199, 200))
            ids = {str(chance.randrange(10**7)): 1.7e9 + chance.random() for _ in range(members)}
            pipeline.zadd(f"{user}-home", ids)
            pipeline.set(f"{user}-home-unread", 3)
            pipeline.hset(f"{user}-home-unread-by-type", mapping={"comment": 1, "review": 2})
        pipeline.execute()


def everything(client: redis.Redis) -> dict[bytes, Any]:
    """All values with their times of expiry."""
    read = {
        b"zset": lambda key: dict(client.zrange(key, 0, -1, withscores=True)),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    keys = list(client.scan_iter())
    times = expiry_times_ms(client, keys)
    return {key: (read[client.type(key)](key), at) for key, at in zip(keys, times, strict=True)}


def test_the_audit_finds_streams_just_over_the_limit_and_writes_nothing(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_streams(each_client, 300)
    before = everything(each_client)
    each_client.config_resetstat()

    report = reclaim(each_server, "encodings")

    setting = known_setting(each_client, SETTING)
    advice = found(report, "redis-encoding-limit")
    assert advice.commands[0] == f"CONFIG SET {setting} 256"
    assert advice.undo == (f"CONFIG SET {setting} 128",)
    assert advice.evidence["redis_conf"] == f"{setting} 256"
    assert "restart" in advice.advice
    assert report.facts["model_error_ratio"] < 0.02
    commands = set(each_client.info("commandstats"))
    assert not commands & {"cmdstat_restore", "cmdstat_config|set", "cmdstat_unlink"}
    assert everything(each_client) == before

    set_limit(each_client, 256)
    repacked = outcome(reclaim(each_server, "repack"), "repack")
    gained = repacked.before["repacked_bytes"] - repacked.after["repacked_bytes"]
    assert gained == pytest.approx(advice.evidence["saved_bytes"], rel=0.1)


def test_a_repack_wins_most_of_the_memory_and_keeps_every_value(
    each_server: str,
    each_client: redis.Redis,
    record_property: Callable[[str, str], None],
) -> None:
    fill_streams(each_client, 600)
    each_client.zadd(ODD_NAME, {str(number): number for number in range(150)})
    each_client.pexpireat(ODD_NAME, FAR_MS)
    each_client.zadd("spared-home", {str(number): number for number in range(150)})
    before = everything(each_client)
    set_limit(each_client, 256)

    preview = reclaim(each_server, "repack", dry_run=True)
    assert outcome(preview, "repack").verdict is Verdict.PLANNED
    assert each_client.object("encoding", "1-home") == b"skiplist"

    report = reclaim(each_server, "repack", rules={"exceptions": ("spared-*",)})

    done = outcome(report, "repack")
    used = {when: report.facts[f"used_memory_{when}_bytes"] / 1e6 for when in ("before", "after")}
    record_property("used_memory", f"{used['before']:.1f} MB -> {used['after']:.1f} MB")
    assert done.verdict is Verdict.WORKED
    assert done.after["repacked_bytes"] < 0.5 * done.before["repacked_bytes"]
    assert used["after"] < 0.65 * used["before"]
    assert everything(each_client) == before
    assert each_client.object("encoding", "1-home") in COMPACT
    assert each_client.object("encoding", ODD_NAME) in COMPACT
    assert each_client.object("encoding", "spared-home") == b"skiplist"
    assert found(report, "redis-limit-permanent").evidence["value"] == 256
    again = reclaim(each_server, "repack", rules={"exceptions": ("spared-*",)})
    assert again.outcomes == ()


def test_hashes_and_sets_are_repacked_and_long_members_are_not_tried_for_ever(
    each_server: str, each_client: redis.Redis
) -> None:
    with each_client.pipeline(transaction=False) as pipeline:
        for number in range(20):
            pipeline.hset(f"wide:{number}", mapping={f"f{n}": n for n in range(600)})
            pipeline.sadd(f"ids:{number}", *range(number, number + 700))
            pipeline.hset(f"long:{number}", mapping={"field": "x" * 100, "other": "y"})
        pipeline.execute()
    before = everything(each_client)
    set_limit(each_client, 1024, "hash-max-listpack-entries")
    each_client.config_set("set-max-intset-entries", 1024)
    each_client.config_resetstat()
    done = outcome(reclaim(each_server, "repack"), "repack")
    assert each_client.object("encoding", "wide:3") in COMPACT
    assert each_client.object("encoding", "ids:3") == b"intset"
    assert each_client.object("encoding", "long:3") == b"hashtable"
    assert "20 cannot be compact" in done.sentence
    restored = each_client.info("commandstats")["cmdstat_restore"]["calls"]
    assert restored == 40 + repack_part.FRUITLESS
    assert everything(each_client) == before


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
def test_what_the_server_evicts_first_stays_as_it_was(
    each_server: str, each_client: redis.Redis, policy: str
) -> None:
    each_client.config_set("maxmemory-policy", policy)
    each_client.zadd("1-home", {str(number): number for number in range(200)})
    set_limit(each_client, 256)
    if policy == "allkeys-lfu":
        each_client.config_set("lfu-log-factor", 0)
        for _ in range(60):
            each_client.zcard("1-home")
        each_client.config_set("lfu-log-factor", 10)
    else:
        payload = each_client.dump("1-home") or b""
        set_limit(each_client, 128)
        each_client.restore("1-home", 0, payload, replace=True, idletime=5000)
        set_limit(each_client, 256)
    word = "freq" if policy == "allkeys-lfu" else "idletime"
    before = each_client.object(word, "1-home")
    reclaim(each_server, "repack")
    after = each_client.object(word, "1-home")
    assert each_client.object("encoding", "1-home") in COMPACT
    assert before >= 50
    assert abs(after - before) <= 2


def test_a_repack_makes_no_key_seem_unused_for_longer_than_it_is(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.zadd("1-home", {str(number): number for number in range(200)})
    payload = each_client.dump("1-home") or b""
    clock = each_client.info("server")["lru_clock"]
    each_client.restore("1-home", 0, payload, replace=True, idletime=clock + 1000)
    before = each_client.object("idletime", "1-home")
    set_limit(each_client, 256)
    reclaim(each_server, "repack")
    after = each_client.object("idletime", "1-home")
    assert each_client.object("encoding", "1-home") in COMPACT
    if is_before_7(each_client):  # its RESTORE cannot go back beyond the beginning of its clock
        assert after <= clock + 60
    else:
        assert abs(after - before) <= 2


class Writer(threading.Thread):
    """Writes to keys of its own as fast as it can, and knows what must be in them."""

    def __init__(self, url: str, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.client = redis.Redis.from_url(url)
        self.chance = random.Random(seed)
        self.keys = [f"w{number}:{key}" for key in range(12)]
        self.expected: dict[str, tuple[dict[bytes, float], int]] = {}
        self.error: Exception | None = None
        for key in self.keys:
            self._fill(key)

    def _fill(self, key: str) -> None:
        members = {f"m{n}": float(n) for n in range(150)}
        self.client.zadd(key, members)
        self.expected[key] = ({m.encode(): s for m, s in members.items()}, -1)

    def run(self) -> None:
        try:
            for number in range(1200):
                self._one(self.chance.choice(self.keys), number)
        except redis.RedisError as error:
            self.error = error

    def _one(self, key: str, number: int) -> None:
        members, expires_at = self.expected[key]
        move = self.chance.random()
        if move < 0.4:
            name = f"n{number % 60}"
            self.client.zadd(key, {name: float(number)})
            members[name.encode()] = float(number)
        elif move < 0.6:
            name = f"m{self.chance.randrange(150)}"
            self.client.zrem(key, name)
            members.pop(name.encode(), None)
        elif move < 0.75:
            expires_at = FAR_MS + number
            self.client.pexpireat(key, expires_at)
        elif move < 0.85:
            self.client.persist(key)
            expires_at = -1
        else:
            self.client.delete(key)
            self._fill(key)
            # Back to loose: the limit in force would keep it compact.
            self.client.zadd(key, {"x" * 65: 0.0})
            self.client.zrem(key, "x" * 65)
            return
        self.expected[key] = members, expires_at


@pytest.mark.parametrize("seed", [1, 2])
def test_a_repack_beside_writers_loses_no_write_and_no_time_of_expiry(
    each_server: str, each_client: redis.Redis, seed: int
) -> None:
    set_limit(each_client, 256)
    writers = [Writer(each_server, number, seed + 10 * number) for number in range(3)]
    repacked = 0
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        report = reclaim(each_server, "repack")
        repacked += sum(one.before["repacked_bytes"] > 0 for one in report.outcomes)
    for writer in writers:
        writer.join()
        assert writer.error is None
        for key, (members, expires_at) in writer.expected.items():
            assert dict(each_client.zrange(key, 0, -1, withscores=True)) == members
            assert expiry_times_ms(each_client, [key]) == [expires_at]
    assert repacked > 0


def test_a_key_that_is_written_to_at_each_attempt_is_left_alone(
    each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    each_client.zadd("busy", {str(number): number for number in range(200)})
    each_client.zadd("quiet", {str(number): number for number in range(200)})
    set_limit(each_client, 256)
    read = ExpiryLook.read

    def busy(self: ExpiryLook, replies: Any) -> int | None:
        each_client.zincrby("busy", 1, "0")
        return read(self, replies)

    monkeypatch.setattr(ExpiryLook, "read", busy)
    report = reclaim(each_server, "repack")
    assert each_client.object("encoding", "quiet") in COMPACT
    assert each_client.object("encoding", "busy") == b"skiplist"
    assert "1 were written to meanwhile" in outcome(report, "repack").sentence
    assert each_client.zcard("busy") == 200


def test_without_a_command_for_it_the_time_of_expiry_is_as_exact(
    each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = ExpiryLook(knows_expiry_times=False)
    monkeypatch.setattr(ExpiryLook, "of", classmethod(lambda _cls, _facts: older))
    for number in range(40):
        each_client.zadd(f"{number}-home", {str(n): n for n in range(200)})
        each_client.pexpireat(f"{number}-home", FAR_MS + number)
    each_client.zadd("everlasting", {str(n): n for n in range(200)})
    set_limit(each_client, 256)
    report = reclaim(each_server, "repack")
    times = expiry_times_ms(each_client, [f"{number}-home" for number in range(40)])
    assert times == [FAR_MS + number for number in range(40)]
    assert expiry_times_ms(each_client, ["everlasting"]) == [-1]
    assert report.outcomes[0].verdict is Verdict.WORKED
    assert "+pttl" in report.facts["needs_acl"]


KILLED = """
import sys
from maintenance.conf import ReclaimRules, RedisTarget
from maintenance.core.job import Job
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.run import reclaim_redis_memory
from maintenance.redis_client.idle_times import IDLE_TIMES_SINCE

rules = ReclaimRules(keys_per_second=300)
target = RedisTarget(url=sys.argv[1], role="streams", reclaim=rules)
reclaim_redis_memory(Job("main", target, ReclaimOptions(parts=("repack",))))
"""


def test_killed_in_the_middle_and_run_again_nothing_is_lost(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_streams(each_client, 300)
    for user in range(0, 300, 3):
        each_client.pexpireat(f"{user}-home", FAR_MS + user)
    before = everything(each_client)
    set_limit(each_client, 256)
    each_client.config_resetstat()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, each_server], cwd=Path(__file__).parents[2]
    )

    def restored() -> int:
        stats = each_client.info("commandstats").get("cmdstat_restore", {})
        return int(stats.get("calls", 0))

    try:
        eventually(lambda: restored() > 30, seconds=30, what="a repack at work")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert restored() < 300
    assert everything(each_client) == before
    reclaim(each_server, "repack")
    assert everything(each_client) == before
    assert {each_client.object("encoding", f"{user}-home") for user in range(300)} <= COMPACT


def test_a_rate_limit_and_a_full_memory_are_heeded(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_streams(each_client, 40)
    set_limit(each_client, 256)
    used = each_client.info("memory")["used_memory"]
    each_client.config_set("maxmemory", int(used / 0.97))
    refused = outcome(reclaim(each_server, "repack"), "repack")
    assert refused.verdict is Verdict.REFUSED
    assert "too full" in refused.sentence
    assert each_client.object("encoding", "1-home") == b"skiplist"
    each_client.config_set("maxmemory", 0)
    began = time.monotonic()
    reclaim(each_server, "repack", rules={"keys_per_second": 100})
    assert time.monotonic() - began >= 0.39


def test_memory_that_fills_up_in_the_run_ends_it_by_its_name_and_loses_nothing(
    each_server: str, each_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_streams(each_client, 20)
    before = everything(each_client)
    set_limit(each_client, 256)
    monkeypatch.setattr(report_part, "HIGHEST_USED_RATIO", 100.0)
    each_client.config_set("maxmemory", 500_000)
    with pytest.raises(TargetUnavailable, match="when used memory > 'maxmemory'"):
        reclaim(each_server, "repack")
    each_client.config_set("maxmemory", 0)
    assert everything(each_client) == before


def test_a_replica_is_looked_at_and_never_written_to(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_streams(each_client, 10)
    each_client.set(":1:old", 1)
    set_limit(each_client, 256)
    each_client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        rules = {"abandoned_prefixes": (":1:",), "minimum_idle_seconds": 0}
        report = reclaim(each_server, "encodings", "trial", "repack", "abandoned", rules=rules)
    finally:
        each_client.execute_command("REPLICAOF", "NO", "ONE")
    assert {one.verdict for one in report.outcomes} == {Verdict.REFUSED}
    assert "is a replica" in report.summary
    assert each_client.exists(":1:old")
    assert each_client.object("encoding", "1-home") == b"skiplist"


def test_each_node_of_a_cluster_is_repacked_by_itself(cluster: Cluster) -> None:
    rules = {"abandoned_prefixes": (":1:",), "minimum_idle_seconds": 0}
    with cluster.client() as client:
        for user in range(90):
            client.zadd(f"{user}-home", {str(number): number for number in range(200)})
            client.set(f":1:{user}", 1)
        for url in cluster.urls:
            with redis.Redis.from_url(url) as node:
                set_limit(node, 256)
            report = reclaim(url, "encodings", "trial", "repack", "abandoned", rules=rules)
            assert {one.verdict for one in report.outcomes} == {Verdict.WORKED}
            assert found(report, "reclaim-target-is-cluster-node")
            assert not found(report, "redis-encoding-trial").measured
        encodings = {client.object("encoding", f"{user}-home") for user in range(90)}
        assert encodings <= COMPACT
        assert not any(client.exists(f":1:{user}") for user in range(90))
        assert client.zcard("7-home") == 200


def test_a_trial_measures_copies_and_leaves_no_trace(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_streams(each_client, 300)
    before = everything(each_client)
    report = reclaim(each_server, "trial")
    trial = found(report, "redis-encoding-trial")
    assert trial.evidence["compact_bytes"] < 0.5 * trial.evidence["now_bytes"]
    assert trial.evidence["find_compact_ms"] < 1
    assert everything(each_client) == before
    setting = known_setting(each_client, SETTING)
    assert each_client.config_get(setting)[setting] == "128"
    assert each_client.object("encoding", "1-home") == b"skiplist"


def fill_leftovers(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(500):
            pipeline.set(f":1:old-{number}", "x" * 100)
            pipeline.set(f"django_cache:1:imagespec-{number}", "x")
            pipeline.set(f"django_cache:1:page-{number}", "x", px=3_600_000)
        pipeline.zadd(":1:17-home", {"1": 1})
        pipeline.set(":1:kept", 1)
        pipeline.set(":12:other", 1)
        pipeline.set("(:1:", 1)
        pipeline.execute()


RULES = {
    "abandoned_prefixes": (":1:",),
    "minimum_idle_seconds": 0,
    "time_outs": {"django_cache:1:": 3600},
    "exceptions": (":1:kept",),
}


def test_keys_that_rules_call_left_over_go_or_expire_and_nothing_else(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_leftovers(each_client)
    before = everything(each_client)
    preview = reclaim(
        each_server, "abandoned", "time_outs", rules=RULES, families=("*-home",), dry_run=True
    )
    assert everything(each_client) == before
    assert outcome(preview, "remove").action.predicted["keys"] == 500
    assert "cannot be brought back" in outcome(preview, "remove").sentence
    assert outcome(preview, "expire").action.predicted["keys"] == 500

    report = reclaim(each_server, "abandoned", "time_outs", rules=RULES, families=("*-home",))

    left = everything(each_client)
    gone = set(before) - set(left)
    assert gone == {f":1:old-{number}".encode() for number in range(500)}
    assert {b":1:17-home", b":1:kept", b":12:other", b"(:1:"} <= set(left)
    now_ms = time.time() * 1000
    for number in range(500):
        expires_at = left[f"django_cache:1:imagespec-{number}".encode()][1]
        assert 3500e3 < expires_at - now_ms < 3961e3
        page = f"django_cache:1:page-{number}".encode()
        assert left[page] == before[page]
    assert [one.verdict for one in report.outcomes] == [Verdict.WORKED, Verdict.WORKED]
    assert outcome(report, "expire").action.undo == "PERSIST <key>"


@pytest.mark.parametrize("part", ["abandoned", "time_outs"])
def test_left_over_keys_are_written_to_no_faster_than_they_may(
    each_server: str, each_client: redis.Redis, part: str
) -> None:
    fill_leftovers(each_client)
    rules = RULES | {"keys_per_second": 500}
    began = time.monotonic()
    report = reclaim(each_server, part, rules=rules, families=("*-home",))
    assert time.monotonic() - began >= 500 / 500
    assert report.outcomes[0].after["keys"] == 0


def test_a_key_that_somebody_used_lately_is_not_abandoned(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.set(":1:used", "x")
    payload = each_client.dump(":1:used") or b""
    each_client.restore(":1:idle", 0, payload, idletime=8 * 86_400)
    rules = {"abandoned_prefixes": (":1:",)}
    report = reclaim(
        each_server, "abandoned", rules=rules, previous_state=seen_as_primary(each_client, 8)
    )
    assert each_client.exists(":1:used") == 1
    assert each_client.exists(":1:idle") == 0
    assert outcome(report, "remove").after["keys"] == 0
    each_client.config_set("maxmemory-policy", "allkeys-lfu")
    report = reclaim(each_server, "abandoned", rules=rules, previous_state=dict(report.state))
    assert not found(report, "reclaim-idle-times").measured
    assert each_client.exists(":1:used") == 1


def seen_as_primary(client: redis.Redis, days: float) -> dict[str, Any]:
    """Return the state of a run that has seen the server as the primary it is, so many days ago."""
    return {IDLE_TIMES_SINCE: {reign(client): time.time() - days * 86_400}}


def reign(client: redis.Redis) -> str:
    info = client.info()
    return f"{info['run_id']} {info['master_replid']}"


def test_idle_times_are_not_believed_before_the_server_was_seen_as_the_primary_for_so_long(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.set(":1:read", "x")
    payload = each_client.dump(":1:read") or b""
    each_client.restore(":1:read", 0, payload, replace=True, idletime=8 * 86_400)
    before = seen_as_primary(each_client, 8)
    rules = {"abandoned_prefixes": (":1:",)}
    each_client.execute_command("REPLICAOF", "127.0.0.1", "1")
    as_replica = reclaim(each_server, "abandoned", rules=rules, previous_state=before)
    each_client.execute_command("REPLICAOF", "NO", "ONE")
    first = reclaim(each_server, "abandoned", rules=rules)
    assert as_replica.state == {}
    assert "seen as the primary for 7 days" in found(first, "reclaim-idle-times").sentence
    for state in (before, dict(first.state), seen_as_primary(each_client, 6)):
        report = reclaim(each_server, "abandoned", rules=rules, previous_state=state)
        assert not found(report, "reclaim-idle-times").measured
        assert report.outcomes == ()
    assert each_client.exists(":1:read") == 1
    after = seen_as_primary(each_client, 8)
    report = reclaim(each_server, "abandoned", rules=rules, previous_state=after)
    assert each_client.exists(":1:read") == 0
    assert report.state == after


def test_what_an_lfu_policy_has_counted_is_no_idle_time_under_the_next_policy(
    each_server: str, each_client: redis.Redis
) -> None:
    each_client.config_set("maxmemory-policy", "allkeys-lfu")
    each_client.mset({f":1:{number}": "x" for number in range(50)})
    rules = {"abandoned_prefixes": (":1:",), "minimum_idle_seconds": 3600}
    state = seen_as_primary(each_client, 30)
    under_lfu = reclaim(each_server, "abandoned", rules=rules, previous_state=state)
    assert "a policy that keeps idle times" in found(under_lfu, "reclaim-idle-times").sentence
    each_client.config_set("maxmemory-policy", "noeviction")
    report = reclaim(each_server, "abandoned", rules=rules, previous_state=dict(under_lfu.state))
    assert not found(report, "reclaim-idle-times").measured
    assert each_client.dbsize() == 50


@pytest.fixture
def reader_url(each_server: str, each_client: redis.Redis) -> Iterator[Callable[..., str]]:
    """Call it with ACL rules for the URL of a user who has these and every key."""

    def make(*rules: str) -> str:
        each_client.acl_deluser("least")
        each_client.execute_command("ACL", "SETUSER", "least", "on", ">secret", "~*", *rules)
        parts = urlsplit(each_server)
        return f"redis://least:secret@{parts.hostname}:{parts.port}/0"

    yield make
    each_client.acl_deluser("least")


def test_the_rights_that_a_report_names_are_enough_and_a_missing_one_is_named(
    each_server: str, each_client: redis.Redis, reader_url: Callable[..., str]
) -> None:
    fill_streams(each_client, 150)
    fill_leftovers(each_client)
    set_limit(each_client, 256)
    parts = ("encodings", "repack", "abandoned", "time_outs")
    needed = reclaim(each_server, *parts, rules=RULES, dry_run=True).facts["needs_acl"]
    with pytest.raises(MissingRights, match=r"needs ACL \+restore"):
        reclaim(
            each_server,
            *parts,
            rules=RULES,
            url=reader_url(*(rule for rule in needed if rule != "+restore")),
        )
    assert each_client.object("encoding", "1-home") == b"skiplist"
    report = reclaim(each_server, *parts, rules=RULES, url=reader_url(*needed))
    assert {one.verdict for one in report.outcomes} == {Verdict.WORKED}


class Cancel(SilentProgress):
    """Stops the run at its second update."""

    def __init__(self) -> None:
        self.updates = 0

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        self.updates += 1
        if self.updates > 1:
            raise KeyboardInterrupt


def test_a_cancelled_run_keeps_what_it_did_and_leaves_no_watch(
    each_server: str, each_client: redis.Redis
) -> None:
    fill_streams(each_client, 300)
    before = everything(each_client)
    set_limit(each_client, 256)
    target = RedisTarget(url=each_server, role="streams")
    job = Job("main", target, ReclaimOptions(parts=("repack",)), progress=Cancel())
    with pytest.raises(KeyboardInterrupt):
        reclaim_redis_memory(job)
    encodings = [each_client.object("encoding", f"{user}-home") for user in range(300)]
    assert 0 < sum(encoding in COMPACT for encoding in encodings) < 300
    assert everything(each_client) == before


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_keys_of_stream_families_stay_whoever_names_them_and_by_whatever_address(
    each_server: str, each_client: redis.Redis, settings: Any, address: str
) -> None:
    for key in (":1:17-home", ":1:named", ":1:old"):
        each_client.zadd(key, {"1": 1})
    key_provider("named")(lambda: (key for key in (":1:named", ":1:nobody")))
    rules = {"abandoned_prefixes": [":1:"], "minimum_idle_seconds": 0}
    settings.MAINTENANCE = {
        "redis": {
            "main": {"url": each_server, "reclaim": rules},
            "again": {"url": each_server.replace("127.0.0.1", address)},
        },
        "streams": {
            "home": {"redis": "again", "pattern": "*-home", "max_length": 10},
            "named": {"redis": "again", "provider": "named", "max_length": 10},
        },
    }
    asked = ReclaimOptions(parts=("abandoned",))
    job = Job("main", configuration().redis["main"], asked)
    try:
        report = task_named("reclaim_redis_memory").function(job)
    finally:
        unregister("named")
    assert sorted(each_client.scan_iter()) == [b":1:17-home", b":1:named"]
    (table,) = report.tables
    assert dict(zip(table.columns, table.rows[0], strict=True))["spared"] == 2
