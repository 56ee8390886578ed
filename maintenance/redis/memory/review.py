"""One look at a server's memory: what INFO says, what a sample of keys says, what was slow."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.conf import Configuration, RedisTarget, Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job, Point, Progress
from maintenance.core.latency import with_latency
from maintenance.core.plots import over_time
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.trend import WEEK_SECONDS, Outlook, outlook_of
from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.redis.key_sample import KeySample, ShapeShare, shares_of, take_sample
from maintenance.redis.memory.clients import diagnose_clients
from maintenance.redis.memory.counters import Counted, counted_since, kept
from maintenance.redis.memory.growth import METRIC, diagnose_growth, growth_facts
from maintenance.redis.memory.keys import KeyView, diagnose_keys, key_tables
from maintenance.redis.memory.limits import (
    FRAGMENTATION_MINIMUM_BYTES,
    Ceiling,
    ceiling_of,
    diagnose_evictions,
    diagnose_expiry,
    diagnose_fragmentation,
    diagnose_limit,
    diagnose_policy,
)
from maintenance.redis.memory.options import MemoryCheckOptions
from maintenance.redis.memory.persistence import diagnose_persistence
from maintenance.redis.memory.slow_commands import (
    Slowness,
    diagnose_slowness,
    measure_slowness,
    new_entries,
    slow_rows,
    state_of,
)
from maintenance.redis.stream_claims import families_beside
from maintenance.redis.stream_classes import all_families
from maintenance.redis_client.connection import session
from maintenance.redis_client.idle_times import IdleTimes
from maintenance.redis_client.own_walks import walk_samples
from maintenance.redis_client.packed import Exchange, exchange, pack
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import ServerFacts, parse_facts, server_facts

#: What the whole look needs; each rule but the first two may be missing, and is then named.
NEEDS_ACL = (
    "+info",
    "+ping",
    "+config|get",
    "+exists",
    "+latency|latest",
    "+memory|usage",
    "+object|freq",
    "+object|idletime",
    "+randomkey",
    "+scan",
    "+slowlog|get",
    "+ttl",
    "+type",
)

#: Keys that Celery's library (kombu) keeps on every broker that workers answer on.
BROKER_KEYS = (
    b"_kombu.binding.celery",
    b"_kombu.binding.celery.pidbox",
    b"_kombu.binding.celeryev",
)

_SETTINGS = (b"save", b"slowlog-log-slower-than", b"latency-monitor-threshold")


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the configuration knows of a server beside the target itself.

    ``roles`` are all that it serves as, ``forever_patterns`` the globs of keys that are meant to
    stay (stream families).
    """

    roles: tuple[str, ...]
    forever_patterns: tuple[str, ...] = ()


def neighbourhood(configuration: Configuration, redis_name: str) -> Neighbourhood:
    """Return what the configuration knows of one Redis target's server."""
    families = families_beside(redis_name, all_families(configuration), configuration.redis)
    return Neighbourhood(
        configuration.roles_on(redis_name),
        tuple(family.pattern for family in families.values() if family.pattern),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that was measured. ``settings`` are the few of CONFIG GET that matter."""

    info: Mapping[str, Any]
    facts: ServerFacts
    sample: KeySample
    slowness: Slowness
    settings: Mapping[str, str] = field(default_factory=dict)
    settings_denied: bool = False
    holds_broker_keys: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """What was measured, with what follows from it and from earlier checks."""

    roles: tuple[str, ...]
    look: Look
    shares: Sequence[ShapeShare]
    ceiling: Ceiling | None
    outlook: Outlook
    counted: Counted
    forever_patterns: tuple[str, ...]
    idle_times: IdleTimes


def check_redis_memory(
    job: Job[RedisTarget, MemoryCheckOptions],
    thresholds: Thresholds,
    neighbourhood: Neighbourhood | None = None,
) -> Report:
    """Judge memory, policy, evictions, keys, slowness, persistence and growth of one server.

    Needs PING and INFO; what else rights do not allow is named as unavailable. Raises
    :class:`TargetUnavailable` and :class:`MissingRights`.
    """
    around = neighbourhood or Neighbourhood((job.target.role,))
    limit_ms = job.target.added_latency_ms
    with session(job.target) as client, probing(client) as probe:
        progress = PacedProgress(job.progress, probe, limit_ms)
        look = measure(client, job.options.sample_keys, progress)
        after = server_facts(client)
    stored = job.history.series(METRIC)
    now = Point(time.time(), float(look.facts.used_memory_bytes))
    idle_times = IdleTimes.seen(look.facts, job.previous_state, now.at_epoch_seconds)
    situation = Situation(
        roles=_roles(around, look),
        look=look,
        shares=shares_of(look.sample),
        ceiling=ceiling_of(look.facts, look.info, job.target.memory_limit_bytes),
        outlook=outlook_of(stored, now),
        counted=counted_since(look.info, job.previous_state),
        forever_patterns=around.forever_patterns,
        idle_times=idle_times,
    )
    findings = diagnose(job.target_name, situation, thresholds, job.previous_state)
    report = Report(
        title=f"Redis memory of {job.target_name}",
        summary=_summary(job.target_name, situation),
        findings=tuple(findings),
        tables=tuple(_tables(situation)),
        facts=_facts(look, situation.outlook),
        samples=(
            *_samples(look.facts, situation.ceiling),
            *walk_samples(look.facts, after),
        ),
        plots=over_time(f"Memory in use by {job.target_name}", METRIC, stored, now),
        state={**kept(look.info), **state_of(look.slowness), **idle_times.state},
    )
    return with_latency(
        report, probe.change, limit_ms, stood_still_seconds=progress.stood_still_seconds
    )


def _roles(around: Neighbourhood, look: Look) -> tuple[str, ...]:
    """Return the configured roles, and broker where Celery's own keys lie in the database."""
    seen = ("broker",) if look.holds_broker_keys else ()
    return tuple(sorted({*around.roles, *seen}))


def measure(client: redis.Redis, sample_keys: int, progress: Progress) -> Look:
    """Read INFO, settings, a sample of keys, slow log and latency events.

    ``progress`` is told of each batch of the sample, and ends it by raising. The cost does not grow with the server: about five packed commands for each sampled key.
    """
    info: Mapping[str, Any] = client.info()
    database = client.connection_pool.connection_kwargs.get("db") or 0
    facts = parse_facts(info, database)
    with exchange(client) as lane:
        sample = take_sample(lane, facts.keys, sample_keys, is_lfu=facts.is_lfu, progress=progress)
        settings = _settings(lane)
        broker = lane.run([pack(b"EXISTS", key) for key in BROKER_KEYS])
        return Look(
            info=info,
            facts=facts,
            sample=sample,
            slowness=measure_slowness(lane),
            settings=settings or {},
            settings_denied=settings is None,
            holds_broker_keys=any(reply == 1 for reply in broker),
        )


def _settings(lane: Exchange) -> dict[str, str] | None:
    """Return the settings that matter; ``None`` where CONFIG GET is not allowed or not offered."""
    replies = lane.run([pack(b"CONFIG", b"GET", name) for name in _SETTINGS])
    if any(isinstance(reply, redis.ResponseError) for reply in replies):
        return None
    return {pair[0].decode(): pair[1].decode() for pair in replies if pair}


def diagnose(
    name: str, situation: Situation, thresholds: Thresholds, previous: Mapping[str, Any]
) -> Iterator[Finding]:
    """Put the verdicts of all parts together. Pure."""
    look, roles, ceiling = situation.look, situation.roles, situation.ceiling
    facts, info, growth = look.facts, look.info, situation.counted
    if facts.cluster_enabled:
        yield _of_one_node(name)
    yield from diagnose_limit(name, roles, facts, ceiling, thresholds)
    yield from diagnose_policy(name, roles, facts)
    yield from diagnose_evictions(name, roles, facts, growth)
    yield from diagnose_fragmentation(name, facts, info)
    yield from diagnose_expiry(name, info, growth, thresholds)
    yield from diagnose_persistence(name, roles, info, look.settings, thresholds)
    yield from diagnose_clients(name, info, growth, thresholds)
    view = KeyView(
        *(facts, look.sample, situation.shares, situation.forever_patterns, situation.idle_times)
    )
    yield from diagnose_keys(name, roles, view, thresholds)
    is_same_life = previous.get("run_id") == facts.run_id
    yield from diagnose_slowness(
        name, look.slowness, look.settings, previous, is_same_life=is_same_life
    )
    yield from diagnose_growth(name, situation.outlook, ceiling, thresholds)
    if look.settings_denied:
        what = "whether saving, the slow log and the latency monitor are on"
        yield unavailable("redis-settings", name, what, "the ACL right +config|get")


def _of_one_node(name: str) -> Finding:
    return Finding(
        code="redis-memory-of-one-node",
        severity=Severity.INFO,
        subject=name,
        sentence=f"{name} is one node of a cluster: memory, keys and settings are this node's alone.",
        advice="Configure each node of the cluster as a target of its own, to have all of them judged.",
    )


def _summary(name: str, situation: Situation) -> str:
    facts, ceiling, growth = situation.look.facts, situation.ceiling, situation.counted
    who = f"{name}, one node of a cluster," if facts.cluster_enabled else name
    share = "without a known limit"
    if ceiling is not None:
        of = {"maxmemory": "its maxmemory", "machine": "its machine"}.get(
            ceiling.source, "its limit"
        )
        share = f"{percent(ceiling.used_ratio)} of {of}"
    return (
        f"{who} uses {bytes_in_words(facts.used_memory_bytes)}, {share}, for"
        f" {counted(facts.keys, 'key')}; policy {facts.maxmemory_policy},"
        f" {counted(growth.of('evicted_keys'), 'key')} evicted {growth.since}."
    )


def _tables(situation: Situation) -> Iterator[Table]:
    look = situation.look
    yield Table.of("Server", [_row(situation.roles, look.facts, situation.ceiling)])
    yield Table.of("Clients and persistence", [_activity_row(look.info)])
    yield from key_tables(look.sample, situation.shares)
    new, _ = new_entries(look.slowness.slow_log or (), {})
    if new:
        yield Table.of("Slow commands in the log", slow_rows(new))


def _row(roles: Sequence[str], facts: ServerFacts, ceiling: Ceiling | None) -> dict[str, Any]:
    return {
        "server": facts.name,
        "roles": ", ".join(roles),
        "replication": facts.role,
        "uptime_seconds": facts.uptime_seconds,
        "keys": facts.keys,
        "keys_with_ttl": facts.keys_with_ttl,
        "used_memory_bytes": facts.used_memory_bytes,
        "maxmemory_bytes": facts.maxmemory_bytes or None,
        "used_ratio": None if ceiling is None else ceiling.used_ratio,
        "maxmemory_policy": facts.maxmemory_policy,
        "fragmentation_ratio": _fragmentation(facts),
        "evicted_keys": facts.evicted_keys,
    }


def _fragmentation(facts: ServerFacts) -> float | None:
    """Return the ratio where it means something: a small data set has too little of its own."""
    judged = facts.used_memory_bytes >= FRAGMENTATION_MINIMUM_BYTES
    return facts.fragmentation_ratio if judged else None


def _activity_row(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "connected_clients": info.get("connected_clients"),
        "blocked_clients": info.get("blocked_clients"),
        "rejected_connections": info.get("rejected_connections"),
        "client_buffer_bytes": info.get("mem_clients_normal"),
        "largest_output_buffer_bytes": info.get("client_recent_max_output_buffer"),
        "last_save": info.get("rdb_last_bgsave_status"),
        "append_only_file": "on" if info.get("aof_enabled") else "off",
        "last_fork_ms": int(info.get("latest_fork_usec", 0)) / 1000,
    }


def _facts(look: Look, outlook: Outlook) -> dict[str, Any]:
    sample = look.sample
    facts: dict[str, Any] = {
        "server": look.facts.name,
        "needs_acl": sorted(NEEDS_ACL),
        "keys_looked_at": len(sample.keys),
        "keys_are": "all of them" if sample.is_whole else "a random sample",
    }
    if look.holds_broker_keys:
        facts["broker"] = "Celery's own keys lie in this database"
    if not sample.is_whole:
        facts["bands_hold_ratio"] = 0.95
    if _fragmentation(look.facts) is None:
        facts["fragmentation"] = "not judged below 64 MB: the allocator's own share dominates"
    weekly = growth_facts(outlook)
    return {**facts, **weekly, **_in_four_weeks(outlook)}


def _in_four_weeks(outlook: Outlook) -> dict[str, float]:
    trend = outlook.trend
    if trend is None:
        return {}
    ahead = trend.value_at(trend.last.at_epoch_seconds + 4 * WEEK_SECONDS)
    return {"in_four_weeks_bytes": max(trend.last.value, ahead)}


def _samples(facts: ServerFacts, ceiling: Ceiling | None) -> Iterator[Sample]:
    yield Sample(METRIC, facts.used_memory_bytes)
    yield Sample("redis_evicted_keys", facts.evicted_keys)
    if ceiling is not None:
        yield Sample("redis_used_memory_ratio", ceiling.used_ratio)
