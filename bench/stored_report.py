"""A report as a busy database's, stored as a run's with one before it, and a run at work."""

from uuid import UUID

from maintenance.core.findings import Finding, Severity
from maintenance.core.plots import Bar, BarChart, Foretold, Line, Plot
from maintenance.core.reports import Report, Table
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger

#: What a page shows of it: a database of some hundred tables has no more to say in one report.
FINDINGS, TABLES, ROWS, PLOTS, POINTS, BARS = 40, 3, 100, 4, 90, 20
IN_WORDS = f"{FINDINGS} findings, {TABLES} tables of {ROWS} rows and {PLOTS + 1} charts"

_DAY_SECONDS = 86_400.0
_TASK, _TARGET, _WORKER = "report_table_bloat", "databases_7", "worker@host"


def store_reports() -> UUID:
    """Store two reports, the second with other numbers; return the id of its run."""
    for bytes_a_table in (2.0**28, 2.0**29):
        run = _claimed(_TARGET)
        ledger.finish(run, RunState.SUCCEEDED, _report(bytes_a_table))
    return run.id


def run_at_work() -> UUID:
    """Begin a run that says how far it is; return its id."""
    run = _claimed("databases_8")
    ledger.heartbeat(run, phase="public.status", progress_done=7, progress_total=20)
    return run.id


def _claimed(target: str) -> Run:
    spec = task_named(_TASK)
    run = ledger.create_run(spec, target, {}, Origin(Trigger.BEAT))
    return claims.claim(run.id, spec, target, {}, _WORKER)


def _report(bytes_a_table: float) -> Report:
    names = [f"public.library_status_{number}" for number in range(ROWS)]
    rows = [
        {"table": name, "size_bytes": bytes_a_table, "bloat_ratio": 0.4, "rows": 12_345 + number}
        for number, name in enumerate(names)
    ]
    bars = tuple(Bar(name, (bytes_a_table, bytes_a_table / 2)) for name in names[:BARS])
    return Report(
        title="Table bloat",
        summary="Forty tables waste 10 GB and need a decision.",
        findings=tuple(_finding(name, bytes_a_table) for name in names[:FINDINGS]),
        facts={"reclaimable_bytes": bytes_a_table * FINDINGS},
        tables=tuple(Table.of(f"Tables {number}", rows) for number in range(TABLES)),
        bars=(BarChart("Size of tables", "size_bytes", ("live", "bloat"), bars, stacked=True),),
        plots=tuple(_plot(number) for number in range(PLOTS)),
    )


def _finding(table: str, bloat_bytes: float) -> Finding:
    return Finding(
        "table-bloat",
        Severity.WARNING,
        table,
        f"{table} wastes 512 MB: 40 % of it is free.",
        {"bloat_bytes": bloat_bytes, "bloat_ratio": 0.4, "live_rows": 12_345},
        advice="Rewrite it in a quiet hour: queries on it read almost twice the pages that they need.",
        commands=(f"VACUUM (FULL, ANALYZE) {table};",),
        undo=("-- nothing to undo",),
    )


def _plot(number: int) -> Plot:
    points = tuple((1.79e9 + day * _DAY_SECONDS, 0.2 + day / 400) for day in range(POINTS))
    last_at, last = points[-1]
    return Plot(
        f"Size {number}",
        "full_ratio",
        points,
        0.9,
        "p95",
        (Line("p99", points),),
        (Foretold(last_at + 20 * _DAY_SECONDS, last, last + 0.1, last + 0.2),),
    )
