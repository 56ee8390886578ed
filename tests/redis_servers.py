"""Real Redis and Valkey servers of a test module: one of each kind, and a cluster of three."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.cluster import RedisCluster

from service.embedded.binaries import locate_valkey
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually

REDIS_PROGRAM = shutil.which("redis-server")

SLOTS = 16384


@pytest.fixture(scope="module", params=["valkey", "redis"])
def each_server(request: pytest.FixtureRequest, server_root: Path) -> Iterator[str]:
    """The URL of a server of each kind; its database 0 is the module's alone."""
    if request.param == "valkey":
        yield request.getfixturevalue("valkey_server").url()
        return
    if REDIS_PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with EmbeddedValkey(
        server_root / f"redis-{secrets.token_hex(4)}",
        secrets.token_hex(8),
        binaries=locate_valkey(REDIS_PROGRAM),
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
            connection.config_set(name, value)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three primaries without replicas, which share the slots."""

    urls: list[str]

    def client(self) -> RedisCluster:
        """Return a client that knows which node a key lives on."""
        return RedisCluster.from_url(self.urls[0])


@pytest.fixture(scope="module", params=["valkey", "redis"])
def cluster(request: pytest.FixtureRequest, server_root: Path) -> Iterator[Cluster]:
    """A running cluster of three of each kind."""
    program = None if request.param == "valkey" else REDIS_PROGRAM
    if request.param == "redis" and program is None:
        pytest.skip("redis-server is not installed")
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
                    binaries=locate_valkey(program),
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
        last = min(SLOTS, (number + 1) * size) - 1
        client.execute_command("CLUSTER ADDSLOTSRANGE", number * size, last)
        client.execute_command("CLUSTER MEET", LOOPBACK, ports[0])
    for client in clients:
        eventually(lambda one=client: _is_whole(one, len(clients)), 30, "the cluster is whole")


def _is_whole(client: redis.Redis, size: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == size
