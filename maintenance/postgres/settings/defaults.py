"""PostgreSQL's own settings: where advice begins while there is no server to look at."""

from collections.abc import Mapping

from maintenance.postgres.settings.model import Setting

#: name, value, unit, kind, context, as pg_settings has them (PostgreSQL documentation, "Server
#: Configuration"); what the rules, the dangers and the guide speak of.
_ROWS = (
    ("shared_buffers", "16384", "8kB", "integer", "postmaster"),
    ("effective_cache_size", "524288", "8kB", "integer", "user"),
    ("work_mem", "4096", "kB", "integer", "user"),
    ("maintenance_work_mem", "65536", "kB", "integer", "user"),
    ("max_connections", "100", None, "integer", "postmaster"),
    ("random_page_cost", "4", None, "real", "user"),
    ("effective_io_concurrency", "1", None, "integer", "user"),
    ("wal_buffers", "-1", "8kB", "integer", "postmaster"),
    ("checkpoint_completion_target", "0.9", None, "real", "sighup"),
    ("max_wal_size", "1024", "MB", "integer", "sighup"),
    ("min_wal_size", "80", "MB", "integer", "sighup"),
    ("autovacuum", "on", None, "bool", "sighup"),
    ("autovacuum_max_workers", "3", None, "integer", "postmaster"),
    ("autovacuum_naptime", "60", "s", "integer", "sighup"),
    ("autovacuum_vacuum_threshold", "50", None, "integer", "sighup"),
    ("autovacuum_analyze_threshold", "50", None, "integer", "sighup"),
    ("autovacuum_vacuum_scale_factor", "0.2", None, "real", "sighup"),
    ("autovacuum_analyze_scale_factor", "0.1", None, "real", "sighup"),
    ("idle_in_transaction_session_timeout", "0", "ms", "integer", "user"),
    ("shared_preload_libraries", "", None, "string", "postmaster"),
)

#: The first version whose reads are asynchronous, and what it begins with.
_ASYNCHRONOUS_MAJOR = 18
_ASYNCHRONOUS_IO_CONCURRENCY = "16"


def default_settings(major: int, max_connections: int = 100) -> Mapping[str, Setting]:
    """Return the settings of a new server of one version."""
    changed = {"max_connections": str(max_connections)}
    if major >= _ASYNCHRONOUS_MAJOR:
        changed["effective_io_concurrency"] = _ASYNCHRONOUS_IO_CONCURRENCY
    return {
        name: Setting(
            name,
            value=changed.get(name, value),
            unit=unit,
            kind=kind,
            context=context,
            source="default",
            source_file=None,
            default=changed.get(name, value),
        )
        for name, value, unit, kind, context in _ROWS
    }
