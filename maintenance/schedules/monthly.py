"""What the guide asks for every month: in the night of the first, one task after the other."""

from maintenance.schedules.model import Schedule

MONTHLY: tuple[Schedule, ...] = (
    Schedule("run_performance_audit", "30 4 1 * *", "Full performance audit"),
    Schedule("review_slow_queries", "15 4 1 * *", "Review and optimize slow queries"),
    Schedule("report_unused_indexes", "0 4 1 * *", "Analyze index usage"),
    Schedule("report_redundant_indexes", "4 4 1 * *", "Analyze index usage"),
    Schedule("report_missing_indexes", "8 4 1 * *", "Analyze index usage"),
    Schedule("check_data_integrity", "45 3 1 * *", "Full performance audit"),
    Schedule("vacuum_analyze", "0 3 1 * *", "VACUUM and ANALYZE database"),
    # After VACUUM, which empties pages that a rebuild then leaves out. Once a month: what bloats again
    # within a week needs another remedy, which the weekly report on index bloat makes visible.
    Schedule("reindex_bloated_indexes", "30 3 1 * *", "Rebuild fragmented indexes"),
    Schedule("review_caching_strategy", "40 4 1 * *", "Review and update caching strategy"),
    Schedule("report_orphaned_media", "20 3 1 * *", "Image Optimization"),
    Schedule("trim_reports", "50 4 1 * *", "Performance Logging"),
)
