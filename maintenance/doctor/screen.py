"""What was looked at, on one screen: what is missing with the line that mends it, then what holds. Pure."""

from collections.abc import Iterator, Sequence

from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.reports import Report
from maintenance.core.wording import counted
from maintenance.reports.columns import one_line, visible, wrap
from maintenance.reports.content import SIGNS

_INDENT = "     "

#: Of a target with nothing but these findings nothing else is known.
_GONE = frozenset({"unreachable", "secret-unset"})


def verdict(reports: Sequence[Report]) -> str:
    """Say in one sentence whether all stands."""
    findings = [finding for report in reports for finding in report.findings]
    critical = _count(findings, Severity.CRITICAL)
    missing = critical + _count(findings, Severity.WARNING)
    holds = f"{counted(_count(findings, Severity.OK), 'thing')} of {counted(len(reports), 'subject')} hold"
    more = _count(findings, Severity.INFO)
    optional = f"; {more} more would show more" if more else ""
    if not missing:
        return f"Nothing is missing: {holds}{optional}."
    worst = f", {critical} of them critical" if critical else ""
    verb = "is" if missing == 1 else "are"
    return f"{counted(missing, 'thing')} {verb} missing{worst}; {holds}{optional}."


def _count(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(finding.severity is severity for finding in findings)


def screen(reports: Sequence[Report], width: int) -> str:
    """Return the text of at most ``width`` cells a line; lines to copy are never wrapped."""
    lines = [*wrap(verdict(reports), width)]
    for titles, report in _by_fault(reports):
        lines += ["", visible(", ".join(titles)), *_subject(report, width)]
    return "\n".join(lines) + "\n"


def _by_fault(reports: Sequence[Report]) -> Iterator[tuple[list[str], Report]]:
    """Take together what stands on one server that cannot be reached: it is one fault."""
    titles: dict[str, list[str]] = {}
    first: dict[str, Report] = {}
    for report in reports:
        gone = report.findings and all(f.code in _GONE for f in report.findings)
        faults = "".join(f"\0{finding.sentence}\0{finding.advice}" for finding in report.findings)
        key = faults if gone else report.title
        titles.setdefault(key, []).append(report.title)
        first.setdefault(key, report)
    for key, report in first.items():
        yield titles[key], report


def _subject(report: Report, width: int) -> Iterator[str]:
    faults = [finding for finding in report.findings if finding.severity is not Severity.OK]
    for finding in by_seriousness(faults):
        known = finding.measured or finding.severity is Severity.CRITICAL
        label = finding.severity.value if known else "unavailable"
        yield from _hanging(f"[{SIGNS[label]}]", one_line(finding.sentence), width)
        if finding.advice:
            yield from _hanging("", one_line(finding.advice), width)
        yield from (f"{_INDENT}  {visible(command)}" for command in finding.commands)
    holding = [f.sentence.rstrip(".") for f in report.findings if f.severity is Severity.OK]
    if holding or not report.findings:
        yield from _hanging("[ok]", one_line("; ".join(holding) or report.summary), width)


def _hanging(sign: str, text: str, width: int) -> Iterator[str]:
    for number, line in enumerate(wrap(text, width - len(_INDENT))):
        yield f"{sign if number == 0 else '':<{len(_INDENT)}}{line}"
