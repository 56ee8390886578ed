"""postgresql.conf for one machine: every setting that the guide prints, each with its reason. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from maintenance.core.configuration_file import ConfigurationFile, Line, stays, withheld
from maintenance.postgres.settings.model import Server, Setting
from maintenance.postgres.settings.review import Change, changes_of
from maintenance.postgres.settings.statements import quoted

#: What the guide prints for postgresql.conf, in its order, with its values: the essential ones, then
#: those "For Small / Medium / Large Instances", then those of autovacuum and pg_stat_statements.
GUIDE_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "256MB / 1GB / 2GB",
    "effective_cache_size": "768MB / 3GB / 6GB",
    "work_mem": "4MB / 16MB / 32MB",
    "maintenance_work_mem": "64MB / 256MB / 512MB",
    "random_page_cost": "1.1",
    "effective_io_concurrency": "200",
    "wal_buffers": "16MB",
    "checkpoint_completion_target": "0.9",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "max_connections": "100",
    "autovacuum": "on",
    "autovacuum_max_workers": "3",
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_threshold": "50",
    "autovacuum_analyze_threshold": "50",
    "autovacuum_vacuum_scale_factor": "0.1",
    "autovacuum_analyze_scale_factor": "0.05",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "pg_stat_statements.max": "10000",
}

#: Which fact about the machine a setting is judged by.
_NEEDS: Mapping[str, str] = {
    "shared_buffers": "memory_bytes",
    "effective_cache_size": "memory_bytes",
    "work_mem": "memory_bytes",
    "maintenance_work_mem": "memory_bytes",
    "random_page_cost": "storage",
    "effective_io_concurrency": "storage",
    "max_connections": "cpu_count",
}
_FACT_WORDS = {
    "memory_bytes": "the memory of the server's machine (server.memory_bytes, --memory)",
    "storage": "the kind of its disks (server.storage, --storage)",
    "cpu_count": "the number of its processors (server.cpu_count, --cpus)",
}

#: Why a setting that no rule would change is good as it is.
_GOOD: Mapping[str, str] = {
    "max_wal_size": "no counted checkpoint asks for more; review_database_server counts them",
    "min_wal_size": "it only keeps WAL files for later use, and a quiet server needs none",
    "max_connections": "its sessions do not crowd the processors; behind PgBouncer fewer will do",
    "wal_buffers": "left to itself it follows shared_buffers up to 16MB",
    "random_page_cost": "it is what somebody chose, or what fits the disks",
    "effective_io_concurrency": "it is what somebody chose, or what fits the disks",
    "shared_preload_libraries": "pg_stat_statements is loaded, or the server does not have it",
    "pg_stat_statements.track": "statements are counted",
    "pg_stat_statements.max": "it holds the statements of most sites",
}
_STATEMENTS = "pg_stat_statements."


def postgresql_conf(server: Server, about: str) -> ConfigurationFile:
    """Return lines for postgresql.conf, or for a file in its conf.d."""
    changes = {change.setting.name: change for change in changes_of(server)}
    others = [name for name in changes if name not in GUIDE_SETTINGS]
    lines = [_line(server, name, changes.get(name)) for name in (*GUIDE_SETTINGS, *others)]
    return ConfigurationFile("postgresql.conf", about, tuple(lines))


def guide_rows(server: Server) -> Iterator[dict[str, Any]]:
    """Yield each setting of the guide beside what is deployed and what is advised."""
    changes = {change.setting.name: change for change in changes_of(server)}
    for name, printed in GUIDE_SETTINGS.items():
        setting, change = server.settings.get(name), changes.get(name)
        yield {
            "setting": name,
            "guide": printed,
            "deployed": None if setting is None else setting.text,
            "advised": change.recommendation.value if change else None,
            "verdict": _verdict(server, name, setting, change),
        }


def _verdict(server: Server, name: str, setting: Setting | None, change: Change | None) -> str:
    if change is not None:
        return "change" if change.recommendation.value else "choose"
    missing = _missing_fact(server, name)
    if setting is None:
        return "not loaded" if name.startswith(_STATEMENTS) else "hidden"
    if setting.is_pending:
        return "awaits a restart"
    return f"withheld: {missing} unknown" if missing else "fits"


def _line(server: Server, name: str, change: Change | None) -> Line:
    if change is None:
        return _unchanged(server, name)
    advice, setting = change.recommendation, change.setting
    if not advice.value:
        return withheld(name, f"a person's choice: {advice.reason}")
    if setting.set_beyond_files:
        return Line("", f"{name} = {advice.value} must be set by {setting.set_beyond_files}.")
    restart = " Needs a restart." if setting.needs_restart else ""
    was = f" Was {setting.text}." if setting.source != "default" and setting.text else ""
    reason = advice.reason[:1].upper() + advice.reason[1:]
    return Line(f"{name} = {quoted(advice.value)}", f"{reason} ({advice.source}).{was}{restart}")


def _unchanged(server: Server, name: str) -> Line:
    setting, missing = server.settings.get(name), _missing_fact(server, name)
    if setting is None and name.startswith(_STATEMENTS):
        return _of_statements(name)
    if setting is None:
        return withheld(name, "the right to see it: GRANT pg_read_all_settings")
    if setting.is_pending:
        return withheld(name, "a restart, after which it is what a file says by now")
    if missing:
        return withheld(name, _FACT_WORDS[missing])
    return stays(name, setting.text or "empty", _GOOD.get(name, "it is good enough or better"))


def _of_statements(name: str) -> Line:
    """Return a setting of a library that is loaded after the next restart."""
    reason = (
        "Statements inside of functions count as well."
        if name.endswith("track")
        else "Room for the statements of a site that writes many kinds; each takes some 1 kB."
    )
    return Line(f"{name} = {quoted(GUIDE_SETTINGS[name])}", reason)


def _missing_fact(server: Server, name: str) -> str:
    """Return the name of the fact that is missing to judge a setting, empty where none is."""
    fact = _NEEDS.get(name, "")
    return fact if fact and getattr(server.machine, fact) is None else ""
