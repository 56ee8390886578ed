"""What vacuum_analyze can be asked."""

from dataclasses import dataclass
from typing import Literal

from maintenance.core.options import DryRunOption

Mode = Literal["needed", "all"]


@dataclass(frozen=True, slots=True)
class VacuumOptions(DryRunOption):
    """``mode`` is ``needed`` (by the server's own triggers) or ``all``, as by ``VACUUM ANALYZE``.

    ``tables`` limits the run to tables by name. One statement is cancelled by the server after
    ``table_time_limit_seconds``, the run ends after ``time_budget_seconds``; 0 means no limit.
    ``jobs`` are the sessions at work at once, 1 to 64, by default those of the target.
    """

    mode: Mode = "needed"
    tables: tuple[str, ...] = ()
    table_time_limit_seconds: float = 3600.0
    time_budget_seconds: float = 0.0
    jobs: int | None = None
