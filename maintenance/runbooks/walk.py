"""A runbook walked: what was measured is laid beside each cause, for it or against it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted
from maintenance.runbooks.model import Cause, Runbook, Source

#: Findings that are shown of one cause; their number is told.
SHOWN_FINDINGS = 5

#: The reports of each source; a source that is not configured has one that says so.
Answers = Mapping[Source, Sequence[Report]]


class Verdict(StrEnum):
    """What the evidence says of a cause."""

    LIKELY = "likely"
    POSSIBLE = "possible"
    RULED_OUT = "ruled out"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Weighed:
    """A cause with what speaks for it and against it. ``place`` is its likelihood, 1 the first."""

    place: int
    cause: Cause
    verdict: Verdict
    evidence: tuple[Finding, ...]
    reasons: tuple[str, ...]

    @property
    def has_evidence(self) -> bool:
        """Whether anything speaks for it."""
        return bool(self.evidence)

    @property
    def severity(self) -> Severity:
        """How serious the worst finding is that speaks for it."""
        return max((f.severity for f in self.evidence), key=lambda s: s.rank, default=Severity.OK)


def walk(runbook: Runbook, answers: Answers) -> Report:
    """Return the diagnosis: is the symptom there, what speaks for which cause, what to do next."""
    symptom = _weigh(0, _as_cause(runbook), answers)
    causes = [_weigh(place, cause, answers) for place, cause in enumerate(runbook.causes, 1)]
    found = sorted(
        (weighed for weighed in causes if weighed.has_evidence),
        key=lambda weighed: (weighed.verdict is not Verdict.LIKELY, weighed.place),
    )
    next_step = found[0].cause.next_step if found else runbook.otherwise
    return Report(
        title=runbook.title,
        summary=_summary(runbook, symptom, found, causes),
        findings=tuple(_findings(runbook, symptom, causes)),
        tables=(Table.of("Causes, the most likely first", [_row(one) for one in causes]),),
        facts={
            "symptom": runbook.symptom,
            "symptom_now": _symptom_in_words(symptom),
            "next_step": next_step,
            "most_likely": [one.cause.title for one in found if one.verdict is Verdict.LIKELY],
        },
    )


def _as_cause(runbook: Runbook) -> Cause:
    return Cause(runbook.symptom, runbook.symptom_codes, runbook.symptom_sources, "")


def _weigh(place: int, cause: Cause, answers: Answers) -> Weighed:
    reports = [report for source in cause.sources for report in answers.get(source, ())]
    findings = [finding for report in reports for finding in report.findings]
    evidence = tuple(
        by_seriousness(f for f in _once(findings) if f.measured and f.code in cause.codes)
    )
    missing = [source for source in cause.sources if not answers.get(source)]
    unmeasured = [f for f in findings if not f.measured and _concerns(f, cause)]
    if evidence:
        strong = any(f.severity.rank >= Severity.WARNING.rank for f in evidence)
        verdict = Verdict.LIKELY if strong else Verdict.POSSIBLE
        reasons = tuple(finding.sentence for finding in evidence)
    elif missing or unmeasured:
        verdict = Verdict.UNKNOWN
        reasons = (
            *(f"{source} was not measured." for source in missing),
            *dict.fromkeys(finding.sentence for finding in unmeasured),
        )
    else:
        verdict = Verdict.RULED_OUT
        reasons = tuple(dict.fromkeys(report.summary for report in reports))
    return Weighed(place, cause, verdict, evidence, reasons)


def _concerns(finding: Finding, cause: Cause) -> bool:
    """Tell whether a missing measurement leaves the cause open: all of its source, or its own."""
    return finding.code in cause.codes or finding.code in _WHOLE_SOURCES


#: Codes by which a source says that it could measure nothing of what a cause asks for.
_WHOLE_SOURCES = frozenset(
    {
        "not-measured",
        "slow-queries",
        "statements",
        "performance-log-empty",
        "response-time-unavailable",
        "process-memory",
        "database-cpu",
        "hidden-queries",
        "redis-keys",
        "index-advice-statistics",
    }
)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    seen: set[tuple[str, str, str]] = set()
    for finding in findings:
        key = (finding.code, finding.subject, finding.sentence)
        if key not in seen:
            seen.add(key)
            yield finding


def _findings(runbook: Runbook, symptom: Weighed, causes: Sequence[Weighed]) -> Iterator[Finding]:
    """Yield what speaks for the symptom and each cause, each finding once, then what is missing."""
    shown: set[tuple[str, str, str]] = set()
    for weighed in (symptom, *causes):
        for finding in weighed.evidence[:SHOWN_FINDINGS]:
            key = (finding.code, finding.subject, finding.sentence)
            if key in shown:
                continue
            shown.add(key)
            of = {"cause": weighed.cause.title} if weighed.place else {"symptom": True}
            # The runbook of a finding of a walked runbook is this one: it links to the page.
            yield replace(
                finding,
                evidence={**of, **finding.evidence},
                runbook=f"docs/runbooks.md#{runbook.name}",
            )
    if symptom.verdict is Verdict.UNKNOWN:
        yield Finding(
            code="symptom-not-measured",
            severity=Severity.INFO,
            subject=runbook.name,
            sentence=f"unavailable: whether it is so now. {' '.join(symptom.reasons)}",
            measured=False,
        )


def _symptom_in_words(symptom: Weighed) -> str:
    if symptom.verdict is Verdict.UNKNOWN:
        return "not known"
    return "yes" if symptom.has_evidence else "no"


def _summary(
    runbook: Runbook,
    symptom: Weighed,
    found: Sequence[Weighed],
    causes: Sequence[Weighed],
) -> str:
    now = {
        "yes": f"It is so now: {symptom.evidence[0].sentence}" if symptom.evidence else "",
        "no": "It is not so now.",
        "not known": "Whether it is so now could not be measured.",
    }[_symptom_in_words(symptom)]
    unknown = sum(one.verdict is Verdict.UNKNOWN for one in causes)
    left = f"; {unknown} could not be judged" if unknown else ""
    if not found:
        return f"{now} Nothing speaks for any of {counted(len(causes), 'cause')}{left}. Next: {runbook.otherwise}"
    return (
        f"{now} {counted(len(found), 'cause')} of {len(causes)} {'has' if len(found) == 1 else 'have'}"
        f" evidence{left}. Most likely: {_begun_small(found[0].cause.title)}."
        f" Next: {found[0].cause.next_step}"
    )


def _begun_small(title: str) -> str:
    """A title within a sentence; names keep their capital."""
    first = title.split(" ", 1)[0]
    return title if first == "Redis" else title[:1].lower() + title[1:]


def _row(weighed: Weighed) -> dict[str, Any]:
    more = len(weighed.reasons) - SHOWN_FINDINGS
    shown = " ".join(weighed.reasons[:SHOWN_FINDINGS])
    return {
        "place": weighed.place,
        "cause": weighed.cause.title,
        "verdict": weighed.verdict.value,
        "findings": len(weighed.evidence),
        "because": f"{shown} (and {more} more)" if more > 0 else shown,
        "next_step": weighed.cause.next_step if weighed.has_evidence else None,
    }
