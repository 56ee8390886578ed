"""What the guide asks for every week: early on Monday, so that the week begins with the facts."""

from maintenance.schedules.model import Schedule

WEEKLY: tuple[Schedule, ...] = (
    Schedule("optimize_images", "30 1 * * 1", "Image Optimization"),
    Schedule("report_table_bloat", "30 3 * * 1", "Run database performance analysis"),
    Schedule("report_index_bloat", "40 3 * * 1", "Run database performance analysis"),
    Schedule("review_activity", "50 3 * * 1", "Run database performance analysis"),
    Schedule("review_vacuum_health", "55 3 * * 1", "Run database performance analysis"),
    Schedule("review_database_server", "57 3 * * 1", "Run database performance analysis"),
    Schedule("review_cache_hit_ratios", "0 4 * * 1", "Review cache hit ratios"),
    Schedule("review_database_cache_hit_ratio", "5 4 * * 1", "Review cache hit ratios"),
    Schedule("review_database_growth", "15 4 * * 1", "Run database performance analysis"),
    Schedule("review_n_plus_one", "10 4 * * 1", "Check for N+1 queries in logs"),
    Schedule("review_static_files", "25 4 * * 1", "Static File Optimization"),
    # Every week, not every month: a deploy that undoes a setting is noticed within days, a look at who
    # waits for a connection is one moment, of which four say more, and all of it takes a few reads.
    Schedule("review_server_configuration", "27 4 * * 1", "Infrastructure Tuning"),
    Schedule("check_disk_space", "20 4 * * 1", "Monitor disk space usage"),
    Schedule("send_digest", "50 7 * * 1", options={"period": "weekly"}),
)
