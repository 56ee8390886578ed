"""Tasks on PostgreSQL databases.

A subject is imported by the run that needs it, and its options alone stand here: every process of
the service holds what does, and most of them run none of it.
"""

from maintenance.conf import DatabaseTarget, configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, joined
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.target_sessions import TargetSessions, find_sessions_by
from maintenance.core.runs.task import maintenance_task
from maintenance.postgres.bloat.options import IndexBloatOptions, TableBloatOptions
from maintenance.postgres.estimates.options import StatisticsOptions
from maintenance.postgres.indexes.options import (
    MissingIndexOptions,
    RedundantIndexOptions,
    UnusedIndexOptions,
)
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.rewrite.options import VacuumFullOptions
from maintenance.postgres.tuning.options import TuneOptions
from maintenance.postgres.vacuum.options import VacuumOptions

#: What works on tables and indexes has those of a database to itself.
TABLES = "tables"


def _database_sessions() -> TargetSessions:
    from maintenance.postgres.run_sessions import DatabaseSessions

    return DatabaseSessions()


find_sessions_by(TargetKind.DATABASE, _database_sessions)


@maintenance_task(
    queue="medium",
    target=TargetKind.DATABASE,
    options=VacuumOptions,
    writes=True,
    resource=TABLES,
    rate_limit="6/m",
    soft_time_limit_seconds=3 * 3600,
)
def vacuum_analyze(job: Job[DatabaseTarget, VacuumOptions]) -> Report:
    """Vacuum and analyze the tables that need it, and prove that it helped."""
    from maintenance.postgres.vacuum import run as vacuum

    return vacuum.vacuum_analyze(job, configuration().thresholds)


@maintenance_task(
    queue="medium",
    target=TargetKind.DATABASE,
    options=VacuumFullOptions,
    writes=True,
    resource=TABLES,
    dangerous="vacuum_full",
    needs_plan=True,
    soft_time_limit_seconds=3 * 3600,
)
def vacuum_full(job: Job[DatabaseTarget, VacuumFullOptions]) -> Report:
    """Rewrite named tables to give their free space back to the disk; locks each meanwhile."""
    from maintenance.postgres.rewrite import run as rewrite

    return rewrite.vacuum_full(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=TuneOptions,
    writes=True,
    resource=TABLES,
    dangerous="alter_table",
)
def tune_autovacuum(job: Job[DatabaseTarget, TuneOptions]) -> Report:
    """Give tables the autovacuum settings that the review advises, on trial; keep what helps."""
    from maintenance.postgres.tuning import run as tuning

    return tuning.tune_autovacuum(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=StatisticsOptions,
    writes=True,
    resource=TABLES,
    dangerous="alter_table",
)
def tune_statistics(job: Job[DatabaseTarget, StatisticsOptions]) -> Report:
    """Give columns whose rows are badly estimated a larger statistics target, on trial; keep what helps."""
    from maintenance.postgres.estimates import run as estimates

    return estimates.tune_statistics(job)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=ReindexOptions,
    writes=True,
    resource=TABLES,
    dangerous="reindex",
    tidies_with="leftovers_only",
    soft_time_limit_seconds=3 * 3600,
)
def reindex_bloated_indexes(job: Job[DatabaseTarget, ReindexOptions]) -> Report:
    """Rebuild bloated indexes beside the application, and prove that it helped."""
    from maintenance.postgres.reindex import run as reindex

    return reindex.reindex_bloated_indexes(job, configuration().thresholds)


@maintenance_task(queue="low", target=TargetKind.DATABASE)
def review_vacuum_health(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Look at what autovacuum misses, whom it waits for, and how near wraparound is."""
    from maintenance.postgres.vacuum import health as vacuum_health

    return vacuum_health.review_vacuum_health(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=TableBloatOptions,
    rate_limit="30/m",
)
def report_table_bloat(job: Job[DatabaseTarget, TableBloatOptions]) -> Report:
    """Measure how much of each table is free or dead space."""
    from maintenance.postgres.bloat import tables as table_bloat

    return table_bloat.report_table_bloat(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=IndexBloatOptions,
    rate_limit="30/m",
)
def report_index_bloat(job: Job[DatabaseTarget, IndexBloatOptions]) -> Report:
    """Measure how much smaller each index would be after a rebuild."""
    from maintenance.postgres.bloat import indexes as index_bloat

    return index_bloat.report_index_bloat(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=UnusedIndexOptions,
    rate_limit="30/m",
)
def report_unused_indexes(job: Job[DatabaseTarget, UnusedIndexOptions]) -> Report:
    """Name the indexes that no query has read in the counter's window."""
    from maintenance.postgres.indexes import unused as unused_indexes

    return unused_indexes.report_unused_indexes(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=RedundantIndexOptions,
    rate_limit="30/m",
)
def report_redundant_indexes(
    job: Job[DatabaseTarget, RedundantIndexOptions],
) -> Report:
    """Name the indexes whose work another index of the same table does as well."""
    from maintenance.postgres.indexes import redundant as redundant_indexes

    return redundant_indexes.report_redundant_indexes(job, configuration().thresholds)


@maintenance_task(
    queue="low",
    target=TargetKind.DATABASE,
    options=MissingIndexOptions,
    rate_limit="30/m",
)
def report_missing_indexes(
    job: Job[DatabaseTarget, MissingIndexOptions],
) -> Report:
    """Name foreign keys and costly statements without an index, and tables read from end to end."""
    from maintenance.postgres.indexes import missing as missing_indexes
    from maintenance.postgres.indexes.advice import report as index_advice

    thresholds = configuration().thresholds
    found = missing_indexes.report_missing_indexes(job, thresholds)
    return joined(found.title, (found, index_advice.report_index_advice(job, thresholds)))


@maintenance_task(
    queue="low", target=TargetKind.DATABASE, options=SlowQueryOptions, rate_limit="30/m"
)
def review_slow_queries(job: Job[DatabaseTarget, SlowQueryOptions]) -> Report:
    """Rank the statements that cost most since the last review."""
    from maintenance.postgres.queries import review as queries

    return queries.review_slow_queries(job, configuration().thresholds)


@maintenance_task(queue="high", target=TargetKind.DATABASE)
def review_activity(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Look at connections, long-running statements and who blocks whom."""
    from maintenance.core.runs.accepted_targets import configuration_in_force
    from maintenance.postgres.activity import review as activity

    return activity.review_activity(job, configuration_in_force().thresholds)


@maintenance_task(queue="high", target=TargetKind.DATABASE)
def sample_database_load(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Note connections, size and age of a database, for forecasts."""
    from maintenance.postgres.capacity import load

    return load.sample_database_load(job)


@maintenance_task(queue="low", target=TargetKind.DATABASE)
def review_database_server(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Look at checkpoints, replication, temporary files, extensions, collations, checksums."""
    from maintenance.postgres.server import review as server

    return server.review_database_server(job, configuration().thresholds)


@maintenance_task(queue="medium", target=TargetKind.DATABASE)
def review_database_cache_hit_ratio(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Compare the database's buffer cache hit ratio with its target."""
    from maintenance.core.runs.accepted_targets import configuration_in_force
    from maintenance.postgres.capacity import cache_hit_ratio

    return cache_hit_ratio.review_database_cache_hit_ratio(job, configuration_in_force().thresholds)


@maintenance_task(queue="low", target=TargetKind.DATABASE, rate_limit="30/m")
def review_database_growth(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Measure sizes and sequences, and foretell when they meet their limits."""
    from maintenance.postgres.capacity import review as capacity

    return capacity.review_database_growth(job, configuration().thresholds)


@maintenance_task(queue="low", target=TargetKind.DATABASE, options=IntegrityOptions)
def check_data_integrity(job: Job[DatabaseTarget, IntegrityOptions]) -> Report:
    """Look for corruption, broken constraints, orphans, duplicates, and sequences in trouble."""
    from maintenance.postgres.integrity import review as integrity

    return integrity.check_data_integrity(job, configuration().thresholds)


@maintenance_task(queue="low", target=TargetKind.DATABASE)
def review_database_settings(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Compare the server's settings with its memory, processors, storage and load."""
    from maintenance.postgres.settings import review as settings

    return settings.review_database_settings(job, configuration().thresholds)
