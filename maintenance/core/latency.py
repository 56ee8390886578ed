"""What a run that writes adds to the latency of others, for its report. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.reports import Report

#: Of fewer probes the median is no more than one slow answer.
FEWEST_PROBES = 5


@dataclass(frozen=True, slots=True)
class LatencyChange:
    """Latencies of a probe in milliseconds: before the work, and beside it at the median.

    ``probes`` is how often it was sent beside the work.
    """

    before_ms: float
    during_ms: float
    slowest_ms: float
    probes: int

    @property
    def added_ms(self) -> float:
        """How much longer a probe took while we worked, at the median; 0 or more."""
        return max(0.0, self.during_ms - self.before_ms)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The figures for a report."""
        return {
            "latency_before_ms": round(self.before_ms, 2),
            "latency_during_ms": round(self.during_ms, 2),
            "latency_slowest_ms": round(self.slowest_ms, 2),
            "latency_added_ms": round(self.added_ms, 2),
            "latency_probes": self.probes,
        }


def latency_findings(
    latency: LatencyChange | None, limit_ms: float, *, what: str, advice: str
) -> Iterator[Finding]:
    """Yield a warning if ``what`` was sent as a probe took more than ``limit_ms`` longer.

    A run that was too short for some probes is too short to be felt for long.
    """
    if latency is None or latency.probes < FEWEST_PROBES or latency.added_ms <= limit_ms:
        return
    yield Finding(
        code="added-latency",
        severity=Severity.WARNING,
        subject="latency",
        sentence=(
            f"{what} took {latency.during_ms:.1f} ms while this run was at work and"
            f" {latency.before_ms:.1f} ms before, more than the limit of {limit_ms:g} ms above it."
        ),
        evidence=latency.facts,
        advice=advice,
    )


def with_latency(
    report: Report,
    latency: LatencyChange | None,
    limit_ms: float,
    *,
    stood_still_seconds: float,
) -> Report:
    """Return the report with what others felt of the run, and how long it stood still for them.

    Its findings come worst first, whether or not the run was long enough for a probe.
    """
    found = latency_findings(
        latency,
        limit_ms,
        what="A PING of the server",
        advice="Run it when the site is quiet, or raise added_latency_ms of this target.",
    )
    return replace(
        report,
        findings=tuple(by_seriousness([*report.findings, *found])),
        facts={
            **report.facts,
            "stood_still_seconds": round(stood_still_seconds, 2),
            **(latency.facts if latency else {}),
        },
    )
