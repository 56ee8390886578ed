"""Columns that the planner has to guess about, because no statistics exist. Pure.

``pg_stats`` shows nothing of a table that may not be read, so that an absence there is claimed only
where the role would see a presence.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, listed
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules, analyze_trigger_rows
from maintenance.postgres.vacuum.overdue import NAMED_TABLES, Upkeep
from maintenance.postgres.vacuum.table_state import TableState
from maintenance.postgres.vacuum.triggers import Rule


@dataclass(frozen=True, slots=True)
class MissingStatistics:
    """One table with rows whose columns are not all described.

    ``columns`` are those that lack statistics; ``visible_columns`` counts those that may be read.
    """

    oid: int
    visible_columns: int
    columns: tuple[str, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "MissingStatistics":
        """Build from a row of ``sql/columns_without_statistics.sql``."""
        return cls(row["oid"], row["visible_columns"], tuple(row["missing_columns"]))


def diagnose_column_statistics(
    missing: Iterable[MissingStatistics],
    upkeep: Sequence[Upkeep],
    server_rules: AutovacuumRules,
) -> Iterator[Finding]:
    """Name tables whose statistics autovacuum will not renew by itself, largest first.

    Those for which ANALYZE is due are its business, and are named where it does not come. A table
    too small for it to analyze at all is left alone: reading it whole costs nothing, whatever the
    planner believes.
    """
    by_oid = {u.table.oid: u.table for u in upkeep}
    due = {u.table.oid for u in upkeep if any(t.rule is Rule.CHANGED_ROWS for t in u.due)}
    looked_at = [(by_oid[m.oid], m) for m in missing if m.oid in by_oid]
    hidden = sorted(t.qualified_name for t, m in looked_at if m.visible_columns == 0)
    lacking = [
        (table, m)
        for table, m in looked_at
        if m.columns
        and table.oid not in due
        and _rows_of(table) > analyze_trigger_rows(server_rules, 0)
    ]
    lacking.sort(key=lambda pair: (-_rows_of(pair[0]), pair[0].qualified_name))
    for table, m in lacking[:NAMED_TABLES]:
        yield _finding(table, m)
    if len(lacking) > NAMED_TABLES:
        names = [table.qualified_name for table, _ in lacking[NAMED_TABLES:]]
        yield Finding(
            code="statistics-missing",
            severity=Severity.INFO,
            subject="other tables",
            sentence=f"{counted(len(names), 'other table')} lack statistics as well: {listed(names)}.",
            evidence={"tables": names[:1000]},
            advice="ANALYZE; in the whole database, or run vacuum_analyze.",
            commands=("ANALYZE;",),
        )
    if hidden:
        yield unavailable(
            "statistics-missing",
            "tables that may not be read",
            f"whether statistics exist for {counted(len(hidden), 'table')} ({listed(hidden)})",
            "GRANT SELECT on them, or GRANT pg_read_all_data, to the maintenance role"
            " (and no row-level security that hides rows from it)",
        )


def _finding(table: TableState, missing: MissingStatistics) -> Finding:
    name = table.qualified_name
    rows = counted(round(_rows_of(table)), "row")
    never = len(missing.columns) == missing.visible_columns
    columns = listed(list(missing.columns), 10)
    what = (
        f"{name} has {rows} and no statistics at all"
        if never
        else f"{name} has {rows}, but no statistics of {columns}"
    )
    return Finding(
        code="statistics-missing",
        severity=Severity.WARNING,
        subject=name,
        sentence=f"{what}: the planner has to guess how many rows a condition leaves.",
        evidence={"estimated_rows": _rows_of(table), "columns": list(missing.columns)[:100]},
        advice="Run the command; it reads a sample and blocks neither readers nor writers.",
        commands=(f"ANALYZE {name};",),
    )


def _rows_of(table: TableState) -> float:
    # The counter can be ahead of itself, where an ANALYZE ran before inserts arrived in it.
    return table.tuples if table.tuples > 0 else float(table.live_rows)
