"""What tuning is asked for with."""

from dataclasses import dataclass

from maintenance.core.options import DryRunOption


@dataclass(frozen=True, slots=True)
class TuneOptions(DryRunOption):
    """``tables`` limits the change to tables by name; otherwise every advised one is changed.

    Each change is tried for ``trial_days`` and then judged. ``judge_only`` begins no new trial.
    """

    tables: tuple[str, ...] = ()
    trial_days: float = 7.0
    judge_only: bool = False
