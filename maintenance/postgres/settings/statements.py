"""How a setting is changed: ALTER SYSTEM with its undo, and lines for postgresql.conf."""

from collections.abc import Sequence
from datetime import UTC, datetime

from maintenance.postgres.settings.model import Recommendation, Setting

# Each element is quoted by itself: within one pair of quotes the server takes a list for one name.
_LISTS = frozenset({"shared_preload_libraries"})

RELOAD = "SELECT pg_reload_conf();"


def quoted(value: str) -> str:
    """Write a value as a literal of SQL and of postgresql.conf."""
    return "'" + value.replace("'", "''") + "'"


def alter_system(setting: Setting, value: str) -> tuple[str, ...]:
    """Return statements that set a value, and load it where no restart is needed."""
    text = quoted(value)
    if setting.name in _LISTS:
        text = ", ".join(quoted(part.strip()) for part in value.split(","))
    return _with_reload(setting, f"ALTER SYSTEM SET {setting.name} = {text};")


def undo_of(setting: Setting) -> tuple[str, ...]:
    """Return statements that bring the value of today back.

    Where it does not stand in postgresql.auto.conf, taking our line out of there is enough. Where
    files are hidden from us, it is written there as it is.
    """
    file = setting.source_file
    stands_elsewhere = setting.source == "default" or (
        file is not None and not file.endswith("postgresql.auto.conf")
    )
    if stands_elsewhere or not setting.value:
        return _with_reload(setting, f"ALTER SYSTEM RESET {setting.name};")
    return alter_system(setting, setting.text)


def _with_reload(setting: Setting, statement: str) -> tuple[str, ...]:
    return (statement,) if setting.needs_restart else (statement, RELOAD)


def fragment(changes: Sequence[tuple[Setting, Recommendation]], measured_at: float) -> list[str]:
    """Return lines for postgresql.conf, or a file in its conf.d, those that need a restart last."""
    day = datetime.fromtimestamp(measured_at, UTC)
    lines = [f"# Settings advised on {day:%Y-%m-%d}"]
    for title, restart in (("Take effect at a reload", False), ("Need a restart", True)):
        group = [change for change in changes if change[0].needs_restart is restart]
        if group:
            lines.append(f"# {title}:")
        for setting, recommendation in group:
            line = f"{setting.name} = {quoted(recommendation.value)}"
            lines.append(f"{line:<52} # was {setting.text or 'empty'}")
            if setting.name == "shared_preload_libraries":
                # The guide's settings of the library that this loads.
                lines += ["pg_stat_statements.track = 'all'", "pg_stat_statements.max = 10000"]
    return lines
