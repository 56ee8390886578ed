"""How fast the database, its tables and its indexes grow, and when that meets a limit."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import History, Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.plots import Bar, BarChart, Foretold, over_time
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.trend import (
    DAY_SECONDS,
    WEEK_SECONDS,
    Forecast,
    Outlook,
    Trend,
    outlook_of,
)
from maintenance.core.wording import (
    bytes_in_words,
    counted,
    day_in_words,
    listed,
    percent,
)
from maintenance.postgres.connection import connect
from maintenance.postgres.sql_files import query

#: So many tables and so many indexes are measured: what is smaller than the fiftieth cannot fill a
#: disk. With the database itself a run stores at most 101 samples, some 5,300 a year.
LARGEST = 50
#: Below, growth does not matter; neither shown nor stored.
SMALLEST_BYTES = 1024**2

#: Rows of each table of the report.
ROWS_SHOWN = 20

#: The guide reviews capacity every quarter: what fills up before the next review is said now.
WARNING_SECONDS = 90 * DAY_SECONDS
#: A larger disk or plan takes a fortnight to be decided, ordered and moved to.
CRITICAL_SECONDS = 14 * DAY_SECONDS

#: Whose runs store the sizes.
TASK = "review_database_growth"
DATABASE_METRIC = "database_bytes"
RELATION_METRIC = "relation_bytes"


@dataclass(frozen=True, slots=True)
class RelationSize:
    """A table with its TOAST table, or an index; a partitioned one with all its partitions.

    ``kind`` is ``table`` or ``index``. ``is_locked`` says that somebody's lock kept us from
    measuring it: the size is then the last one that PostgreSQL noted.
    """

    kind: str
    qualified_name: str
    size_bytes: int
    is_locked: bool


@dataclass(frozen=True, slots=True)
class Growth:
    """A size and what earlier measurements say of its future."""

    relation: RelationSize
    outlook: Outlook

    @property
    def weekly_bytes(self) -> float | None:
        """Growth a week; ``None`` where it is withheld."""
        trend = self.outlook.trend
        return None if trend is None else trend.per_second * WEEK_SECONDS


def report_growth(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Measure the sizes and foretell them from those that earlier runs stored.

    Sizes need no right beyond CONNECT. Raises what :func:`connect` raises.
    """
    with connect(job.target, purpose="growth") as conn:
        database_bytes = query(conn, "database_size")[0]["database_bytes"]
        relations = measure_relations(conn, job.target)
    now = time.time()
    stored = job.history.series(DATABASE_METRIC)
    outlook = outlook_of(stored, Point(now, database_bytes))
    growths = growths_of(relations, job.history, now)
    limit = job.target.size_limit_bytes
    findings = [
        *diagnose_database(job.target_name, database_bytes, outlook, limit, thresholds),
        *diagnose_tables(growths, thresholds),
        *_locked(relations),
    ]
    return Report(
        title=f"Growth of {job.target_name}",
        summary=_summary(database_bytes, outlook, limit),
        findings=tuple(by_seriousness(findings)),
        tables=tuple(table for table in _tables(growths) if table.rows),
        facts=_facts(database_bytes, outlook, limit),
        samples=tuple(_samples(database_bytes, relations)),
        plots=over_time(
            f"Size of the database {job.target_name}",
            DATABASE_METRIC,
            stored,
            Point(now, float(database_bytes)),
            limit=limit,
            foretold=_foretold(outlook.trend),
        ),
        bars=_bars(relations),
    )


def measure_relations(conn: Connection, target: DatabaseTarget) -> list[RelationSize]:
    """Return up to :data:`LARGEST` tables and as many indexes, without waiting for a lock."""
    parameters = {"exclude_schemas": list(target.exclude_schemas), "limit": LARGEST}
    relations = [RelationSize(**row) for row in query(conn, "relation_sizes", parameters)]
    return [r for r in relations if r.is_locked or r.size_bytes >= SMALLEST_BYTES]


def growths_of(relations: Sequence[RelationSize], history: History, now: float) -> list[Growth]:
    """Join the sizes with the stored ones, by one look into the history."""
    names = [relation.qualified_name for relation in relations]
    stored = history.series_by_subject(RELATION_METRIC, names)
    return [
        Growth(
            relation,
            outlook_of(
                stored.get(relation.qualified_name, ()), Point(now, float(relation.size_bytes))
            ),
        )
        for relation in relations
        if not relation.is_locked
    ]


def diagnose_database(
    name: str,
    database_bytes: int,
    outlook: Outlook,
    limit_bytes: int | None,
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Judge the database's size against its limit, where one is configured.

    By the shares that count for a disk, and by :data:`WARNING_SECONDS` to the date.
    """
    if outlook.trend is None:
        finding = unavailable(
            "database-growth", name, "how fast the database grows", outlook.missing
        )
        yield replace(finding, advice=f"Leave {TASK} on its schedule: each run adds a measurement.")
    if limit_bytes is None:
        return
    forecast = outlook.reaches(limit_bytes)
    severity = _limit_severity(database_bytes / limit_bytes, forecast, thresholds)
    if severity is None:
        return
    used = (
        f"The database {name} fills {percent(database_bytes / limit_bytes)} of its limit of"
        f" {bytes_in_words(limit_bytes)}"
    )
    yield Finding(
        code="database-size-limit",
        severity=severity,
        subject=name,
        sentence=f"{used}{_limit_clause(database_bytes >= limit_bytes, forecast)}.",
        evidence={
            "database_bytes": database_bytes,
            "size_limit_bytes": limit_bytes,
            "used_ratio": database_bytes / limit_bytes,
            **_evidence(outlook.trend, "full", forecast),
        },
        advice=(
            "Look at the tables that grow most. Delete or archive what is not needed, give back"
            " bloat (analysis bloat), or enlarge the disk or the plan, and then size_limit_bytes of"
            " this target."
        ),
    )


def _limit_severity(
    used_ratio: float, forecast: Forecast | None, thresholds: Thresholds
) -> Severity | None:
    left = None if forecast is None else forecast.seconds_left
    if used_ratio >= thresholds.disk_critical_ratio or (
        left is not None and left <= CRITICAL_SECONDS
    ):
        return Severity.CRITICAL
    if used_ratio >= thresholds.disk_warning_ratio or (
        left is not None and left <= WARNING_SECONDS
    ):
        return Severity.WARNING
    return None


def _limit_clause(is_reached: bool, forecast: Forecast | None) -> str:
    if is_reached:
        return ", which it has reached"
    if forecast is None:
        return ""
    return f" and reaches it {forecast.in_words}"


def diagnose_tables(growths: Sequence[Growth], thresholds: Thresholds) -> Iterator[Finding]:
    """Name tables that surely grow both by much and fast."""
    for growth in growths:
        trend, relation = growth.outlook.trend, growth.relation
        if trend is None or relation.kind != "table" or relation.size_bytes == 0:
            continue
        weekly = trend.per_second * WEEK_SECONDS
        ratio = weekly / relation.size_bytes
        too_little = weekly < thresholds.table_growth_weekly_bytes
        if too_little or ratio < thresholds.table_growth_weekly_ratio:
            continue
        if trend.lowest_per_second <= 0:
            continue  # it may as well have stopped
        doubled = trend.reaches(2.0 * relation.size_bytes)
        date = f": at that rate it has doubled {doubled.in_words}" if doubled else ""
        yield Finding(
            code="table-growth",
            severity=Severity.WARNING,
            subject=relation.qualified_name,
            sentence=(
                f"{relation.qualified_name} grows by {bytes_in_words(weekly)} a week,"
                f" {percent(ratio)} of its {bytes_in_words(relation.size_bytes)}{date}."
            ),
            evidence={
                "size_bytes": relation.size_bytes,
                "weekly_growth_ratio": ratio,
                "limit_ratio": thresholds.table_growth_weekly_ratio,
                "limit_bytes": thresholds.table_growth_weekly_bytes,
                **_evidence(trend, "doubled", doubled),
            },
            advice=(
                "Decide how long its rows are needed: delete old ones in batches, or partition it"
                " by time and drop whole partitions. If it should not grow, see which statements"
                " write to it (analysis queries) and whether it bloats (analysis bloat)."
            ),
        )


def _locked(relations: Sequence[RelationSize]) -> Iterator[Finding]:
    names = [relation.qualified_name for relation in relations if relation.is_locked]
    if names:
        needs = f"an end of the locks that somebody holds or awaits on {listed(names)}"
        yield unavailable(
            "relation-size", "sizes", f"the size of {counted(len(names), 'relation')}", needs
        )


def _evidence(trend: Trend | None, event: str, forecast: Forecast | None) -> dict[str, Any]:
    """Return the rate, and when the ``event`` comes, as plain values."""
    if trend is None:
        return {}
    return {
        "weekly_growth_bytes": trend.per_second * WEEK_SECONDS,
        "lowest_weekly_growth_bytes": trend.lowest_per_second * WEEK_SECONDS,
        "highest_weekly_growth_bytes": trend.highest_per_second * WEEK_SECONDS,
        "measurements": trend.points,
        "measured_over_seconds": trend.span_seconds,
        **(forecast.to_json(event) if forecast else {}),
    }


def _summary(database_bytes: int, outlook: Outlook, limit_bytes: int | None) -> str:
    size = f"The database has {bytes_in_words(database_bytes)}"
    trend = outlook.trend
    if trend is None:
        since = f" since it shrank on {day_in_words(outlook.fell_at)}" if outlook.fell_at else ""
        return f"{size}; its growth is withheld: that needs {outlook.missing}{since}."
    if trend.per_second <= 0:
        change = "shrinks" if trend.per_second < 0 else "does not grow"
        return f"{size} and {change}; nothing is foretold from that."
    text = f"{size} and grows by {_weekly_in_words(trend)}"
    if limit_bytes is None:
        return f"{text}."
    forecast = trend.reaches(limit_bytes)
    if forecast is None:
        return f"{text}; its limit of {bytes_in_words(limit_bytes)} is more than ten years away."
    return f"{text}: it reaches its limit of {bytes_in_words(limit_bytes)} {forecast.in_words}."


def _weekly_in_words(trend: Trend) -> str:
    weekly = bytes_in_words(trend.per_second * WEEK_SECONDS)
    lowest = bytes_in_words(trend.lowest_per_second * WEEK_SECONDS)
    highest = bytes_in_words(trend.highest_per_second * WEEK_SECONDS)
    band = "" if lowest == highest else f" (between {lowest} and {highest})"
    return f"{weekly} a week{band}"


def _facts(database_bytes: int, outlook: Outlook, limit_bytes: int | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"database_bytes": database_bytes, "size_limit_bytes": limit_bytes}
    trend = outlook.trend
    if trend is not None:
        forecast = trend.reaches(limit_bytes) if limit_bytes else None
        facts.update(_evidence(trend, "full", forecast))
        facts["in_90_days_bytes"] = _in_90_days(trend)
    return facts


def _in_90_days(trend: Trend) -> float:
    """Return the size in 90 days; what shrinks is not followed below what it has now."""
    return max(trend.last.value, trend.value_at(trend.last.at_epoch_seconds + 90 * DAY_SECONDS))


def _foretold(trend: Trend | None) -> tuple[Foretold, ...]:
    """Foretell what grows as far ahead as the findings look, or as its past reaches back."""
    if trend is None or trend.per_second <= 0:
        return ()
    at = trend.last.at_epoch_seconds + min(WARNING_SECONDS, trend.span_seconds)
    lowest, highest = trend.band_at(at)
    return (Foretold(at, lowest, trend.value_at(at), highest),)


def _bars(relations: Sequence[RelationSize]) -> tuple[BarChart, ...]:
    tables = [r for r in relations if r.kind == "table" and not r.is_locked]
    tables.sort(key=lambda relation: -relation.size_bytes)
    bars = [Bar(r.qualified_name, (float(r.size_bytes),)) for r in tables]
    chart = BarChart.largest("Largest tables", RELATION_METRIC, ("size",), bars)
    return (chart,) if bars else ()


def _tables(growths: Sequence[Growth]) -> Iterator[Table]:
    for kind, title in (("table", "Tables by growth"), ("index", "Indexes by growth")):
        ranked = sorted(
            (g for g in growths if g.relation.kind == kind),
            key=lambda g: (-(g.weekly_bytes or 0.0), -g.relation.size_bytes),
        )
        shown = ranked[:ROWS_SHOWN]
        rows = [_row(kind, growth) for growth in shown]
        if any(growth.outlook.fell_at for growth in shown):
            for row, growth in zip(rows, shown, strict=True):
                fell_at = growth.outlook.fell_at
                row["shrank_on"] = None if fell_at is None else day_in_words(fell_at)
        yield Table.of(title, rows)


def _row(kind: str, growth: Growth) -> dict[str, Any]:
    trend, size = growth.outlook.trend, growth.relation.size_bytes
    weekly = growth.weekly_bytes
    return {
        kind: growth.relation.qualified_name,
        "size_bytes": size,
        "daily_growth_bytes": None if weekly is None else weekly / 7,
        "weekly_growth_bytes": weekly,
        "weekly_growth_ratio": None if weekly is None or size == 0 else weekly / size,
        "in_90_days_bytes": None if trend is None else _in_90_days(trend),
    }


def _samples(database_bytes: int, relations: Sequence[RelationSize]) -> Iterator[Sample]:
    yield Sample(DATABASE_METRIC, float(database_bytes))
    for relation in relations:
        if not relation.is_locked:
            yield Sample(RELATION_METRIC, float(relation.size_bytes), relation.qualified_name)
