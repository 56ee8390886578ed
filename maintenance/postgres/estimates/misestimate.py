"""How far the planner's estimates of a column are off, and what they cost. Nothing is executed.

Values are drawn from a sample of pages, always of the same seed, and counted there. The planner is
asked for each by EXPLAIN without ANALYZE. A value stands in a setting of the session, which the
planner reads for its estimate as it does a constant: none of them comes into this process, into a
report, or into the text of a statement that the server may log.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.driver import MARKER
from maintenance.postgres.estimates.columns import ColumnStatistics, Rest, larger_targets
from maintenance.postgres.sql_files import query

#: Ten times what ANALYZE reads by default, so that the sample knows what its statistics do not.
SAMPLED_ROWS = 300_000
#: Of rows so wide that these would be gigabytes, as many as 100 MB of pages hold.
SAMPLED_PAGES = 12_800
SEED = 20_260_101
#: A value that was met on ten pages is known within about a third.
LEAST_PAGES = 10
#: Values that the planner is asked about, those that many rows have the likelier.
PROBES = 40
#: Planning is timed so often, and the shortest time counts: others are at work as well.
PLANNED_TIMES = 3


@dataclass(frozen=True, slots=True)
class Probe:
    """A value of the sample: how many of its rows have it, and for how many draws it stands."""

    rows: float
    weight: float


@dataclass(frozen=True, slots=True)
class ValueSample:
    """What a sample of ``rows`` rows shows: some values, and the rest beyond each target."""

    rows: float
    probes: tuple[Probe, ...]
    rests: tuple[Rest, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """How good statistics are, and what they cost.

    ``error_factor`` is by how much estimates are off on average, 1 for exact ones. ``planning_ms`` is
    what it takes to plan a condition on a value and a join on the column.
    """

    error_factor: float
    planning_ms: float


def measure_values(conn: Connection, column: ColumnStatistics, beyond: int) -> ValueSample:
    """Sample a column, and leave values beyond its ``beyond`` most frequent in the session."""
    part = min(1.0, SAMPLED_ROWS / column.rows, SAMPLED_PAGES / max(1, column.pages))
    [row] = query(
        conn,
        "value_sample",
        {
            "sampled_percent": 100 * part,
            "seed": SEED,
            "beyond": beyond,
            "least_pages": LEAST_PAGES,
            "probes": PROBES,
            "targets": [beyond, *larger_targets(beyond)],
        },
        identifiers={"schema": column.schema, "table": column.table, "column": column.name},
    )
    return ValueSample(
        rows=row["sampled_rows"],
        probes=tuple(Probe(*pair) for pair in row["probes"]),
        rests=tuple(Rest(int(target), *rest) for target, *rest in row["rests"]),
    )


def measure_effect(conn: Connection, column: ColumnStatistics, sample: ValueSample) -> Effect:
    """Ask the planner about the values that :func:`measure_values` left in this session."""
    # Else the ends of an index are looked up for the join, which counts as a use of the index.
    _run(conn, sql.SQL("SET enable_mergejoin = off"))
    conditions = _conditions(column, len(sample.probes))
    plans = [_planned(conn, conditions) for _ in range(PLANNED_TIMES)]
    joins = [_planned(conn, _join(column)) for _ in range(PLANNED_TIMES)]
    whole, *estimates = [float(plan["Plan Rows"]) for plan in plans[0]["Plan"]["Plans"]]
    planning_ms = min(float(plan["Planning Time"]) for plan in plans)
    return Effect(
        error_factor=error_factor(sample, estimates, whole),
        planning_ms=planning_ms / (1 + len(sample.probes))
        + min(float(plan["Planning Time"]) for plan in joins),
    )


def error_factor(sample: ValueSample, estimates: Sequence[float], whole: float) -> float:
    """Return by what factor ``estimates`` are off, too high or too low, as a geometric mean.

    ``estimates`` are rows of a table that the planner takes for ``whole`` rows, one for each probe: what
    counts is the share of rows. Raises ``ValueError`` where there is no probe.
    """
    weights = sum(probe.weight for probe in sample.probes)
    if not weights:
        raise ValueError("no value was drawn that estimates could be compared with")
    off = sum(
        probe.weight * abs(math.log((estimate / whole) / (probe.rows / sample.rows)))
        for probe, estimate in zip(sample.probes, estimates, strict=True)
    )
    return math.exp(off / weights)


def _conditions(column: ColumnStatistics, count: int) -> sql.Composable:
    """Compose the statement whose branches are the whole table, and one condition for each value."""
    table = sql.Identifier(column.schema, column.table)
    whole = sql.SQL("SELECT 1 FROM ONLY {}").format(table)
    branches = [
        sql.SQL("{} AS v WHERE v.{} = pg_catalog.current_setting({})::{}").format(
            whole,
            sql.Identifier(column.name),
            sql.Literal(f"maintenance.probe_{number}"),
            sql.SQL(column.type_name),  # as the server quoted it
        )
        for number in range(1, count + 1)
    ]
    return sql.SQL(" UNION ALL ").join([whole, *branches])


def _join(column: ColumnStatistics) -> sql.Composable:
    table = sql.Identifier(column.schema, column.table)
    return sql.SQL("SELECT 1 FROM ONLY {0} AS v JOIN ONLY {0} AS w ON v.{1} = w.{1}").format(
        table, sql.Identifier(column.name)
    )


def _planned(conn: Connection, statement: sql.Composable) -> dict[str, Any]:
    """Return the plan of a statement, with the time that planning took."""
    [(plans,)] = _run(conn, sql.SQL("EXPLAIN (FORMAT JSON, SUMMARY) {}").format(statement))
    plan: dict[str, Any] = plans[0]
    return plan


def _run(conn: Connection, statement: sql.Composable) -> list[tuple[Any, ...]]:
    """Run a statement without parameters: to psycopg2 a per cent sign in a name would be one."""
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), statement))
        return cursor.fetchall() if cursor.description else []
