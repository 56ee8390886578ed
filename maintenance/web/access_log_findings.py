"""Verdicts about what an access log counted. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, percent
from maintenance.web.latency_histogram import measured, quantile
from maintenance.web.routes import RouteCounts
from maintenance.web.tally import Counts

#: A minute in which the server failed so many times the allowed share, and so many requests, is an
#: event (a deploy, a database that went away) and not the usual rate.
BURST_TIMES_LIMIT = 10
BURST_MINIMUM_ERRORS = 10
#: Minutes of calm within one event.
BURST_GAP_SECONDS = 180
#: Above so many times its limit the site fails for its visitors.
CRITICAL_TIMES_LIMIT = 5
#: A route is slower than before when its p95 grew by half, and by what a visitor notices.
SLOWER_TIMES = 1.5
SLOWER_SECONDS = 0.1
#: Where the whole site fails, a route stands out with so many times its share of failures.
STANDS_OUT_TIMES = 2
#: Routes that get a sentence of their own; the table has the others.
NAMED_ROUTES = 10


@dataclass(frozen=True, slots=True)
class Totals:
    """What all requests of a period come to. Latencies in seconds, ``None`` without any."""

    requests: int
    with_time: int
    p50: float | None
    p95: float | None
    p99: float | None
    client_error_ratio: float
    server_error_ratio: float
    sent_bytes: int

    @classmethod
    def of(cls, routes: Iterable[RouteCounts]) -> "Totals":
        """Add up the routes."""
        every = RouteCounts()
        for route in routes:
            every.add(route)
        requests = every.requests
        return cls(
            requests=requests,
            with_time=measured(every.latencies),
            p50=quantile(every.latencies, 0.50),
            p95=quantile(every.latencies, 0.95),
            p99=quantile(every.latencies, 0.99),
            client_error_ratio=every.of_class(b"4") / requests if requests else 0.0,
            server_error_ratio=every.of_class(b"5") / requests if requests else 0.0,
            sent_bytes=every.sent_bytes,
        )


def diagnose(
    name: str,
    totals: Totals,
    counts: Counts,
    thresholds: Thresholds,
    *,
    previous: Mapping[str, Any],
    moment: Callable[[int], str],
) -> Iterator[Finding]:
    """Compare with the targets and with the period before; ``moment`` says a minute in words."""
    if totals.requests < thresholds.access_log_minimum_requests:
        yield unavailable(
            "access-log-few-requests",
            name,
            "a verdict on response times and error rates",
            f"{thresholds.access_log_minimum_requests:,} requests"
            f" (since the last run there {'was' if totals.requests == 1 else 'were'}"
            f" {totals.requests:,})",
        )
        return
    yield from _latency_findings(name, totals, thresholds)
    yield from _error_finding(name, totals, thresholds)
    routes = counts.routes.found()
    bursts = list(_burst_findings(counts, routes, thresholds, moment))
    yield from bursts
    named = {finding.subject for finding in bursts}
    yield from _failing_routes(routes, named, totals.server_error_ratio, thresholds)
    yield from _slow_routes(counts, routes, thresholds, moment)
    yield from _slower_routes(routes, previous.get("routes", {}), thresholds)


def _latency_findings(name: str, totals: Totals, thresholds: Thresholds) -> Iterator[Finding]:
    for label, seconds, limit_ms in (
        ("p95", totals.p95, thresholds.response_p95_ms),
        ("p99", totals.p99, thresholds.response_p99_ms),
    ):
        if seconds is None or seconds * 1000 < limit_ms:
            continue
        share = "5 %" if label == "p95" else "1 %"
        yield Finding(
            code=f"response-time-{label}",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{share} of all requests took {ms(seconds)} or longer ({label}); the target is"
                f" under {limit_ms:,.0f} ms."
            ),
            evidence={
                f"{label}_ms": seconds * 1000,
                "limit_ms": limit_ms,
                "requests": totals.with_time,
            },
            advice="Begin with the routes that take the most time in all: the first of the table.",
        )


def _error_finding(name: str, totals: Totals, thresholds: Thresholds) -> Iterator[Finding]:
    ratio, limit = totals.server_error_ratio, thresholds.server_error_ratio
    if ratio < limit or ratio == 0:
        return
    is_critical = ratio >= CRITICAL_TIMES_LIMIT * limit
    yield Finding(
        code="server-error-ratio",
        severity=Severity.CRITICAL if is_critical else Severity.WARNING,
        subject=name,
        sentence=(
            f"The server failed {percent(ratio)} of {totals.requests:,} requests (status 5xx); the"
            f" target is under {percent(limit)}."
        ),
        evidence={"server_error_ratio": ratio, "limit_ratio": limit, "requests": totals.requests},
        advice="Look into the application's log at the minutes and routes that this report names.",
    )


@dataclass(slots=True)
class _Burst:
    """Minutes of one event, its requests and its failures."""

    start: int
    end: int
    requests: int = 0
    server_errors: int = 0


def bursts_of(counts: Counts, limit_ratio: float) -> list[_Burst]:
    """Return the events in which the server suddenly failed, in the order of time."""
    found: list[_Burst] = []
    for start, minute in sorted(counts.minutes.items()):
        share = minute.server_errors / minute.requests if minute.requests else 0.0
        if minute.server_errors < BURST_MINIMUM_ERRORS or share < BURST_TIMES_LIMIT * limit_ratio:
            continue
        if not found or start - found[-1].end > BURST_GAP_SECONDS:
            found.append(_Burst(start, start))
        burst = found[-1]
        burst.end = start
        burst.requests += minute.requests
        burst.server_errors += minute.server_errors
    return found


def _burst_findings(
    counts: Counts,
    routes: Mapping[str, RouteCounts],
    thresholds: Thresholds,
    moment: Callable[[int], str],
) -> Iterator[Finding]:
    """Return one finding for each route that bursts hit most, the worst of its bursts first."""
    names = {id(route): name for name, route in routes.items()}
    by_route: dict[str, list[tuple[_Burst, int]]] = {}
    for burst in bursts_of(counts, thresholds.server_error_ratio):
        route, failed = _most_failing(counts, names, burst)
        by_route.setdefault(route, []).append((burst, failed))
    ranked = sorted(by_route.items(), key=lambda item: -max(b.server_errors for b, _ in item[1]))
    for route, found in ranked[:NAMED_ROUTES]:
        burst, failed = max(found, key=lambda pair: pair[0].server_errors)
        when = (
            f"At {moment(burst.start)}"
            if burst.start == burst.end
            else f"From {moment(burst.start)} to {moment(burst.end)}"
        )
        more = f" {counted(len(found) - 1, 'smaller burst')} hit it as well." if found[1:] else ""
        yield Finding(
            code="server-error-burst",
            severity=Severity.CRITICAL,
            subject=route,
            sentence=(
                f"{when} the server failed {burst.server_errors:,} of {burst.requests:,} requests"
                f" ({percent(burst.server_errors / burst.requests)}); {failed:,} of them were for"
                f" {route}.{more}"
            ),
            evidence={
                "first_minute": moment(burst.start),
                "last_minute": moment(burst.end),
                "server_errors": burst.server_errors,
                "requests": burst.requests,
                "route_errors": failed,
                "bursts": [moment(b.start) for b, _ in found[:20]],
            },
            advice="Look into the application's log at that minute, and at what was deployed then.",
        )


def _most_failing(counts: Counts, names: Mapping[int, str], burst: _Burst) -> tuple[str, int]:
    failed: dict[str, int] = {}
    for (route, minute), n in counts.failed.items():
        if burst.start <= minute <= burst.end:
            name = names.get(id(route.current()), "")
            failed[name] = failed.get(name, 0) + n
    if not failed:
        return "(all routes)", burst.server_errors
    worst = max(failed, key=lambda name: failed[name])
    return worst, failed[worst]


def _failing_routes(
    routes: Mapping[str, RouteCounts],
    named: Iterable[str],
    site_ratio: float,
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Name routes that fail more often than they may; of a site that does, those that stand out."""
    limit = thresholds.server_error_ratio
    noticed = limit if site_ratio < limit else STANDS_OUT_TIMES * site_ratio
    found = [
        (name, route, route.of_class(b"5"))
        for name, route in routes.items()
        if route.requests >= thresholds.access_log_minimum_requests and name not in named
    ]
    over = [(n, r, e) for n, r, e in found if e and e / r.requests >= noticed]
    for name, route, errors in sorted(over, key=lambda item: -item[2])[:NAMED_ROUTES]:
        yield Finding(
            code="route-server-errors",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"The server failed {errors:,} of {route.requests:,} requests for {name}"
                f" ({percent(errors / route.requests)}); the target is under {percent(limit)}."
            ),
            evidence={
                "server_errors": errors,
                "requests": route.requests,
                "statuses": {s.decode(): n for s, n in sorted(route.statuses.items())},
            },
            advice="Look for this route in the application's log.",
        )


def _slow_routes(
    counts: Counts,
    routes: Mapping[str, RouteCounts],
    thresholds: Thresholds,
    moment: Callable[[int], str],
) -> Iterator[Finding]:
    limit_ms = thresholds.response_p95_ms
    slow = []
    for name, route in routes.items():
        p95 = quantile(route.latencies, 0.95)
        enough = measured(route.latencies) >= thresholds.access_log_minimum_requests
        if enough and p95 is not None and p95 * 1000 >= limit_ms:
            slow.append((name, route, p95))
    worst = _worst_minutes(counts)
    for name, route, p95 in sorted(slow, key=lambda s: -s[2] * s[1].requests)[:NAMED_ROUTES]:
        minute, n = worst.get(id(route), (None, 0))
        at = (
            f" At {moment(minute)}, its worst minute, {n:,} took longer than {limit_ms:,.0f} ms."
            if minute is not None
            else ""
        )
        yield Finding(
            code="slow-route",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} took {ms(p95)} or longer for 5 % of its {route.requests:,} requests; the"
                f" target is under {limit_ms:,.0f} ms.{at}"
            ),
            evidence={
                "p50_ms": (quantile(route.latencies, 0.5) or 0.0) * 1000,
                "p95_ms": p95 * 1000,
                "p99_ms": (quantile(route.latencies, 0.99) or 0.0) * 1000,
                "requests": route.requests,
                "worst_minute": moment(minute) if minute is not None else None,
                "slow_requests_in_worst_minute": n,
            },
            advice=(
                "Look at its statements (analyze_db_performance --analysis queries), then at what"
                " of it can be cached."
            ),
        )


def _worst_minutes(counts: Counts) -> dict[int, tuple[int, int]]:
    """Return the minute with the most slow requests of each route, and how many there were."""
    summed: dict[tuple[int, int], int] = {}
    for (route, minute), n in counts.slow.items():
        key = (id(route.current()), minute)
        summed[key] = summed.get(key, 0) + n
    worst: dict[int, tuple[int, int]] = {}
    for (route_id, minute), n in sorted(summed.items(), key=lambda item: item[0][1]):
        if n > worst.get(route_id, (0, 0))[1]:
            worst[route_id] = (minute, n)
    return worst


def _slower_routes(
    routes: Mapping[str, RouteCounts], before: Mapping[str, Sequence[float]], thresholds: Thresholds
) -> Iterator[Finding]:
    slower = []
    for name, route in routes.items():
        p95 = quantile(route.latencies, 0.95)
        enough = measured(route.latencies) >= thresholds.access_log_minimum_requests
        if not enough or p95 is None or name not in before:
            continue
        was = before[name][1]
        if p95 >= was * SLOWER_TIMES and p95 - was >= SLOWER_SECONDS:
            slower.append((name, route, p95, was))
    for name, route, p95, was in sorted(slower, key=lambda s: -(s[2] - s[3]))[:NAMED_ROUTES]:
        yield Finding(
            code="route-slower",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} has become slower: its p95 was {ms(was)} in the period before and is"
                f" {ms(p95)} now, over {route.requests:,} requests."
            ),
            evidence={"p95_ms": p95 * 1000, "previous_p95_ms": was * 1000},
            advice="Look at what was deployed in between, and whether its tables have grown.",
        )


def ms(seconds: float) -> str:
    """Say a latency to two or three digits, which is what it is known to."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
