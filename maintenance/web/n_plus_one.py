"""The weekly review of the performance log: which lines of code ask their database too often."""

from collections.abc import Iterator, Sequence
from typing import Any

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.web.performance_log import LogReading, PerformanceLog
from maintenance.web.profile_tally import LoggedGroup, ProfileTally
from maintenance.web.query_advice import other_findings, repeated_finding

TITLE = "Repeated queries"

#: Findings of repeated queries, and of each other kind: more than a team mends in a week.
FINDINGS = 20
ROWS = 100


def review_n_plus_one(job: Job[None, NoOptions], path: str) -> Report:
    """Read what was logged at ``path`` since the previous review, and say what would spare queries.

    Raises :class:`MissingRights` where the log may not be read.
    """
    reading = LogReading(is_first=not job.previous_state.get("files"))
    tally = ProfileTally()
    for number, profile in enumerate(PerformanceLog(path).profiles(job.previous_state, reading)):
        if number % 1000 == 0:
            job.progress.update(reading.read_bytes, phase="reading", unit="bytes")
        tally.add(profile)
    return report_of(tally, reading, path)


def report_of(tally: ProfileTally, reading: LogReading, path: str) -> Report:
    """Say what was found, the lines first that would spare most time."""
    repeated = worst_first(tally)
    others = sorted(tally.groups.values(), key=lambda g: (-g.milliseconds, g.at, g.digest))
    saved_calls = sum(group.saved_calls for group in repeated)
    saved_ms = sum(group.saved_milliseconds for group in repeated)
    return Report(
        title=TITLE,
        summary=_summary(tally, repeated, saved_calls, saved_ms, path),
        findings=(
            *(repeated_finding(group) for group in repeated[:FINDINGS]),
            *_others(others),
            *_reading_findings(tally, reading, path),
        ),
        tables=_tables(repeated),
        facts={
            "profiles": tally.profiles,
            "queries": tally.queries,
            "query_ms": round(tally.query_milliseconds, 3),
            "first_at": tally.first_at,
            "last_at": tally.last_at,
            "repeated_queries": len(repeated),
            "saved_calls": round(saved_calls),
            "saved_ms": round(saved_ms, 3),
            "log_read_bytes": reading.read_bytes,
            "log_left_bytes": reading.left_bytes,
            "log_lines": reading.lines,
            "log_other_lines": reading.other_lines,
            "log_malformed_lines": reading.malformed_lines + tally.malformed,
            "lines_left_out": tally.left_out_lines,
            "groups_left_out": tally.left_out_groups,
        },
        samples=()
        if reading.is_first
        else (
            Sample("repeated_queries_count", len(repeated)),
            Sample("spared_queries_count", round(saved_calls)),
            Sample("spared_query_time_seconds", round(saved_ms / 1000, 3)),
        ),
        state=reading.state,
    )


def worst_first(tally: ProfileTally) -> list[LoggedGroup]:
    """Return the statements that lines repeat, the one first that would spare most time."""
    repeated = [group for group in tally.groups.values() if group.repeated_profiles]
    return sorted(repeated, key=lambda g: (-g.saved_milliseconds, g.at, g.digest))


def _others(groups: Sequence[LoggedGroup]) -> Iterator[Finding]:
    shown: dict[str, int] = {}
    for group in groups:
        for finding in other_findings(group):
            shown[finding.code] = shown.get(finding.code, 0) + 1
            if shown[finding.code] <= FINDINGS:
                yield finding


def _reading_findings(tally: ProfileTally, reading: LogReading, path: str) -> Iterator[Finding]:
    if not reading.lines and not reading.positions:
        yield unavailable(
            "performance-log-empty",
            "performance log",
            "which queries are repeated",
            f"a performance log at {path} (ENABLE_QUERY_PROFILING and LOGGING of the site)",
        )
    if reading.lost_files:
        yield unavailable(
            "performance-log-lost",
            "performance log",
            f"what the end of {counted(reading.lost_files, 'log file')} said",
            "log files that are kept until the next review has read them",
        )
    if reading.left_bytes:
        yield Finding(
            code="performance-log-left",
            severity=Severity.INFO,
            subject="performance log",
            sentence=(
                f"{bytes_in_words(reading.left_bytes)} of the log are left for the next review,"
                f" because one reads {bytes_in_words(reading.read_bytes)} at the most."
            ),
            evidence={"left_bytes": reading.left_bytes, "read_bytes": reading.read_bytes},
            advice="Profile fewer requests: QUERY_PROFILE_SAMPLE_RATIO = 0.1.",
        )
    malformed = reading.malformed_lines + tally.malformed
    if malformed:
        yield Finding(
            code="performance-log-malformed",
            severity=Severity.INFO,
            subject="performance log",
            sentence=(
                f"{counted(malformed, 'line')} of {reading.lines:,} could not be read: cut off, or"
                " of another version of the profiler."
            ),
            evidence={"malformed_lines": malformed, "lines": reading.lines},
            advice="Harmless where a disk was full or a process was killed at that moment.",
        )
    if tally.left_out_lines:
        yield Finding(
            code="performance-log-limited",
            severity=Severity.INFO,
            subject="performance log",
            sentence=(
                f"{counted(tally.left_out_lines, 'request or task', 'requests and tasks')} more would"
                " have been logged, if a process wrote more than 60 lines a minute: the figures here"
                " are without them."
            ),
            evidence={"left_out": tally.left_out_lines},
            advice="Profile fewer requests, each counted for several: QUERY_PROFILE_SAMPLE_RATIO = 0.1.",
        )


def _summary(
    tally: ProfileTally,
    repeated: Sequence[LoggedGroup],
    saved_calls: float,
    saved_ms: float,
    path: str,
) -> str:
    if not tally.profiles:
        return f"The performance log {path} has nothing new."
    seen = (
        f"in {counted(tally.profiles, 'logged request or task', 'logged requests and tasks')} between"
        f" {tally.first_at[:16].replace('T', ' ')} and {tally.last_at[:16].replace('T', ' ')} UTC"
    )
    if not repeated:
        return f"No line of code repeats a query {seen}."
    shown = f"; the {FINDINGS} worst are named" if len(repeated) > FINDINGS else ""
    return (
        f"{counted(len(repeated), 'line of code repeats its', 'lines of code repeat their')} queries"
        f" {seen}{shown}. Asking once would spare about"
        f" {counted(round(saved_calls), 'query', 'queries')} and {seconds_in_words(saved_ms / 1000)}."
    )


def _tables(repeated: Sequence[LoggedGroup]) -> tuple[Table, ...]:
    rows = [_row(group) for group in repeated[:ROWS]]
    return (Table.of("Repeated queries, worst first", rows),) if rows else ()


def _row(group: LoggedGroup) -> dict[str, Any]:
    lookup = group.lookup
    return {
        "at": group.at,
        "what": f"{lookup.model}.{lookup.field}".rstrip(".")
        if lookup
        else group.model or group.table,
        "kind": lookup.relation.value if lookup else group.command,
        "profiles": group.repeated_profiles,
        "calls": group.repeated_calls,
        "most_calls": group.most_calls,
        "total_ms": round(group.repeated_milliseconds, 3),
        "saved_calls": round(group.saved_calls),
        "saved_ms": round(group.saved_milliseconds, 3),
        "statement": group.statement,
    }
