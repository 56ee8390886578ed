"""What the reports on indexes can be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnusedIndexOptions:
    """``minimum_bytes`` and ``window_seconds`` replace the configured thresholds for one run."""

    minimum_bytes: int | None = None
    window_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RedundantIndexOptions:
    """``minimum_bytes`` of an index replaces the configured threshold for one run."""

    minimum_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MissingIndexOptions:
    """``minimum_bytes`` of a referencing table replaces the configured threshold for one run."""

    minimum_bytes: int | None = None
