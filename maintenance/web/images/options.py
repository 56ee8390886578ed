"""What the tasks on media are asked for with."""

from dataclasses import dataclass

from maintenance.core.options import DryRunOption


@dataclass(frozen=True, slots=True)
class OptimizeOptions(DryRunOption):
    """``time_budget_seconds`` is for the whole run; the next one goes on where it ended.

    ``again`` looks at files anew that earlier runs looked at.
    """

    time_budget_seconds: float = 3600.0
    again: bool = False
