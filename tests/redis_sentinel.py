"""A primary, a replica and a sentinel of Debian's Redis, as processes of one test module."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from service.embedded.binaries import locate_valkey
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.valkey import EmbeddedValkey
from tests.local_containers import ProcessContainer
from tests.polling import eventually
from tests.redis_servers import REDIS_PROGRAM

NAME = "crew"


class Sentinel:
    """What a client knows: one sentinel's port, the name, the servers' password and the sentinel's own."""

    def __init__(self, port: int, password: str, own_password: str) -> None:
        self.port = port
        self.password = password
        self.own_password = own_password

    @property
    def url(self) -> str:
        """The broker's address, as Celery reads it."""
        return f"sentinel://:{self.password}@{LOOPBACK}:{self.port}/0"

    def primary_port(self) -> int:
        """Return where the primary is by the sentinel's word."""
        with self.client() as client:
            found = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)
            return int(found[1]) if found else 0

    def fail_over(self) -> None:
        """Have the replica become the primary; return when it has."""
        before = self.primary_port()
        with self.client() as client:

            def is_ordered() -> bool:
                with suppress(redis.ResponseError):  # the replica is not known or not good yet
                    client.execute_command("SENTINEL FAILOVER", NAME)
                    return True
                return False

            eventually(is_ordered, 120, "the sentinel takes the order")
        eventually(lambda: self.primary_port() != before, 120, "the replica leads")

    def client(self) -> redis.Redis:
        """Return a client of the sentinel itself."""
        return redis.Redis(host=LOOPBACK, port=self.port, password=self.own_password)


@pytest.fixture(scope="module")
def redis_sentinel(server_root: Path) -> Iterator[Sentinel]:
    """A sentinel whose primary has one replica that is in step."""
    if REDIS_PROGRAM is None:
        pytest.skip("redis-server is not installed")
    password, own_password = secrets.token_hex(8), secrets.token_hex(8)
    folder = server_root / f"sentinel-{secrets.token_hex(4)}"
    folder.mkdir()
    with ExitStack() as stack:

        def start(name: str, **settings: str) -> EmbeddedValkey:
            return stack.enter_context(
                EmbeddedValkey(
                    folder / name,
                    password,
                    binaries=locate_valkey(REDIS_PROGRAM),
                    settings={"appendonly": "no", "masterauth": password, **settings},
                )
            )

        primary = start("primary")
        replica = start("replica", replicaof=f"{LOOPBACK} {primary.port}")
        port = free_port()
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {folder}\n"
            f"sentinel monitor {NAME} {LOOPBACK} {primary.port} 1\n"
            f"sentinel auth-pass {NAME} {password}\n"
            f"requirepass {own_password}\n"
        )
        with redis.Redis.from_url(replica.url()) as client:
            eventually(
                lambda: client.info("replication")["master_link_status"] == "up", 30, "in step"
            )
        container = ProcessContainer(
            "sentinel", lambda _node: [REDIS_PROGRAM, str(configuration), "--sentinel"], folder
        )
        stack.callback(container.remove)
        sentinel = Sentinel(port, password, own_password)

        def knows_the_replica() -> bool:
            with suppress(redis.ConnectionError), sentinel.client() as client:
                return bool(client.execute_command("SENTINEL REPLICAS", NAME))
            return False

        eventually(knows_the_replica, 120, "the sentinel knows the replica")
        yield sentinel
