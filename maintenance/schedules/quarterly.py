"""What the guide asks for every quarter: on the second, after the monthly audit has its report."""

from maintenance.schedules.model import Schedule

QUARTERLY: tuple[Schedule, ...] = (
    Schedule("run_load_test", "0 3 2 1,4,7,10 *", "Load testing"),
    Schedule("review_capacity", "30 3 2 1,4,7,10 *", "Capacity planning review"),
    Schedule(
        "review_database_settings",
        "45 3 2 1,4,7,10 *",
        "Infrastructure scaling assessment",
    ),
    # A preview: what it finds is done by hand, or by a schedule without dry_run where allow permits.
    Schedule(
        "reclaim_redis_memory",
        "42 3 2 1,4,7,10 *",
        "Infrastructure scaling assessment",
        {"parts": ["encodings", "repack", "abandoned", "time_outs"], "dry_run": True},
    ),
    Schedule("assess_scaling", "40 3 2 1,4,7,10 *", "Infrastructure scaling assessment"),
    Schedule(
        "review_performance_targets",
        "50 3 2 1,4,7,10 *",
        "Review and update performance targets",
    ),
)
