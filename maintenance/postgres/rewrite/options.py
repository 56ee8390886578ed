"""What a VACUUM FULL is asked for with."""

from dataclasses import dataclass

from maintenance.core.options import DryRunOption


@dataclass(frozen=True, slots=True)
class VacuumFullOptions(DryRunOption):
    """``tables`` to rewrite, by name; a dry run without any looks at every large one.

    ``lock_limit_seconds`` confirms how long each may be locked: a table that is expected to take
    longer is refused, and one that does take longer is ended. ``time_budget_seconds`` limits the
    whole run; 0 means no limit. ``minimum_gain_ratio`` is the part of a table that must come back
    for it to be worth that.
    """

    tables: tuple[str, ...] = ()
    lock_limit_seconds: float = 0.0
    time_budget_seconds: float = 0.0
    minimum_gain_ratio: float = 0.2
