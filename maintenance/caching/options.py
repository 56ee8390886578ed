"""What warming and invalidation can be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WarmOptions:
    """``only`` names warmers, empty means all; ``cold_only`` leaves values that are there.

    ``expiring_within_seconds`` computes only what is missing or expires by then: a run every ten
    minutes with 900 refreshes each value shortly before it expires. 0 refreshes everything. Of a
    warmer of many keys those that its last run wrote are looked at, of more than a thousand a
    thousand drawn by lot; where one is missing or expires, all are computed. Outside of Redis no
    cache tells how long a value stays: everything is refreshed there.
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
