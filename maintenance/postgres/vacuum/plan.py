"""Which tables need VACUUM or ANALYZE, why, and in what order. Pure: measurements in, tasks out."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from maintenance.core.errors import UnknownName
from maintenance.core.suggestions import did_you_mean
from maintenance.core.wording import counted
from maintenance.postgres.vacuum.autovacuum_rules import (
    AutovacuumRules,
    analyze_trigger_rows,
    insert_trigger_rows,
    vacuum_trigger_rows,
)

Mode = Literal["needed", "all"]


class TableKind(StrEnum):
    """``pg_class.relkind`` of what VACUUM or ANALYZE can process."""

    TABLE = "r"
    MATERIALIZED_VIEW = "m"
    TOAST = "t"
    PARTITIONED = "p"


@dataclass(frozen=True, slots=True)
class TableState:
    """One table as the catalog and the counters show it.

    ``qualified_name`` is quoted as SQL needs it. Row counters cover the counter window only; ages
    are in transactions. Times are seconds since the epoch, ``None`` where it never happened
    within the window.
    """

    oid: int
    schema: str
    name: str
    qualified_name: str
    kind: TableKind
    toast_oid: int
    parent_oid: int | None
    pages: int
    tuples: float
    all_visible_pages: int
    all_frozen_pages: int
    storage_parameters: tuple[str, ...]
    xid_age: int | None
    multixact_age: int | None
    inserted_rows: int
    updated_rows: int
    deleted_rows: int
    live_rows: int
    dead_rows: int
    inserted_since_vacuum: int
    modified_since_analyze: int
    vacuum_count: int
    analyze_count: int
    last_vacuum_at: float | None
    last_manual_analyze_at: float | None
    last_autoanalyze_at: float | None
    has_statistics: bool
    may_maintain: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "TableState":
        """Build from a row of ``sql/table_counters.sql``."""
        return cls(
            **{
                **row,
                "kind": TableKind(row["kind"]),
                "storage_parameters": tuple(row["storage_parameters"]),
            }
        )

    @property
    def last_analyze_at(self) -> float | None:
        """The later of the last manual and automatic ANALYZE."""
        times = [t for t in (self.last_manual_analyze_at, self.last_autoanalyze_at) if t]
        return max(times, default=None)

    @property
    def is_catalog(self) -> bool:
        """Whether it belongs to the server itself."""
        return self.schema in {"pg_catalog", "information_schema"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What one table needs; the reasons are empty where it needs nothing.

    ``dead_rows_due`` is the number of dead rows above which the server vacuums it.
    """

    vacuum: tuple[str, ...] = ()
    analyze: tuple[str, ...] = ()
    freeze: bool = False
    dead_rows_due: float = 0.0

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.vacuum or self.analyze)

    @property
    def in_words(self) -> str:
        """All reasons, each once."""
        return "; ".join(dict.fromkeys((*self.vacuum, *self.analyze)))


@dataclass(frozen=True, slots=True)
class TableTask:
    """One statement to come: VACUUM, ANALYZE or both on one table.

    ``toast_only`` vacuums the TOAST table behind ``table`` and leaves the table itself alone.
    """

    table: TableState
    needs: Needs
    toast_only: bool = False
    toast: TableState | None = None

    @property
    def subject(self) -> str:
        """What the task is about, as an operator names it."""
        name = self.table.qualified_name
        return f"{name} (TOAST)" if self.toast_only else name

    @property
    def kind(self) -> str:
        """``vacuum``, ``analyze`` or ``vacuum analyze``."""
        words = ["vacuum"] if self.needs.vacuum else []
        return " ".join([*words, "analyze"] if self.needs.analyze else words)

    @property
    def measured(self) -> TableState:
        """The relation whose counters show what the task did."""
        return self.toast if self.toast_only and self.toast is not None else self.table


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """The tasks in the order they run, and those that the role may not run."""

    tasks: tuple[TableTask, ...]
    not_permitted: tuple[TableTask, ...]
    tables: tuple[TableState, ...]
    needs: Mapping[int, Needs]


def needs_of(table: TableState, rules: AutovacuumRules) -> Needs:
    """Apply the server's triggers to one table; ``rules`` are those of this table already."""
    if table.kind is TableKind.PARTITIONED:
        return Needs()
    freeze = _freeze_reasons(table, rules)
    return Needs(
        vacuum=(*freeze, *_vacuum_reasons(table, rules)),
        analyze=_analyze_reasons(table, rules),
        freeze=bool(freeze),
        dead_rows_due=vacuum_trigger_rows(rules, table.tuples),
    )


def _freeze_reasons(table: TableState, rules: AutovacuumRules) -> tuple[str, ...]:
    reasons = []
    if table.xid_age is not None and table.xid_age > rules.freeze_max_age:
        reasons.append(
            f"its oldest row is {table.xid_age:,} transactions old"
            f" (freezing is due at {rules.freeze_max_age:,})"
        )
    if table.multixact_age is not None and table.multixact_age > rules.multixact_freeze_max_age:
        reasons.append(
            f"its oldest row lock is {table.multixact_age:,} multixacts old"
            f" (freezing is due at {rules.multixact_freeze_max_age:,})"
        )
    return tuple(reasons)


def _vacuum_reasons(table: TableState, rules: AutovacuumRules) -> tuple[str, ...]:
    reasons = []
    trigger = vacuum_trigger_rows(rules, table.tuples)
    if table.dead_rows > trigger:
        reasons.append(f"{counted(table.dead_rows, 'dead row')} (due above {trigger:,.0f})")
    inserts = insert_trigger_rows(rules, table.tuples, table.pages, table.all_frozen_pages)
    if inserts is not None and table.inserted_since_vacuum > inserts:
        reasons.append(
            f"{counted(table.inserted_since_vacuum, 'row')} inserted since the last vacuum"
            f" (due above {inserts:,.0f})"
        )
    return tuple(reasons)


def _analyze_reasons(table: TableState, rules: AutovacuumRules) -> tuple[str, ...]:
    # The server keeps no statistics about TOAST tables and pg_statistic.
    if table.kind is TableKind.TOAST or (table.is_catalog and table.name == "pg_statistic"):
        return ()
    trigger = analyze_trigger_rows(rules, table.tuples)
    if table.modified_since_analyze > trigger:
        changed = counted(table.modified_since_analyze, "changed row")
        return (f"{changed} since the last analyze (due above {trigger:,.0f})",)
    has_rows = table.live_rows > 0 or table.tuples > 0
    if not table.has_statistics and has_rows and not table.is_catalog:
        return ("never analyzed",)
    return ()


def plan_vacuum(
    tables: Iterable[TableState],
    server_rules: AutovacuumRules,
    *,
    server_major: int,
    mode: Mode = "needed",
    only: Sequence[str] = (),
    exclude_schemas: Sequence[str] = (),
) -> VacuumPlan:
    """Choose what to do, most urgent first: freezing before all, then the largest tables.

    ``only`` limits the plan to tables by name, with all partitions of a partitioned one. Raises
    :class:`UnknownName` for a name that is no table.
    """
    everything = tuple(tables)
    toasts = {t.oid: t for t in everything if t.kind is TableKind.TOAST}
    chosen = _chosen(everything, only, exclude_schemas)
    needs = _needs_by_oid(chosen, toasts, server_rules, mode)
    _add_partitioned_parents(chosen, needs, server_rules, server_major, mode)
    tasks = [task for table in chosen for task in _tasks_for(table, toasts, needs)]
    tasks.sort(key=lambda t: (not t.needs.freeze, -t.measured.pages, t.subject))
    # Parents come last: their statistics are drawn from partitions that were just cleaned.
    tasks.sort(key=lambda t: t.table.kind is TableKind.PARTITIONED)
    return VacuumPlan(
        tasks=tuple(t for t in tasks if t.table.may_maintain),
        not_permitted=tuple(t for t in tasks if not t.table.may_maintain),
        tables=chosen,
        needs=needs,
    )


def _chosen(
    tables: Sequence[TableState], only: Sequence[str], exclude_schemas: Sequence[str]
) -> tuple[TableState, ...]:
    candidates = [
        t
        for t in tables
        if t.kind is not TableKind.TOAST
        and t.schema not in exclude_schemas
        and t.schema != "information_schema"
    ]
    if not only:
        return tuple(candidates)
    by_name = defaultdict(set)
    for table in candidates:
        for name in (table.name, f"{table.schema}.{table.name}", table.qualified_name):
            by_name[name].add(table.oid)
    wanted: set[int] = set()
    for name in only:
        if name not in by_name:
            known = [t.qualified_name for t in candidates if not t.is_catalog]
            raise UnknownName(f'Unknown table "{name}". {did_you_mean(name, known)}')
        wanted |= by_name[name]
    for table in _from_root_down(candidates):
        if table.parent_oid in wanted:
            wanted.add(table.oid)
    return tuple(t for t in candidates if t.oid in wanted)


def _from_root_down(tables: Iterable[TableState]) -> list[TableState]:
    """Sort so that every parent stands before its partitions."""
    by_oid = {t.oid: t for t in tables}

    def depth(table: TableState) -> int:
        parent = by_oid.get(table.parent_oid) if table.parent_oid else None
        return 0 if parent is None else 1 + depth(parent)

    return sorted(by_oid.values(), key=depth)


def _needs_by_oid(
    tables: Iterable[TableState],
    toasts: Mapping[int, TableState],
    server_rules: AutovacuumRules,
    mode: Mode,
) -> dict[int, Needs]:
    needs: dict[int, Needs] = {}
    for table in tables:
        found = needs_of(table, server_rules.for_table(table.storage_parameters))
        if mode == "all" and table.kind is not TableKind.PARTITIONED:
            found = _everything(table, found)
        needs[table.oid] = found
        toast = toasts.get(table.toast_oid)
        if toast is not None:
            # A TOAST table without storage parameters of its own follows those of its table.
            parameters = toast.storage_parameters or table.storage_parameters
            needs[toast.oid] = needs_of(toast, server_rules.for_table(parameters))
    return needs


def _everything(table: TableState, found: Needs) -> Needs:
    analyzable = not (table.is_catalog and table.name == "pg_statistic")
    requested = ("every table was requested",)
    return replace(
        found,
        vacuum=found.vacuum or requested,
        analyze=found.analyze or (requested if analyzable else ()),
    )


def _add_partitioned_parents(
    tables: Sequence[TableState],
    needs: dict[int, Needs],
    server_rules: AutovacuumRules,
    server_major: int,
    mode: Mode,
) -> None:
    """Decide about partitioned parents, which autovacuum never analyzes, from the leaves up."""
    children = defaultdict(list)
    for table in tables:
        if table.parent_oid:
            children[table.parent_oid].append(table)
    changed: dict[int, int] = {}
    for table in reversed(_from_root_down(tables)):
        if table.kind is not TableKind.PARTITIONED:
            changed[table.oid] = table.modified_since_analyze
            continue
        partitions = children[table.oid]
        changed[table.oid] = sum(changed[p.oid] for p in partitions)
        reason = _parent_reason(table, partitions, needs, changed[table.oid], server_rules)
        if mode == "all" and partitions:
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
    for table in _from_root_down(tables):
        parent = table.parent_oid
        if parent in needs and needs[parent].analyze:
            covered = ("with its partitioned table",)
            needs[table.oid] = replace(needs[table.oid], analyze=covered)
    for table in tables:
        if needs[table.oid].analyze == ("with its partitioned table",):
            needs[table.oid] = replace(needs[table.oid], analyze=())


def _tasks_for(
    table: TableState, toasts: Mapping[int, TableState], needs: Mapping[int, Needs]
) -> list[TableTask]:
    toast = toasts.get(table.toast_oid)
    own = needs[table.oid]
    if toast is None or not needs[toast.oid].vacuum:
        return [TableTask(table, own, toast=toast)] if own.any else []
    behind = needs[toast.oid]
    if own.vacuum:
        # VACUUM of a table processes its TOAST table as well: one statement serves both.
        reasons = (*own.vacuum, *(f"its TOAST table: {reason}" for reason in behind.vacuum))
        own = replace(own, vacuum=reasons, freeze=own.freeze or behind.freeze)
        return [TableTask(table, own, toast=toast)]
    alone = [TableTask(table, own, toast=toast)] if own.any else []
    return [*alone, TableTask(table, behind, toast_only=True, toast=toast)]
