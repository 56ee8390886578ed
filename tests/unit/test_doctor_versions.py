"""Which servers the doctor calls too old."""

import pytest

from maintenance.core.findings import Severity
from maintenance.doctor.examination import version_of_redis
from maintenance.redis_client.server import parse_facts

INFO = {
    "role": "master",
    "uptime_in_seconds": 1,
    "used_memory": 1,
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "expired_keys": 0,
    "keyspace_hits": 0,
    "keyspace_misses": 0,
    "run_id": "1",
}


@pytest.mark.parametrize("version", ["2.8.24", "5.0.14", "6.0.16", "6.1.241"])
def test_a_redis_that_is_too_old_is_named_with_what_to_do(version: str) -> None:
    finding = version_of_redis(parse_facts({**INFO, "redis_version": version}))
    assert finding.severity is Severity.WARNING
    assert finding.sentence == (f"Redis {version} is older than the oldest that is supported, 6.2.")
    assert finding.advice.startswith("Upgrade the server")


@pytest.mark.parametrize(
    ("versions", "name"),
    [
        ({"redis_version": "6.2.0"}, "Redis 6.2.0"),
        ({"redis_version": "7.0.15"}, "Redis 7.0.15"),
        ({"redis_version": "10.0.1"}, "Redis 10.0.1"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "Valkey 9.1.2"),
    ],
)
def test_others_hold(versions: dict[str, str], name: str) -> None:
    finding = version_of_redis(parse_facts({**INFO, **versions}))
    assert (finding.severity, finding.sentence) == (Severity.OK, name)
