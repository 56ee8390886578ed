"""Which tables need VACUUM or ANALYZE, why, and in what order. Pure: measurements in, tasks out."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from maintenance.core.errors import UnknownName
from maintenance.core.suggestions import did_you_mean
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules
from maintenance.postgres.vacuum.duration import (
    ASSUMED_BYTES_PER_SECOND,
    BLOCK_BYTES,
    Durations,
    work_bytes,
)
from maintenance.postgres.vacuum.needs import Needs, needs_of
from maintenance.postgres.vacuum.options import Mode
from maintenance.postgres.vacuum.partitions import add_partitioned_parents, from_root_down
from maintenance.postgres.vacuum.table_state import TableKind, TableState

#: Past its trigger a table is due until the next worker comes; at twice the trigger none came.
URGENT_TIMES_DUE = 2.0


@dataclass(frozen=True, slots=True)
class TableTask:
    """One statement to come: VACUUM, ANALYZE or both on one table.

    ``toast_only`` vacuums the TOAST table behind ``table`` and leaves the table itself alone;
    ``skips_toast`` does the table alone.
    ``with_index_cleanup`` takes away dead item pointers that a VACUUM before has left.
    ``predicted_seconds`` is ``None`` where nothing was learned yet.
    """

    table: TableState
    needs: Needs
    toast_only: bool = False
    skips_toast: bool = False
    toast: TableState | None = None
    with_index_cleanup: bool = False
    predicted_seconds: float | None = None

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

    @property
    def work_bytes(self) -> int:
        """How much there is to read."""
        return work_bytes(self.measured.pages, vacuum=bool(self.needs.vacuum))

    @property
    def stage(self) -> int:
        """0, and 1 for a partitioned table: its statistics are drawn from partitions just cleaned."""
        return 1 if self.table.kind is TableKind.PARTITIONED else 0

    @property
    def dead_bytes(self) -> int | None:
        """About what the dead rows take, as if they were of the mean size; ``None`` if unknown."""
        # What the last VACUUM or ANALYZE found is the next best where the counter is lost.
        live_rows = self.measured.live_rows or max(0.0, self.measured.tuples)
        rows = live_rows + self.measured.dead_rows
        if rows < 1 or not self.measured.pages:
            return None
        return round(self.measured.dead_rows / rows * self.measured.pages * BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier runs and a sample of pages know that the counters do not.

    ``hidden_dead_rows`` gives a reason to vacuum for tables whose counters were lost, by oid.
    ``bypassed`` are names of tables whose last VACUUM left dead item pointers to their indexes.
    """

    durations: Durations = field(default_factory=Durations)
    hidden_dead_rows: Mapping[int, str] = field(default_factory=dict)
    bypassed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """The tasks in the order they run, and those that the role may not run."""

    tasks: tuple[TableTask, ...]
    not_permitted: tuple[TableTask, ...]
    tables: tuple[TableState, ...]
    needs: Mapping[int, Needs]


def plan_vacuum(
    tables: Iterable[TableState],
    server_rules: AutovacuumRules,
    *,
    server_major: int,
    mode: Mode = "needed",
    only: Sequence[str] = (),
    exclude_schemas: Sequence[str] = (),
    learned: Learned | None = None,
) -> VacuumPlan:
    """Choose what to do, in the order of :func:`_turn`.

    ``only`` limits the plan to tables by name, with all partitions of a partitioned one. Raises
    :class:`UnknownName` for a name that is no table.
    """
    learned = learned or Learned()
    everything = tuple(tables)
    toasts = {t.oid: t for t in everything if t.kind is TableKind.TOAST}
    # Nobody writes to information_schema: only "every table" means its tables as well.
    hidden = exclude_schemas if mode == "all" else (*exclude_schemas, "information_schema")
    chosen = _chosen(everything, only, hidden)
    needs = _needs_by_oid(chosen, toasts, server_rules, mode)
    for oid in learned.hidden_dead_rows.keys() & needs.keys():
        reason = learned.hidden_dead_rows[oid]
        needs[oid] = replace(needs[oid], vacuum=(*needs[oid].vacuum, reason))
    add_partitioned_parents(chosen, needs, server_rules, server_major, everything=mode == "all")
    tasks = [
        _with_what_was_learned(task, learned)
        for table in chosen
        for task in _tasks_for(table, toasts, needs, everything=mode == "all")
    ]
    tasks.sort(key=_turn)
    return VacuumPlan(
        tasks=tuple(t for t in tasks if t.table.may_maintain),
        not_permitted=tuple(t for t in tasks if not t.table.may_maintain),
        tables=chosen,
        needs=needs,
    )


def _with_what_was_learned(task: TableTask, learned: Learned) -> TableTask:
    is_bypassed = bool(task.needs.vacuum) and task.subject in learned.bypassed
    # The counters of a TOAST table were lost with those of its table, and what a VACUUM has left may be
    # in either of them.
    is_unsure = is_bypassed or task.table.oid in learned.hidden_dead_rows
    return replace(
        task,
        skips_toast=task.skips_toast and not is_unsure,
        with_index_cleanup=is_bypassed,
        predicted_seconds=learned.durations.predict(task.subject, task.work_bytes),
    )


def _turn(task: TableTask) -> tuple[int, bool, int, float, str]:
    """Return when a task's turn is: freezing first, then what is urgent, due, requested.

    Among equals what takes longest begins first, so that parallel sessions end together (the rule
    "longest processing time first"). Before anything was learned, the size stands for it.
    """
    times = task.needs.times_due
    urgency = 2 if times > URGENT_TIMES_DUE else 1 if times > 1 else 0
    seconds = task.predicted_seconds
    length = task.work_bytes / ASSUMED_BYTES_PER_SECOND if seconds is None else seconds
    return task.stage, not task.needs.freeze, -urgency, -length, task.subject


def _chosen(
    tables: Sequence[TableState], only: Sequence[str], exclude_schemas: Sequence[str]
) -> tuple[TableState, ...]:
    candidates = [
        t for t in tables if t.kind is not TableKind.TOAST and t.schema not in exclude_schemas
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
    for table in from_root_down(candidates):
        if table.parent_oid in wanted:
            wanted.add(table.oid)
    return tuple(t for t in candidates if t.oid in wanted)


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


def _tasks_for(
    table: TableState,
    toasts: Mapping[int, TableState],
    needs: Mapping[int, Needs],
    *,
    everything: bool,
) -> list[TableTask]:
    toast = toasts.get(table.toast_oid)
    own = needs[table.oid]
    if toast is None or not needs[toast.oid].vacuum:
        # Freezing does both: they are about as old, so that the other would be due soon after.
        skips_toast = toast is not None and not everything and not own.freeze
        return [TableTask(table, own, skips_toast=skips_toast, toast=toast)] if own.any else []
    behind = needs[toast.oid]
    if own.vacuum:
        # VACUUM of a table processes its TOAST table as well: one statement serves both.
        reasons = (*own.vacuum, *(f"its TOAST table: {reason}" for reason in behind.vacuum))
        own = replace(own, vacuum=reasons, freeze=own.freeze or behind.freeze)
        return [TableTask(table, own, toast=toast)]
    alone = [TableTask(table, own, toast=toast)] if own.any else []
    return [*alone, TableTask(table, behind, toast_only=True, toast=toast)]
