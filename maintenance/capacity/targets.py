"""The guide's key performance metrics: their targets beside a quarter's reality, and what to change.

A target that reality has left far behind notices nothing any more, and one that is missed every day is
ignored: both get a proposal. Nothing changes until a person accepts it.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from maintenance.capacity.review import ReadSeries
from maintenance.conf import Configuration
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Table
from maintenance.core.trend import DAY_SECONDS
from maintenance.core.wording import counted, listed, percent

QUARTER_DAYS = 90
#: Some targets are measured weekly: two months of that are the least that stands for a quarter.
MINIMUM_DAYS_MEASURED = 8
MINIMUM_SPAN_DAYS = 56

#: Nineteen days of twenty were better than this.
WORST_DAY_RATIO = 0.95
#: Room between what such a day had and a tighter target: a target at the edge warns by chance.
ROOM_FACTOR = 1.25
#: A target is tightened by a fifth or not at all.
TIGHTER_FACTOR = 0.8
#: A target that held on fewer days is no target but a wish; the median with a tenth of room is one
#: that the site meets on most days, until what is slow has been mended.
WISH_RATIO = 0.2
INTERIM_FACTOR = 1.1
#: A target that held on fewer days is missed.
MET_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class KeyMetric:
    """One of the guide's key performance metrics.

    ``setting`` is the field of ``thresholds``, or of each of ``section`` where ``is_of_target``.
    ``scale`` turns a sample into the setting's unit. ``finest`` is as far as a target is tightened.
    """

    setting: str
    words: str
    metric: str
    section: str
    unit: str
    day: str  # which value of a day counts: "last", "lowest" or "highest"
    finest: float
    scale: float = 1.0
    higher_is_better: bool = False
    is_of_target: bool = False


#: The guide, "Key Performance Metrics".
KEY_METRICS = (
    KeyMetric(
        "response_p95_ms",
        "response time, p95",
        "response_p95_seconds",
        "logs",
        "ms",
        "last",
        50,
        1e3,
    ),
    KeyMetric(
        "response_p99_ms",
        "response time, p99",
        "response_p99_seconds",
        "logs",
        "ms",
        "last",
        100,
        1e3,
    ),
    KeyMetric(
        "active_connections",
        "active connections",
        "active_connections_count",
        "databases",
        "",
        "highest",
        10,
    ),
    KeyMetric(
        "database_cache_hit_ratio",
        "database cache hit ratio",
        "database_cache_hit_ratio",
        "databases",
        "%",
        "last",
        0.999,
        higher_is_better=True,
    ),
    KeyMetric(
        "cache_hit_ratio",
        "cache hit ratio",
        "cache_hit_ratio",
        "redis",
        "%",
        "last",
        0.99,
        higher_is_better=True,
    ),
    KeyMetric(
        "max_pending",
        "queue depth",
        "queue_depth_messages",
        "brokers",
        "messages",
        "highest",
        50,
        is_of_target=True,
    ),
    KeyMetric(
        "server_error_ratio", "5xx errors", "server_error_ratio", "logs", "%", "highest", 0.001
    ),
)


@dataclass(frozen=True, slots=True)
class Reality:
    """What a quarter was like: a value a day, the worst of all targets; oldest first."""

    values: Sequence[float]
    span_days: int

    @property
    def is_enough(self) -> bool:
        """Whether it stands for a quarter."""
        return len(self.values) >= MINIMUM_DAYS_MEASURED and self.span_days >= MINIMUM_SPAN_DAYS


@dataclass(frozen=True, slots=True)
class Proposal:
    """A value for a setting; ``kind`` is ``tighter`` or ``interim``."""

    value: float
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target beside reality. ``target_name`` is empty for a threshold of the whole site."""

    key: KeyMetric
    target_name: str
    target: float
    reality: Reality
    proposal: Proposal | None

    @property
    def met_ratio(self) -> float:
        """Share of the days on which the target held."""
        values = self.reality.values
        return (
            sum(_is_met(self.key, v, self.target) for v in values) / len(values) if values else 0.0
        )

    @property
    def name(self) -> str:
        """What the target is called."""
        return f"{self.key.words} on {self.target_name}" if self.target_name else self.key.words

    def in_words(self, value: float) -> str:
        """Say a value in the unit of the setting."""
        return value_in_words(self.key, value)


def value_in_words(key: KeyMetric, value: float) -> str:
    """Say a value of a setting with its unit."""
    if key.unit == "%":
        return percent(value) if value < 0.985 else f"{value * 100:.2f} %"
    return f"{value:,.0f} {key.unit}".rstrip()


def review_targets(
    job: Job[None, NoOptions], configuration: Configuration, read: ReadSeries, now: float
) -> Report:
    """Compare each target with the last quarter. ``now`` is in seconds since the epoch.

    ``configuration`` is the one in force, with what was accepted before. The proposals travel in the
    report's ``state``, where the admin finds them.
    """
    verdicts: list[Verdict] = []
    for number, key in enumerate(KEY_METRICS):
        job.progress.update(number, len(KEY_METRICS), phase=key.words, unit="targets")
        verdicts += verdicts_of(key, configuration, read, now)
    proposals = [v for v in verdicts if v.proposal]
    findings = [finding for verdict in verdicts for finding in diagnose(verdict)]
    findings += _unmeasured([v for v in verdicts if not v.reality.is_enough])
    return Report(
        title="Performance targets",
        summary=_summary(verdicts, proposals),
        findings=tuple(by_seriousness(findings)),
        tables=(Table.of("Targets and the last quarter", [_row(v) for v in verdicts]),),
        facts={"quarter_days": QUARTER_DAYS, "proposals": len(proposals)},
        state={"proposals": [_kept(v) for v in proposals]},
    )


def verdicts_of(
    key: KeyMetric, configuration: Configuration, read: ReadSeries, now: float
) -> Iterator[Verdict]:
    """Judge one setting; one of the kind that each target has its own, once a target."""
    targets = getattr(configuration, key.section)
    if not key.is_of_target:
        target = float(getattr(configuration.thresholds, key.setting))
        yield verdict_of(key, "", target, reality_of(key, list(targets), read, now))
        return
    for name, section in targets.items():
        target = float(getattr(section, key.setting))
        yield verdict_of(key, name, target, reality_of(key, [name], read, now))


def reality_of(key: KeyMetric, targets: Sequence[str], read: ReadSeries, now: float) -> Reality:
    """Return the worst value of each day of the last quarter."""
    first = int(now // DAY_SECONDS) - QUARTER_DAYS
    worst = min if key.higher_is_better else max
    by_day: dict[int, list[float]] = defaultdict(list)
    for series in read(targets, key.metric):
        for day in series.since(first):
            by_day[day.number].append(getattr(day, key.day) * key.scale)
    days = sorted(by_day)
    span = days[-1] - days[0] if days else 0
    return Reality([worst(by_day[day]) for day in days], span)


def verdict_of(key: KeyMetric, target_name: str, target: float, reality: Reality) -> Verdict:
    """Judge one target and propose another one where reality is far from it. Pure."""
    proposal = _proposal(key, target, reality) if reality.is_enough else None
    return Verdict(key, target_name, target, reality, proposal)


def _proposal(key: KeyMetric, target: float, reality: Reality) -> Proposal | None:
    misses = sorted(_miss(key, value) for value in reality.values)
    worst = misses[math.ceil(WORST_DAY_RATIO * len(misses)) - 1]
    of_days = f"{len(misses)} measured days"
    met = sum(_is_met(key, value, target) for value in reality.values)
    tighter = max(_two_digits(worst * ROOM_FACTOR), _miss(key, key.finest))
    if tighter <= _miss(key, target) * TIGHTER_FACTOR and met == len(misses):
        value = _from_miss(key, tighter)
        return Proposal(
            value,
            "tighter",
            f"it held on all {of_days}, and 19 of 20 were at {value_in_words(key, _from_miss(key, worst))}"
            f" or better: a target of {value_in_words(key, value)} would notice what becomes worse",
        )
    if met < WISH_RATIO * len(misses):
        value = _from_miss(key, _two_digits(median(misses) * INTERIM_FACTOR))
        return Proposal(
            value,
            "interim",
            f"it held on {met} of {of_days}, and a target that is always missed is ignored:"
            f" {value_in_words(key, value)} for now, until what is slow has been mended",
        )
    return None


def _is_met(key: KeyMetric, value: float, target: float) -> bool:
    return value > target if key.higher_is_better else value < target


def _miss(key: KeyMetric, value: float) -> float:
    """Return a value turned so that less is better: a hit ratio as the share of misses."""
    return 1.0 - value if key.higher_is_better else value


def _from_miss(key: KeyMetric, miss: float) -> float:
    value = round(_miss(key, miss), 6)
    return float(math.ceil(value)) if key.unit in {"", "messages"} else value


def _two_digits(value: float) -> float:
    """Round up to two significant digits."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def diagnose(verdict: Verdict) -> Iterator[Finding]:
    """Name a target that was missed, and one that could be another one."""
    reality, key = verdict.reality, verdict.key
    if not reality.is_enough:
        return
    comparison = "above" if key.higher_is_better else "below"
    target = f"{comparison} {verdict.in_words(verdict.target)}"
    if verdict.met_ratio < MET_RATIO:
        days = len(reality.values)
        yield Finding(
            code="target-missed",
            severity=Severity.WARNING,
            subject=verdict.name,
            sentence=(
                f"{verdict.name[:1].upper()}{verdict.name[1:]} stayed {target} on"
                f" {round(verdict.met_ratio * days)} of {counted(days, 'measured day')} of the last"
                f" quarter; its median was {verdict.in_words(median(reality.values))}."
            ),
            evidence={
                "met_ratio": verdict.met_ratio,
                "measured_days": days,
                "target": verdict.target,
            },
            advice="assess_scaling says what it may be short of.",
        )
    if verdict.proposal is not None:
        yield Finding(
            code=f"target-{verdict.proposal.kind}",
            severity=Severity.INFO,
            subject=verdict.name,
            sentence=(
                f"The target for {verdict.name} ({target}) could be"
                f" {verdict.in_words(verdict.proposal.value)}: {verdict.proposal.reason}."
            ),
            evidence={
                "setting": key.setting,
                "target": verdict.target,
                "proposed": verdict.proposal.value,
                "met_ratio": verdict.met_ratio,
                "measured_days": len(reality.values),
            },
            advice="Accept it in the admin under Performance targets; until then nothing changes.",
        )


def _unmeasured(verdicts: Sequence[Verdict]) -> Iterator[Finding]:
    if not verdicts:
        return
    names = [
        f"{v.name} (so far {len(v.reality.values)} over {v.reality.span_days})" for v in verdicts
    ]
    finding = unavailable(
        "target-unmeasured",
        "targets",
        f"how {counted(len(verdicts), 'target')} fit" + ("s" if len(verdicts) == 1 else ""),
        f"{MINIMUM_DAYS_MEASURED} measured days over {MINIMUM_SPAN_DAYS} days of the quarter:"
        f" {listed(names, len(names))}",
    )
    yield replace(
        finding, advice="Leave the daily and weekly checks on their schedules: each adds a day."
    )


def _summary(verdicts: Sequence[Verdict], proposals: Sequence[Verdict]) -> str:
    judged = [v for v in verdicts if v.reality.is_enough]
    if not judged:
        return "No target was measured for long enough to be compared with a quarter."
    missed = sum(v.met_ratio < MET_RATIO for v in judged)
    return (
        f"{len(judged) - missed} of {counted(len(judged), 'target')} held in the last quarter"
        f"{f', {missed} did not' if missed else ''}; {counted(len(proposals), 'proposal')}"
        " for a person to decide."
    )


def _row(verdict: Verdict) -> dict[str, Any]:
    values, key = verdict.reality.values, verdict.key
    worst = (min if key.higher_is_better else max)(values, default=None)
    return {
        "metric": verdict.name,
        "target": f"{'>' if key.higher_is_better else '<'} {verdict.in_words(verdict.target)}",
        "median": verdict.in_words(median(values)) if values else None,
        "worst_day": None if worst is None else verdict.in_words(worst),
        "measured_days": len(values),
        "met_ratio": verdict.met_ratio if values else None,
        "proposal": verdict.in_words(verdict.proposal.value) if verdict.proposal else None,
    }


def _kept(verdict: Verdict) -> dict[str, Any]:
    assert verdict.proposal is not None
    return {
        "setting": verdict.key.setting,
        "target": verdict.target_name,
        "name": verdict.name,
        "current": verdict.target,
        "value": verdict.proposal.value,
        "current_in_words": verdict.in_words(verdict.target),
        "value_in_words": verdict.in_words(verdict.proposal.value),
        "kind": verdict.proposal.kind,
        "reason": verdict.proposal.reason,
    }
