"""Which part of a site is short of something: database, cache, workers, web; and by which evidence.

Each rule looks at one stored number of the last quarter. A part of which too little is known gets no
advice but the reason why.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maintenance.capacity.metrics import subject_of, value_in_words
from maintenance.capacity.review import ReadSeries
from maintenance.conf import Configuration
from maintenance.core.daily import DailySeries, Day
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Table
from maintenance.core.trend import DAY_SECONDS
from maintenance.core.wording import counted, listed

QUARTER_DAYS = 90
#: Four weekly measurements; a fortnight holds every day of the week twice.
MINIMUM_DAYS_MEASURED = 4
MINIMUM_SPAN_DAYS = 14
#: A day of ten over the limit is no accident: about one a week and a half.
OFTEN_RATIO = 0.10


class Part(StrEnum):
    """What can be made larger on its own."""

    DATABASE = "database"
    CACHE = "cache"
    WORKERS = "workers"
    WEB = "web"


class Advice(StrEnum):
    """What to do with a part."""

    GROW = "scale up"
    KEEP = "enough"
    SHRINK = "could be smaller"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Rule:
    """From where on a day counts as short. ``limit`` names a field of ``thresholds``, of each target
    (``target.max_pending``), or is the number itself; ``scale`` turns a sample into its unit.

    ``small_ratio`` is the share of the limit that no day reached where a part could be smaller.
    """

    part: Part
    metric: str
    section: str
    words: str
    limit: str | float
    day: str
    remedy: str
    scale: float = 1.0
    is_floor: bool = False
    small_ratio: float | None = None


#: The shares are those of the daily checks; see ``conf.thresholds`` and each check for their sources.
RULES = (
    Rule(
        Part.DATABASE,
        "connections_used_ratio",
        "databases",
        "used connections",
        0.80,
        "highest",
        "a pooler such as PgBouncer in front, or a higher max_connections",
        small_ratio=0.10,
    ),
    Rule(
        Part.DATABASE,
        "active_connections_count",
        "databases",
        "active connections",
        "active_connections",
        "highest",
        "more processors, a read replica for reports, or fewer slow queries",
    ),
    Rule(
        Part.DATABASE,
        "database_cache_hit_ratio",
        "databases",
        "database cache hit ratio",
        "database_cache_hit_ratio",
        "last",
        "more memory for shared_buffers and the machine",
        is_floor=True,
    ),
    Rule(
        Part.DATABASE,
        "disk_used_ratio",
        "hosts",
        "used disk",
        "disk_warning_ratio",
        "last",
        "a larger disk",
    ),
    Rule(
        Part.CACHE,
        "redis_used_memory_ratio",
        "redis",
        "used memory of Redis",
        "redis_memory_ratio",
        "highest",
        "more memory for Redis, or less in it (reclaim_redis_memory)",
        small_ratio=0.10,
    ),
    Rule(
        Part.CACHE,
        "cache_hit_ratio",
        "redis",
        "cache hit ratio",
        "cache_hit_ratio",
        "last",
        "more memory if keys are evicted, longer times to live otherwise (review_caching_strategy)",
        is_floor=True,
    ),
    Rule(
        Part.WORKERS,
        "queue_depth_messages",
        "brokers",
        "queue depth",
        "target.max_pending",
        "highest",
        "more worker processes for that queue",
        small_ratio=0.01,
    ),
    Rule(
        Part.WEB,
        "response_p95_seconds",
        "logs",
        "response time, p95",
        "response_p95_ms",
        "last",
        "more web workers if processors are idle, larger machines otherwise; slow routes first",
        scale=1000,
    ),
    Rule(
        Part.WEB,
        "server_error_ratio",
        "logs",
        "5xx errors",
        "server_error_ratio",
        "highest",
        "see the bursts in review_error_rates: 502 and 504 mean too few or dead web workers",
    ),
    Rule(
        Part.WEB,
        "load_test_p95_seconds",
        "load_test",
        "response time under the load test, p95",
        "response_p95_ms",
        "last",
        "more web workers before the load that the test made becomes real",
        scale=1000,
    ),
)
#: One load test a quarter is one measurement, and each stands for itself.
SINGLE_METRICS = frozenset({"load_test_p95_seconds"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """One series by one rule. ``short_days`` of ``days`` were over (or under) the limit.

    ``withheld`` says why it supports no advice; then the counts are of what there is.
    """

    rule: Rule
    name: str
    limit: float
    days: int
    short_days: int
    median_value: float
    worst_value: float
    withheld: str

    @property
    def advice(self) -> Advice:
        """What this number alone says."""
        if self.withheld:
            return Advice.WITHHELD
        if self.short_days >= max(1, OFTEN_RATIO * self.days):
            return Advice.GROW
        small = self.rule.small_ratio
        if small is not None and self.worst_value < small * self.limit:
            return Advice.SHRINK
        return Advice.KEEP


def assess_scaling(
    job: Job[None, NoOptions], configuration: Configuration, read: ReadSeries, now: float
) -> Report:
    """Judge each part by the last quarter. Asks no server; ``now`` is in seconds since the epoch."""
    found: dict[Part, list[Evidence]] = {part: [] for part in Part}
    missing: dict[Part, list[str]] = defaultdict(list)
    for number, rule in enumerate(RULES):
        job.progress.update(number, len(RULES), phase=rule.words, unit="rules")
        targets = getattr(configuration, rule.section)
        evidence = list(_evidence(rule, configuration, read, now))
        found[rule.part] += evidence
        if not evidence:
            missing[rule.part].append(
                f"no samples of {rule.words}{'' if targets else f' (no target under {rule.section})'}"
            )
    findings = [f for part in Part for f in diagnose(part, found[part], missing[part])]
    return Report(
        title="Scaling",
        summary=_summary(found),
        findings=tuple(by_seriousness(findings)),
        tables=(
            Table.of("Parts", [_part_row(part, found[part], missing[part]) for part in Part]),
            *_evidence_table([e for part in Part for e in found[part]]),
        ),
        facts={"quarter_days": QUARTER_DAYS, "often_ratio": OFTEN_RATIO},
    )


def _evidence(
    rule: Rule, configuration: Configuration, read: ReadSeries, now: float
) -> Iterator[Evidence]:
    targets: Mapping[str, Any] = getattr(configuration, rule.section)
    first = int(now // DAY_SECONDS) - QUARTER_DAYS
    for series in read(list(targets), rule.metric):
        days = series.since(first)
        if days:
            yield evidence_of(rule, series, days, _limit(rule, configuration, series.target))


def _limit(rule: Rule, configuration: Configuration, target: str) -> float:
    if not isinstance(rule.limit, str):
        return rule.limit
    if rule.limit.startswith("target."):
        section = getattr(configuration, rule.section)[target]
        return float(getattr(section, rule.limit.removeprefix("target.")))
    return float(getattr(configuration.thresholds, rule.limit))


def evidence_of(rule: Rule, series: DailySeries, days: Sequence[Day], limit: float) -> Evidence:
    """Count the days of one series that were short. Pure."""
    values = sorted(getattr(day, rule.day) * rule.scale for day in days)
    short = [v for v in values if (v < limit if rule.is_floor else v >= limit)]
    span = days[-1].number - days[0].number
    is_enough = len(values) >= MINIMUM_DAYS_MEASURED and span >= MINIMUM_SPAN_DAYS
    return Evidence(
        rule=rule,
        name=subject_of(series.target, series.subject),
        limit=limit,
        days=len(values),
        short_days=len(short),
        median_value=values[len(values) // 2],
        worst_value=values[0] if rule.is_floor else values[-1],
        withheld=""
        if is_enough or rule.metric in SINGLE_METRICS
        else (
            f"needs {MINIMUM_DAYS_MEASURED} measured days over {MINIMUM_SPAN_DAYS} days (so far"
            f" {len(values)} over {span})"
        ),
    )


def advice_of(evidence: Sequence[Evidence]) -> Advice:
    """Join what the numbers of a part say: one that is short decides."""
    said = {e.advice for e in evidence}
    if Advice.GROW in said:
        return Advice.GROW
    if Advice.KEEP in said:
        # Smaller only where nothing speaks against it: another number may need what is there.
        return Advice.KEEP
    return Advice.SHRINK if Advice.SHRINK in said else Advice.WITHHELD


def diagnose(part: Part, evidence: Sequence[Evidence], missing: Sequence[str]) -> Iterator[Finding]:
    """Say what a part is short of, that it could be smaller, or why nothing is said."""
    advice = advice_of(evidence)
    if advice is Advice.WITHHELD:
        reasons = [f"{e.rule.words} of {e.name}: {e.withheld}" for e in evidence] or list(missing)
        yield Finding(
            code="scaling-withheld",
            severity=Severity.INFO,
            subject=part.value,
            sentence=f"unavailable: advice on the {part} is withheld: {listed(reasons, 3)}",
            evidence={"reasons": reasons},
            advice="Leave the daily and weekly checks on their schedules: each run adds a measurement.",
            measured=False,
        )
    for each in evidence:
        if each.advice is Advice.GROW:
            yield _short(part, each)
    if advice is Advice.SHRINK:
        yield Finding(
            code="scaling-smaller",
            severity=Severity.INFO,
            subject=part.value,
            sentence=(
                f"{part.value.capitalize()} could be smaller: "
                + listed([_in_words(e) for e in evidence if e.advice is Advice.SHRINK], 3)
                + "."
            ),
            advice="Halve it and look again in a month, if what it costs is worth the work.",
        )


def _short(part: Part, e: Evidence) -> Finding:
    return Finding(
        code="scaling-short",
        severity=Severity.WARNING,
        subject=e.name,
        sentence=(
            f"{part.value.capitalize()} ran short: {e.rule.words} of {e.name}"
            f" {'fell below' if e.rule.is_floor else 'reached'} {_value(e.rule, e.limit)} on"
            f" {e.short_days} of {counted(e.days, 'measured day')} (median"
            f" {_value(e.rule, e.median_value)}, worst {_value(e.rule, e.worst_value)})."
        ),
        evidence={
            "part": part.value,
            "metric": e.rule.metric,
            "limit": e.limit,
            "short_days": e.short_days,
            "measured_days": e.days,
            "median": e.median_value,
            "worst": e.worst_value,
        },
        advice=f"It asks for {e.rule.remedy}.",
    )


def _in_words(e: Evidence) -> str:
    return (
        f"{e.rule.words} of {e.name} never passed {_value(e.rule, e.worst_value)} of"
        f" {_value(e.rule, e.limit)}"
    )


def _value(rule: Rule, value: float) -> str:
    if rule.metric == "active_connections_count":
        return f"{value:,.0f}"
    return value_in_words(rule.metric, value / rule.scale)


def _summary(found: Mapping[Part, Sequence[Evidence]]) -> str:
    by_advice: dict[Advice, list[str]] = {advice: [] for advice in Advice}
    for part, evidence in found.items():
        by_advice[advice_of(evidence)].append(part.value)
    said = [f"{advice}: {', '.join(parts)}" for advice, parts in by_advice.items() if parts]
    return f"By the last quarter: {'; '.join(said)}."


def _part_row(part: Part, evidence: Sequence[Evidence], missing: Sequence[str]) -> dict[str, Any]:
    short = [e for e in evidence if e.advice is Advice.GROW]
    advice = advice_of(evidence)
    withheld = [f"{e.rule.words} of {e.name} {e.withheld}" for e in evidence if e.withheld]
    return {
        "part": part.value,
        "advice": advice.value,
        "evidence": listed(
            [f"{e.rule.words} of {e.name}: {e.short_days} of {e.days} days short" for e in short]
            or [f"{e.rule.words} of {e.name}: enough" for e in evidence if not e.withheld],
            3,
        ),
        "remedy": listed(list(dict.fromkeys(e.rule.remedy for e in short)), 3),
        "reason_withheld": listed([*withheld, *missing], 3),
    }


def _evidence_table(evidence: Sequence[Evidence]) -> Iterator[Table]:
    if evidence:
        yield Table.of(
            "Evidence",
            [
                {
                    "part": e.rule.part.value,
                    "what": f"{e.rule.words} of {e.name}",
                    "limit": _value(e.rule, e.limit),
                    "median": _value(e.rule, e.median_value),
                    "worst": _value(e.rule, e.worst_value),
                    "short_days": e.short_days,
                    "measured_days": e.days,
                    "advice": e.advice.value,
                    "reason_withheld": e.withheld,
                }
                for e in evidence[:60]
            ],
        )
