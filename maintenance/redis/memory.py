"""Memory of a Redis or Valkey server: against its limit, its role, and what it had to evict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.conf import RedisTarget, Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import percent
from maintenance.redis_client.connection import session
from maintenance.redis_client.server import ServerFacts, server_facts

#: Fragmentation is judged from here on: on a small data set the allocator's own arenas dominate
#: (Redis documentation, INFO, "mem_fragmentation_ratio").
FRAGMENTATION_MINIMUM_BYTES = 64 * 1024**2
#: Above, active defragmentation or a restart gains memory (Redis documentation, "Memory
#: optimization"); below the other one, parts of the data set have been swapped out.
FRAGMENTATION_HIGH_RATIO = 1.5
FRAGMENTATION_SWAP_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Which eviction policies a role forbids (by prefix), how serious that is, and why."""

    forbidden: tuple[str, ...]
    severity: Severity
    consequence: str
    better: str


#: By role of the target. A role that is not named here accepts every policy.
POLICY_RULES: Mapping[str, PolicyRule] = {
    "broker": PolicyRule(
        ("allkeys-", "volatile-"),
        Severity.CRITICAL,
        "queued work can vanish without an error",
        "noeviction",
    ),
    "sessions": PolicyRule(
        ("allkeys-", "volatile-"),
        Severity.WARNING,
        "people are logged out when memory is full",
        "noeviction",
    ),
    "streams": PolicyRule(
        ("allkeys-",),
        Severity.WARNING,
        "whole streams vanish when memory is full",
        "noeviction, or volatile-lru where a cache with time-outs shares the server",
    ),
}


def check_redis_memory(job: Job[RedisTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Compare memory, eviction policy and evictions with what the target's role allows.

    Needs PING and INFO alone. Raises :class:`TargetUnavailable` and :class:`MissingRights`.
    """
    with session(job.target) as client:
        facts = server_facts(client)
    findings = tuple(
        diagnose(job.target_name, job.target.role, facts, thresholds, job.previous_state)
    )
    return Report(
        title=f"Redis memory of {job.target_name}",
        summary=_summary(job.target_name, facts),
        findings=findings,
        tables=(Table.of("Server", [_row(job.target.role, facts)]),),
        facts={"server": facts.name, "needs_acl": ["+info", "+ping"]},
        samples=tuple(_samples(facts)),
        state={"run_id": facts.run_id, "evicted_keys": facts.evicted_keys},
    )


def diagnose(
    name: str,
    role: str,
    facts: ServerFacts,
    thresholds: Thresholds,
    previous: Mapping[str, Any],
) -> Iterator[Finding]:
    """Judge one server: its limit, its policy, its evictions, its fragmentation."""
    yield from _limit_findings(name, role, facts, thresholds)
    yield from _policy_findings(name, role, facts)
    yield from _eviction_findings(name, role, facts, previous)
    yield from _fragmentation_findings(name, facts)


def used_ratio(facts: ServerFacts) -> float | None:
    """Return used_memory over maxmemory; ``None`` where there is no limit."""
    return facts.used_memory_bytes / facts.maxmemory_bytes if facts.maxmemory_bytes else None


def _limit_findings(
    name: str, role: str, facts: ServerFacts, thresholds: Thresholds
) -> Iterator[Finding]:
    ratio = used_ratio(facts)
    if ratio is None:
        yield Finding(
            code="redis-memory-unlimited",
            severity=Severity.WARNING if role == "cache" else Severity.INFO,
            subject=name,
            sentence=(
                f"{name} has no maxmemory: it uses {_megabytes(facts.used_memory_bytes)} and may"
                " grow until the machine has no memory left."
            ),
            evidence={"used_memory_bytes": facts.used_memory_bytes},
            advice="Set maxmemory below the machine's memory, with a policy that fits the role.",
        )
    elif ratio > thresholds.redis_memory_ratio:
        full = ratio >= 1
        then = "refuses writes" if facts.maxmemory_policy == "noeviction" else "evicts keys"
        yield Finding(
            code="redis-memory-high",
            severity=Severity.CRITICAL if full else Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} uses {percent(ratio)} of its maxmemory"
                f" ({_megabytes(facts.maxmemory_bytes)}); {'it' if full else 'when full it'}"
                f" {then}."
            ),
            evidence={
                "used_ratio": ratio,
                "used_memory_bytes": facts.used_memory_bytes,
                "maxmemory_bytes": facts.maxmemory_bytes,
                "limit_ratio": thresholds.redis_memory_ratio,
            },
            advice="Trim streams, shorten the time-outs of cached values, or raise maxmemory.",
        )


def _policy_findings(name: str, role: str, facts: ServerFacts) -> Iterator[Finding]:
    policy = facts.maxmemory_policy
    rule = POLICY_RULES.get(role)
    if rule is not None and policy.startswith(rule.forbidden):
        yield Finding(
            code="redis-policy",
            severity=rule.severity,
            subject=name,
            sentence=f"{name} holds {role} under maxmemory-policy {policy}: {rule.consequence}.",
            evidence={"maxmemory_policy": policy, "role": role},
            advice=f"Use {rule.better}; make it permanent in the server's configuration.",
            commands=("CONFIG SET maxmemory-policy noeviction",),
            undo=(f"CONFIG SET maxmemory-policy {policy}",),
        )
    if role == "cache" and policy == "noeviction" and facts.maxmemory_bytes:
        yield Finding(
            code="redis-policy",
            severity=Severity.WARNING,
            subject=name,
            sentence=f"{name} is a cache under noeviction: when it is full, every write fails.",
            evidence={"maxmemory_policy": policy, "role": role},
            advice="Use allkeys-lru, or allkeys-lfu, unless sessions share this server.",
            commands=("CONFIG SET maxmemory-policy allkeys-lru",),
            undo=("CONFIG SET maxmemory-policy noeviction",),
        )


def _eviction_findings(
    name: str, role: str, facts: ServerFacts, previous: Mapping[str, Any]
) -> Iterator[Finding]:
    evicted, since = facts.evicted_keys, "since the server started"
    if previous.get("run_id") == facts.run_id and previous["evicted_keys"] <= evicted:
        evicted, since = evicted - previous["evicted_keys"], "since the previous check"
    if evicted == 0:
        return
    severity = {"cache": Severity.INFO, "broker": Severity.CRITICAL}.get(role, Severity.WARNING)
    yield Finding(
        code="redis-evictions",
        severity=severity,
        subject=name,
        sentence=f"{name} evicted {evicted:,} keys {since} for lack of memory.",
        evidence={"evicted_keys": evicted, "maxmemory_policy": facts.maxmemory_policy},
        advice="A cache may evict; if its hit ratio falls, raise maxmemory or store less.",
    )


def _fragmentation_findings(name: str, facts: ServerFacts) -> Iterator[Finding]:
    ratio = facts.fragmentation_ratio
    evidence = {"fragmentation_ratio": ratio, "used_memory_bytes": facts.used_memory_bytes}
    if facts.used_memory_bytes < FRAGMENTATION_MINIMUM_BYTES or ratio == 0:
        return
    if ratio > FRAGMENTATION_HIGH_RATIO:
        yield Finding(
            code="redis-fragmentation",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} occupies {ratio:.1f} times the memory of its data;"
                f" {_megabytes(facts.fragmentation_bytes)} are lost to fragmentation."
            ),
            evidence=evidence,
            advice="Turn on active defragmentation where the build has it, or restart the server.",
            commands=("CONFIG SET activedefrag yes",),
            undo=("CONFIG SET activedefrag no",),
        )
    elif ratio < FRAGMENTATION_SWAP_RATIO:
        yield Finding(
            code="redis-swapped",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} has {percent(1 - ratio)} of its data outside of memory: the machine swaps,"
                " and every access to that part waits for the disk."
            ),
            evidence=evidence,
            advice="Give the machine more memory, or the server a lower maxmemory.",
        )


def _summary(name: str, facts: ServerFacts) -> str:
    ratio = used_ratio(facts)
    share = f"{percent(ratio)} of its limit" if ratio is not None else "without a limit"
    return (
        f"{name} uses {_megabytes(facts.used_memory_bytes)}, {share}, for {facts.keys:,} keys;"
        f" policy {facts.maxmemory_policy}, {facts.evicted_keys:,} keys evicted since its start."
    )


def _megabytes(count_bytes: int) -> str:
    return f"{count_bytes / 1e6:,.1f} MB"


def _row(role: str, facts: ServerFacts) -> dict[str, Any]:
    return {
        "server": facts.name,
        "role": role,
        "replication": facts.role,
        "uptime_seconds": facts.uptime_seconds,
        "keys": facts.keys,
        "used_memory_bytes": facts.used_memory_bytes,
        "maxmemory_bytes": facts.maxmemory_bytes or None,
        "used_ratio": used_ratio(facts),
        "maxmemory_policy": facts.maxmemory_policy,
        "fragmentation_ratio": facts.fragmentation_ratio,
        "evicted_keys": facts.evicted_keys,
    }


def _samples(facts: ServerFacts) -> Iterator[Sample]:
    yield Sample("redis_used_memory_bytes", facts.used_memory_bytes)
    yield Sample("redis_evicted_keys", facts.evicted_keys)
    ratio = used_ratio(facts)
    if ratio is not None:
        yield Sample("redis_used_memory_ratio", ratio)
