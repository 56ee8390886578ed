"""What a load test says: against the targets, against the last one, page by page. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.conf import LoadTestTarget, Thresholds, is_below
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, day_in_words, percent
from maintenance.web.latency_histogram import RELATIVE_ERROR, empty_counts, quantile
from maintenance.web.load_test.options import LoadTestOptions
from maintenance.web.load_test.plan import Plan
from maintenance.web.load_test.process import Counted, Result

P95_METRIC = "load_test_p95_seconds"
P99_METRIC = "load_test_p99_seconds"
ERRORS_METRIC = "load_test_error_ratio"
RATE_METRIC = "load_test_requests_per_second"

#: Of fewer requests the slowest hundredth, or twentieth, is a single one.
P99_MINIMUM_REQUESTS = 100
P95_MINIMUM_REQUESTS = 20
#: The response times of a generator that is busier, or waits more for a processor, are its own.
BUSY_RATIO = 0.80
#: The same site on the same machine differs by some tenth from one quarter to the next.
SLOWER_FACTOR = 1.25
#: Where so much less came than was asked for, the site and not the plan set the pace.
SATURATED_RATIO = 0.80


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A page that did not come when it was looked at before the load."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadTestRun:
    """A plan, what came of it, and the pages of the target that took no part."""

    plan: Plan
    result: Result
    left_out: Sequence[LeftOut]


@dataclass(frozen=True, slots=True)
class Figures:
    """Response times in seconds, ``None`` where too few requests support them."""

    requests: int
    failed: int
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, counted_: Sequence[Counted]) -> "Figures":
        """Join what was counted of several pages."""
        latencies = empty_counts()
        for each in counted_:
            latencies = [a + b for a, b in zip(latencies, each.latencies, strict=True)]
        requests = sum(each.requests for each in counted_)
        enough95, enough99 = requests >= P95_MINIMUM_REQUESTS, requests >= P99_MINIMUM_REQUESTS
        return cls(
            requests,
            sum(each.failed for each in counted_),
            quantile(latencies, 0.50),
            quantile(latencies, 0.95) if enough95 else None,
            quantile(latencies, 0.99) if enough99 else None,
        )

    @property
    def error_ratio(self) -> float:
        """Share of the requests whose page did not come."""
        return self.failed / self.requests if self.requests else 0.0


def planned_report(name: str, plan: Plan, previous_state: Mapping[str, Any]) -> Report:
    """Say what would be done; the figures of the last time stay for the next one."""
    outcomes = (
        Outcome(
            Action(
                kind="load test",
                subject=name,
                statement=f"GET {plan.base_url}{{path}}, {bounds_in_words(plan)}",
                reason=f"{counted(len(plan.pages), 'page')} by their shares",
            ),
            Verdict.PLANNED,
        ),
    )
    return Report(
        title=f"Load test {name}",
        summary=f"Would ask {plan.base_url} for {counted(len(plan.pages), 'page')}: {bounds_in_words(plan)}.",
        outcomes=outcomes,
        tables=(
            Table.of("Pages", [{"page": p.path, "share_ratio": p.share_ratio} for p in plan.pages]),
        ),
        facts=_bounds(plan),
        state=previous_state,
    )


def bounds_in_words(plan: Plan) -> str:
    """Say how much load there is at the most, and when it ends before its time."""
    return (
        f"{counted(plan.users, 'user')}, at most {plan.requests_per_second:g} requests a second and"
        f" {plan.maximum_requests:,} in all, for {plan.duration_seconds:g} s; ends at once where"
        f" {percent(plan.abort_error_ratio)} of the last requests fail or their p99 passes"
        f" {plan.abort_p99_seconds * 1000:,.0f} ms"
    )


def report_of(
    job: Job[LoadTestTarget, LoadTestOptions],
    run: LoadTestRun,
    thresholds: Thresholds,
    now: float,
) -> Report:
    """Judge a load test. ``now`` is in seconds since the epoch."""
    name, before = job.target_name, job.previous_state
    plan, result = run.plan, run.result
    all_pages = Figures.of(list(result.pages.values()))
    is_busy = result.processor_ratio > BUSY_RATIO
    findings = [
        *_aborted(name, result, all_pages),
        *_left_out(run.left_out),
        *([_busy(name, result)] if is_busy else _times(job, run, all_pages, thresholds)),
        *_errors(name, result, all_pages, thresholds),
    ]
    state = before if is_busy or result.kind == "cancelled" else _state(result, all_pages, now)
    return Report(
        title=f"Load test {name}",
        summary=_summary(plan, result, all_pages, before),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(table for table in _tables(plan, result, before) if table.rows),
        facts=_facts(plan, result, all_pages, before),
        samples=() if is_busy else tuple(_samples(result, all_pages)),
        state=state,
    )


def _aborted(name: str, result: Result, figures: Figures) -> Iterator[Finding]:
    if result.kind not in {"aborted", "cancelled"}:
        return
    yield Finding(
        code=f"load-test-{result.kind}",
        severity=Severity.CRITICAL if result.kind == "aborted" else Severity.INFO,
        subject=name,
        sentence=(
            f"The load test was ended after {result.lasted_seconds:.1f} s and"
            f" {counted(figures.requests, 'request')}: {result.reason}. No user was at work"
            f" {result.stopped_after_seconds * 1000:,.0f} ms later."
        ),
        evidence={
            "lasted_seconds": result.lasted_seconds,
            "stopped_after_seconds": result.stopped_after_seconds,
            "requests": figures.requests,
            "failed_requests": figures.failed,
        },
        advice=(
            "The site does not bear this load: see which page it was, and what it waits for"
            " (review_slow_queries, assess_scaling), before visitors find out."
        ),
    )


def _left_out(left_out: Sequence[LeftOut]) -> Iterator[Finding]:
    for page in left_out:
        yield Finding(
            code="load-test-page-left-out",
            severity=Severity.INFO,
            subject=page.path,
            sentence=f"{page.path} was left out of the load: {page.reason}.",
            advice="Correct its path under pages, or leave it out; redirects are not followed.",
        )


def _busy(name: str, result: Result) -> Finding:
    return unavailable(
        "load-test-generator-busy",
        name,
        "how long pages take under load",
        f"a generator with time to spare: it used a processor, or waited for one,"
        f" {percent(result.processor_ratio)} of the time; lower requests_per_second, or run it on another machine",
    )


def _times(
    job: Job[LoadTestTarget, LoadTestOptions],
    run: LoadTestRun,
    figures: Figures,
    thresholds: Thresholds,
) -> Iterator[Finding]:
    name = job.target_name
    limits = (("p95", thresholds.response_p95_ms), ("p99", thresholds.response_p99_ms))
    for word, limit_ms in limits:
        value = getattr(figures, word)
        if value is None:
            needed = P95_MINIMUM_REQUESTS if word == "p95" else P99_MINIMUM_REQUESTS
            yield unavailable(
                f"load-test-{word}", name, f"the {word} under load", f"{needed} requests or more"
            )
        elif not is_below(value * 1000, limit_ms):
            yield Finding(
                code=f"load-test-{word}",
                severity=Severity.WARNING,
                subject=name,
                sentence=(
                    f"With {counted(run.plan.users, 'user')}, the {word} of all pages was {_ms(value)};"
                    f" the target is below {limit_ms:,.0f} ms."
                ),
                evidence={f"{word}_ms": value * 1000, "limit_ms": limit_ms},
                advice="See which pages it is, and what they wait for.",
            )
    for path, page in run.result.pages.items():
        yield from _slow_page(path, Figures.of([page]), thresholds)
    yield from _slower(name, figures, job.previous_state)


def _slow_page(path: str, figures: Figures, thresholds: Thresholds) -> Iterator[Finding]:
    if figures.p95 is None or is_below(figures.p95 * 1000, thresholds.response_p95_ms):
        return
    yield Finding(
        code="load-test-slow-page",
        severity=Severity.WARNING,
        subject=path,
        sentence=(
            f"{path} took {_ms(figures.p95)} at its p95 of {counted(figures.requests, 'request')}"
            f" under load (p50 {_ms(figures.p50)}); the target is below"
            f" {thresholds.response_p95_ms:,.0f} ms."
        ),
        evidence={
            "requests": figures.requests,
            "p50_ms": _in_ms(figures.p50),
            "p95_ms": _in_ms(figures.p95),
            "limit_ms": thresholds.response_p95_ms,
        },
        advice="Look at its queries (review_n_plus_one, review_slow_queries), and cache what it can.",
    )


def _slower(name: str, figures: Figures, before: Mapping[str, Any]) -> Iterator[Finding]:
    old = before.get("p95")
    if old is None or figures.p95 is None or figures.p95 <= old * SLOWER_FACTOR:
        return
    yield Finding(
        code="load-test-slower",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"Pages became slower under load: p95 {_ms(figures.p95)}, and {_ms(old)} on"
            f" {day_in_words(before['at_epoch_seconds'])}."
        ),
        evidence={"p95_ms": _in_ms(figures.p95), "previous_p95_ms": _in_ms(old)},
        advice="The table has each page beside the last time.",
    )


def _errors(
    name: str, result: Result, figures: Figures, thresholds: Thresholds
) -> Iterator[Finding]:
    if not figures.failed or figures.error_ratio < thresholds.server_error_ratio:
        return
    kinds = sorted(result.kinds.items(), key=lambda item: -item[1])
    yield Finding(
        code="load-test-errors",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"{figures.failed:,} of {counted(figures.requests, 'request')}"
            f" ({percent(figures.error_ratio)}) failed under load, most with {kinds[0][0]}; the"
            f" target is below {percent(thresholds.server_error_ratio)}."
        ),
        evidence={"error_ratio": figures.error_ratio, "kinds": dict(kinds)},
        advice="Look for them in the site's own error log at the time of this run.",
    )


def _summary(plan: Plan, result: Result, figures: Figures, before: Mapping[str, Any]) -> str:
    old = before.get("p95")
    since = f"; p95 on {day_in_words(before['at_epoch_seconds'])}: {_ms(old)}" if old else ""
    ended = {"aborted": " (ended early)", "cancelled": " (cancelled)"}.get(result.kind, "")
    return (
        f"{counted(figures.requests, 'request')} by {counted(plan.users, 'user')} in"
        f" {result.lasted_seconds:.0f} s{ended}: p50 {_ms(figures.p50)}, p95 {_ms(figures.p95)}, p99"
        f" {_ms(figures.p99)}, {percent(figures.error_ratio)} failed{since}."
    )


def _tables(plan: Plan, result: Result, before: Mapping[str, Any]) -> Iterator[Table]:
    shares = {page.path: page.share_ratio for page in plan.pages}
    old = before.get("pages", {})
    rows = []
    for path, page in result.pages.items():
        figures = Figures.of([page])
        rows.append(
            {
                "page": path,
                "share_ratio": shares[path],
                "requests": figures.requests,
                "failed_requests": figures.failed,
                "p50_ms": _in_ms(figures.p50),
                "p95_ms": _in_ms(figures.p95),
                "p99_ms": _in_ms(figures.p99),
                "previous_p95_ms": _in_ms(old.get(path)),
            }
        )
    yield Table.of("Pages under load", sorted(rows, key=lambda r: -(r["p95_ms"] or 0.0)))
    yield Table.of(
        "What failed", [{"what": what, "requests": n} for what, n in result.kinds.items()]
    )
    yield Table.of(
        "Course of the test",
        [
            {
                "from_seconds": number * result.stretch_seconds,
                "requests_per_second": each.requests / result.stretch_seconds,
                "failed_requests": each.failed,
                "p50_ms": _in_ms(quantile(each.latencies, 0.50)),
                "p95_ms": _in_ms(Figures.of([each]).p95),
            }
            for number, each in enumerate(result.course)
            if each.requests
        ],
    )


def _bounds(plan: Plan) -> dict[str, Any]:
    return {
        "url": plan.base_url,
        "allowed_hosts": list(plan.allowed_hosts),
        "users": plan.users,
        "most_requests_per_second": plan.requests_per_second,
        "most_requests": plan.maximum_requests,
        "planned_duration_seconds": plan.duration_seconds,
        "abort_error_ratio": plan.abort_error_ratio,
        "abort_p99_ms": plan.abort_p99_seconds * 1000,
    }


def _facts(
    plan: Plan, result: Result, figures: Figures, before: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **_bounds(plan),
        "ended_by": result.kind,
        "lasted_seconds": result.lasted_seconds,
        "requests": figures.requests,
        "requests_per_second": _rate(result, figures),
        "pace_set_by": _pace(plan, result, figures),
        "error_ratio": figures.error_ratio,
        "p50_ms": _in_ms(figures.p50),
        "p95_ms": _in_ms(figures.p95),
        "previous_p95_ms": _in_ms(before.get("p95")),
        "p99_ms": _in_ms(figures.p99),
        "previous_p99_ms": _in_ms(before.get("p99")),
        "relative_error_ratio": RELATIVE_ERROR,
        "generator_processor_ratio": result.processor_ratio,
        "generator": f"Locust {result.locust}",
    }


def _pace(plan: Plan, result: Result, figures: Figures) -> str:
    """Say whether the plan or the site kept the load from being higher, as far as it lasted."""
    planned = plan.requests_per_second * max(0.0, result.lasted_seconds - plan.ramp_seconds / 2)
    return "site" if figures.requests < SATURATED_RATIO * planned else "plan"


def _samples(result: Result, figures: Figures) -> Iterator[Sample]:
    if result.kind == "cancelled":
        return
    if figures.p95 is not None:
        yield Sample(P95_METRIC, figures.p95)
    if figures.p99 is not None:
        yield Sample(P99_METRIC, figures.p99)
    yield Sample(ERRORS_METRIC, figures.error_ratio)
    yield Sample(RATE_METRIC, _rate(result, figures))


def _state(result: Result, figures: Figures, now: float) -> dict[str, Any]:
    pages = {path: Figures.of([page]).p95 for path, page in result.pages.items()}
    return {"at_epoch_seconds": now, "p95": figures.p95, "p99": figures.p99, "pages": pages}


def _rate(result: Result, figures: Figures) -> float:
    return round(figures.requests / max(0.001, result.lasted_seconds), 2)


def _ms(seconds: float | None) -> str:
    return "withheld" if seconds is None else f"{seconds * 1000:,.0f} ms"


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
