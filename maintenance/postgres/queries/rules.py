"""When a statement is slow, and how many of them are named."""

from dataclasses import dataclass

from maintenance.conf import Thresholds


@dataclass(frozen=True, slots=True)
class SlowQueryOptions:
    """``minimum_mean_ms`` and ``limit`` replace the configured thresholds for one run."""

    minimum_mean_ms: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class SlowQueryRules:
    """A statement is slow from ``minimum_mean_ms`` on; ``limit`` are shown."""

    minimum_mean_ms: float
    limit: int

    @classmethod
    def of(cls, options: SlowQueryOptions, thresholds: Thresholds) -> "SlowQueryRules":
        """Take the options, and the configured thresholds for what they leave open."""
        given_ms, given_limit = options.minimum_mean_ms, options.limit
        return cls(
            minimum_mean_ms=thresholds.slow_query_mean_ms if given_ms is None else given_ms,
            limit=thresholds.slow_query_limit if given_limit is None else given_limit,
        )
