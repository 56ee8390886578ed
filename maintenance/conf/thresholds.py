"""From where on a measurement is a finding."""

from pydantic import (
    Field,
)

from maintenance.conf.values import Ratio, Section


def is_below(value: float, limit: float) -> bool:
    """Tell whether a value meets a target such as "< 1000": one at the limit does not. Nothing meets any."""
    return value < limit or value == 0


def is_above(ratio: float, target: float) -> bool:
    """Tell whether a ratio meets a target such as "> 95%": one at it does not. The whole meets any."""
    return ratio > target or ratio == 1


class Thresholds(Section):
    """Where a measurement becomes a finding. Ratios are 0 to 1."""

    table_bloat_warning_ratio: Ratio = 0.3
    table_bloat_critical_ratio: Ratio = 0.6
    index_bloat_warning_ratio: Ratio = 0.3
    index_bloat_critical_ratio: Ratio = 0.6
    minimum_bloat_bytes: int = Field(default=8 * 1024**2, ge=0)  # below, a rewrite gains nothing
    unused_index_window_seconds: float = Field(default=30 * 86_400, gt=0)  # a month's jobs have run
    unused_index_minimum_bytes: int = Field(default=1024**2, ge=0)
    # A scan saves at most a reading of the whole table. A page holds dozens of rows and somebody
    # waits for it, an entry more is one step down a tree: ten of these weigh as much.
    rare_index_writes_per_page_saved: float = Field(default=10, gt=0)
    redundant_index_minimum_bytes: int = Field(default=64 * 1024, ge=0)  # below, nobody feels it
    # Below, a deleted row costs a millisecond: less than keeping an index up to date is worth.
    missing_index_minimum_bytes: int = Field(default=1024**2, ge=0)
    sequential_scan_minimum_bytes: int = Field(default=8 * 1024**2, ge=0)  # some 10 ms a scan
    sequential_scans_per_day: float = Field(default=24, gt=0)  # more than a dump and hourly jobs
    sequential_rows_ratio: Ratio = 0.9  # below, indexes do their part of the reading
    slow_query_mean_ms: float = Field(
        default=100, gt=0
    )  # the guide: profile_queries --min-duration 100
    slow_query_limit: int = Field(default=20, gt=0)  # the guide: LIMIT 20
    long_running_seconds: float = Field(default=300, gt=0)
    # Past its trigger a table is due until the next worker comes; at twice the trigger none came.
    autovacuum_overdue_ratio: float = Field(default=2, ge=1)
    # A gibibyte is max_wal_size by default: as much again as WAL takes in any case. They judge what
    # a slot keeps, and what waits for its archive.
    slot_retained_warning_bytes: int = Field(default=1024**3, gt=0)
    slot_retained_critical_bytes: int = Field(default=16 * 1024**3, gt=0)
    standby_lag_seconds: float = Field(default=60, gt=0)  # readers notice a minute
    standby_lag_bytes: int = Field(default=1024**3, gt=0)
    temporary_files_bytes_per_day: int = Field(default=10 * 1024**3, gt=0)
    autovacuum_large_trigger_rows: int = Field(default=1_000_000, gt=0)  # minutes of work at once
    database_cache_hit_ratio: Ratio = 0.95  # the guide: "> 95% cache hit ratio"
    cache_hit_ratio: Ratio = 0.80  # the guide: "> 80% cache hit rate"
    cache_hit_minimum_reads: int = Field(default=1000, ge=0)  # below, a ratio is noise
    # A table that grows by a tenth a week is twice its size in two months, and a GB is worth a word.
    table_growth_weekly_ratio: float = Field(default=0.10, gt=0)
    table_growth_weekly_bytes: int = Field(default=1024**3, gt=0)
    active_connections: int = Field(default=100, gt=0)  # the guide: "< 100 active connections"
    redis_memory_ratio: Ratio = 0.80  # the guide: "Redis memory > 80% of maxmemory"
    # One command on a value of this size, or its expiry, is felt by everybody: 16 MB take 10 ms.
    redis_big_key_bytes: int = Field(default=16 * 1024**2, gt=0)
    # The server's own expiry leaves up to a tenth of the expired keys (redis.conf,
    # active-expire-effort): more is a backlog.
    redis_expired_ratio: Ratio = 0.10
    # A fork stops the server for about 10 ms a GB (Redis documentation, "Diagnosing latency issues");
    # a visitor notices a tenth of a second.
    redis_fork_seconds: float = Field(default=0.1, gt=0)
    redis_connections_ratio: Ratio = 0.80  # of maxclients: a deploy doubles them for a moment
    response_p95_ms: float = Field(default=500, gt=0)  # the guide: "p95 < 500ms, p99 < 1000ms"
    response_p99_ms: float = Field(default=1000, gt=0)
    server_error_ratio: Ratio = 0.01  # the guide: "Error Rate", "< 1%"
    # Of fewer requests the slowest hundredth is a single one.
    access_log_minimum_requests: int = Field(default=100, gt=0)
    disk_warning_ratio: Ratio = 0.80
    disk_critical_ratio: Ratio = 0.90
