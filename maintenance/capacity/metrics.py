"""Which stored numbers meet a limit, what that limit is, and what is to be done before."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from maintenance.conf import Configuration
from maintenance.core.wording import bytes_in_words, counted, percent, seconds_in_words

#: PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures": half of all 2^32 IDs,
#: and three million before the server refuses to give out more.
LAST_TRANSACTION_AGE = 2**31 - 3_000_000


@dataclass(frozen=True, slots=True)
class LimitedMetric:
    """A stored number that must stay below a limit.

    ``section`` of the configuration names its targets. ``what`` and ``event`` make sentences: "The
    disk /srv of local is full about ...". ``accumulates``: see :func:`forecast.foretell`.
    ``falls_by_itself``: see :func:`forecast.foretell_peaks`. ``task`` stores it. ``limit`` returns ``None`` where a target has none.
    """

    name: str
    section: str
    what: str
    event: str
    limit_in_words: str
    accumulates: bool
    task: str
    advice: str
    limit: Callable[[Configuration, str], float | None]
    is_core: bool = True
    falls_by_itself: bool = False

    def targets(self, configuration: Configuration) -> Mapping[str, object]:
        """Return the configured targets that it is measured on."""
        found: Mapping[str, object] = getattr(configuration, self.section)
        return found


def _full(_configuration: Configuration, _target: str) -> float | None:
    return 1.0


def _wraparound(_configuration: Configuration, _target: str) -> float | None:
    return float(LAST_TRANSACTION_AGE)


def _database_size(configuration: Configuration, target: str) -> float | None:
    return configuration.databases[target].size_limit_bytes


def _queue(configuration: Configuration, target: str) -> float | None:
    return float(configuration.brokers[target].max_pending)


def _p95(configuration: Configuration, _target: str) -> float | None:
    return configuration.thresholds.response_p95_ms / 1000


def _p99(configuration: Configuration, _target: str) -> float | None:
    return configuration.thresholds.response_p99_ms / 1000


METRICS: tuple[LimitedMetric, ...] = (
    LimitedMetric(
        "disk_used_ratio",
        "hosts",
        "disk",
        "is full",
        "all of it",
        accumulates=True,
        task="check_disk_space",
        advice="Order a larger disk in time, or remove what is not needed (backups, logs, media).",
        limit=_full,
    ),
    LimitedMetric(
        "disk_used_inodes_ratio",
        "hosts",
        "inodes of disk",
        "are used up",
        "all of them",
        accumulates=True,
        task="check_disk_space",
        advice="Look for folders with very many small files (sessions, caches, mail queues).",
        limit=_full,
        is_core=False,
    ),
    LimitedMetric(
        "database_bytes",
        "databases",
        "size of database",
        "meets its limit",
        "size_limit_bytes",
        accumulates=True,
        task="sample_database_load",
        advice="Archive what is not needed, give back bloat, or order a larger disk or plan.",
        limit=_database_size,
    ),
    LimitedMetric(
        "connections_used_ratio",
        "databases",
        "connections of database",
        "run out",
        "max_connections less the reserved ones",
        accumulates=False,
        task="sample_database_load",
        advice=(
            "Put a pooler such as PgBouncer in front, lower the pools of the site's processes, or"
            " raise max_connections, which needs a restart."
        ),
        limit=_full,
    ),
    LimitedMetric(
        "redis_used_memory_ratio",
        "redis",
        "memory of Redis",
        "is full",
        "maxmemory, or what its machine has",
        accumulates=True,
        task="check_redis_memory",
        advice="Trim streams, reclaim memory (reclaim_redis_memory), or give the server more.",
        limit=_full,
    ),
    LimitedMetric(
        "oldest_transaction_age",
        "databases",
        "transaction IDs of database",
        "run out",
        f"{LAST_TRANSACTION_AGE:,} transactions",
        accumulates=True,
        task="sample_database_load",
        advice="See review_vacuum_health for what keeps VACUUM from freezing old rows.",
        limit=_wraparound,
        falls_by_itself=True,  # autovacuum freezes each time that it meets autovacuum_freeze_max_age
    ),
    LimitedMetric(
        "sequence_used_ratio",
        "databases",
        "numbers of sequence",
        "run out",
        "its highest value",
        accumulates=True,
        task="review_database_growth",
        advice="Change its column to bigint before that; review_database_growth says how.",
        limit=_full,
        is_core=False,
    ),
    LimitedMetric(
        "queue_depth_messages",
        "brokers",
        "depth of queue",
        "passes its limit",
        "max_pending",
        accumulates=False,
        task="check_queue_depths",
        advice="Add workers to that queue, or find out which tasks became slower.",
        limit=_queue,
    ),
    LimitedMetric(
        "response_p95_seconds",
        "logs",
        "p95 of response times in log",
        "passes its target",
        "response_p95_ms",
        accumulates=False,
        task="review_error_rates",
        advice="See the slowest routes in review_error_rates, and assess_scaling for the cause.",
        limit=_p95,
    ),
    LimitedMetric(
        "response_p99_seconds",
        "logs",
        "p99 of response times in log",
        "passes its target",
        "response_p99_ms",
        accumulates=False,
        task="review_error_rates",
        advice="See the slowest routes in review_error_rates, and assess_scaling for the cause.",
        limit=_p99,
        is_core=False,
    ),
)


def value_in_words(metric: str, value: float) -> str:
    """Say a value by the unit that ends its metric's name; no share is more than all."""
    if metric.endswith("_ratio"):
        return percent(min(1.0, max(0.0, value)))
    if metric.endswith("_bytes"):
        return bytes_in_words(value)
    if metric.endswith("_seconds"):
        return seconds_in_words(max(0.0, value))
    if metric.endswith("_messages"):
        return counted(round(value), "message")
    return f"{value:,.0f}"


def subject_of(target: str, subject: str) -> str:
    """Name one series: the subject where it has one, of its target."""
    return f"{subject} of {target}" if subject else target


def all_targets(configuration: Configuration, metrics: Iterable[LimitedMetric]) -> list[str]:
    """Return the names of all targets of these metrics, each once."""
    return list(dict.fromkeys(name for metric in metrics for name in metric.targets(configuration)))
