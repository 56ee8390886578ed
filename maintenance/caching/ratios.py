"""How often a lookup finds its key: by server, by cache and key prefix, and beside PostgreSQL."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.caching import prefix_ratios
from maintenance.caching.prefix_ratios import EARLIER_SECONDS, FALL_POINTS, earlier_ratio
from maintenance.conf import CacheTarget, RedisTarget, Thresholds, is_above
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import History, Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.plots import Plot, over_time
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, day_in_words, percent
from maintenance.redis_client.connection import session
from maintenance.redis_client.own_walks import OwnWalks, covered
from maintenance.redis_client.server import ServerFacts, server_facts

METRIC = "cache_hit_ratio"
#: The name under which the review of PostgreSQL's buffer cache stores its own.
DATABASE_METRIC = "database_cache_hit_ratio"
#: A role whose misses mean nothing: empty queues are asked for all day long, by workers and by whoever
#: reads their depth. What is cached on such a server has no ratio by the server's counters.
BROKER = "broker"
NO_WALKS = OwnWalks()


@dataclass(frozen=True, slots=True)
class HitWindow:
    """Lookups in one stretch of time; ``since_start`` says that it is the server's whole life.

    ``evicted_keys`` is ``None`` where the previous review did not note them. ``left_out`` lookups were
    counted while a walk of ours was at work, and are none of these.
    """

    hits: int
    misses: int
    window_seconds: float
    since_start: bool
    evicted_keys: int | None = None
    left_out: int = 0

    @property
    def reads(self) -> int:
        """Lookups of either kind."""
        return self.hits + self.misses

    @property
    def ratio(self) -> float | None:
        """Hits over lookups; ``None`` without any lookup."""
        return self.hits / self.reads if self.reads else None


def review_cache_hit_ratios(
    job: Job[RedisTarget, NoOptions],
    thresholds: Thresholds,
    caches: Mapping[str, CacheTarget] | None = None,
    databases: Mapping[str, History] | None = None,
    servers: Sequence[History] = (),
) -> Report:
    """Compare keyspace hits and misses since the previous review with the guide's 80 %.

    The first review, and one after a restart of the server or of its counters, looks at the time
    since the server's start. Those of ``caches`` that live on this server are told apart by key
    prefix, where their backend counts; of ``databases`` the last stored ratio stands beside.
    ``servers`` are the histories of all Redis targets, one of which may be on the same server: what was
    counted while a walk of ours was at work there is left out.
    Raises :class:`TargetUnavailable` and :class:`MissingRights`.
    """
    with session(job.target) as client:
        facts = server_facts(client)
    walks = OwnWalks.noted(servers, facts.run_id, facts.uptime_seconds)
    window = hit_window(facts, job.previous_state, walks)
    found = prefix_ratios.measure(caches or {}, facts.run_id)
    lines = prefix_ratios.lines_of(found, job.history)
    earlier = earlier_ratio(job.history.series(METRIC, since_seconds=EARLIER_SECONDS))
    return Report(
        title=f"Cache hit ratio of {job.target_name}",
        summary=_summary(job.target_name, job.target.role, window, thresholds),
        findings=(
            *diagnose(job.target_name, job.target.role, window, thresholds, earlier),
            *prefix_ratios.diagnose(job.target_name, found, lines, thresholds, window.evicted_keys),
        ),
        tables=(
            Table.of("Lookups", [_row(window, facts, earlier)]),
            *prefix_ratios.tables(found, lines),
            *_beside(databases or {}, thresholds),
        ),
        facts={
            "server": facts.name,
            "target_ratio": thresholds.cache_hit_ratio,
            "since": "server start" if window.since_start else "previous review",
            "lookups_left_out": window.left_out,
            "needs_acl": ["+info", "+ping", *(["+hgetall"] if found else [])],
        },
        samples=(
            *_samples(job.target.role, window, thresholds),
            *prefix_ratios.samples(lines, thresholds),
        ),
        plots=_plots(job, window, thresholds),
        state={
            "run_id": facts.run_id,
            "keyspace_hits": facts.keyspace_hits,
            "keyspace_misses": facts.keyspace_misses,
            "evicted_keys": facts.evicted_keys,
            "uptime_seconds": facts.uptime_seconds,
        },
    )


def hit_window(
    facts: ServerFacts, previous: Mapping[str, Any], walks: OwnWalks = NO_WALKS
) -> HitWindow:
    """Return the lookups outside of ``walks`` since ``previous``, or since the counters began."""
    same_life = previous.get("run_id") == facts.run_id
    if (
        same_life
        and previous["keyspace_hits"] <= facts.keyspace_hits
        and previous["keyspace_misses"] <= facts.keyspace_misses
    ):
        own_hits = covered(walks.hits, previous["keyspace_hits"], facts.keyspace_hits)
        own_misses = covered(walks.misses, previous["keyspace_misses"], facts.keyspace_misses)
        return HitWindow(
            hits=facts.keyspace_hits - previous["keyspace_hits"] - own_hits,
            misses=facts.keyspace_misses - previous["keyspace_misses"] - own_misses,
            window_seconds=facts.uptime_seconds - previous["uptime_seconds"],
            since_start=False,
            evicted_keys=_since(facts.evicted_keys, previous.get("evicted_keys")),
            left_out=own_hits + own_misses,
        )
    # Somebody who sets the counters back takes from the stretches what they meant.
    known = NO_WALKS if same_life else walks
    own_hits = covered(known.hits, 0, facts.keyspace_hits)
    own_misses = covered(known.misses, 0, facts.keyspace_misses)
    return HitWindow(
        facts.keyspace_hits - own_hits,
        facts.keyspace_misses - own_misses,
        facts.uptime_seconds,
        since_start=True,
        evicted_keys=facts.evicted_keys,
        left_out=own_hits + own_misses,
    )


def _since(now: int, before: int | None) -> int | None:
    return None if before is None or before > now else now - before


def diagnose(
    name: str,
    role: str,
    window: HitWindow,
    thresholds: Thresholds,
    earlier: float | None = None,
) -> Iterator[Finding]:
    """Judge the ratio; withhold it where too few lookups make it noise.

    ``earlier`` is the median of earlier reviews, where there were enough.
    """
    ratio = window.ratio
    if role == BROKER:
        return
    if ratio is None or window.reads < thresholds.cache_hit_minimum_reads:
        yield unavailable(
            "cache-hit-ratio",
            name,
            "the hit ratio",
            f"at least {thresholds.cache_hit_minimum_reads:,} lookups ({window.reads:,} so far)",
        )
        return
    if not is_above(ratio, thresholds.cache_hit_ratio):
        yield Finding(
            code="cache-hit-ratio",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Only {percent(ratio)} of {window.reads:,} lookups on {name} found their key; the"
                f" target is more than {percent(thresholds.cache_hit_ratio)}."
            ),
            evidence=_evidence(window, thresholds, earlier),
            advice=_advice(window),
        )
    elif earlier is not None and ratio <= earlier - FALL_POINTS:
        yield Finding(
            code="cache-hit-ratio-fell",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"{percent(ratio)} of {window.reads:,} lookups on {name} found their key; it used"
                f" to be {percent(earlier)}."
            ),
            evidence=_evidence(window, thresholds, earlier),
            advice=_advice(window),
        )


def _evidence(window: HitWindow, thresholds: Thresholds, earlier: float | None) -> dict[str, Any]:
    return {
        "hit_ratio": window.ratio,
        "earlier_hit_ratio": earlier,
        "hits": window.hits,
        "misses": window.misses,
        "window_seconds": window.window_seconds,
        "evicted_keys": window.evicted_keys,
        "target_ratio": thresholds.cache_hit_ratio,
    }


def _advice(window: HitWindow) -> str:
    if window.evicted_keys:
        return (
            f"{counted(window.evicted_keys, 'key was', 'keys were')} evicted in this time: raise"
            " maxmemory, or keep less. Then look at the prefixes with the most misses."
        )
    return (
        "Warm the values that are asked for most, and lengthen time-outs that are shorter than the"
        " time between two reads."
    )


def _summary(name: str, role: str, window: HitWindow, thresholds: Thresholds) -> str:
    since = "since the server started" if window.since_start else "since the previous review"
    if role == BROKER:
        return (
            f"{name} had {window.reads:,} lookups {since}. It holds queues, which are asked for while they"
            " are empty: its counters have no ratio of a cache."
        )
    ratio = window.ratio
    if ratio is None or window.reads < thresholds.cache_hit_minimum_reads:
        return f"{name} had {window.reads:,} lookups {since}: too few for a ratio."
    return (
        f"{percent(ratio)} of {window.reads:,} lookups on {name} were hits {since}; the target is"
        f" more than {percent(thresholds.cache_hit_ratio)}."
    )


def _row(window: HitWindow, facts: ServerFacts, earlier: float | None) -> dict[str, Any]:
    return {
        "window_seconds": window.window_seconds,
        "hits": window.hits,
        "misses": window.misses,
        "hit_ratio": window.ratio,
        "earlier_hit_ratio": earlier,
        "evicted_keys": facts.evicted_keys,
        "expired_keys": facts.expired_keys,
    }


def _samples(role: str, window: HitWindow, thresholds: Thresholds) -> tuple[Sample, ...]:
    too_few = window.reads < thresholds.cache_hit_minimum_reads
    if window.ratio is None or too_few or role == BROKER:
        return ()
    return (Sample(METRIC, window.ratio),)


def _plots(
    job: Job[RedisTarget, NoOptions], window: HitWindow, thresholds: Thresholds
) -> tuple[Plot, ...]:
    return over_time(
        f"Lookups on {job.target_name} that found their key",
        METRIC,
        job.history.series(METRIC),
        next(
            (Point(time.time(), s.value) for s in _samples(job.target.role, window, thresholds)),
            None,
        ),
        limit=None if job.target.role == BROKER else thresholds.cache_hit_ratio,
    )


def _beside(databases: Mapping[str, History], thresholds: Thresholds) -> Iterator[Table]:
    """Return the ratios that review_database_cache_hit_ratio stored last."""
    rows = [
        {
            "database": name,
            "hit_ratio": points[-1].value,
            "target_ratio": thresholds.database_cache_hit_ratio,
            "measured_on": day_in_words(points[-1].at_epoch_seconds),
        }
        for name, history in databases.items()
        if (points := history.series(DATABASE_METRIC, since_seconds=EARLIER_SECONDS))
    ]
    if rows:
        yield Table.of("Buffer cache of PostgreSQL beside it", rows)
