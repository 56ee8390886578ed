"""What a trial of statistics targets is asked for with."""

from dataclasses import dataclass

from maintenance.core.options import DryRunOption


@dataclass(frozen=True, slots=True)
class StatisticsOptions(DryRunOption):
    """``columns`` limits the change to columns by name (``table.column``), in an index or not.

    Otherwise columns that an index or a foreign key has are looked at, one of a table at a time. Each
    change is tried for ``trial_days`` and then judged. ``judge_only`` begins no new trial. An ANALYZE
    is cancelled after ``analyze_limit_seconds``, and what needs a longer one is taken back.
    """

    columns: tuple[str, ...] = ()
    trial_days: float = 7.0
    judge_only: bool = False
    analyze_limit_seconds: float = 60.0
