"""The report on settings: what would change something, with statements and lines to copy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, listed
from maintenance.postgres.connection import connect
from maintenance.postgres.server.checkpoints import (
    CheckpointReading,
    advised_max_wal_size_bytes,
    is_wal_size_too_small,
    read_checkpoints,
)
from maintenance.postgres.settings.dangers import dangers
from maintenance.postgres.settings.machine import machine_of
from maintenance.postgres.settings.model import (
    Load,
    Machine,
    Recommendation,
    Server,
    Setting,
    setting_from_row,
)
from maintenance.postgres.settings.rules import recommended
from maintenance.postgres.settings.statements import alter_system, fragment, undo_of
from maintenance.postgres.sql_files import query, server_major

CODE = "setting"

# Settings that only these services have, and whose owner cannot use ALTER SYSTEM.
_SERVICES = {
    "rds.": "Amazon RDS",
    "cloudsql.": "Google Cloud SQL",
    "azure.": "Azure Database for PostgreSQL",
    "neon.": "Neon",
}

_MEMORY_SETTINGS = "shared_buffers, effective_cache_size, work_mem and maintenance_work_mem"
_STORAGE_SETTINGS = "random_page_cost and effective_io_concurrency"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting and the better value for it."""

    setting: Setting
    recommendation: Recommendation

    @property
    def is_possible(self) -> bool:
        """Whether there is a value, and a file can set it."""
        return bool(self.recommendation.value) and not self.setting.set_beyond_files


def review_database_settings(
    job: Job[DatabaseTarget, NoOptions],
    thresholds: Thresholds,  # noqa: ARG001 - each rule has its own, with its source
) -> Report:
    """Compare the server's settings with what its machine and load ask for.

    Checkpoints count since the previous report, if no file was loaded in between. Nothing is
    changed. Raises what :func:`connect` raises.
    """
    look = look_at_settings(job.target, job.previous_state.get("checkpoints", {}))
    report = settings_report(look.server, role=look.role, measured_at=look.measured_at)
    state = {} if look.checkpoints is None else {"checkpoints": look.checkpoints.now.to_state()}
    return replace(report, state=state)


@dataclass(frozen=True, slots=True)
class Look:
    """What one session saw. ``role`` is ours, quoted; ``checkpoints`` is ``None`` on a standby."""

    server: Server
    role: str
    measured_at: float
    checkpoints: CheckpointReading | None


def look_at_settings(target: DatabaseTarget, previous_checkpoints: Mapping[str, Any]) -> Look:
    """Read settings, load and machine. Raises what :func:`connect` raises."""
    with connect(target, purpose="settings") as conn:
        rows = query(conn, "server_settings")
        load = query(conn, "server_load")[0]
        counters = query(conn, "checkpoint_counters")[0]
        major, host = server_major(conn), conn.info.host
        # While the session stands: its process is what shows where the server runs.
        machine = machine_of(target.server, host, load["backend_pid"], load["backend_started_at"])
    settings = {row["name"]: setting_from_row(row) for row in rows}
    # A standby's checkpoints follow those of its primary.
    reading = None if counters["in_recovery"] else read_checkpoints(counters, previous_checkpoints)
    server = Server(
        major=major,
        settings=settings,
        machine=machine,
        load=load_of(load["databases"], reading, load["loaded_at"]),
        statements_installed=load["statements_installed"],
        service=service_of(settings),
        may_alter_system=settings_allow_alter(settings),
    )
    return Look(server, load["role"], load["measured_at"], reading)


def load_of(databases: int, reading: CheckpointReading | None, loaded_at: float) -> Load:
    """Return what settings have to serve.

    Checkpoints say something of today's settings where none were loaded in the period.
    """
    if reading is None or not reading.is_comparable or reading.period.seconds is None:
        return Load(databases)
    began_at = reading.now.window.measured_at - reading.period.seconds
    if loaded_at > began_at or not is_wal_size_too_small(reading.seen):
        return Load(databases)
    return Load(
        databases,
        advised_max_wal_size_bytes(reading.seen, reading.settings),
        reading.seen.by_wal / reading.seen.total,
    )


def service_of(settings: Mapping[str, Setting]) -> str:
    """Return the service that manages the server, empty where there is none that we know."""
    prefixes = {name.partition(".")[0] + "." for name in settings if "." in name}
    return next((service for prefix, service in _SERVICES.items() if prefix in prefixes), "")


def settings_allow_alter(settings: Mapping[str, Setting]) -> bool:
    """Tell whether ALTER SYSTEM is allowed; from 17 on it can be turned off."""
    allowed = settings.get("allow_alter_system")
    return allowed is None or allowed.value == "on"


def changes_of(server: Server) -> list[Change]:
    """Return one change a setting; where it is a danger, that goes first."""
    found: dict[str, Change] = {}
    for recommendation in (*dangers(server), *recommended(server)):
        setting = server.settings[recommendation.name]
        found.setdefault(setting.name, Change(setting, recommendation))
    return list(found.values())


def settings_report(server: Server, *, role: str, measured_at: float) -> Report:
    """Put findings, table and the lines for postgresql.conf together."""
    changes = changes_of(server)
    possible = [change for change in changes if change.is_possible]
    findings = [_finding(change, server) for change in changes]
    if possible:
        findings.append(_fragment_finding(possible, server, measured_at))
    findings += _waiting(server)
    findings += _not_judged(server, role)
    restarts = sum(c.setting.needs_restart and bool(c.recommendation.value) for c in changes)
    machine = server.machine
    return Report(
        title="Settings",
        summary=_summary(changes, restarts),
        findings=tuple(by_seriousness(findings)),
        tables=(Table.of("Settings that would change something", [_row(c) for c in changes]),)
        if changes
        else (),
        facts={
            "settings_examined": len(server.settings),
            "memory_bytes": machine.memory_bytes,
            "cpu_count": machine.cpu_count,
            "storage": machine.storage,
            "dedicated": machine.dedicated,
            "machine_known_from": machine.origin if _is_known(machine) else None,
        },
        samples=(Sample("settings_to_change_count", len(changes)),),
    )


def _is_known(machine: Machine) -> bool:
    return machine.memory_bytes is not None or machine.cpu_count is not None


def _summary(changes: Sequence[Change], restarts: int) -> str:
    if not changes:
        return "No setting would change anything."
    dangerous = sum(c.recommendation.severity is not Severity.INFO for c in changes)
    return (
        f"{counted(len(changes), 'setting')} would change something, {dangerous or 'none'} of them"
        f" {'is' if dangerous == 1 else 'are'} dangerous as"
        f" {'it is' if dangerous == 1 else 'they are'}; {restarts or 'none'}"
        f" {'needs' if restarts == 1 else 'need'} a restart."
    )


def _row(change: Change) -> dict[str, Any]:
    return {
        "setting": change.setting.name,
        "current": change.setting.text,
        "recommended": change.recommendation.value or None,
        "restart": change.setting.needs_restart,
        "source": change.recommendation.source,
    }


def _finding(change: Change, server: Server) -> Finding:
    setting, recommendation = change.setting, change.recommendation
    better = f"; {recommendation.value} is advised" if recommendation.value else ""
    restart = " It needs a restart." if recommendation.value and setting.needs_restart else ""
    may_run = change.is_possible and server.may_alter_system and not server.service
    return Finding(
        code=CODE,
        severity=recommendation.severity,
        subject=setting.name,
        sentence=(
            f"{setting.name} is {setting.text or 'empty'}{better}: {recommendation.reason}.{restart}"
        ),
        evidence={
            "current": setting.text,
            "recommended": recommendation.value or None,
            # Our own session sets some for itself, which hides who set what we would change.
            "set_by": None if setting.source == "session" else setting.source,
            "set_in_file": setting.source_file,
        },
        advice=_advice(change, server),
        commands=alter_system(setting, recommendation.value) if may_run else (),
        undo=undo_of(setting) if may_run else (),
    )


def _advice(change: Change, server: Server) -> str:
    setting, parts = change.setting, []
    if not change.recommendation.value:
        parts.append("No value is given: choose it by what the site needs.")
    if setting.set_beyond_files:
        parts.append(
            f"It is set by {setting.set_beyond_files}, which goes before any file: change it there."
        )
    elif server.service:
        parts.append(
            f"The server belongs to {server.service}: change it in the settings of the service, if"
            " it lets you."
        )
    elif not server.may_alter_system:
        parts.append("ALTER SYSTEM is turned off: use the lines for postgresql.conf.")
    if setting.name == "shared_preload_libraries":
        parts.append("After the restart: CREATE EXTENSION pg_stat_statements in each database.")
    parts.append(f"Source: {change.recommendation.source}.")
    return " ".join(parts)


def _fragment_finding(changes: Sequence[Change], server: Server, measured_at: float) -> Finding:
    pairs = [(change.setting, change.recommendation) for change in changes]
    lines = fragment(pairs, measured_at)
    place = f"the settings of {server.service}" if server.service else "a file in its conf.d"
    return Finding(
        code="settings-fragment",
        severity=Severity.INFO,
        subject="postgresql.conf",
        sentence=(
            f"{counted(len(changes), 'setting')} as lines for postgresql.conf or {place},"
            " instead of the statements above."
        ),
        advice=(
            "Check the file with SELECT * FROM pg_file_settings WHERE error IS NOT NULL before the"
            " reload. What ALTER SYSTEM has set goes before it. Taking the lines out undoes them."
        ),
        commands=("\n".join(lines),),
    )


def _waiting(server: Server) -> Iterator[Finding]:
    pending = sorted(setting.name for setting in server.settings.values() if setting.is_pending)
    if pending:
        yield Finding(
            code="settings-await-restart",
            severity=Severity.WARNING,
            subject="server",
            sentence=(
                f"{listed(pending)} {'was' if len(pending) == 1 else 'were'} changed in a file and"
                " will be different after the next restart, whoever causes it."
            ),
            evidence={"settings": pending},
            advice="Restart the server at a quiet hour, or take the change out of the file.",
        )


def _not_judged(server: Server, role: str) -> Iterator[Finding]:
    """Say which advice is withheld, and what it needs."""
    machine = server.machine
    needs = (
        (machine.memory_bytes, _MEMORY_SETTINGS, "memory_bytes"),
        (machine.storage, _STORAGE_SETTINGS, "storage"),
        (machine.cpu_count, "max_connections", "cpu_count"),
    )
    for known, settings, fact in needs:
        if known is None:
            yield unavailable(
                f"{CODE}s-{fact.replace('_', '-')}",
                "server",
                f"advice on {settings}",
                f"server.{fact} of this database in the configuration",
            )
    if "shared_preload_libraries" not in server.settings:
        yield unavailable(
            "settings-hidden",
            "server",
            "advice on shared_preload_libraries",
            f"GRANT pg_read_all_settings TO {role}",
        )
