"""The monthly review of a caching strategy: what to do with the values of each key prefix."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maintenance.caching.backend import OpenCache, opened
from maintenance.caching.counters import StoredCounts, stored_counts
from maintenance.caching.instrumented import Instrumented
from maintenance.caching.key_prefixes import prefix_of
from maintenance.caching.stored_sample import NEEDS_ACL, CacheSample, take_sample
from maintenance.caching.strategy import MINIMUM_DAYS, Advice, PrefixUse, Verdict, judge, to_row
from maintenance.conf import CacheTarget, Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job, Progress
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted, listed
from maintenance.redis_client.server import ServerFacts, server_facts

#: The schedule is monthly: every day since the previous review.
WINDOW_DAYS = 31
SHOWN_PREFIXES = 60

#: What this package itself keeps in a cache: versions of tags and namespaces, counts, marks.
_OWN = "maintenance-"


def review_caching_strategy(job: Job[CacheTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Judge each key prefix of a cache by a month of counts and a sample of its keys.

    Raises :class:`TargetUnavailable` and :class:`MissingRights` for the cache's server.
    """
    with opened(job.target_name, job.target) as cache:
        if cache.client is None:
            return _unmeasured(job.target_name, "a cache in Redis or Valkey")
        facts = server_facts(cache.client)
        counts = stored_counts(cache, WINDOW_DAYS)
        if not counts.prefixes:
            return _unmeasured(
                job.target_name,
                "a backend that counts (maintenance.caching.instrumented.RedisCache in"
                f" settings.CACHES) and {WINDOW_DAYS} days of its counts",
            )
        sample = _sample(cache, job.progress)
    uses = uses_of(counts, sample, evicted_since(facts, job.previous_state))
    judged = [(use, judge(use, thresholds)) for use in uses]
    return build_report(job.target_name, counts, sample, judged, facts)


def evicted_since(facts: ServerFacts, previous: Mapping[str, Any]) -> int:
    """Return the keys that the server evicted since the previous review, or since its start."""
    if previous.get("run_id") == facts.run_id:
        return max(0, facts.evicted_keys - int(previous["evicted_keys"]))
    return facts.evicted_keys


def uses_of(counts: StoredCounts, sample: CacheSample | None, evicted_keys: int) -> list[PrefixUse]:
    """Put counts and sample together, the most used prefixes first; this package's own left out."""
    return [
        PrefixUse(
            counts=prefix,
            days=counts.days_found,
            stored=sample.stored(prefix.prefix) if sample else None,
            evicted_keys=evicted_keys,
        )
        for prefix in counts.prefixes
        if not prefix.prefix.startswith(_OWN)
    ][:SHOWN_PREFIXES]


def _sample(cache: OpenCache, progress: Progress) -> CacheSample | None:
    if cache.client is None or not cache.stored_head:
        return None
    rule = cache.cache.counts.prefix_of if isinstance(cache.cache, Instrumented) else prefix_of
    return take_sample(cache.client, cache.stored_head, rule, progress)


def _unmeasured(name: str, needs: str) -> Report:
    return Report(
        title=f"Caching strategy of {name}",
        summary=f"Nothing can be said of {name} yet: this needs {needs}.",
        findings=(unavailable("cache-strategy", name, "a verdict on each key prefix", needs),),
    )


def build_report(
    name: str,
    counts: StoredCounts,
    sample: CacheSample | None,
    judged: Sequence[tuple[PrefixUse, Verdict]],
    facts: ServerFacts,
) -> Report:
    """Say what to change, and why, of how many prefixes."""
    return Report(
        title=f"Caching strategy of {name}",
        summary=_summary(name, counts, judged),
        findings=tuple(_findings(name, counts, sample, judged)),
        tables=(
            Table.of(
                f"Key prefixes of {name}, {counted(counts.days_found, 'day')}",
                [to_row(use, verdict) for use, verdict in judged],
            ),
        ),
        facts={
            "server": facts.name,
            "days_counted": counts.days_found,
            "keys_sampled": sample.looked_at if sample else 0,
            "sample_is_whole": sample.is_whole if sample else False,
            "needs_acl": ["+ping", "+info", "+hgetall", *NEEDS_ACL],
        },
        state={"run_id": facts.run_id, "evicted_keys": facts.evicted_keys},
    )


def _summary(name: str, counts: StoredCounts, judged: Sequence[tuple[PrefixUse, Verdict]]) -> str:
    changes = {
        advice: [use.counts.prefix for use, verdict in judged if verdict.advice is advice]
        for advice in (Advice.DROP, Advice.WARM, Advice.LONGER, Advice.SHORTER)
    }
    said = [
        f"{advice.value} {listed(prefixes)}" for advice, prefixes in changes.items() if prefixes
    ]
    kept = sum(verdict.advice is Advice.KEEP for _, verdict in judged)
    withheld = sum(verdict.advice is Advice.WITHHELD for _, verdict in judged)
    rest = f"keep {counted(kept, 'prefix', 'prefixes')} as now" if kept else ""
    unknown = f"{withheld:,} without a verdict" if withheld else ""
    told = "; ".join(part for part in (*said, rest, unknown) if part)
    return f"{name}, by {counted(counts.days_found, 'day')} of counts: {told}."


def _findings(
    name: str,
    counts: StoredCounts,
    sample: CacheSample | None,
    judged: Sequence[tuple[PrefixUse, Verdict]],
) -> Iterator[Finding]:
    for use, verdict in judged:
        if verdict.change:
            yield Finding(
                code=f"cache-strategy-{verdict.advice.value}",
                severity=Severity.INFO,
                subject=f"{name}: {use.counts.prefix}",
                sentence=f"{_heading(verdict.advice)} {use.counts.prefix}: {verdict.reason}",
                evidence=to_row(use, verdict),
                advice=verdict.change,
            )
    if counts.days_found < MINIMUM_DAYS:
        yield unavailable(
            "cache-strategy",
            name,
            "a verdict on each key prefix",
            f"counts of {MINIMUM_DAYS} days (there are {counts.days_found})",
        )
    if sample is None or sample.memory_denied:
        yield unavailable(
            "cache-strategy-memory",
            name,
            "the memory of each prefix",
            "ACL +memory|usage" if sample else "a KEY_FUNCTION that keeps the key's text",
        )


def _heading(advice: Advice) -> str:
    return {
        Advice.DROP: "Stop caching",
        Advice.WARM: "Warm",
        Advice.LONGER: "Hold longer:",
        Advice.SHORTER: "Hold shorter:",
    }.get(advice, "Keep")
