"""What one table needs, and why: the server's own triggers applied to it. Pure."""

from dataclasses import dataclass
from typing import NamedTuple, Self

from maintenance.core.wording import counted
from maintenance.postgres.vacuum.autovacuum_rules import (
    AutovacuumRules,
    analyze_trigger_rows,
    insert_trigger_rows,
    vacuum_trigger_rows,
)
from maintenance.postgres.vacuum.table_state import TableKind, TableState


@dataclass(frozen=True, slots=True)
class Needs:
    """What one table needs; the reasons are empty where it needs nothing.

    ``dead_rows_due`` is the number of dead rows above which the server vacuums it, ``times_due`` how
    far past its worst trigger it is: 1 is at the trigger, 0 where nothing is due.
    """

    vacuum: tuple[str, ...] = ()
    analyze: tuple[str, ...] = ()
    freeze: bool = False
    dead_rows_due: float = 0.0
    times_due: float = 0.0

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.vacuum or self.analyze)

    @property
    def in_words(self) -> str:
        """All reasons, each once."""
        return "; ".join(dict.fromkeys((*self.vacuum, *self.analyze)))


def needs_of(table: TableState, rules: AutovacuumRules) -> Needs:
    """Apply the server's triggers to one table; ``rules`` are those of this table already."""
    if table.kind is TableKind.PARTITIONED:
        return Needs()
    freeze = _freeze_reasons(table, rules)
    due = _DueAbove.of(table, rules)
    return Needs(
        vacuum=(*freeze, *_vacuum_reasons(table, due)),
        analyze=_analyze_reasons(table, due.changed_rows),
        freeze=bool(freeze),
        dead_rows_due=due.dead_rows,
        times_due=_times_due(table, due),
    )


class _DueAbove(NamedTuple):
    """The server's triggers for one table; ``inserted_rows`` is ``None`` where it has none."""

    dead_rows: float
    changed_rows: float
    inserted_rows: float | None

    @classmethod
    def of(cls, table: TableState, rules: AutovacuumRules) -> Self:
        """Apply the rules of this table to its size."""
        return cls(
            vacuum_trigger_rows(rules, table.tuples),
            analyze_trigger_rows(rules, table.tuples),
            insert_trigger_rows(rules, table.tuples, table.pages, table.all_frozen_pages),
        )


def _times_due(table: TableState, due: _DueAbove) -> float:
    """Return the rows of the worst trigger as a multiple of it."""
    times = max(
        table.dead_rows / max(1.0, due.dead_rows),
        table.modified_since_analyze / max(1.0, due.changed_rows),
    )
    if due.inserted_rows is None:
        return times
    return max(times, table.inserted_since_vacuum / max(1.0, due.inserted_rows))


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


def _vacuum_reasons(table: TableState, due: _DueAbove) -> tuple[str, ...]:
    reasons = []
    if table.dead_rows > due.dead_rows:
        reasons.append(f"{counted(table.dead_rows, 'dead row')} (due above {due.dead_rows:,.0f})")
    if due.inserted_rows is not None and table.inserted_since_vacuum > due.inserted_rows:
        reasons.append(
            f"{counted(table.inserted_since_vacuum, 'row')} inserted since the last vacuum"
            f" (due above {due.inserted_rows:,.0f})"
        )
    return tuple(reasons)


def _analyze_reasons(table: TableState, due_above: float) -> tuple[str, ...]:
    # The server keeps no statistics about TOAST tables and pg_statistic.
    if table.kind is TableKind.TOAST or (table.is_catalog and table.name == "pg_statistic"):
        return ()
    if table.modified_since_analyze > due_above:
        changed = counted(table.modified_since_analyze, "changed row")
        return (f"{changed} since the last analyze (due above {due_above:,.0f})",)
    has_rows = table.live_rows > 0 or table.tuples > 0
    if not table.has_statistics and has_rows and not table.is_catalog:
        return ("never analyzed",)
    return ()
