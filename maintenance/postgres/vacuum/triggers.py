"""What autovacuum looks at for one table, number by number, and which setting decides.

:mod:`maintenance.postgres.vacuum.plan` needs to know whether a trigger has fired; here is how far
past it a table is and who set it there. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from maintenance.core.wording import counted
from maintenance.postgres.vacuum.autovacuum_rules import (
    AutovacuumRules,
    analyze_trigger_rows,
    insert_trigger_rows,
    vacuum_trigger_rows,
)
from maintenance.postgres.vacuum.table_state import TableKind, TableState

#: What PostgreSQL reads as "off" (parse_bool): any beginning of these words that is not ambiguous.
_OFF = {"off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0"}


class Rule(StrEnum):
    """What makes autovacuum come."""

    DEAD_ROWS = "dead rows"
    INSERTED_ROWS = "inserted rows"
    CHANGED_ROWS = "changed rows"

    @property
    def statement(self) -> str:
        """The statement that answers it."""
        return "ANALYZE" if self is Rule.CHANGED_ROWS else "VACUUM"


@dataclass(frozen=True, slots=True)
class Trigger:
    """One rule of one table: ``rows`` are counted, more than ``due_above`` make it due.

    The setting is the one that decides most of ``due_above``;
    ``is_own`` tells whether the table set it for itself.
    """

    rule: Rule
    rows: int
    due_above: float
    setting_name: str
    setting_value: float
    is_own: bool

    @property
    def is_due(self) -> bool:
        """Whether autovacuum would come."""
        return self.rows > self.due_above

    @property
    def ratio(self) -> float:
        """Rows as a multiple of the trigger."""
        return self.rows / max(1.0, self.due_above)

    @property
    def setting(self) -> str:
        """The setting that decides, with its value."""
        return f"{self.setting_name} = {self.setting_value:.12g}"

    @property
    def in_words(self) -> str:
        """``12,000 dead rows, 6.0 times the 2,000 that make VACUUM due (... of the server)``."""
        nouns = {
            Rule.DEAD_ROWS: counted(self.rows, "dead row"),
            Rule.INSERTED_ROWS: f"{counted(self.rows, 'row')} inserted since its last VACUUM",
            Rule.CHANGED_ROWS: f"{counted(self.rows, 'row')} changed since its last ANALYZE",
        }
        by = "set for this table" if self.is_own else "the server's setting"
        return (
            f"{nouns[self.rule]}, {self.ratio:,.1f} times the {self.due_above:,.0f} that make"
            f" {self.rule.statement} due ({self.setting}, {by})"
        )


def options_of(storage_parameters: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` storage parameters by name."""
    return dict(option.split("=", 1) for option in storage_parameters)


def is_switched_off(storage_parameters: Sequence[str]) -> bool:
    """Tell whether the table keeps autovacuum away from itself."""
    return options_of(storage_parameters).get("autovacuum_enabled", "on").lower() in _OFF


def parameters_of(table: TableState, owner: TableState | None) -> tuple[str, ...]:
    """Return the storage parameters that hold; a TOAST table without its own has its table's."""
    return table.storage_parameters or (owner.storage_parameters if owner else ())


def triggers_of(
    table: TableState, server_rules: AutovacuumRules, parameters: Sequence[str]
) -> tuple[Trigger, ...]:
    """Return the rules that apply to a table with these storage ``parameters``.

    Nothing applies to a partitioned table, which autovacuum does not look at.
    """
    if table.kind is TableKind.PARTITIONED:
        return ()
    rules = server_rules.for_table(parameters)
    own = options_of(parameters)
    found = [_dead_rows(table, rules, own)]
    inserts = insert_trigger_rows(rules, table.tuples, table.pages, table.all_frozen_pages)
    if inserts is not None:
        setting = _scaled(
            "autovacuum_vacuum_insert", rules.insert_threshold, rules.insert_scale_factor, inserts
        )
        found.append(
            _trigger(Rule.INSERTED_ROWS, table.inserted_since_vacuum, inserts, setting, own)
        )
    # The server keeps no statistics about TOAST tables and pg_statistic.
    if table.kind is not TableKind.TOAST and table.name != "pg_statistic":
        analyze = analyze_trigger_rows(rules, table.tuples)
        setting = _scaled(
            "autovacuum_analyze", rules.analyze_threshold, rules.analyze_scale_factor, analyze
        )
        found.append(
            _trigger(Rule.CHANGED_ROWS, table.modified_since_analyze, analyze, setting, own)
        )
    return tuple(found)


def _dead_rows(table: TableState, rules: AutovacuumRules, own: Mapping[str, str]) -> Trigger:
    due_above = vacuum_trigger_rows(rules, table.tuples)
    if rules.vacuum_max_threshold >= 0 and due_above >= rules.vacuum_max_threshold:
        setting = ("autovacuum_vacuum_max_threshold", rules.vacuum_max_threshold)
    else:
        setting = _scaled(
            "autovacuum_vacuum", rules.vacuum_threshold, rules.vacuum_scale_factor, due_above
        )
    return _trigger(Rule.DEAD_ROWS, table.dead_rows, due_above, setting, own)


def _scaled(
    prefix: str, threshold: float, scale_factor: float, due_above: float
) -> tuple[str, float]:
    """Return the setting that makes up the larger part of a trigger."""
    if due_above - threshold > threshold:
        return f"{prefix}_scale_factor", scale_factor
    return f"{prefix}_threshold", threshold


def _trigger(
    rule: Rule, rows: int, due_above: float, setting: tuple[str, float], own: Mapping[str, str]
) -> Trigger:
    name, value = setting
    # A negative value of a table means "as the server".
    is_own = name in own and float(own[name]) >= 0
    return Trigger(rule, rows, due_above, name, value, is_own)
