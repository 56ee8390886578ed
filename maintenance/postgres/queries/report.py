"""The report of slow queries: ranked by mean time, with what each of them costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, percent, seconds_in_words
from maintenance.postgres.queries.statement_counters import (
    StatementCounters,
    StatementUse,
    by_query,
)
from maintenance.postgres.queries.statement_text import command_of, without_literals

TITLE = "Slow queries"

#: Enough of a statement to find it in the code that sends it.
MAXIMUM_TEXT = 1000
#: Enough to recognise it in a sentence: the table behind FROM is mostly among it.
SENTENCE_TEXT = 120

#: The commands whose text the server normalises; others may hold values as they were sent.
_NORMALISED = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES"})


@dataclass(frozen=True, slots=True)
class SlowQueryRules:
    """A statement is slow from ``minimum_mean_ms`` on; ``limit`` are shown."""

    minimum_mean_ms: float
    limit: int


@dataclass(frozen=True, slots=True)
class QueryCost:
    """One statement with its cost in the window. ``time_ratio`` is its share of all time."""

    query_id: str
    text: str
    is_optimisable: bool
    calls: int
    mean_ms: float
    total_ms: float
    rows_per_call: float
    hit_ratio: float | None
    time_ratio: float
    temp_bytes: int
    wal_bytes: int


def slow_query_report(
    use: StatementUse,
    rules: SlowQueryRules,
    *,
    block_bytes: int,
    extra: Sequence[Finding],
    state: Mapping[str, Any],
) -> Report:
    """Name the statements whose mean time reaches the minimum, slowest first."""
    costs = ranked(use, block_bytes)
    slow = [c for c in costs if c.is_optimisable and c.mean_ms >= rules.minimum_mean_ms]
    findings = [_finding(cost, use) for cost in slow[: rules.limit]]
    return Report(
        title=TITLE,
        summary=_summary(use, costs, slow, rules),
        findings=(*findings, *extra, *_eviction_findings(use)),
        tables=(Table.of("Statements by mean time", [_row(c) for c in costs[: rules.limit]]),),
        facts={
            "window_seconds": use.seconds,
            "since": "previous review" if use.follows_previous else "start of the statistics",
            "statements_seen": len(costs),
            "statements_without_comparison": use.unknown,
            "minimum_mean_ms": rules.minimum_mean_ms,
        },
        samples=(
            Sample("slow_queries_count", len(slow)),
            Sample("statement_time_seconds", round(use.total_ms / 1000, 3)),
        ),
        state=state,
    )


def ranked(use: StatementUse, block_bytes: int) -> list[QueryCost]:
    """Return what each statement cost, the slowest call first (the guide: by mean time)."""
    total_ms = use.total_ms
    costs = [_cost(s, total_ms, block_bytes) for s in by_query(use.statements)]
    return sorted(costs, key=lambda c: (-c.mean_ms, c.query_id))


def _cost(statement: StatementCounters, total_ms: float, block_bytes: int) -> QueryCost:
    command = command_of(statement.text)
    is_normalised = command in _NORMALISED
    blocks = statement.hit_blocks + statement.read_blocks
    return QueryCost(
        query_id=statement.query_id,
        text=shown_text(statement.text),
        is_optimisable=is_normalised,
        calls=statement.calls,
        mean_ms=statement.total_ms / statement.calls,
        total_ms=statement.total_ms,
        rows_per_call=statement.rows / statement.calls,
        hit_ratio=statement.hit_blocks / blocks if blocks else None,
        time_ratio=min(1.0, statement.total_ms / total_ms) if total_ms else 0.0,
        temp_bytes=statement.temp_blocks * block_bytes,
        wal_bytes=statement.wal_bytes,
    )


def shown_text(text: str) -> str:
    """Return a statement as it may be kept: in one line, without any literal.

    Of a utility statement only the command word is left: its values need no quotes (``SET``).
    """
    command = command_of(text)
    if command not in _NORMALISED:
        return f"{command} ..." if command else "(a statement of another kind)"
    # The server keeps a text as it was sent where its entry was evicted meanwhile.
    return without_literals(text, MAXIMUM_TEXT)


def _finding(cost: QueryCost, use: StatementUse) -> Finding:
    begin = cost.text[:SENTENCE_TEXT].rstrip()
    shown = begin if begin == cost.text else f"{begin} ..."
    return Finding(
        code="slow-query",
        severity=Severity.WARNING,
        subject=f"query {cost.query_id}",
        sentence=(
            f"{seconds_in_words(cost.mean_ms / 1000)} a call,"
            f" {counted(cost.calls, 'call')} in {seconds_in_words(use.seconds)},"
            f" {percent(cost.time_ratio)} of all statement time: {shown}"
        ),
        evidence={
            "query": cost.text,
            "calls": cost.calls,
            "mean_ms": round(cost.mean_ms, 3),
            "total_ms": round(cost.total_ms, 3),
            "rows_per_call": round(cost.rows_per_call, 1),
            "hit_ratio": None if cost.hit_ratio is None else round(cost.hit_ratio, 4),
            "time_ratio": round(cost.time_ratio, 4),
            "temp_bytes": cost.temp_bytes,
            "window_seconds": use.seconds,
        },
        advice=advice_for(cost),
    )


def advice_for(cost: QueryCost) -> str:
    """Say where to begin, from what the counters show."""
    hints = []
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
                " cost is missing here."
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
    if not slow:
        return f"None of {seen} took {rules.minimum_mean_ms:g} ms a call on average {window}."
    shown = f"; the {rules.limit} slowest are named" if len(slow) > rules.limit else ""
    return (
        f"{len(slow)} of {seen} took at least {rules.minimum_mean_ms:g} ms a call on average"
        f" {window}{shown}."
    )


def _row(cost: QueryCost) -> dict[str, Any]:
    return {
        "query_id": cost.query_id,
        "mean_ms": round(cost.mean_ms, 3),
        "calls": cost.calls,
        "total_ms": round(cost.total_ms, 3),
        "time_ratio": round(cost.time_ratio, 4),
        "rows_per_call": round(cost.rows_per_call, 1),
        "hit_ratio": None if cost.hit_ratio is None else round(cost.hit_ratio, 4),
        "temp_bytes": cost.temp_bytes,
        "wal_bytes": cost.wal_bytes,
        "query": cost.text,
    }
