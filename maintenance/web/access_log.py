"""What a site's access log says of a period: response times, errors and bytes, by route.

The log is read by a pattern of bytes (:mod:`maintenance.web.log_format`), a chunk at a time. Of three
engines that were tried on 2,000,000 lines of the combined format with request time, on one core,
``re`` (206,000 lines a second of processor time, 34 MB) did as well as Polars 2.1 (218,000; 354 MB) and
DuckDB 2.0 (221,000; 139 MB), which are heavy dependencies and read neither every format nor on from
an offset. ``bench/access_log.py`` compares with goaccess.

Memory is bounded at any size of the log: see :mod:`maintenance.web.tally`. No query string, and
nothing else that a visitor sent beside a path, is kept or reported.
"""

import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from maintenance.conf import LogTarget, Thresholds, resolve_secret
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.redaction import redact
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.web.access_log_charts import latency_plot, percentile_chart
from maintenance.web.access_log_findings import Totals, diagnose, ms
from maintenance.web.latency_histogram import RELATIVE_ERROR, measured, quantile, total_seconds
from maintenance.web.log_reading import Reading, read_on
from maintenance.web.log_rows import Lines, Malformed, row_reader
from maintenance.web.routes import NOT_A_PATH, RouteCounts, words_of
from maintenance.web.tally import Counts, Tally

P95_METRIC = "response_p95_seconds"
P99_METRIC = "response_p99_seconds"
SERVER_ERRORS_METRIC = "server_error_ratio"
ROUTE_REQUESTS_METRIC = "route_requests"

#: Rows of a table, routes that are kept for the next period, and routes whose number is a sample.
TABLE_ROWS = 30
KEPT_ROUTES = 300
SAMPLED_ROUTES = 30
#: From this share on the format is wrong, and not the lines.
MOSTLY_MALFORMED_RATIO = 0.5


def review_error_rates(
    job: Job[LogTarget, NoOptions], thresholds: Thresholds, timezone: str
) -> Report:
    """Read what was written to the log since the last run, and compare it with the targets.

    ``timezone`` is that of the configuration: of times in sentences, and of times in the log that
    have no offset, unless the target has its own. Raises ``ConfigurationError`` for a format that
    cannot be read, :class:`TargetUnavailable` and :class:`MissingRights` for the files.
    """
    target = job.target
    zone = target.timezone or timezone
    reader = row_reader(target.format, target.fields, zone)
    tally = Tally(reader.read_time, reader.read_seconds, thresholds.response_p95_ms / 1000)
    lines = Lines(reader)
    reading = read_on(
        resolve_secret(target.path),
        job.previous_state.get("reading", {}),
        lambda chunk, path, offset: tally.add(lines.rows(chunk, path, offset)),
        first_run_seconds=target.first_run_days * 86_400,
        progress=lambda done, total: job.progress.update(done, total, unit="bytes"),
    )
    counts = tally.counts
    routes = counts.routes.found()
    totals = Totals.of(routes.values())
    previous = job.previous_state.get("period", {})
    period = _Period(totals, routes, counts, lines, reading, previous, ZoneInfo(zone))
    findings = (
        *diagnose(
            job.target_name, totals, counts, thresholds, previous=previous, moment=period.moment
        ),
        *_missing_latency(job.target_name, totals, reader.has_whole_seconds),
        *_malformed(job.target_name, lines),
        *_reading_findings(job.target_name, reading),
    )
    return Report(
        title=f"Access log {job.target_name}",
        summary=_summary(period),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(_tables(period)),
        facts=_facts(period),
        samples=tuple(_samples(period, thresholds)),
        plots=latency_plot(
            f"Response times of {job.target_name}",
            job.history,
            (("p95", P95_METRIC, totals.p95), ("p99", P99_METRIC, totals.p99)),
            time.time(),
            thresholds.response_p95_ms / 1000,
        ),
        bars=percentile_chart(routes),
        state={
            "reading": reading.state,
            "period": _kept(period) if totals.requests else previous,
        },
    )


@dataclass(frozen=True, slots=True)
class _Period:
    """All that a report is made of: what was counted, what was read, and the period before."""

    totals: Totals
    routes: Mapping[str, RouteCounts]
    counts: Counts
    lines: Lines
    reading: Reading
    previous: Mapping[str, Any]
    zone: ZoneInfo

    def moment(self, at_epoch_seconds: int) -> str:
        """Say a minute: ``2026-11-25 14:07 UTC``."""
        return f"{datetime.fromtimestamp(at_epoch_seconds, self.zone):%Y-%m-%d %H:%M %Z}"


def _summary(period: _Period) -> str:
    totals, counts = period.totals, period.counts
    if not totals.requests or counts.oldest is None or counts.newest is None:
        if period.lines.lines:
            return f"None of {counted(period.lines.lines, 'new line')} fits the format of this log."
        since = "" if period.reading.is_first else " since the last run"
        return f"Nothing was written to the log{since}."
    times = (
        f"p50 {ms(totals.p50 or 0.0)}, p95 {ms(totals.p95)}, p99 {ms(totals.p99 or 0.0)}"
        if totals.p95 is not None
        else "response times are not in the log"
    )
    return (
        f"{counted(totals.requests, 'request')} from {period.moment(counts.oldest)} to"
        f" {period.moment(counts.newest)}: {times}; 5xx {percent(totals.server_error_ratio)}, 4xx"
        f" {percent(totals.client_error_ratio)}, {bytes_in_words(totals.sent_bytes)} sent."
    )


def _missing_latency(name: str, totals: Totals, has_whole_seconds: bool) -> Iterator[Finding]:
    if totals.with_time or not totals.requests:
        return
    reason = "; %T counts whole seconds, which is too coarse" if has_whole_seconds else ""
    yield unavailable(
        "response-time-unavailable",
        name,
        "the response time",
        "the time of each request in the log: append $request_time to log_format (Nginx) or %D to"
        f" LogFormat (Apache), and to this target's format{reason}",
    )


def _malformed(name: str, lines: Lines) -> Iterator[Finding]:
    found = lines.malformed
    if not found.lines:
        return
    mostly = found.lines > lines.lines * MOSTLY_MALFORMED_RATIO
    yield Finding(
        code="access-log-malformed",
        severity=Severity.WARNING if mostly else Severity.INFO,
        subject=name,
        sentence=(
            f"{found.lines:,} of {counted(lines.lines, 'line')} do not fit the format and were left"
            f" out; the first looks like this (letters as a, digits as 9): {found.shape}"
        ),
        evidence={
            "malformed_lines": found.lines,
            "lines": lines.lines,
            "first_path": redact(found.path),
            "first_offset_bytes": found.offset,
        },
        advice=(
            "Give this target the log_format that the server's configuration has."
            if mostly
            else "A few are what a full disk or a killed server leaves behind; look at the first."
        ),
        commands=(_show_line(found),),
    )


def _show_line(found: Malformed) -> str:
    return f"tail -c +{found.offset + 1} {shlex.quote(found.path)} | head -n 1"


def _reading_findings(name: str, reading: Reading) -> Iterator[Finding]:
    for path in reading.lost:
        yield Finding(
            code="access-log-rest-lost",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"What was read as {path} last time is in no file any more: lines that were written"
                " to it afterwards are missing here."
            ),
            advice="Keep at least one rotated file (logrotate: rotate 2), under a name like the log's.",
        )
    for path in reading.damaged:
        yield Finding(
            code="access-log-damaged",
            severity=Severity.WARNING,
            subject=path,
            sentence=f"{path} cannot be read to its end: it is damaged, or cut short.",
            advice="Check it (gzip -t), and the disk that it lies on.",
        )
    for path, offset in reading.oversized:
        yield Finding(
            code="access-log-endless-line",
            severity=Severity.INFO,
            subject=path,
            sentence=f"{path} has no end of line for more than 1 MB from byte {offset:,} on.",
            evidence={"offset_bytes": offset},
            advice="It is no text there: a file that was truncated while its writer did not append.",
        )


def _tables(period: _Period) -> Iterator[Table]:
    if not period.routes:
        return
    before = period.previous.get("routes", {})
    rows = [_row(name, route, before.get(name)) for name, route in period.routes.items()]
    most_time = sorted(rows, key=lambda r: (-r["total_seconds"], -r["requests"]))
    yield Table.of("Routes that took the most time", most_time[:TABLE_ROWS])
    slowest = [r for r in rows if r["p95_ms"] is not None and r["requests"] >= 20]
    if slowest:
        slowest.sort(key=lambda r: -r["p95_ms"])
        yield Table.of("Slowest routes (20 requests or more)", slowest[:TABLE_ROWS])
    heaviest = sorted(rows, key=lambda r: -r["sent_bytes"])
    yield Table.of(
        "Routes that sent the most",
        [{k: r[k] for k in ("route", "requests", "sent_bytes")} for r in heaviest[:10]],
    )
    missing = sorted(_missing_routes(period.counts).items(), key=lambda item: -item[1])
    if missing:
        yield Table.of(
            "Not found most often",
            [{"route": route, "requests": n} for route, n in missing[:10]],
        )


def _missing_routes(counts: Counts) -> dict[str, int]:
    found: dict[str, int] = {}
    for path, n in counts.missing.items():
        words = words_of(path)
        route = NOT_A_PATH if words is None else "/" + "/".join(words)
        found[route] = found.get(route, 0) + n
    return found


def _row(name: str, route: RouteCounts, before: Any) -> dict[str, Any]:
    requests = route.requests
    return {
        "route": name,
        "requests": requests,
        "total_seconds": round(total_seconds(route.latencies), 1),
        "p50_ms": _in_ms(quantile(route.latencies, 0.50)),
        "p95_ms": _in_ms(quantile(route.latencies, 0.95)),
        "p99_ms": _in_ms(quantile(route.latencies, 0.99)),
        "previous_p95_ms": _in_ms(before[1]) if before else None,
        "client_error_ratio": route.of_class(b"4") / requests,
        "server_error_ratio": route.of_class(b"5") / requests,
        "sent_bytes": route.sent_bytes,
    }


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _facts(period: _Period) -> dict[str, Any]:
    totals, counts, lines, reading, previous = (
        *(period.totals, period.counts, period.lines, period.reading),
        period.previous,
    )
    return {
        "from": None if counts.oldest is None else period.moment(counts.oldest),
        "to": None if counts.newest is None else period.moment(counts.newest),
        "requests": totals.requests,
        "previous_requests": previous.get("requests"),
        "p50_ms": _in_ms(totals.p50),
        "p95_ms": _in_ms(totals.p95),
        "previous_p95_ms": _in_ms(previous.get("p95")),
        "p99_ms": _in_ms(totals.p99),
        "previous_p99_ms": _in_ms(previous.get("p99")),
        "response_time_from": lines.reader.names_seconds or None,
        "relative_error_ratio": RELATIVE_ERROR,
        "client_error_ratio": totals.client_error_ratio,
        "server_error_ratio": totals.server_error_ratio,
        "previous_server_error_ratio": previous.get("server_error_ratio"),
        "sent_bytes": totals.sent_bytes,
        "malformed_lines": lines.malformed.lines,
        "read_bytes": reading.read_bytes,
        "read_files": reading.read_files,
        "unfinished_bytes": reading.waiting_bytes,
        "older_files_passed_over": reading.passed_over,
    }


def _samples(period: _Period, thresholds: Thresholds) -> Iterator[Sample]:
    totals = period.totals
    if totals.requests < thresholds.access_log_minimum_requests:
        return
    if totals.p95 is not None and totals.p99 is not None:
        yield Sample(P95_METRIC, totals.p95)
        yield Sample(P99_METRIC, totals.p99)
    yield Sample(SERVER_ERRORS_METRIC, totals.server_error_ratio)
    for name, route in _most_used(period.routes, SAMPLED_ROUTES):
        yield Sample(ROUTE_REQUESTS_METRIC, route.requests, name)


def _most_used(routes: Mapping[str, RouteCounts], limit: int) -> list[tuple[str, RouteCounts]]:
    return sorted(routes.items(), key=lambda item: -item[1].requests)[:limit]


def _kept(period: _Period) -> dict[str, Any]:
    """Return what the next run compares with: of each route its requests and its p95."""
    totals = period.totals
    return {
        "requests": totals.requests,
        "p95": totals.p95,
        "p99": totals.p99,
        "server_error_ratio": totals.server_error_ratio,
        "routes": {
            name: [route.requests, quantile(route.latencies, 0.95)]
            for name, route in _most_used(period.routes, KEPT_ROUTES)
            if measured(route.latencies) >= 20
        },
    }
