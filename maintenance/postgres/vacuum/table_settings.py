"""Advice on one table's own autovacuum settings, as DDL with its undo. Pure.

A share of a large table is a large number: at the default of 20 % a table of 50 million rows waits
for 10 million dead ones (PostgreSQL documentation, "The Autovacuum Daemon"; the setting can be
lowered for a table, "Storage Parameters" of CREATE TABLE).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, listed, percent
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.vacuum.autovacuum_rules import (
    AutovacuumRules,
    analyze_trigger_rows,
    insert_trigger_rows,
    vacuum_trigger_rows,
)
from maintenance.postgres.vacuum.overdue import NAMED_TABLES
from maintenance.postgres.vacuum.table_state import TableKind, TableState
from maintenance.postgres.vacuum.triggers import is_switched_off, options_of

#: Round values from lax to strict; the first that keeps a trigger within bounds is advised.
SCALE_FACTORS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)

#: A table counts as insert-only below this share of updates and deletes among its changes: repairs
#: by hand happen on every table.
INSERT_ONLY_RATIO = 0.01

#: Judging that a table is only inserted into takes a week: its weekly clean-up has run by then.
INSERT_ONLY_WINDOW_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Change:
    """One setting to give to a table, and why."""

    name: str
    value: float
    reason: str


def advise_table_settings(
    tables: Iterable[TableState],
    server_rules: AutovacuumRules,
    window: CounterWindow,
    large_trigger_rows: int,
) -> Iterator[Finding]:
    """Advise settings for tables whose triggers are ``large_trigger_rows`` or more, largest first."""
    advised = []
    for table in tables:
        if table.kind not in {TableKind.TABLE, TableKind.MATERIALIZED_VIEW} or table.is_catalog:
            continue
        if is_switched_off(table.storage_parameters):
            continue  # first of all it has to be switched on
        changes = changes_for(table, server_rules, window, large_trigger_rows)
        if changes:
            advised.append((table, changes))
    advised.sort(key=lambda pair: (-pair[0].tuples, pair[0].qualified_name))
    for table, changes in advised[:NAMED_TABLES]:
        yield _finding(table, changes)
    if len(advised) > NAMED_TABLES:
        names = [table.qualified_name for table, _ in advised[NAMED_TABLES:]]
        yield Finding(
            code="autovacuum-table-settings",
            severity=Severity.INFO,
            subject="other tables",
            sentence=f"{counted(len(names), 'other large table')} wait long, too: {listed(names)}.",
            advice="If they are many, lower the scale factors of the server instead.",
        )


def changes_for(
    table: TableState, server_rules: AutovacuumRules, window: CounterWindow, large_trigger_rows: int
) -> tuple[Change, ...]:
    """Return the settings that one table should have; empty where its triggers are small."""
    rules = server_rules.for_table(table.storage_parameters)
    rewritten = table.updated_rows + table.deleted_rows
    changes: list[Change | None] = []
    if _is_insert_only(table, window):
        changes.append(_for_inserts(table, rules, large_trigger_rows))
    elif rewritten > 0:
        changes.append(_for_dead_rows(table, rules, large_trigger_rows))
    if rewritten > 0 or table.inserted_rows > 0:
        changes.append(_for_analyze(table, rules, large_trigger_rows))
    return tuple(change for change in changes if change is not None)


def _is_insert_only(table: TableState, window: CounterWindow) -> bool:
    if window.seconds is None or window.seconds < INSERT_ONLY_WINDOW_SECONDS:
        return False
    rewritten = table.updated_rows + table.deleted_rows
    return table.inserted_rows > 0 and rewritten <= INSERT_ONLY_RATIO * table.inserted_rows


def _for_dead_rows(table: TableState, rules: AutovacuumRules, large: int) -> Change | None:
    trigger = vacuum_trigger_rows(rules, table.tuples)
    value = _scale_factor(
        table.tuples, rules.vacuum_threshold, rules.vacuum_scale_factor, trigger, large
    )
    if value is None:
        return None
    return Change(
        "autovacuum_vacuum_scale_factor",
        value,
        f"{trigger:,.0f} dead rows lie there before it is vacuumed ({percent(rules.vacuum_scale_factor)})",
    )


def _for_inserts(table: TableState, rules: AutovacuumRules, large: int) -> Change | None:
    trigger = insert_trigger_rows(rules, table.tuples, table.pages, table.all_frozen_pages)
    if trigger is None:
        if table.tuples <= large:
            return None
        # Switched off for this table or the server: nothing vacuums it until wraparound is near.
        return Change(
            "autovacuum_vacuum_insert_threshold",
            AutovacuumRules().insert_threshold,
            "rows are only inserted, and vacuuming after inserts is switched off, so that all of it"
            " is frozen at once one day",
        )
    value = _scale_factor(
        table.tuples, rules.insert_threshold, rules.insert_scale_factor, trigger, large
    )
    if value is None:
        return None
    return Change(
        "autovacuum_vacuum_insert_scale_factor",
        value,
        f"rows are only inserted, and {trigger:,.0f} of them are neither frozen nor open to"
        f" index-only scans before it is vacuumed ({percent(rules.insert_scale_factor)})",
    )


def _for_analyze(table: TableState, rules: AutovacuumRules, large: int) -> Change | None:
    trigger = analyze_trigger_rows(rules, table.tuples)
    value = _scale_factor(
        table.tuples, rules.analyze_threshold, rules.analyze_scale_factor, trigger, large
    )
    if value is None:
        return None
    return Change(
        "autovacuum_analyze_scale_factor",
        value,
        f"{trigger:,.0f} rows change before its statistics are renewed"
        f" ({percent(rules.analyze_scale_factor)})",
    )


def _scale_factor(
    tuples: float, threshold: float, present: float, trigger: float, large: int
) -> float | None:
    """Return the laxest round scale factor with a trigger of at most ``large`` rows."""
    if trigger <= large:
        return None
    stricter = [value for value in SCALE_FACTORS if value < present]
    fitting = [value for value in stricter if threshold + value * tuples <= large]
    # Past the strictest value nothing is gained by going on: such a table needs thresholds.
    return next(iter(fitting), stricter[-1] if stricter else None)


def _finding(table: TableState, changes: tuple[Change, ...]) -> Finding:
    kind = "MATERIALIZED VIEW" if table.kind is TableKind.MATERIALIZED_VIEW else "TABLE"
    statement, undo = statements_for(
        f"ALTER {kind} {table.qualified_name}", changes, table.storage_parameters
    )
    return Finding(
        code="autovacuum-table-settings",
        severity=Severity.INFO,
        subject=table.qualified_name,
        sentence=(
            f"{table.qualified_name} has about {counted(round(table.tuples), 'row')}:"
            f" {'; '.join(change.reason for change in changes)}."
        ),
        evidence={
            "estimated_rows": table.tuples,
            "updated_rows": table.updated_rows,
            "deleted_rows": table.deleted_rows,
            "inserted_rows": table.inserted_rows,
            "settings": {change.name: change.value for change in changes},
        },
        advice="Let autovacuum come earlier: more often, with less to do each time.",
        commands=(statement,),
        undo=(undo,),
    )


def statements_for(
    alter: str, changes: Sequence[Change], storage_parameters: Sequence[str]
) -> tuple[str, str]:
    """Return the statement that makes the changes, and the one that takes them back.

    ``alter`` is its beginning with the table's name, ``storage_parameters`` what the table has now.
    """
    settings = ", ".join(f"{change.name} = {change.value:g}" for change in changes)
    present = options_of(tuple(storage_parameters))
    names = [change.name for change in changes]
    back = [f"{name} = {present[name]}" for name in names if name in present]
    gone = [name for name in names if name not in present]
    undo = [f"SET ({', '.join(back)})"] if back else []
    undo += [f"RESET ({', '.join(gone)})"] if gone else []
    return f"{alter} SET ({settings});", f"{alter} {', '.join(undo)};"
