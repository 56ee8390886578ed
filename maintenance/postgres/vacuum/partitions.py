"""Partitioned tables: autovacuum never analyzes them, so that a plan has to. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from maintenance.core.wording import counted
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules, analyze_trigger_rows
from maintenance.postgres.vacuum.needs import Needs
from maintenance.postgres.vacuum.table_state import TableKind, TableState


def from_root_down(tables: Iterable[TableState]) -> list[TableState]:
    """Sort so that every parent stands before its partitions."""
    by_oid = {t.oid: t for t in tables}

    def depth(table: TableState) -> int:
        parent = by_oid.get(table.parent_oid) if table.parent_oid else None
        return 0 if parent is None else 1 + depth(parent)

    return sorted(by_oid.values(), key=depth)


def add_partitioned_parents(
    tables: Sequence[TableState],
    needs: dict[int, Needs],
    server_rules: AutovacuumRules,
    server_major: int,
    *,
    everything: bool,
) -> None:
    """Decide about partitioned parents, which autovacuum never analyzes, from the leaves up."""
    children = defaultdict(list)
    for table in tables:
        if table.parent_oid:
            children[table.parent_oid].append(table)
    changed: dict[int, int] = {}
    for table in reversed(from_root_down(tables)):
        if table.kind is not TableKind.PARTITIONED:
            changed[table.oid] = table.modified_since_analyze
            continue
        partitions = children[table.oid]
        changed[table.oid] = sum(changed[p.oid] for p in partitions)
        reason = _parent_reason(table, partitions, needs, changed[table.oid], server_rules)
        if everything and partitions:
            reason = reason or "every table was requested"
        needs[table.oid] = Needs(analyze=(reason,) if reason else ())
    if server_major < 18:
        _leave_partitions_to_their_parent(tables, needs)


def _parent_reason(
    parent: TableState,
    partitions: Sequence[TableState],
    needs: Mapping[int, Needs],
    changed_rows: int,
    server_rules: AutovacuumRules,
) -> str:
    tuples = sum(max(0.0, p.tuples) for p in partitions)
    if not parent.has_statistics:
        has_rows = tuples > 0 or any(p.live_rows > 0 for p in partitions)
        return (
            "never analyzed, and autovacuum never analyzes a partitioned table" if has_rows else ""
        )
    if any(needs[p.oid].analyze for p in partitions):
        return "a partition is analyzed, and autovacuum never analyzes the partitioned table"
    last = parent.last_analyze_at or 0.0
    if any((p.last_autoanalyze_at or 0.0) > last for p in partitions):
        return "autovacuum analyzed a partition since, but never analyzes the partitioned table"
    trigger = analyze_trigger_rows(server_rules, tuples)
    if changed_rows > trigger:
        return (
            f"{counted(changed_rows, 'changed row')} in its partitions (due above {trigger:,.0f})"
        )
    return ""


def _leave_partitions_to_their_parent(
    tables: Sequence[TableState], needs: dict[int, Needs]
) -> None:
    """Before 18 ANALYZE of a partitioned table analyzes all partitions, too: once is enough."""
    for table in from_root_down(tables):
        parent = table.parent_oid
        if parent in needs and needs[parent].analyze:
            covered = ("with its partitioned table",)
            needs[table.oid] = replace(needs[table.oid], analyze=covered)
    for table in tables:
        if needs[table.oid].analyze == ("with its partitioned table",):
            needs[table.oid] = replace(needs[table.oid], analyze=())
