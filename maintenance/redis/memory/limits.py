"""Used memory against its limits, the policy of each role, evictions, fragmentation, expiry. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.redis.memory.counters import Counted
from maintenance.redis_client.server import ServerFacts

#: Fragmentation is judged from here on: on a small data set the allocator's own arenas dominate
#: (Redis documentation, INFO, "mem_fragmentation_ratio").
FRAGMENTATION_MINIMUM_BYTES = 64 * 1024**2
#: Above, active defragmentation or a restart gains memory (Redis documentation, "Memory
#: optimization"); below the other one, parts of the data set have been swapped out.
FRAGMENTATION_HIGH_RATIO = 1.5
FRAGMENTATION_SWAP_RATIO = 0.9

#: How a sentence says what a server holds.
ROLE_WORDS: Mapping[str, str] = {
    "broker": "a broker",
    "cache": "a cache",
    "ledger": "a ledger",
    "sessions": "sessions",
    "streams": "streams",
}

#: Roles whose data must stay whatever happens: the server may not choose what to forget.
NEEDS_NOEVICTION = ("broker", "ledger")


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """What a policy that evicts does to a role, by the policy's first word, and how serious it is.

    ``volatile`` is ``None`` where the role bears a policy that evicts keys with a time to live only.
    """

    allkeys: str
    volatile: str | None
    severity: Severity
    better: str


#: By role. A role that is not named here accepts every policy.
POLICY_RULES: Mapping[str, PolicyRule] = {
    "broker": PolicyRule(
        "queued work can vanish without an error",
        "whatever the queues keep with a time to live, results among it, can vanish before its time",
        Severity.CRITICAL,
        "noeviction",
    ),
    "ledger": PolicyRule(
        "locks and records of what was done can vanish, and work is done twice",
        "locks, which have a time to live, can vanish while they are held",
        Severity.CRITICAL,
        "noeviction",
    ),
    "sessions": PolicyRule(
        "people are logged out when memory is full",
        "people are logged out when memory is full",
        Severity.WARNING,
        "noeviction",
    ),
    "streams": PolicyRule(
        "whole streams vanish when memory is full",
        None,
        Severity.WARNING,
        "noeviction, or volatile-lru where a cache with time-outs shares the server",
    ),
}


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How much memory a server may use. ``source`` says by whose word: ``maxmemory``, ``configured``
    (memory_limit_bytes of the target) or ``machine`` (all that its machine has)."""

    limit_bytes: int
    used_bytes: int
    source: str

    @property
    def used_ratio(self) -> float:
        """Used over the limit."""
        return self.used_bytes / self.limit_bytes

    @property
    def room_bytes(self) -> int:
        """What is left; below 0 where the limit is passed."""
        return self.limit_bytes - self.used_bytes


def ceiling_of(
    facts: ServerFacts, info: Mapping[str, Any], memory_limit_bytes: int | None
) -> Ceiling | None:
    """Return the limit that is met first, the one with the least room; ``None`` where none is known.

    maxmemory counts what the server uses for data (used_memory), a machine or container all that it
    has taken (used_memory_rss).
    """
    resident = int(info.get("used_memory_rss", 0)) or facts.used_memory_bytes
    machine = int(info.get("total_system_memory", 0))
    known = (
        Ceiling(facts.maxmemory_bytes, facts.used_memory_bytes, "maxmemory"),
        Ceiling(memory_limit_bytes or 0, resident, "configured"),
        Ceiling(0 if memory_limit_bytes else machine, resident, "machine"),
    )
    return min(
        (ceiling for ceiling in known if ceiling.limit_bytes),
        key=lambda ceiling: ceiling.room_bytes,
        default=None,
    )


def diagnose_limit(
    name: str,
    roles: Sequence[str],
    facts: ServerFacts,
    ceiling: Ceiling | None,
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Judge used memory against the limit that is met first, and maxmemory against what there is."""
    if not facts.maxmemory_bytes:
        yield _unlimited(name, roles, facts, ceiling)
    elif ceiling is not None and facts.maxmemory_bytes > ceiling.limit_bytes:
        yield _more_than_there_is(name, facts, ceiling)
    if ceiling is None or ceiling.used_ratio <= thresholds.redis_memory_ratio:
        return
    full = ceiling.used_ratio >= 1
    yield Finding(
        code="redis-memory-high",
        severity=Severity.CRITICAL if full else Severity.WARNING,
        subject=name,
        sentence=(
            f"{name} uses {percent(ceiling.used_ratio)} of {_LIMIT_WORDS[ceiling.source]}"
            f" ({bytes_in_words(ceiling.limit_bytes)}); {'it' if full else 'when full it'}"
            f" {_consequence(facts, ceiling)}."
        ),
        evidence={
            "used_ratio": ceiling.used_ratio,
            "used_memory_bytes": facts.used_memory_bytes,
            "counted_bytes": ceiling.used_bytes,
            "limit_bytes": ceiling.limit_bytes,
            "limit_of": ceiling.source,
            "limit_ratio": thresholds.redis_memory_ratio,
        },
        advice=(
            "Trim streams (trim_streams), win memory back (reclaim_redis_memory), shorten the"
            " time-outs of cached values, or give the server more memory."
        ),
    )


_LIMIT_WORDS = {
    "maxmemory": "its maxmemory",
    "configured": "the memory that its container or plan has",
    "machine": "the memory of its machine",
}


_ROOM_WORDS = {
    "configured": "in a container or plan with {}",
    "machine": "on a machine with {}",
}


def _consequence(facts: ServerFacts, ceiling: Ceiling) -> str:
    if ceiling.source != "maxmemory":
        return "is killed by the operating system"
    return "refuses writes" if facts.maxmemory_policy == "noeviction" else "evicts keys"


def _unlimited(
    name: str, roles: Sequence[str], facts: ServerFacts, ceiling: Ceiling | None
) -> Finding:
    where = ""
    if ceiling is not None:
        where = f", {_ROOM_WORDS[ceiling.source].format(bytes_in_words(ceiling.limit_bytes))},"
    return Finding(
        code="redis-memory-unlimited",
        severity=Severity.WARNING if "cache" in roles else Severity.INFO,
        subject=name,
        sentence=(
            f"{name} has no maxmemory: it uses {bytes_in_words(facts.used_memory_bytes)}{where}"
            " and may grow until no memory is left, when the operating system kills it."
        ),
        evidence={
            "used_memory_bytes": facts.used_memory_bytes,
            "limit_bytes": None if ceiling is None else ceiling.limit_bytes,
            "limit_of": None if ceiling is None else ceiling.source,
        },
        advice=(
            "Set maxmemory to three quarters of what the machine or container has, since a save or"
            " a rewrite of the append-only file needs room, and a policy that fits the role."
            + (
                " A container's own limit is not visible to the server: set memory_limit_bytes of"
                " this target if there is one."
                if ceiling is not None and ceiling.source == "machine"
                else ""
            )
        ),
    )


def _more_than_there_is(name: str, facts: ServerFacts, ceiling: Ceiling) -> Finding:
    return Finding(
        code="redis-maxmemory-too-high",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"{name} has a maxmemory of {bytes_in_words(facts.maxmemory_bytes)}"
            f" {_ROOM_WORDS[ceiling.source].format(bytes_in_words(ceiling.limit_bytes))}: the operating"
            " system kills it before maxmemory is reached."
        ),
        evidence={
            "maxmemory_bytes": facts.maxmemory_bytes,
            "limit_bytes": ceiling.limit_bytes,
            "limit_of": ceiling.source,
        },
        advice=(
            "Set maxmemory to three quarters of what the machine or container has, since a save or"
            " a rewrite of the append-only file needs room. Below what is in use the server evicts or"
            " refuses writes at once: make room first."
        ),
    )


def diagnose_policy(name: str, roles: Sequence[str], facts: ServerFacts) -> Iterator[Finding]:
    """Judge the eviction policy by every role that the server has.

    One finding: the role that suffers most speaks, and the others are named with it.
    """
    policy = facts.maxmemory_policy
    harmed = [
        (rule.severity.rank, role, harm)
        for role, rule in POLICY_RULES.items()
        if role in roles and (harm := _harm(rule, policy)) is not None
    ]
    if harmed:
        _, role, harm = max(harmed, key=lambda entry: entry[0])
        yield _policy_finding(name, roles, role, policy, harm)
    elif "cache" in roles and policy == "noeviction" and facts.maxmemory_bytes:
        yield _cache_without_eviction(name, roles)


def _harm(rule: PolicyRule, policy: str) -> str | None:
    if policy.startswith("allkeys-"):
        return rule.allkeys
    return rule.volatile if policy.startswith("volatile-") else None


def _policy_finding(name: str, roles: Sequence[str], role: str, policy: str, harm: str) -> Finding:
    rule = POLICY_RULES[role]
    shared = len(roles) > 1
    what = ROLE_WORDS[role]
    if shared:
        what += f" together with {roles_in_words([r for r in roles if r != role])}"
    advice = f"Use {rule.better}; make it permanent in the server's configuration."
    if shared and role in NEEDS_NOEVICTION:
        advice = (
            f"Give the {role} a server of its own, with noeviction: until then noeviction on this"
            " one keeps its data, and a full cache refuses writes."
        )
    return Finding(
        code="redis-policy",
        severity=rule.severity,
        subject=name,
        sentence=f"{name} holds {what} under maxmemory-policy {policy}: {harm}.",
        evidence={"maxmemory_policy": policy, "roles": list(roles)},
        advice=advice,
        commands=("CONFIG SET maxmemory-policy noeviction",),
        undo=(f"CONFIG SET maxmemory-policy {policy}",),
    )


def _cache_without_eviction(name: str, roles: Sequence[str]) -> Finding:
    needing = [role for role in roles if role in POLICY_RULES]
    if needing:
        return Finding(
            code="redis-policy",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"{name} holds a cache together with {roles_in_words(needing)} under noeviction: that keeps"
                " what must stay, but once the cache has filled the server every write fails."
            ),
            evidence={"maxmemory_policy": "noeviction", "roles": list(roles)},
            advice="Give the cache a server of its own, with allkeys-lru or allkeys-lfu.",
        )
    return Finding(
        code="redis-policy",
        severity=Severity.WARNING,
        subject=name,
        sentence=f"{name} is a cache under noeviction: when it is full, every write fails.",
        evidence={"maxmemory_policy": "noeviction", "roles": list(roles)},
        advice="Use allkeys-lru, or allkeys-lfu, unless sessions share this server.",
        commands=("CONFIG SET maxmemory-policy allkeys-lru",),
        undo=("CONFIG SET maxmemory-policy noeviction",),
    )


def roles_in_words(roles: Sequence[str]) -> str:
    """Say what a server holds by its roles: ``a broker, sessions and streams``."""
    *first, last = [ROLE_WORDS[role] for role in roles]
    return f"{', '.join(first)} and {last}" if first else last


def diagnose_evictions(
    name: str, roles: Sequence[str], facts: ServerFacts, counted_: Counted
) -> Iterator[Finding]:
    """Name the keys that were evicted; how serious that is depends on the roles."""
    evicted = counted_.of("evicted_keys")
    if evicted == 0:
        return
    severity = Severity.INFO if tuple(roles) == ("cache",) else Severity.WARNING
    if any(role in NEEDS_NOEVICTION for role in roles):
        severity = Severity.CRITICAL
    yield Finding(
        code="redis-evictions",
        severity=severity,
        subject=name,
        sentence=f"{name} evicted {counted(evicted, 'key')} {counted_.since} for lack of memory.",
        evidence={
            "evicted_keys": evicted,
            "maxmemory_policy": facts.maxmemory_policy,
            "roles": list(roles),
        },
        advice=(
            "A cache may evict; if its hit ratio falls, raise maxmemory or store less."
            if severity is Severity.INFO
            else "Find out what is missing, then raise maxmemory, and set a policy that evicts nothing"
            " that must stay."
        ),
    )


def diagnose_fragmentation(
    name: str, facts: ServerFacts, info: Mapping[str, Any]
) -> Iterator[Finding]:
    """Judge resident against used memory, from :data:`FRAGMENTATION_MINIMUM_BYTES` on."""
    ratio = facts.fragmentation_ratio
    evidence = {"fragmentation_ratio": ratio, "used_memory_bytes": facts.used_memory_bytes}
    if facts.used_memory_bytes < FRAGMENTATION_MINIMUM_BYTES or ratio == 0:
        return
    if ratio > FRAGMENTATION_HIGH_RATIO:
        can_defragment = "jemalloc" in str(info.get("mem_allocator", "jemalloc"))
        yield Finding(
            code="redis-fragmentation",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} occupies {ratio:.1f} times the memory of its data;"
                f" {bytes_in_words(facts.fragmentation_bytes)} are lost to fragmentation."
            ),
            evidence=evidence,
            advice=(
                "Turn on active defragmentation, or restart the server. After a large deletion"
                " MEMORY PURGE may give it back at once."
                if can_defragment
                else "Restart the server: its allocator is not jemalloc and cannot be defragmented."
            ),
            commands=("CONFIG SET activedefrag yes",) if can_defragment else (),
            undo=("CONFIG SET activedefrag no",) if can_defragment else (),
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


def diagnose_expiry(
    name: str, info: Mapping[str, Any], counted_: Counted, thresholds: Thresholds
) -> Iterator[Finding]:
    """Name expired keys that still take memory, by the server's own estimate."""
    stale = float(info.get("expired_stale_perc", 0.0)) / 100
    if stale <= thresholds.redis_expired_ratio:
        return
    capped = counted_.of("expired_time_cap_reached_count")
    yield Finding(
        code="redis-expired-backlog",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"About {percent(stale)} of the keys of {name} that have a time to live are past it and"
            " still take memory: they expire faster than the server removes them."
        ),
        evidence={
            "expired_stale_ratio": stale,
            "limit_ratio": thresholds.redis_expired_ratio,
            "expiry_cut_short": capped,
        },
        advice=(
            "Let the server work harder on it, and spread the time-outs of values that are written"
            " together."
        ),
        commands=("CONFIG SET active-expire-effort 5",),
        undo=("CONFIG SET active-expire-effort 1",),
    )
