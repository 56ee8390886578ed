"""How often a lookup finds its key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.conf import RedisTarget, Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import percent
from maintenance.redis_client.connection import session
from maintenance.redis_client.server import ServerFacts, server_facts


@dataclass(frozen=True, slots=True)
class HitWindow:
    """Lookups in one stretch of time; ``since_start`` says that it is the server's whole life."""

    hits: int
    misses: int
    window_seconds: float
    since_start: bool

    @property
    def reads(self) -> int:
        """Lookups of either kind."""
        return self.hits + self.misses

    @property
    def ratio(self) -> float | None:
        """Hits over lookups; ``None`` without any lookup."""
        return self.hits / self.reads if self.reads else None


def review_cache_hit_ratios(job: Job[RedisTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Compare keyspace hits and misses since the previous review with the guide's 80 %.

    The first review, and one after a restart of the server or of its counters, looks at the time
    since the server's start. Raises :class:`TargetUnavailable` and :class:`MissingRights`.
    """
    with session(job.target) as client:
        facts = server_facts(client)
    window = hit_window(facts, job.previous_state)
    return Report(
        title=f"Cache hit ratio of {job.target_name}",
        summary=_summary(job.target_name, window, thresholds),
        findings=tuple(diagnose(job.target_name, job.target.role, window, thresholds)),
        tables=(Table.of("Lookups", [_row(window, facts)]),),
        facts={
            "server": facts.name,
            "target_ratio": thresholds.cache_hit_ratio,
            "since": "server start" if window.since_start else "previous review",
            "needs_acl": ["+info", "+ping"],
        },
        samples=_samples(window, thresholds),
        state={
            "run_id": facts.run_id,
            "keyspace_hits": facts.keyspace_hits,
            "keyspace_misses": facts.keyspace_misses,
            "uptime_seconds": facts.uptime_seconds,
        },
    )


def hit_window(facts: ServerFacts, previous: Mapping[str, Any]) -> HitWindow:
    """Return the lookups since ``previous``, or since the start where the counters began anew."""
    same_life = previous.get("run_id") == facts.run_id
    if (
        same_life
        and previous["keyspace_hits"] <= facts.keyspace_hits
        and previous["keyspace_misses"] <= facts.keyspace_misses
    ):
        return HitWindow(
            hits=facts.keyspace_hits - previous["keyspace_hits"],
            misses=facts.keyspace_misses - previous["keyspace_misses"],
            window_seconds=facts.uptime_seconds - previous["uptime_seconds"],
            since_start=False,
        )
    return HitWindow(facts.keyspace_hits, facts.keyspace_misses, facts.uptime_seconds, True)


def diagnose(name: str, role: str, window: HitWindow, thresholds: Thresholds) -> Iterator[Finding]:
    """Judge the ratio; withhold it where too few lookups make it noise."""
    ratio = window.ratio
    if ratio is None or window.reads < thresholds.cache_hit_minimum_reads:
        yield unavailable(
            "cache-hit-ratio",
            name,
            "the hit ratio",
            f"at least {thresholds.cache_hit_minimum_reads:,} lookups ({window.reads:,} so far)",
        )
        return
    if role == "broker":
        # A worker polls empty lists all day long: on a broker a miss means nothing.
        return
    if ratio < thresholds.cache_hit_ratio:
        yield Finding(
            code="cache-hit-ratio",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Only {percent(ratio)} of {window.reads:,} lookups on {name} found their key; the"
                f" target is {percent(thresholds.cache_hit_ratio)}."
            ),
            evidence={
                "hit_ratio": ratio,
                "hits": window.hits,
                "misses": window.misses,
                "window_seconds": window.window_seconds,
                "target_ratio": thresholds.cache_hit_ratio,
            },
            advice=(
                "Warm the values that are asked for most, lengthen time-outs that are shorter"
                " than the time between two reads, and look for evictions (maxmemory too small)."
            ),
        )


def _summary(name: str, window: HitWindow, thresholds: Thresholds) -> str:
    since = "since the server started" if window.since_start else "since the previous review"
    ratio = window.ratio
    if ratio is None or window.reads < thresholds.cache_hit_minimum_reads:
        return f"{name} had {window.reads:,} lookups {since}: too few for a ratio."
    return (
        f"{percent(ratio)} of {window.reads:,} lookups on {name} were hits {since}; the target is"
        f" {percent(thresholds.cache_hit_ratio)}."
    )


def _row(window: HitWindow, facts: ServerFacts) -> dict[str, Any]:
    return {
        "window_seconds": window.window_seconds,
        "hits": window.hits,
        "misses": window.misses,
        "hit_ratio": window.ratio,
        "evicted_keys": facts.evicted_keys,
        "expired_keys": facts.expired_keys,
    }


def _samples(window: HitWindow, thresholds: Thresholds) -> tuple[Sample, ...]:
    if window.ratio is None or window.reads < thresholds.cache_hit_minimum_reads:
        return ()
    return (Sample("cache_hit_ratio", window.ratio),)
