"""redis.conf by role: memory, what to forget when it is full, and what must survive a restart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from maintenance.conf import RedisTarget, Thresholds
from maintenance.core.configuration_file import ConfigurationFile, Line, withheld
from maintenance.core.findings import Finding, by_seriousness, unavailable
from maintenance.core.reports import Report, Table
from maintenance.core.wording import bytes_in_words
from maintenance.redis.memory.limits import (
    NEEDS_NOEVICTION,
    ceiling_of,
    diagnose_limit,
    diagnose_policy,
    roles_in_words,
)
from maintenance.redis.memory.persistence import MUST_SURVIVE, diagnose_persistence
from maintenance.redis_client.connection import session
from maintenance.redis_client.server import ServerFacts, parse_facts

MB = 1024**2

#: What the guide prints for redis.conf.
GUIDE_SETTINGS: Mapping[str, str] = {
    "maxmemory": "512mb",
    "maxmemory-policy": "allkeys-lru",
    "save": "900 1 300 10 60 10000",
}
GUIDE_SAVES = ("900 1", "300 10", "60 10000")
_SETTINGS = ("maxmemory", "maxmemory-policy", "save", "appendonly")

#: The rest is for a save or a rewrite of the append-only file, which copies what changes meanwhile
#: (Redis documentation, "Redis administration").
MAXMEMORY_RATIO = 0.75
#: Of a machine that others share, as long as nobody says what they need: beside as much for a save,
#: half is left for PostgreSQL, Gunicorn and workers.
SHARED_RATIO = 0.25
#: A limit that is a third higher than advised leaves little room, but some.
TOLERATED_FACTOR = 4 / 3
#: Below, the server would be full on the day it starts with the new value.
ROOM_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class RedisSituation:
    """What advice follows from. ``memory_bytes`` is what the server may use, ``None`` if unknown;
    ``shared`` says that other programs use it as well. ``used_bytes`` is 0 for a new server."""

    roles: tuple[str, ...]
    memory_bytes: int | None = None
    shared: bool = False
    used_bytes: int = 0

    @property
    def maxmemory_bytes(self) -> int | None:
        """The share of the memory that its data may have, in whole megabytes; ``None`` if unknown."""
        if self.memory_bytes is None:
            return None
        ratio = SHARED_RATIO if self.shared else MAXMEMORY_RATIO
        return int(self.memory_bytes * ratio) // MB * MB

    @property
    def policy(self) -> str:
        """The policy under which nothing vanishes that must stay."""
        if any(role in self.roles for role in (*NEEDS_NOEVICTION, "sessions")):
            return "noeviction"
        if "streams" in self.roles:
            return "volatile-lru" if "cache" in self.roles else "noeviction"
        return "allkeys-lru"

    @property
    def must_survive(self) -> list[str]:
        """The roles whose loss at a restart is felt."""
        return [role for role in MUST_SURVIVE if role in self.roles]


@dataclass(frozen=True, slots=True)
class RedisLook:
    """INFO, and the settings of the guide; those are empty where CONFIG GET is not allowed."""

    info: Mapping[str, Any]
    facts: ServerFacts
    settings: Mapping[str, str]


def look_at_redis(target: RedisTarget) -> RedisLook:
    """Read INFO and a few settings. Raises what :func:`session` raises."""
    with session(target) as client:
        info: Mapping[str, Any] = client.info()
        return RedisLook(info, parse_facts(info), _settings(client))


def _settings(client: redis.Redis) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _SETTINGS:
        try:
            found |= {str(key): str(value) for key, value in client.config_get(name).items()}
        except redis.ResponseError:
            return {}
    return found


def situation_of(target: RedisTarget, roles: Sequence[str], look: RedisLook) -> RedisSituation:
    """Return what advice on a running server follows from.

    Its machine is shared as far as anybody knows; what the target says is the server's alone.
    """
    machine = int(look.info.get("total_system_memory", 0)) or None
    limit = target.memory_limit_bytes
    return RedisSituation(
        roles=tuple(roles),
        memory_bytes=limit or machine,
        shared=limit is None,
        used_bytes=look.facts.used_memory_bytes,
    )


def review_redis(
    name: str, target: RedisTarget, roles: Sequence[str], thresholds: Thresholds
) -> Report:
    """Judge memory, policy and persistence of one server as it is set up.

    Needs PING and INFO; without CONFIG GET what that hides is named. Raises what
    :func:`look_at_redis` raises.
    """
    look = look_at_redis(target)
    findings: list[Finding] = [
        *diagnose_limit(
            name,
            roles,
            look.facts,
            ceiling_of(look.facts, look.info, target.memory_limit_bytes),
            thresholds,
        ),
        *diagnose_policy(name, roles, look.facts),
        *diagnose_persistence(name, roles, look.info, look.settings, thresholds),
    ]
    if not look.settings:
        what = "what is written to disk when"
        findings.append(unavailable("redis-settings", name, what, "the ACL right +config|get"))
    rows = list(guide_rows(situation_of(target, roles, look), look))
    return Report(
        title=f"Redis {name}",
        summary=(
            f"{name} ({look.facts.name}, {', '.join(roles)}) uses"
            f" {bytes_in_words(look.facts.used_memory_bytes)} under {look.facts.maxmemory_policy}."
        ),
        findings=tuple(by_seriousness(findings)),
        tables=(Table.of(f"The guide's settings of Redis {name}", rows),),
    )


def guide_rows(situation: RedisSituation, look: RedisLook) -> Iterator[dict[str, Any]]:
    """Yield each setting of the guide beside what is deployed and what is advised."""
    advised = situation.maxmemory_bytes
    deployed = look.facts.maxmemory_bytes
    policy = look.facts.maxmemory_policy
    saves = look.settings.get("save")
    is_kept = bool(saves) or look.settings.get("appendonly") == "yes"
    survives = "must survive a restart" if situation.must_survive else "may be lost"
    verdicts: dict[str, tuple[str | None, str | None, str]] = {
        "maxmemory": (
            size_text(deployed) if deployed else "unlimited",
            size_text(advised) if advised else None,
            _memory_verdict(deployed, advised, situation.used_bytes),
        ),
        "maxmemory-policy": (
            policy,
            situation.policy,
            "fits" if policy == situation.policy else "change",
        ),
        "save": (
            saves,
            "as the guide, and appendonly yes" if situation.must_survive else '""',
            "hidden"
            if saves is None
            else "change"
            if situation.must_survive and not is_kept
            else f"fits: {survives}",
        ),
    }
    for name, printed in GUIDE_SETTINGS.items():
        now, better, verdict = verdicts[name]
        yield {
            "setting": name,
            "guide": printed,
            "deployed": now,
            "advised": better,
            "verdict": verdict,
        }


def _memory_verdict(deployed: int, advised: int | None, used: int) -> str:
    if not advised:
        return "withheld: memory unknown"
    if advised < used * ROOM_RATIO:
        return "withheld: it uses more than that"
    return "fits" if 0 < deployed <= advised * TOLERATED_FACTOR else "change"


def redis_conf(situation: RedisSituation, about: str) -> ConfigurationFile:
    """Return the lines of redis.conf, or valkey.conf, that depend on machine and role. Pure."""
    lines = (*_memory(situation), *_policy(situation), *_persistence(situation))
    return ConfigurationFile("redis.conf", about, lines)


def _memory(situation: RedisSituation) -> Iterator[Line]:
    advised = situation.maxmemory_bytes
    if not advised:  # 0 would be no limit at all
        yield withheld(
            "maxmemory", "the memory of its machine or container (memory_limit_bytes, --memory)"
        )
    elif advised < situation.used_bytes * ROOM_RATIO:
        yield withheld(
            "maxmemory",
            f"more memory than there is: {bytes_in_words(situation.used_bytes)} are in use, and"
            f" {bytes_in_words(advised)} would be its share",
        )
    else:
        share = "Three quarters of its memory"
        if situation.shared:
            share = (
                f"A quarter of {bytes_in_words(situation.memory_bytes or 0)}, since others share the"
                " machine and nobody says what they need (--dedicated, memory_limit_bytes)"
            )
        yield Line(
            f"maxmemory {size_text(advised)}",
            f"{share}: a save or a rewrite of the append-only file copies what changes meanwhile."
            " Without a limit the operating system ends the server when memory is full.",
        )


def _policy(situation: RedisSituation) -> Iterator[Line]:
    reasons = {
        "allkeys-lru": "A cache forgets what nobody has used for longest.",
        "volatile-lru": (
            "Cached values have a time to live and may go; streams have none and stay. A server for"
            " each would be better."
        ),
        "noeviction": (
            f"It holds {roles_in_words(situation.roles)}, of which nothing may vanish: when memory is"
            " full, writes fail and somebody notices."
        ),
    }
    yield Line(f"maxmemory-policy {situation.policy}", reasons[situation.policy])
    if "cache" in situation.roles and situation.policy == "noeviction":
        yield withheld(
            "A policy that lets the cache forget",
            "a server of its own for the cache; allkeys-lru would drop what must stay here",
        )


def _persistence(situation: RedisSituation) -> Iterator[Line]:
    if not situation.must_survive:
        yield Line('save ""', "A cache fills itself again; saving it only forks and writes.")
        yield Line("appendonly no", "As before: nothing here must survive a restart.")
        return
    lost = ", and ".join(MUST_SURVIVE[role] for role in situation.must_survive)
    yield Line(
        "appendonly yes",
        f"Without it a crash takes what came after the last snapshot: {lost}. Of a server that runs, turn it on by CONFIG SET"
        " first: a restart with this line alone begins with an empty file.",
    )
    yield Line("appendfsync everysec", "At most a second is lost, and no write waits for the disk.")
    for save in GUIDE_SAVES:
        seconds, changes = save.split()
        yield Line(
            f"save {save}",
            f"A snapshot after {seconds} s with {changes} change(s): one file to back up (the guide's).",
        )


def size_text(size_bytes: int) -> str:
    """Write a size as redis.conf does: ``512mb``."""
    return f"{size_bytes // MB}mb" if size_bytes >= MB else str(size_bytes)
