"""The report of slow queries: what is slow, what became slow, and what uses up most."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, percent, seconds_in_words
from maintenance.postgres.queries.charts import query_charts
from maintenance.postgres.queries.cost import QueryCost
from maintenance.postgres.queries.rankings import change_table, ranking_tables
from maintenance.postgres.queries.rules import SlowQueryRules
from maintenance.postgres.queries.statement_counters import StatementUse

TITLE = "Slow queries"

#: Enough to recognise it in a sentence: the table behind FROM is mostly among it.
SENTENCE_TEXT = 120

_SLOW_CODES = frozenset({"slow-query", "query-slower"})

#: A fast statement is worth a look where it takes a quarter of all statement time, and where that
#: keeps a tenth of a processor busy: in an idle database something always has the largest share.
LOAD_RATIO = 0.25
LOAD_BUSY_RATIO = 0.1


def slow_query_report(
    use: StatementUse,
    costs: Sequence[QueryCost],
    rules: SlowQueryRules,
    *,
    extra: Sequence[Finding],
    state: Mapping[str, Any],
) -> Report:
    """Name the statements whose mean time reaches the minimum, slowest first.

    Those that became slower or are new are named whatever their mean; ``costs`` are in the order
    of their means.
    """
    slow = [c for c in costs if c.is_optimisable and c.mean_ms >= rules.minimum_mean_ms]
    named = slow[: rules.limit]
    findings = [_slow_finding(cost, use) for cost in named]
    findings += _other_findings([c for c in costs if c.is_optimisable and c not in named], use)
    return Report(
        title=TITLE,
        summary=_summary(use, costs, slow, rules),
        findings=(*findings, *extra, *_eviction_findings(use)),
        tables=(
            Table.of("Statements by mean time", [_row(c) for c in costs[: rules.limit]]),
            *change_table(costs, rules.limit),
            *ranking_tables(costs),
        ),
        facts={
            "window_seconds": use.seconds,
            "since": "previous review" if use.follows_previous else "start of the statistics",
            "statements_seen": len(costs),
            "statements_without_comparison": use.unknown,
            "statements_new": sum(cost.is_new for cost in costs),
            "statements_slower": sum(_is_slower(cost) for cost in costs),
            "minimum_mean_ms": rules.minimum_mean_ms,
        },
        samples=(
            Sample("slow_queries_count", len(slow)),
            Sample("slower_queries_count", sum(_is_slower(cost) for cost in costs)),
            Sample("statement_time_seconds", round(use.total_ms / 1000, 3)),
        ),
        bars=query_charts(costs),
        state=state,
    )


def slow_texts(report: Report) -> tuple[str, ...]:
    """Return the statements, without literals, that a report names as slow or slower."""
    return tuple(f.evidence["query"] for f in report.findings if f.code in _SLOW_CODES)


def _is_slower(cost: QueryCost) -> bool:
    return cost.change is not None and cost.change.times > 1


def _slow_finding(cost: QueryCost, use: StatementUse) -> Finding:
    if _is_slower(cost):
        beginning = _change_in_words(cost)
    else:
        beginning = (
            f"{ms_in_words(cost.mean_ms)} a call{', new in this period' if cost.is_new else ''}"
        )
    return _finding("slow-query", Severity.WARNING, beginning, cost, use)


def _other_findings(costs: Sequence[QueryCost], use: StatementUse) -> Iterator[Finding]:
    for cost in sorted(costs, key=lambda cost: (-cost.total_ms, cost.query_id)):
        mean = f"{ms_in_words(cost.mean_ms)} a call"
        if _is_slower(cost):
            yield _finding("query-slower", Severity.WARNING, _change_in_words(cost), cost, use)
        elif cost.time_ratio >= LOAD_RATIO and _busy_ratio(cost, use) >= LOAD_BUSY_RATIO:
            yield _finding("query-load", Severity.INFO, f"Fast, but often: {mean}", cost, use)
        elif cost.is_new:
            yield _finding("query-new", Severity.INFO, f"New in this period: {mean}", cost, use)


def _busy_ratio(cost: QueryCost, use: StatementUse) -> float:
    return cost.total_ms / 1000 / use.seconds if use.seconds else 0.0


def ms_in_words(ms: float) -> str:
    """Say a time of a call: short ones with two digits that matter."""
    return f"{ms:.2g} ms" if ms < 9.95 else seconds_in_words(ms / 1000)


def _change_in_words(cost: QueryCost) -> str:
    assert cost.change is not None
    before, after = ms_in_words(cost.change.before_ms), ms_in_words(cost.change.after_ms)
    times = cost.change.times
    factor = f"{times:.1f}" if times < 9.95 else f"{times:,.0f}"
    return f"{before} -> {after} a call, {factor} times slower than before"


def _finding(
    code: str, severity: Severity, beginning: str, cost: QueryCost, use: StatementUse
) -> Finding:
    begin = cost.text[:SENTENCE_TEXT].rstrip()
    shown = begin if begin == cost.text else f"{begin} ..."
    return Finding(
        code=code,
        severity=severity,
        subject=f"query {cost.query_id}",
        sentence=(
            f"{beginning}, {counted(cost.calls, 'call')} in {seconds_in_words(use.seconds)},"
            f" {percent(cost.time_ratio)} of {use.whole}: {shown}"
        ),
        evidence={
            "query": cost.text,
            "identifiers": cost.variants,
            "users": list(cost.users),
            "is_top_level": cost.is_top_level,
            "calls": cost.calls,
            "mean_ms": round(cost.mean_ms, 3),
            "mean_before_ms": round(cost.change.before_ms, 3) if cost.change else None,
            "total_ms": round(cost.total_ms, 3),
            "rows_per_call": round(cost.rows_per_call, 1),
            "hit_ratio": None if cost.hit_ratio is None else round(cost.hit_ratio, 4),
            "time_ratio": round(cost.time_ratio, 4),
            "read_bytes": cost.read_bytes,
            "temp_bytes": cost.temp_bytes,
            "wal_bytes": cost.wal_bytes,
            "window_seconds": use.seconds,
        },
        advice=advice_for(cost),
    )


def advice_for(cost: QueryCost) -> str:
    """Say where to begin, from what the counters show."""
    hints = []
    if _is_slower(cost):
        hints.append(
            "Look for what changed: a deployment, a dropped index, data that grew, a plan from stale"
            " statistics (ANALYZE its tables)."
        )
    if cost.temp_bytes:
        hints.append(
            f"It wrote {bytes_in_words(cost.temp_bytes)} of temporary files: sort or hash fewer"
            " rows, or give it more work_mem."
        )
    if cost.hit_ratio is not None and cost.hit_ratio < 0.9:
        hints.append(
            f"Only {percent(cost.hit_ratio)} of its pages were in shared_buffers: let it read fewer."
        )
    if cost.rows_per_call >= 1000:
        hints.append(f"It handles {cost.rows_per_call:,.0f} rows a call: fetch them in pages.")
    hints.append(
        "Run it under EXPLAIN (ANALYZE, BUFFERS) with typical values and look for sequential scans"
        " that an index would spare."
    )
    return " ".join(hints)


def _eviction_findings(use: StatementUse) -> list[Finding]:
    """Say that statements are missing, because the server made room for others."""
    if not use.evictions:
        return []
    return [
        Finding(
            code="statements-evicted",
            severity=Severity.INFO,
            subject="pg_stat_statements",
            sentence=(
                f"The server dropped its least used statements"
                f" {counted(use.evictions, 'time')} in {seconds_in_words(use.seconds)}: what they"
                " cost is missing here, and one that came back may be called new."
            ),
            evidence={"evictions": use.evictions, "window_seconds": use.seconds},
            advice="Raise pg_stat_statements.max (10000 in the guide), which needs a restart.",
        )
    ]


def _summary(
    use: StatementUse,
    costs: Sequence[QueryCost],
    slow: Sequence[QueryCost],
    rules: SlowQueryRules,
) -> str:
    since = datetime.fromtimestamp(use.started_at, UTC)
    beginning = "the previous review" if use.follows_previous else "the statistics began"
    window = f"since {beginning} {seconds_in_words(use.seconds)} ago ({since:%Y-%m-%d %H:%M} UTC)"
    seen = counted(len(costs), "statement")
    if not costs:
        return f"No statement was counted {window}."
    slower = sum(_is_slower(cost) for cost in costs)
    changed = f" {counted(slower, 'statement')} became slower." if slower else ""
    if use.unknown:
        changed += (
            f" {counted(use.unknown, 'statement')} that took"
            f" {seconds_in_words(use.unknown_ms / 1000)} at most since the statistics began could not"
            f" be compared, and {'is' if use.unknown == 1 else 'are'} left out."
        )
    if not slow:
        none = f"None of {seen} took {rules.minimum_mean_ms:g} ms a call on average {window}."
        return f"{none}{changed}"
    shown = f"; the {rules.limit} slowest are named" if len(slow) > rules.limit else ""
    return (
        f"{len(slow)} of {seen} took at least {rules.minimum_mean_ms:g} ms a call on average"
        f" {window}{shown}.{changed}"
    )


def _row(cost: QueryCost) -> dict[str, Any]:
    return {
        "query_id": cost.query_id,
        "query": cost.text,
        "mean_ms": round(cost.mean_ms, 3),
        "calls": cost.calls,
        "total_ms": round(cost.total_ms, 3),
        "time_ratio": round(cost.time_ratio, 4),
        "rows_per_call": round(cost.rows_per_call, 1),
        "hit_ratio": None if cost.hit_ratio is None else round(cost.hit_ratio, 4),
        "temp_bytes": cost.temp_bytes,
        "wal_bytes": cost.wal_bytes,
    }
