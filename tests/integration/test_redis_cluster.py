"""Streams on a cluster of three, and behind sentinels."""

import secrets
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from maintenance.conf import (
    RedisTarget,
    StreamFamily,
    StreamOwners,
    Thresholds,
    parse_configuration,
)
from maintenance.core.errors import TargetUnavailable
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.doctor.examination import examinations
from maintenance.doctor.redis_needs import needs_of_servers
from maintenance.doctor.statements import REDIS_READER, REDIS_WRITER, server_of, users_of_redis
from maintenance.redis.abandoned import remove_abandoned_streams
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.memory.options import MemoryCheckOptions
from maintenance.redis.memory.review import check_redis_memory
from maintenance.redis.providers import key_provider, unregister
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from service.embedded.binaries import locate_valkey
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually
from tests.redis_servers import REDIS_PROGRAM, Cluster, take_rights

KEYS = 60


def trim(url: str, family: StreamFamily, **options: bool) -> Report:
    target = RedisTarget(url=url, role="streams")
    return trim_streams(Job("main", target, TrimOptions(**options)), {"home": family})


@pytest.fixture
def filled(cluster: Cluster) -> Cluster:
    """A cluster of which every node has streams: the even users' are over length."""
    with cluster.client() as client:
        client.flushall()
        for user in range(KEYS):
            members = 15 if user % 2 == 0 else 4
            client.zadd(f"{user}-home", {f"m{n}": n for n in range(members)})
    return cluster


def lengths(cluster: Cluster) -> list[int]:
    with cluster.client() as client:
        return [client.zcard(f"{user}-home") for user in range(KEYS)]


def test_the_streams_of_all_nodes_are_trimmed_whichever_node_is_named(filled: Cluster) -> None:
    family = StreamFamily(redis="main", pattern="*-home", max_length=10)
    planned = trim(filled.urls[0], family, dry_run=True)
    report = trim(filled.urls[1], family)
    assert lengths(filled) == [10 if user % 2 == 0 else 4 for user in range(KEYS)]
    assert planned.outcomes[0].action.predicted == {"keys": KEYS // 2, "members": KEYS // 2 * 5}
    assert report.outcomes[0].after["members_removed"] == KEYS // 2 * 5
    servers = next(table for table in report.tables if table.title == "Servers")
    assert len(servers.rows) == 3
    assert "+cluster|slots" in report.facts["needs_acl"]
    assert report.facts["used_memory_before_bytes"] > 3 * 500_000


def test_the_rights_that_the_report_names_are_enough_on_a_cluster(filled: Cluster) -> None:
    family = StreamFamily(redis="main", pattern="*-home", max_length=10)
    needed = trim(filled.urls[0], family, dry_run=True).facts["needs_acl"]
    everywhere = {"target_nodes": RedisCluster.PRIMARIES}
    with filled.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "trimmer", "on", ">pw", "~*", *needed, **everywhere
        )
        try:
            trim(f"redis://trimmer:pw@{filled.urls[0].rpartition('@')[2]}", family)
        finally:
            client.execute_command("ACL", "DELUSER", "trimmer", **everywhere)
    assert max(lengths(filled)) == 10


def test_a_user_made_by_the_doctor_trims_and_removes_on_a_cluster(filled: Cluster) -> None:
    address = filled.urls[0].rpartition("@")[2]
    home = {"redis": "main", "pattern": "*-home", "max_length": 10, "owners": "users"}
    target = {"url": filled.urls[0], "role": "streams", "allow": ["remove_streams"]}
    site: dict[str, Any] = {
        "redis": {"main": target},
        "streams": {"home": home},
        "stream_owners": {"users": {"answers": "kept", "provider": "users"}},
    }
    whole = parse_configuration(site)
    ((title, needs),) = needs_of_servers(whole).items()
    lines = list(users_of_redis(server_of(whole, title), title, needs))
    assert any("each server" in line for line in lines)
    everywhere = {"target_nodes": RedisCluster.PRIMARIES}
    with filled.client() as client:
        for line in lines:
            if line.startswith("ACL"):
                client.execute_command(*shlex.split(line), **everywhere)
        try:
            client.execute_command("ACL", "SETUSER", REDIS_WRITER, ">pw", **everywhere)
            target["url"] = f"redis://{REDIS_WRITER}:pw@{address}"
            whole = parse_configuration(site)
            trim(whole.redis["main"].url, whole.streams["home"])
            kept = [str(user) for user in range(KEYS) if user != 7]
            remove_abandoned_streams(
                Job("main", whole.redis["main"], RemoveStreamsOptions()),
                whole.streams,
                whole.stream_owners,
                lambda _owners: kept,
            )
            assert client.exists("7-home") == 0
            rights = {f.code: f for f in examinations(whole)["redis.main"]()}["redis-rights"]
            assert rights.severity is Severity.OK
            with redis.Redis.from_url(filled.urls[0]) as node:
                take_rights(node, REDIS_WRITER, ["+cluster|slots"])
            rights = {f.code: f for f in examinations(whole)["redis.main"]()}["redis-rights"]
            assert rights.evidence["missing"] == ["+cluster|slots"]
        finally:
            for user in (REDIS_READER, REDIS_WRITER):
                client.execute_command("ACL", "DELUSER", user, **everywhere)
    assert max(lengths(filled)) == 10


def test_a_check_of_memory_says_that_it_saw_one_node(filled: Cluster) -> None:
    job = Job("main", RedisTarget(url=filled.urls[0], role="streams"), MemoryCheckOptions())
    report = check_redis_memory(job, Thresholds())
    (found,) = [f for f in report.findings if f.code == "redis-memory-of-one-node"]
    assert (found.severity, found.subject) == (Severity.INFO, "main")
    assert "one node of a cluster" in report.summary
    with redis.Redis.from_url(filled.urls[0]) as node:
        assert report.facts["keys_looked_at"] == node.dbsize() < KEYS


def test_a_provider_of_keys_is_asked_for_those_of_each_node(filled: Cluster) -> None:
    key_provider("even")(lambda: (f"{user}-home" for user in range(0, KEYS, 2)))
    try:
        report = trim(filled.urls[2], StreamFamily(redis="main", provider="even", max_length=10))
    finally:
        unregister("even")
    assert lengths(filled) == [10 if user % 2 == 0 else 4 for user in range(KEYS)]
    assert not [f for f in report.findings if f.code == "stream-keys-moved"]


def test_a_key_that_moves_to_another_node_meanwhile_is_left_and_counted(filled: Cluster) -> None:
    """A slot that is being imported: the node still holds it, and says ASK for a missing key."""
    with filled.client() as client:
        node = client.get_node_from_key("0-home")
        slot = client.keyslot("0-home")
        other = next(n for n in client.get_primaries() if n.name != node.name)
        target_id = client.cluster_myid(other)
        client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id, target_nodes=node)
        key_provider("gone")(lambda: ["nobody{0-home}-home"])
        try:
            report = trim(filled.urls[0], StreamFamily(redis="main", provider="gone", max_length=1))
        finally:
            unregister("gone")
            client.execute_command("CLUSTER SETSLOT", slot, "STABLE", target_nodes=node)
    assert [f.code for f in report.findings] == ["stream-keys-moved"]


def test_families_of_two_nodes_are_seen_to_be_of_one_cluster(filled: Cluster) -> None:
    """Each node may be a target, and no address says that they belong together."""
    servers = {f"node{n}": RedisTarget(url=url) for n, url in enumerate(filled.urls)}
    families = {
        "home": StreamFamily(redis="node0", pattern="*-home", max_length=10),
        "zero": StreamFamily(redis="node2", pattern="0-*", max_length=1),
    }
    for name in ("node2", "node0"):
        job = Job(name, servers[name], TrimOptions())
        report = trim_streams(job, families, servers=servers)
        assert report.findings[0].code == "stream-keys-claimed"
    others = [10 if user % 2 == 0 else 4 for user in range(1, KEYS)]
    assert lengths(filled) == [15, *others]


def test_a_stream_that_a_family_of_another_node_claims_is_not_removed(filled: Cluster) -> None:
    servers = {f"node{n}": RedisTarget(url=url) for n, url in enumerate(filled.urls)}
    families = {
        "home": StreamFamily(redis="node0", pattern="*-home", max_length=10, owners="users"),
        "zero": StreamFamily(redis="node2", pattern="0-*", max_length=1),
    }
    report = remove_abandoned_streams(
        Job("node0", servers["node0"], RemoveStreamsOptions()),
        families,
        {"users": StreamOwners(answers="gone", provider="users")},
        lambda _owners: ["0", "1"],
        servers,
    )
    assert lengths(filled)[:3] == [15, 0, 15]
    found = next(f for f in report.findings if f.code == "stream-keys-claimed")
    assert found.evidence == {"keys": 1, "examples": {"0-home": "zero"}}


@pytest.fixture
def sentinel(server_root: Path) -> Iterator[tuple[str, str]]:
    """The URLs of a primary and of a sentinel that watches it as ``site``."""
    if REDIS_PROGRAM is None:
        pytest.skip("redis-server is not installed")
    password, port = secrets.token_hex(8), free_port()
    with EmbeddedValkey(
        server_root / f"primary-{port}",
        password,
        binaries=locate_valkey(REDIS_PROGRAM),
        settings={"appendonly": "no"},
    ) as primary:
        folder = server_root / f"sentinel-{port}"
        folder.mkdir()
        written = folder / "sentinel.conf"
        written.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {folder}\n"
            f"sentinel monitor site {LOOPBACK} {primary.port} 1\n"
            f"sentinel auth-pass site {password}\n"
        )
        process = subprocess.Popen(
            [REDIS_PROGRAM, str(written), "--sentinel"], stdout=subprocess.DEVNULL
        )
        url = f"redis://{LOOPBACK}:{port}"
        try:
            with redis.Redis.from_url(url) as client:
                eventually(lambda: answers(client), 10, "the sentinel answers")
            yield primary.url(), url
        finally:
            process.terminate()
            process.wait(10)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_sentinels_say_which_server_is_the_primary(sentinel: tuple[str, str]) -> None:
    primary_url, sentinel_url = sentinel
    credentials = primary_url.rpartition("@")[0]
    with redis.Redis.from_url(primary_url) as client:
        client.zadd("1-home", {f"m{n}": n for n in range(15)})
        target = RedisTarget(
            url=f"{credentials}@asked.by.sentinel:1/0",
            sentinels=("redis://127.0.0.1:1", sentinel_url),
            sentinel_name="site",
        )
        families = {"home": StreamFamily(redis="main", pattern="*-home", max_length=10)}
        trim_streams(Job("main", target, TrimOptions()), families)
        assert client.zcard("1-home") == 10
    unknown = target.model_copy(update={"sentinel_name": "siet"})
    with pytest.raises(TargetUnavailable, match='knows no "siet"') as refusal:
        trim_streams(Job("main", unknown, TrimOptions()), families)
    assert "redis://127.0.0.1:1: " in str(refusal.value)
    assert credentials.rpartition(":")[2] not in str(refusal.value)
