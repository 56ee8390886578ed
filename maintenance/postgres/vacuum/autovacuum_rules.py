"""Autovacuum's own arithmetic: when the server itself thinks that a table needs work.

Source: PostgreSQL documentation, "The Autovacuum Daemon" (section 24.1.6), for each version.
One difference is deliberate: ``autovacuum_enabled = false`` and ``autovacuum = off`` keep the
server from acting, not the table from needing it, so that they are not looked at here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class AutovacuumRules:
    """The settings that decide for one table. Thresholds count rows, ages count transactions.

    ``vacuum_max_threshold`` and ``insert_threshold`` are ``-1`` where they do not apply.
    """

    vacuum_threshold: float = 50
    vacuum_scale_factor: float = 0.2
    vacuum_max_threshold: float = -1  # PostgreSQL 18 and later
    insert_threshold: float = 1000
    insert_scale_factor: float = 0.2
    analyze_threshold: float = 50
    analyze_scale_factor: float = 0.1
    freeze_max_age: int = 200_000_000
    multixact_freeze_max_age: int = 400_000_000

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> "AutovacuumRules":
        """Read the server's settings by their names in ``pg_settings``."""
        given = {field: float(settings[name]) for field, name in _NAMES.items() if name in settings}
        return _with(cls(), given)

    def for_table(self, storage_parameters: Collection[str]) -> "AutovacuumRules":
        """Apply a table's own ``name=value`` storage parameters.

        A negative value means "as the server", except for the two thresholds where -1 switches
        a rule off; an age can only be lowered by a table.
        """
        if not storage_parameters:  # most of ten thousand tables
            return self
        options = dict(option.split("=", 1) for option in storage_parameters)
        if not options:  # as of nearly every table
            return self
        given: dict[str, float] = {}
        for field, name in _NAMES.items():
            if name not in options:
                continue
            value = float(options[name])
            if field in _SWITCHED_OFF_BY_MINUS_ONE:
                if value >= -1:
                    given[field] = value
            elif value >= 0:
                lowered = field in _AGES
                given[field] = min(value, getattr(self, field)) if lowered else value
        return _with(self, given)


_NAMES = {
    "vacuum_threshold": "autovacuum_vacuum_threshold",
    "vacuum_scale_factor": "autovacuum_vacuum_scale_factor",
    "vacuum_max_threshold": "autovacuum_vacuum_max_threshold",
    "insert_threshold": "autovacuum_vacuum_insert_threshold",
    "insert_scale_factor": "autovacuum_vacuum_insert_scale_factor",
    "analyze_threshold": "autovacuum_analyze_threshold",
    "analyze_scale_factor": "autovacuum_analyze_scale_factor",
    "freeze_max_age": "autovacuum_freeze_max_age",
    "multixact_freeze_max_age": "autovacuum_multixact_freeze_max_age",
}
_SWITCHED_OFF_BY_MINUS_ONE = {"vacuum_max_threshold", "insert_threshold"}
_AGES = {"freeze_max_age", "multixact_freeze_max_age"}


def _with(rules: AutovacuumRules, given: Mapping[str, float]) -> AutovacuumRules:
    changes: dict[str, Any] = {
        field: int(value) if field in _AGES else value for field, value in given.items()
    }
    return replace(rules, **changes)


def vacuum_trigger_rows(rules: AutovacuumRules, tuples: float) -> float:
    """Return the number of dead rows above which the server vacuums a table of ``tuples`` rows."""
    # reltuples is -1 until the first VACUUM or ANALYZE; the server then takes it as 0.
    trigger = rules.vacuum_threshold + rules.vacuum_scale_factor * max(0.0, tuples)
    if rules.vacuum_max_threshold >= 0:
        trigger = min(trigger, rules.vacuum_max_threshold)
    return trigger


def insert_trigger_rows(
    rules: AutovacuumRules, tuples: float, pages: int, all_frozen_pages: int
) -> float | None:
    """Return the number of inserted rows above which the server vacuums; ``None`` if switched off.

    From 18 on only the part of the table that is not frozen counts; older servers pass no frozen
    pages.
    """
    if rules.insert_threshold < 0:
        return None
    unfrozen_ratio = 1.0
    if pages > 0 and all_frozen_pages > 0:
        unfrozen_ratio = 1.0 - min(all_frozen_pages, pages) / pages
    scaled = rules.insert_scale_factor * max(0.0, tuples) * unfrozen_ratio
    return rules.insert_threshold + scaled


def analyze_trigger_rows(rules: AutovacuumRules, tuples: float) -> float:
    """Return the number of changed rows above which the server analyzes."""
    return rules.analyze_threshold + rules.analyze_scale_factor * max(0.0, tuples)
