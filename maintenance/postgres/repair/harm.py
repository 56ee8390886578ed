"""What a run that writes did to others, for its report. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.conf import Pacing
from maintenance.core.findings import Finding, Severity
from maintenance.core.latency import LatencyChange, latency_findings
from maintenance.core.wording import counted, seconds_in_words


@dataclass(slots=True)
class Harm:
    """What others felt of a run.

    ``longest_wait_seconds`` is the longest time that a session of the site waited for one of ours,
    ``gave_way`` how often ours ended its statement for it. ``waited_seconds`` is how long the run
    itself stood still for the site, for ``reasons``.
    """

    latency: LatencyChange | None = None
    longest_wait_seconds: float = 0.0
    longest_waiter: str = ""
    gave_way: int = 0
    waited_seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The figures for the report; what was not measured is not there."""
        facts: dict[str, Any] = {
            "longest_wait_caused_seconds": round(self.longest_wait_seconds, 3),
            "gave_way_count": self.gave_way,
            "stood_still_seconds": round(self.waited_seconds, 1),
        }
        if self.latency is not None:
            facts |= self.latency.facts
        return facts


def harm_findings(harm: Harm, limits: Pacing) -> Iterator[Finding]:
    """Yield a finding for what others felt, and one for what the run waited for."""
    if harm.longest_wait_seconds > limits.blocked_limit_seconds:
        yield Finding(
            code="repair-blocked-others",
            severity=Severity.WARNING,
            subject="sessions",
            sentence=(
                f"{harm.longest_waiter} waited {seconds_in_words(harm.longest_wait_seconds)} for"
                f" this run, more than the limit of {limits.blocked_limit_seconds:g} s"
            ),
            evidence=harm.facts,
            advice="Run it in a quieter window, or raise blocked_limit_seconds of this target.",
        )
    yield from latency_findings(
        harm.latency,
        limits.added_latency_ms,
        what="A small transaction",
        advice="Give the target a window in which the site is quiet, or fewer jobs.",
    )
    if harm.gave_way or harm.waited_seconds >= 1:
        yield Finding(
            code="repair-gave-way",
            severity=Severity.INFO,
            subject="pacing",
            sentence=_gave_way(harm),
            evidence=harm.facts,
        )


def _gave_way(harm: Harm) -> str:
    parts = []
    if harm.gave_way:
        parts.append(
            f"{counted(harm.gave_way, 'statement')} of this run ended early, because the site"
            " waited for a lock"
        )
    if harm.waited_seconds >= 1:
        why = "; ".join(harm.reasons)
        parts.append(
            f"the run stood still for {seconds_in_words(harm.waited_seconds)}, for the site: {why}"
        )
    return ", and ".join(parts)
