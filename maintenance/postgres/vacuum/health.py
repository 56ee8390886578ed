"""The health of vacuuming: what is overdue and why, settings of single tables, and wraparound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, percent, seconds_in_words
from maintenance.postgres.activity.sessions import XminHolder, xmin_holders
from maintenance.postgres.connection import connect
from maintenance.postgres.sql_files import query
from maintenance.postgres.vacuum.autovacuum_rules import analyze_trigger_rows
from maintenance.postgres.vacuum.column_statistics import (
    MissingStatistics,
    diagnose_column_statistics,
)
from maintenance.postgres.vacuum.horizon import Fruitless, diagnose_horizon, fruitless
from maintenance.postgres.vacuum.needs import Needs
from maintenance.postgres.vacuum.overdue import (
    TELLING_WINDOW_SECONDS,
    Circumstances,
    Upkeep,
    diagnose_overdue,
    diagnose_partitioned,
    diagnose_switched_off,
    overdue,
    overdue_keys,
    upkeep_of,
)
from maintenance.postgres.vacuum.plan import plan_vacuum
from maintenance.postgres.vacuum.run import VacuumMeasurement, measure, refuse_standby
from maintenance.postgres.vacuum.table_settings import advise_table_settings
from maintenance.postgres.vacuum.table_state import TableState
from maintenance.postgres.vacuum.workers import (
    Pace,
    WorkerUse,
    diagnose_workers,
    pace_of,
    worker_use,
)
from maintenance.postgres.vacuum.wraparound import (
    WraparoundState,
    diagnose_wraparound,
    measure_looks,
    measure_wraparound,
)
from maintenance.postgres.vacuum.wraparound_report import (
    wraparound_clause,
    wraparound_facts,
    wraparound_samples,
    wraparound_state,
    wraparound_table,
)

#: Rows in the table of what is due: the worst of them.
TABLES_SHOWN = 100


@dataclass(frozen=True, slots=True)
class VacuumHealth:
    """What the diagnoses of the tables rest on."""

    measured: VacuumMeasurement
    upkeep: tuple[Upkeep, ...]
    needs: dict[int, Needs]
    missing_statistics: tuple[MissingStatistics, ...]
    holders: tuple[XminHolder, ...]
    workers: WorkerUse
    pace: Pace
    circumstances: Circumstances
    is_overdue: tuple[Upkeep, ...]
    in_vain: Fruitless | None

    @property
    def own_tables(self) -> list[TableState]:
        """The tables themselves, without TOAST tables and what was excluded."""
        return [u.table for u in self.upkeep if u.owner is None and not u.table.is_catalog]


def review_vacuum_health(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Judge everything about vacuuming: tables, statistics, workers, settings and wraparound.

    The state carries what was overdue, so that the next look can tell what stays so, and how many
    transaction IDs were used. Raises :class:`Skipped` on a standby and what :func:`connect` raises.
    """
    with connect(job.target, purpose="vacuum health") as conn:
        health = _measure_health(conn, job, thresholds)
        wraparound = _measure_wraparound(conn, job, health)
    findings = [*_diagnose(health, thresholds), *diagnose_wraparound(wraparound)]
    report = _health_report(job, health, findings, wraparound)
    return Report(
        title=report.title,
        summary=report.summary,
        findings=report.findings,
        tables=(*report.tables, wraparound_table(wraparound)),
        facts={**report.facts, **wraparound_facts(wraparound)},
        samples=(*report.samples, *wraparound_samples(wraparound)),
        state={**report.state, "wraparound": wraparound_state(wraparound)},
    )


def report_table_upkeep(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Judge vacuuming table by table, and leave wraparound out."""
    with connect(job.target, purpose="vacuum health") as conn:
        health = _measure_health(conn, job, thresholds)
    return _health_report(job, health, _diagnose(health, thresholds), None)


def report_wraparound(
    job: Job[DatabaseTarget, NoOptions],
    thresholds: Thresholds,  # noqa: ARG001 - the server's own limits decide
) -> Report:
    """Say how near wraparound is, and when it would come if nothing were frozen."""
    with connect(job.target, purpose="wraparound") as conn:
        refuse_standby(conn)
        workers = query(conn, "vacuum_workers")[0]
        wraparound = measure_wraparound(
            conn,
            (),
            xmin_holders(conn, with_shared=True),
            _settings(conn),
            previous_state=job.previous_state.get("wraparound", {}),
            at_work=frozenset(workers["vacuumed_oids"]),
        )
        if wraparound.is_behind:
            # Only then the tables are of interest, and reading ten thousand takes its time.
            wraparound = replace(wraparound, tables=measure(conn).tables)
    findings = tuple(by_seriousness(diagnose_wraparound(wraparound)))
    clause = wraparound_clause(wraparound)
    return Report(
        title=f"Wraparound of {job.target_name}",
        summary=(
            f"{clause[:1].upper()}{clause[1:]}; autovacuum does not keep it young."
            if _has_faults(findings)
            else f"Nothing to do: {clause}."
        ),
        findings=findings,
        tables=(wraparound_table(wraparound),),
        facts=wraparound_facts(wraparound),
        samples=wraparound_samples(wraparound),
        state={"wraparound": wraparound_state(wraparound)},
    )


def _settings(conn: Connection) -> dict[str, str]:
    return {row["name"]: row["setting"] for row in query(conn, "vacuum_settings")}


def _measure_health(
    conn: Connection, job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds
) -> VacuumHealth:
    measured = measure(conn)
    exclude = job.target.exclude_schemas
    settings, workers = _settings(conn), query(conn, "vacuum_workers")[0]
    upkeep = upkeep_of(measured.tables, measured.rules, exclude)
    holders = xmin_holders(conn, with_shared=True)
    looks = measure_looks(conn, job.previous_state.get("wraparound", {}))
    in_vain = fruitless(upkeep, [h for h in holders if not h.elsewhere], looks)
    circumstances = Circumstances(
        window=measured.window,
        autovacuum_is_on=settings["autovacuum"] == "on",
        overdue_ratio=thresholds.autovacuum_overdue_ratio,
        seen_overdue=frozenset(job.previous_state.get("overdue", ())),
        at_work=frozenset(workers["vacuumed_oids"]),
        held_back=frozenset(u.table.oid for u in in_vain.tables) if in_vain else frozenset(),
    )
    plan = plan_vacuum(
        measured.tables,
        measured.rules,
        server_major=measured.server_major,
        exclude_schemas=exclude,
    )
    missing = query(
        conn,
        "columns_without_statistics",
        {
            "exclude_schemas": list(exclude),
            "too_few_rows": analyze_trigger_rows(measured.rules, 0),
        },
    )
    busy = workers["busy_workers"] if workers["shows_everything"] else None
    return VacuumHealth(
        measured=measured,
        upkeep=upkeep,
        needs=dict(plan.needs),
        missing_statistics=tuple(MissingStatistics.from_row(row) for row in missing),
        holders=tuple(holders),
        workers=worker_use(settings, busy),
        pace=pace_of(settings),
        circumstances=circumstances,
        is_overdue=tuple(overdue(upkeep, circumstances)),
        in_vain=in_vain,
    )


def _measure_wraparound(
    conn: Connection, job: Job[DatabaseTarget, NoOptions], health: VacuumHealth
) -> WraparoundState:
    return measure_wraparound(
        conn,
        health.measured.tables,
        health.holders,
        _settings(conn),
        previous_state=job.previous_state.get("wraparound", {}),
        at_work=health.circumstances.at_work,
    )


def _diagnose(health: VacuumHealth, thresholds: Thresholds) -> list[Finding]:
    measured, circumstances = health.measured, health.circumstances
    partitioned = [t for t in measured.tables if t.oid in health.needs]
    return [
        *_switches(health),
        *diagnose_switched_off(health.upkeep, circumstances),
        *diagnose_overdue(health.is_overdue, circumstances),
        *diagnose_partitioned(partitioned, health.needs),
        *diagnose_column_statistics(health.missing_statistics, health.upkeep, measured.rules),
        *diagnose_horizon(health.in_vain, measured.window.measured_at),
        *diagnose_workers(health.workers, health.pace, health.upkeep, circumstances.at_work),
        *advise_table_settings(
            health.own_tables,
            measured.rules,
            measured.window,
            thresholds.autovacuum_large_trigger_rows,
        ),
    ]


def _switches(health: VacuumHealth) -> list[Finding]:
    """Say what the server's own settings and the counters' window do to the rest."""
    findings = []
    window = health.measured.window
    if not health.measured.counts:
        findings.append(
            unavailable(
                "vacuum-needs",
                "server",
                "which tables are overdue",
                "track_counts = on in postgresql.conf, because neither autovacuum nor this report"
                " sees changed rows without it",
            )
        )
    elif not health.circumstances.autovacuum_is_on:
        findings.append(
            Finding(
                code="autovacuum-off",
                severity=Severity.CRITICAL,
                subject="server",
                sentence=(
                    "Autovacuum is off: dead rows pile up and statistics age in every table until"
                    " somebody vacuums by hand; it comes only against wraparound."
                ),
                advice="Switch it on; it takes effect with a reload.",
                commands=("ALTER SYSTEM SET autovacuum = on;", "SELECT pg_reload_conf();"),
                undo=("ALTER SYSTEM SET autovacuum = off;", "SELECT pg_reload_conf();"),
            )
        )
    if window.seconds is not None and window.seconds < TELLING_WINDOW_SECONDS:
        withheld = unavailable(
            "vacuum-history",
            "counters",
            "which tables went without VACUUM for long",
            f"counters of at least {seconds_in_words(TELLING_WINDOW_SECONDS)}; these began"
            f" {seconds_in_words(window.seconds)} ago, by a reset, a crash or on a new server",
        )
        advice = (
            "After a crash autovacuum forgets what was due, too: run vacuum_analyze with mode all."
        )
        findings.append(replace(withheld, advice=advice))
    return findings


def _health_report(
    job: Job[DatabaseTarget, NoOptions],
    health: VacuumHealth,
    findings: Sequence[Finding],
    wraparound: WraparoundState | None,
) -> Report:
    return Report(
        title=f"Vacuum health of {job.target_name}",
        summary=_summary(health, findings, wraparound),
        findings=tuple(by_seriousness(findings)),
        tables=_tables(health),
        facts=_facts(health),
        samples=(
            Sample("overdue_tables_count", len(health.is_overdue)),
            Sample("due_tables_count", sum(bool(u.due) for u in health.upkeep)),
        ),
        state={"overdue": overdue_keys(health.is_overdue)},
    )


def _has_faults(findings: Sequence[Finding]) -> bool:
    return any(f.severity.rank >= Severity.WARNING.rank for f in findings)


def _summary(
    health: VacuumHealth, findings: Sequence[Finding], wraparound: WraparoundState | None
) -> str:
    tables = counted(len(health.own_tables), "table")
    oldest = (
        f", the oldest row at {percent(wraparound.oldest_ratio)} of the wraparound limit"
        if wraparound is not None
        else ""
    )
    measured = [f for f in findings if f.measured]
    if not health.measured.counts:
        return f"Vacuuming cannot be judged, because track_counts is off: {tables}{oldest}."
    if not measured:
        return f"Vacuuming is healthy: {tables}{oldest}."
    faults = sum(f.severity.rank >= Severity.WARNING.rank for f in measured)
    notes = len(measured) - faults
    parts = [counted(faults, "fault")] if faults else []
    parts += [counted(notes, "note")] if notes else []
    return f"Vacuuming needs a look: {' and '.join(parts)}; {tables}{oldest}."


def _tables(health: VacuumHealth) -> tuple[Table, ...]:
    due = sorted((u for u in health.upkeep if u.due), key=lambda u: (-u.worst_ratio, u.subject))
    rows: list[dict[str, Any]] = []
    for upkeep in due[:TABLES_SHOWN]:
        table = upkeep.table
        statements = dict.fromkeys(t.rule.statement for t in upkeep.due)
        rows.append(
            {
                "table": upkeep.subject,
                "due": ", ".join(statements),
                "times_over": round(upkeep.worst_ratio, 1),
                "dead_rows": table.dead_rows,
                "inserted_rows": table.inserted_since_vacuum,
                "changed_rows": table.modified_since_analyze,
                "autovacuum": "off" if upkeep.is_switched_off else "on",
            }
        )
    return (Table.of("Tables that are due", rows),) if rows else ()


def _facts(health: VacuumHealth) -> dict[str, Any]:
    return {
        "tables_examined": len(health.own_tables),
        "counters_cover_seconds": health.measured.window.seconds,
        "autovacuum_busy_workers": health.workers.busy,
        "autovacuum_max_workers": health.workers.maximum,
        "autovacuum_read_bytes_per_second": health.pace.read_bytes_per_second,
        "autovacuum_dirtied_bytes_per_second": health.pace.dirtied_bytes_per_second,
    }
