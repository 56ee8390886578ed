"""What the guide asks for every day.

Heavy work keeps away from 00:00 and 05:00, when sites dump their database and weed.
"""

from maintenance.schedules.model import Schedule

DAILY: tuple[Schedule, ...] = (
    Schedule("review_slow_queries", "0 6 * * *", "Monitor slow query log"),
    # Every hour: once a day says nothing of a queue that nobody has consumed since breakfast.
    Schedule("check_queue_depths", "10 * * * *", "Check Celery queue depths"),
    Schedule("review_error_rates", "20 6 * * *", "Review error rates"),
    Schedule("trim_streams", "30 2 * * *", "Trim streams periodically"),
    Schedule("invalidate_caches", "40 2 * * *", "Cache Invalidation"),
    Schedule("warm_caches", "0 7 * * *", "Implement caching"),
    Schedule("check_redis_memory", "15 6 * * *", "High Redis Memory"),
    # Every hour: a leak shows within a day, and only by the course of its samples.
    Schedule("check_process_memory", "25 * * * *", "Memory Leaks"),
    # Disks fill on any day, and forecasts need every day of the week.
    Schedule("check_disk_space", "50 6 * * *", "Capacity planning review"),
    # Connections are as many as visitors: a look once a week, at night, would see none of them.
    Schedule("sample_database_load", "35 * * * *", "Capacity planning review"),
    Schedule("prove_slots", "30 7 * * *", "Proof of slots"),
    # After all others of the night and before people come.
    Schedule("send_digest", "45 7 * * *", options={"period": "daily"}),
)
