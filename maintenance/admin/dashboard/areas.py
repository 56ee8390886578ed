"""What tasks look after, in the words of the dashboard's verdicts. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from maintenance import schedules
from maintenance.admin.wording import task_words
from maintenance.core.runs.registry import PREFIX


@dataclass(frozen=True, slots=True, eq=False)  # there is one of each; a name is long to compare
class Area:
    """One thing that is well or not, and the tasks that look after it. ``is_plural`` is grammar."""

    name: str | Promise
    tasks: tuple[str, ...]
    is_plural: bool = False


AREAS: tuple[Area, ...] = (
    Area(_("Response times and errors"), ("review_error_rates",), is_plural=True),
    Area(_("Queues"), ("check_queue_depths",), is_plural=True),
    Area(
        _("Queries"),
        ("review_slow_queries", "review_n_plus_one", "tune_statistics"),
        is_plural=True,
    ),
    Area(_("Connections and locks"), ("review_activity",), is_plural=True),
    Area(
        _("Vacuuming"), ("review_vacuum_health", "vacuum_analyze", "vacuum_full", "tune_autovacuum")
    ),
    Area(
        _("Space in tables and indexes"),
        ("report_table_bloat", "report_index_bloat", "reindex_bloated_indexes"),
    ),
    Area(
        _("Indexes"),
        ("report_unused_indexes", "report_redundant_indexes", "report_missing_indexes"),
        is_plural=True,
    ),
    Area(
        _("Database servers"),
        ("review_database_server", "review_database_settings"),
        is_plural=True,
    ),
    Area(_("Database caching"), ("review_database_cache_hit_ratio",)),
    Area(
        _("Growth and capacity"),
        (
            "review_database_growth",
            "sample_database_load",
            "review_capacity",
            "assess_scaling",
        ),
        is_plural=True,
    ),
    Area(
        _("Performance"), ("run_performance_audit", "review_performance_targets", "run_load_test")
    ),
    Area(_("Data integrity"), ("check_data_integrity",)),
    Area(_("Redis memory"), ("check_redis_memory", "reclaim_redis_memory")),
    Area(_("Streams"), ("trim_streams", "remove_abandoned_streams"), is_plural=True),
    Area(
        _("Caching"),
        (
            "review_cache_hit_ratios",
            "warm_caches",
            "invalidate_caches",
            "flush_cache",
            "review_caching_strategy",
        ),
    ),
    Area(_("Disk space"), ("check_disk_space",)),
    Area(_("Memory of processes"), ("check_process_memory",)),
    Area(_("Server configuration"), ("review_server_configuration",)),
    Area(_("Static files"), ("review_static_files",), is_plural=True),
    Area(_("Media"), ("optimize_images", "report_orphaned_media", "remove_orphaned_media")),
    Area(_("Schedules"), ("prove_slots",), is_plural=True),
    Area(_("Stored reports"), ("trim_reports",), is_plural=True),
    Area(_("Messages"), ("send_notifications", "send_digest"), is_plural=True),
)

_AREA_OF_TASK: Mapping[str, Area] = {PREFIX + task: area for area in AREAS for task in area.tasks}

#: Full names of the tasks of the checklists, with the days after which each looks again.
LOOKS_EVERY_DAYS: Mapping[str, int] = {
    PREFIX + task: days for task, days in schedules.LOOKS_EVERY_DAYS.items()
}


@cache
def area_of(task: str) -> Area:
    """Return what a task looks after; one that stands in no area is an area of its own."""
    known = _AREA_OF_TASK.get(task)
    return known or Area(task_words(task), (task.removeprefix(PREFIX),))
