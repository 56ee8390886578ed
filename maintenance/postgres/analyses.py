"""The analyses of ``analyze_db_performance`` by their names in the guide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.activity.review import (
    blocking,
    connections,
    idle_in_transaction,
    long_running,
    xmin,
)
from maintenance.postgres.bloat.indexes import report_index_bloat
from maintenance.postgres.bloat.options import IndexBloatOptions, TableBloatOptions
from maintenance.postgres.bloat.tables import report_table_bloat
from maintenance.postgres.capacity.cache_hit_ratio import review_database_cache_hit_ratio
from maintenance.postgres.capacity.growth import report_growth
from maintenance.postgres.capacity.review import report_sequences
from maintenance.postgres.indexes.advice.report import report_index_advice
from maintenance.postgres.indexes.missing import report_missing_indexes
from maintenance.postgres.indexes.options import (
    MissingIndexOptions,
    RedundantIndexOptions,
    UnusedIndexOptions,
)
from maintenance.postgres.indexes.redundant import report_redundant_indexes
from maintenance.postgres.indexes.unused import report_unused_indexes
from maintenance.postgres.indexes.usage import report_index_usage
from maintenance.postgres.queries.review import review_slow_queries
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.queries.slow_log import review_slow_log
from maintenance.postgres.server.review import (
    report_checkpoints,
    report_checksums,
    report_collations,
    report_extensions,
    report_replication,
    report_temporary_files,
)
from maintenance.postgres.settings.review import review_database_settings
from maintenance.postgres.vacuum.health import report_table_upkeep, report_wraparound
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze

#: A report on one database.
Measure = Callable[[Job[DatabaseTarget, Any], Thresholds], Report]


@dataclass(frozen=True, slots=True)
class Part:
    """One report of an analysis, by the function of ``task`` with these options."""

    task: str
    measure: Measure
    options: Any = field(default_factory=NoOptions)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one name stands for. Several parts are joined into one report.

    An overview ``includes`` other analyses, except those that are asked for by name beside it. One
    that ``reads_pages`` shares no reading with others and takes as long as all of them: it is done
    beside them, in a session of its own.
    """

    title: str
    parts: tuple[Part, ...]
    includes: tuple[str, ...] = ()
    reads_pages: bool = False


#: In the order of the guide. What each does, says the function behind it.
ANALYSES: Mapping[str, Analysis] = {
    "queries": Analysis(
        "Slow queries", (Part("review_slow_queries", review_slow_queries, SlowQueryOptions()),)
    ),
    "slow-log": Analysis(
        "Slow statements in the server's log",
        (Part("review_slow_queries", review_slow_log, SlowQueryOptions()),),
    ),
    "indexes": Analysis(
        "Indexes",
        (Part("report_unused_indexes", report_index_usage),),
        includes=("unused-indexes", "redundant-indexes", "missing-indexes"),
    ),
    "unused-indexes": Analysis(
        "Unused indexes",
        (Part("report_unused_indexes", report_unused_indexes, UnusedIndexOptions()),),
    ),
    "redundant-indexes": Analysis(
        "Duplicate and redundant indexes",
        (Part("report_redundant_indexes", report_redundant_indexes, RedundantIndexOptions()),),
    ),
    "missing-indexes": Analysis(
        "Missing indexes",
        (
            Part("report_missing_indexes", report_missing_indexes, MissingIndexOptions()),
            Part("report_missing_indexes", report_index_advice, MissingIndexOptions()),
        ),
    ),
    "bloat": Analysis(
        "Bloat",
        (
            Part("report_table_bloat", report_table_bloat, TableBloatOptions()),
            Part("report_index_bloat", report_index_bloat, IndexBloatOptions()),
        ),
        reads_pages=True,
    ),
    "long-running": Analysis(
        "Long-running statements and transactions", (Part("review_activity", long_running),)
    ),
    "idle-in-transaction": Analysis(
        "Idle transactions", (Part("review_activity", idle_in_transaction),)
    ),
    "xmin": Analysis("What holds back VACUUM", (Part("review_activity", xmin),)),
    "blocking": Analysis("Blocking", (Part("review_activity", blocking),)),
    "connections": Analysis("Connections", (Part("review_activity", connections),)),
    "cache-hit": Analysis(
        "Buffer cache", (Part("review_database_cache_hit_ratio", review_database_cache_hit_ratio),)
    ),
    "growth": Analysis("Growth", (Part("review_database_growth", report_growth),)),
    "sequences": Analysis(
        "Sequences and keys", (Part("review_database_growth", report_sequences),)
    ),
    "vacuum": Analysis(
        "Tables that need VACUUM or ANALYZE",
        (Part("vacuum_analyze", vacuum_analyze, VacuumOptions(dry_run=True)),),
    ),
    "vacuum-health": Analysis(
        "Vacuum health", (Part("review_vacuum_health", report_table_upkeep),)
    ),
    "wraparound": Analysis("Wraparound", (Part("review_vacuum_health", report_wraparound),)),
    "checkpoints": Analysis(
        "Checkpoints and WAL", (Part("review_database_server", report_checkpoints),)
    ),
    "replication": Analysis(
        "Replication and conflicts", (Part("review_database_server", report_replication),)
    ),
    "temporary-files": Analysis(
        "Temporary files", (Part("review_database_server", report_temporary_files),)
    ),
    "extensions": Analysis("Extensions", (Part("review_database_server", report_extensions),)),
    "collations": Analysis("Collations", (Part("review_database_server", report_collations),)),
    "checksums": Analysis("Data checksums", (Part("review_database_server", report_checksums),)),
    "settings": Analysis("Settings", (Part("review_database_settings", review_database_settings),)),
}
