"""Verdicts about a server's memory, from facts alone."""

from dataclasses import replace
from typing import Any

import pytest

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Point
from maintenance.core.trend import outlook_of
from maintenance.redis.memory.clients import diagnose_clients
from maintenance.redis.memory.counters import Counted, counted_since, kept
from maintenance.redis.memory.growth import diagnose_growth
from maintenance.redis.memory.limits import (
    ceiling_of,
    diagnose_evictions,
    diagnose_expiry,
    diagnose_fragmentation,
    diagnose_limit,
    diagnose_policy,
)
from maintenance.redis.memory.persistence import diagnose_persistence
from maintenance.redis.memory.slow_commands import (
    LatencyEvent,
    SlowCommand,
    Slowness,
    diagnose_slowness,
    named,
    state_of,
)
from maintenance.redis_client.server import ServerFacts, parse_facts

INFO: dict[str, Any] = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "role": "master",
    "uptime_in_seconds": 3600,
    "used_memory": 200_000_000,
    "maxmemory": 1_000_000_000,
    "maxmemory_policy": "noeviction",
    "mem_fragmentation_ratio": 1.05,
    "mem_fragmentation_bytes": 10_000_000,
    "evicted_keys": 0,
    "expired_keys": 5,
    "keyspace_hits": 10,
    "keyspace_misses": 2,
    "run_id": "abc",
    "db0": {"keys": 12, "expires": 3},
    "connected_clients": 4,
    "maxclients": 10_000,
}


def facts(**changes: Any) -> ServerFacts:
    return replace(parse_facts(INFO), **changes)


def findings(
    *roles: str,
    previous: dict[str, Any] | None = None,
    limit_bytes: int | None = None,
    **changes: Any,
) -> list[Finding]:
    server = facts(**changes)
    info = INFO | {"evicted_keys": server.evicted_keys}
    counted = counted_since(info, previous or {})
    ceiling = ceiling_of(server, info, limit_bytes)
    return [
        *diagnose_limit("main", roles, server, ceiling, Thresholds()),
        *diagnose_policy("main", roles, server),
        *diagnose_evictions("main", roles, server, counted),
        *diagnose_fragmentation("main", server, info),
    ]


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


def test_valkey_is_named_by_its_own_version_and_not_by_the_one_it_imitates() -> None:
    assert parse_facts(INFO).name == "Valkey 9.1.2"
    assert parse_facts({k: v for k, v in INFO.items() if k != "valkey_version"}).name == (
        "Redis 7.2.4"
    )


def test_keys_are_those_of_the_database_of_the_url() -> None:
    assert (parse_facts(INFO).keys, parse_facts(INFO, 3).keys) == (12, 0)


def test_a_healthy_server_has_no_finding() -> None:
    assert findings("streams") == []


def test_memory_above_the_share_is_a_warning_and_at_the_limit_critical() -> None:
    (high,) = findings("streams", used_memory_bytes=810_000_000)
    assert (high.code, high.severity) == ("redis-memory-high", Severity.WARNING)
    assert "81 %" in high.sentence
    (full,) = findings("streams", used_memory_bytes=1_000_000_000)
    assert full.severity is Severity.CRITICAL
    assert "it refuses writes" in full.sentence


def test_without_maxmemory_the_machine_or_the_configured_limit_counts_what_is_resident() -> None:
    server = facts(maxmemory_bytes=0)
    info = INFO | {"total_system_memory": 8_000_000_000, "used_memory_rss": 400_000_000}
    machine = ceiling_of(server, info, None)
    assert machine is not None
    assert (machine.source, machine.used_ratio) == ("machine", 0.05)
    configured = ceiling_of(server, info, 500_000_000)
    assert configured is not None
    assert (configured.source, configured.used_ratio) == ("configured", 0.8)
    assert ceiling_of(server, INFO, None) is None
    (_, high) = diagnose_limit(
        "main", ["streams"], server, ceiling_of(server, info, 450_000_000), Thresholds()
    )
    assert high.sentence == (
        "main uses 89 % of the memory that its container or plan has (429 MB); when full it is"
        " killed by the operating system."
    )


@pytest.mark.parametrize("limit_bytes", [None, 8_000_000_000])
def test_the_limit_that_is_met_first_counts_though_maxmemory_is_higher(
    limit_bytes: int | None,
) -> None:
    server = facts(maxmemory_bytes=16_000_000_000, used_memory_bytes=7_000_000_000)
    info = INFO | {"total_system_memory": 8_000_000_000, "used_memory_rss": 7_900_000_000}
    ceiling = ceiling_of(server, info, limit_bytes)
    assert ceiling is not None
    assert ceiling.source == ("configured" if limit_bytes else "machine")
    too_high, high = diagnose_limit("main", ["cache"], server, ceiling, Thresholds())
    assert too_high.code == "redis-maxmemory-too-high"
    assert too_high.evidence["limit_bytes"] == 8_000_000_000
    assert high.code == "redis-memory-high"
    assert "killed by the operating system" in high.sentence


def test_a_maxmemory_that_leaves_room_is_met_first() -> None:
    info = INFO | {"total_system_memory": 8_000_000_000, "used_memory_rss": 900_000_000}
    ceiling = ceiling_of(facts(), info, None)
    assert ceiling is not None
    assert (ceiling.source, ceiling.used_ratio) == ("maxmemory", 0.2)


def test_a_server_without_limit_is_a_warning_for_a_cache_and_a_remark_for_others() -> None:
    (cache,) = findings("cache", maxmemory_bytes=0)
    (streams,) = findings("streams", maxmemory_bytes=0)
    assert (cache.severity, streams.severity) == (Severity.WARNING, Severity.INFO)
    assert cache.code == streams.code == "redis-memory-unlimited"


@pytest.mark.parametrize(
    ("role", "policy", "expected"),
    [
        ("broker", "allkeys-lru", Severity.CRITICAL),
        ("broker", "volatile-ttl", Severity.CRITICAL),
        ("sessions", "volatile-lru", Severity.WARNING),
        ("streams", "allkeys-lfu", Severity.WARNING),
        ("cache", "noeviction", Severity.WARNING),
    ],
)
def test_each_role_forbids_the_policies_that_harm_it(
    role: str, policy: str, expected: Severity
) -> None:
    (found,) = findings(role, maxmemory_policy=policy)
    assert (found.code, found.severity) == ("redis-policy", expected)
    assert found.undo == (f"CONFIG SET maxmemory-policy {policy}",)


@pytest.mark.parametrize(
    ("role", "policy"), [("streams", "volatile-lru"), ("cache", "allkeys-lru")]
)
def test_policies_that_suit_a_role_are_no_finding(role: str, policy: str) -> None:
    assert findings(role, maxmemory_policy=policy) == []


def test_evictions_are_counted_since_the_previous_check_of_the_same_server_life() -> None:
    (found,) = findings("streams", previous={"run_id": "abc", "evicted_keys": 40}, evicted_keys=42)
    assert found.evidence["evicted_keys"] == 2
    assert "since the previous check" in found.sentence
    assert findings("streams", previous=kept(INFO | {"evicted_keys": 42}), evicted_keys=42) == []


def test_after_a_restart_evictions_are_counted_since_the_start() -> None:
    (found,) = findings("broker", previous={"run_id": "old", "evicted_keys": 40}, evicted_keys=42)
    assert (found.evidence["evicted_keys"], found.severity) == (42, Severity.CRITICAL)


def test_fragmentation_of_a_small_data_set_is_not_judged() -> None:
    assert findings("streams", fragmentation_ratio=8.0, used_memory_bytes=2_000_000) == []
    assert codes(findings("streams", fragmentation_ratio=1.8)) == ["redis-fragmentation"]


def test_memory_that_was_swapped_out_is_a_warning() -> None:
    assert codes(findings("streams", fragmentation_ratio=0.6)) == ["redis-swapped"]


def test_a_cache_beside_a_broker_under_allkeys_lru_is_critical_and_keeps_its_undo() -> None:
    (found,) = findings("broker", "cache", maxmemory_policy="allkeys-lru")
    assert found.severity is Severity.CRITICAL
    assert found.sentence == (
        "main holds a broker together with a cache under maxmemory-policy allkeys-lru:"
        " queued work can vanish without an error."
    )
    assert "a server of its own" in found.advice
    (shared,) = findings("broker", "cache")
    assert (shared.code, shared.severity) == ("redis-policy", Severity.INFO)


def test_a_ledger_must_not_be_evicted() -> None:
    (found,) = findings("ledger", maxmemory_policy="volatile-lru")
    assert found.severity is Severity.CRITICAL
    assert "locks" in found.sentence


def test_a_counter_that_fell_was_reset_and_counts_from_there() -> None:
    counted = counted_since(INFO | {"evicted_keys": 3}, {"run_id": "abc", "evicted_keys": 40})
    assert (counted.of("evicted_keys"), counted.since) == (3, "since its counters began")


def test_expired_keys_that_stay_are_a_backlog() -> None:
    def found(stale: float) -> list[str]:
        info = INFO | {"expired_stale_perc": stale}
        return codes(list(diagnose_expiry("main", info, Counted({}, ""), Thresholds())))

    assert found(9.9) == []
    assert found(12.0) == ["redis-expired-backlog"]


def persistence(roles: list[str], settings: dict[str, str], **info: Any) -> list[Finding]:
    return list(diagnose_persistence("main", roles, INFO | info, settings, Thresholds()))


def test_failed_saves_and_append_only_files_are_critical_where_writes_are_refused() -> None:
    (save,) = persistence(
        ["cache"], {}, rdb_last_bgsave_status="err", rdb_changes_since_last_save=7
    )
    assert (save.code, save.severity) == ("redis-save-failed", Severity.CRITICAL)
    (write,) = persistence(["cache"], {}, aof_enabled=1, aof_last_write_status="err")
    assert write.severity is Severity.CRITICAL
    (rewrite,) = persistence(["cache"], {}, aof_enabled=1, aof_last_bgrewrite_status="err")
    assert rewrite.severity is Severity.WARNING
    assert persistence(["cache"], {}, aof_enabled=0, aof_last_write_status="err") == []
    assert codes(persistence(["cache"], {}, latest_fork_usec=250_000)) == ["redis-fork-slow"]


def test_what_must_survive_and_is_kept_nowhere_is_named_by_what_is_lost() -> None:
    (found,) = persistence(["broker"], {"save": ""})
    assert "queued work is lost" in found.sentence
    assert persistence(["broker"], {"save": "3600 1"}) == []
    assert persistence(["broker"], {"save": ""}, aof_enabled=1) == []
    assert persistence(["cache"], {"save": ""}) == []
    assert persistence(["broker"], {}) == []  # not known without CONFIG GET


def clients(growth: dict[str, int], **info: Any) -> list[str]:
    return codes(
        list(diagnose_clients("main", INFO | info, Counted(growth, "since then"), Thresholds()))
    )


def test_clients_that_were_turned_away_or_crowd_out_data_are_named() -> None:
    assert clients({}) == []
    assert clients({"rejected_connections": 1}) == ["redis-connections-rejected"]
    assert clients({}, connected_clients=8001) == ["redis-connections-high"]
    assert clients({"client_output_buffer_limit_disconnections": 2}) == ["redis-client-buffers"]
    assert clients({}, mem_clients_normal=70 * 1024**2) == ["redis-client-memory"]


def slow(
    number: int, command: str = "ZRANGE", seconds: float = 0.02, client: str = ""
) -> SlowCommand:
    return SlowCommand(number, 1_700_000_000, seconds, command, "*-home", client)


def slowness(
    log: list[SlowCommand], previous: dict[str, Any], events: tuple[LatencyEvent, ...] = ()
) -> list[Finding]:
    measured = Slowness(tuple(log), events, ())
    return list(diagnose_slowness("main", measured, {}, previous, is_same_life=bool(previous)))


def test_slow_commands_are_counted_since_the_previous_check_beyond_what_the_log_still_has() -> None:
    before = state_of(Slowness((slow(40),), (), ()))
    assert slowness([slow(40)], before) == []
    (found,) = slowness([slow(45), slow(44, seconds=0.3)], before)
    assert found.evidence["commands"] == 5
    assert found.severity is Severity.WARNING
    assert "ZRANGE of *-home, took 300 ms" in found.sentence
    assert slowness([slow(45, client="maintenance")], before) == []


def test_a_spike_is_said_once() -> None:
    spike = LatencyEvent("fork", 1_700_000_000, 0.25, 0.4)
    before = state_of(Slowness((), (spike,), ()))
    assert slowness([], {"slow_log_number": 1, **before}, (spike,)) == []
    later = replace(spike, at_epoch_seconds=1_700_000_060)
    (found,) = slowness([], before, (later,))
    assert found.sentence.startswith("main stood still for 250 ms because of fork")


def test_no_argument_of_a_slow_command_is_kept() -> None:
    assert named([b"SET", b"session:4711", b"secret-value"]) == ("SET", "session:*")
    assert named([b"AUTH", b"user", b"secret"]) == ("AUTH", "")
    assert named([b"EVAL", b"return 'secret'", b"0"]) == ("EVAL", "")
    assert named([b"config", b"set", b"requirepass", b"secret"]) == ("CONFIG SET", "")


def test_growth_is_foretold_from_stored_samples_only_where_they_support_it() -> None:
    day = 86_400.0
    stored = [Point(n * day, 500e6 + n * 10e6) for n in range(20)]
    server = facts(used_memory_bytes=700_000_000)
    ceiling = ceiling_of(server, INFO, None)
    outlook = outlook_of(stored, Point(20 * day, 700e6))
    (found,) = diagnose_growth("main", outlook, ceiling, Thresholds())
    assert found.severity is Severity.WARNING  # 100 MB at 10 MB a day
    assert found.evidence["full_about"] == "1970-01-31"
    (short,) = diagnose_growth("main", outlook_of(stored[:2], stored[2]), ceiling, Thresholds())
    assert not short.measured
