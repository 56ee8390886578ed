"""What warming and invalidation can be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WarmOptions:
    """``only`` names warmers, empty means all; ``cold_only`` leaves values that are there.

    ``expiring_within_seconds`` computes only what is missing or expires by then: a run every ten
    minutes with 900 refreshes each value shortly before it expires. 0 refreshes everything.
    """

    only: tuple[str, ...] = ()
    cold_only: bool = False
    expiring_within_seconds: float = 0.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class InvalidateOptions:
    """``rules`` limits the run to some of the target's rules; empty means all."""

    rules: tuple[str, ...] = ()
    dry_run: bool = False
