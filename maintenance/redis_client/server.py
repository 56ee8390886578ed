"""What a server says about itself, read by INFO alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

#: ``INFO`` and ``PING`` are all that :func:`server_facts` needs.
NEEDS_ACL = ("+ping", "+info")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server at one moment. Meanings as in the INFO page of the Redis documentation.

    ``reign`` names the time for which this process is a primary: another process has another, and so has
    one that was promoted (or lost its last replica for an hour).
    """

    product: str
    version: str
    role: str
    cluster_enabled: bool
    uptime_seconds: int
    keys: int
    keys_with_ttl: int
    used_memory_bytes: int
    dataset_bytes: int
    maxmemory_bytes: int
    maxmemory_policy: str
    fragmentation_ratio: float
    fragmentation_bytes: int
    evicted_keys: int
    expired_keys: int
    keyspace_hits: int
    keyspace_misses: int
    run_id: str
    reign: str

    @property
    def is_replica(self) -> bool:
        """Whether this server only repeats what its primary says."""
        return self.role == "replica"

    @property
    def is_lfu(self) -> bool:
        """Whether keys count their uses, and keep no time of the last one."""
        return self.maxmemory_policy.endswith("-lfu")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Major and minor version, of the product's own numbers."""
        return tuple(int(part) for part in self.version.split(".")[:2] if part.isdigit())

    @property
    def major(self) -> int:
        """The major version."""
        return self.numbers[0]

    @property
    def name(self) -> str:
        """Product with version."""
        return f"{self.product} {self.version}"


def server_facts(client: redis.Redis) -> ServerFacts:
    """Read the facts. Raises redis-py's errors."""
    info: Mapping[str, Any] = client.info()
    database = client.connection_pool.connection_kwargs.get("db") or 0
    return parse_facts(info, database)


def parse_facts(info: Mapping[str, Any], database: int = 0) -> ServerFacts:
    """Build the facts from the fields of INFO.

    Valkey reports ``redis_version`` 7.2.4 for compatibility; its own is ``valkey_version``. It
    also calls a replica ``slave``, as Redis does.
    """
    valkey = info.get("valkey_version")
    return ServerFacts(
        product="Valkey" if valkey else "Redis",
        version=str(valkey or info["redis_version"]),
        role="primary" if info["role"] == "master" else "replica",
        cluster_enabled=bool(int(info.get("cluster_enabled", 0))),
        uptime_seconds=int(info["uptime_in_seconds"]),
        keys=int(info.get(f"db{database}", {}).get("keys", 0)),
        keys_with_ttl=int(info.get(f"db{database}", {}).get("expires", 0)),
        used_memory_bytes=int(info["used_memory"]),
        dataset_bytes=int(info.get("used_memory_dataset", 0)),
        maxmemory_bytes=int(info["maxmemory"]),
        maxmemory_policy=str(info["maxmemory_policy"]),
        fragmentation_ratio=float(info.get("mem_fragmentation_ratio", 0.0)),
        fragmentation_bytes=int(info.get("mem_fragmentation_bytes", 0)),
        evicted_keys=int(info["evicted_keys"]),
        expired_keys=int(info["expired_keys"]),
        keyspace_hits=int(info["keyspace_hits"]),
        keyspace_misses=int(info["keyspace_misses"]),
        run_id=str(info["run_id"]),
        reign=f"{info['run_id']} {info.get('master_replid', '')}",
    )
