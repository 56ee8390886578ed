"""The options of the rebuild."""

from dataclasses import dataclass

from maintenance.core.options import DryRunOption
from maintenance.postgres.bloat.options import PLAN_SEED


@dataclass(frozen=True, slots=True)
class ReindexOptions(DryRunOption):
    """``indexes`` rebuilds these by name, however bloated they are, however lately built.

    ``minimum_bloat_ratio`` is the threshold of the target's configuration unless given. One rebuild
    at a time is usual; ``jobs`` allows more, up to those of the target. ``time_budget_seconds``
    limits the whole run, ``index_time_limit_seconds`` one rebuild; 0 means no limit.

    A rebuild waits for transactions that are older than itself. It is not begun while one has been
    open for more than ``oldest_transaction_seconds``, and ends itself when it has waited
    ``locker_patience_seconds`` for the same one.

    ``leftovers_only`` drops what interrupted rebuilds left, and rebuilds nothing. ``seed`` chooses the
    pages that are sampled: a run with that of its dry run plans the same.
    """

    indexes: tuple[str, ...] = ()
    minimum_bloat_ratio: float | None = None
    jobs: int = 1
    time_budget_seconds: float = 0.0
    index_time_limit_seconds: float = 7200.0
    oldest_transaction_seconds: float = 60.0
    locker_patience_seconds: float = 300.0
    leftovers_only: bool = False
    seed: int = PLAN_SEED
