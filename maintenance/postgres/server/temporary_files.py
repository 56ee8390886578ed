"""Sorts and hashes that did not fit into work_mem and went through temporary files."""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Sample
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.counters import measure_common_window
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.server.counted_period import Counted, Period, period_between
from maintenance.postgres.sql_files import query

DAY_SECONDS = 86_400.0


def examine_temporary_files(
    conn: Connection, thresholds: Thresholds, previous: Mapping[str, Any]
) -> Aspect:
    """Judge what this database wrote to temporary files since the last look."""
    row = query(conn, "database_incidents")[0]
    now = Counted(
        {name: int(row[name]) for name in ("temp_files", "temp_bytes")},
        measure_common_window(conn),
        row["identity"],
    )
    period = period_between(Counted.from_state(previous), now)
    files, size = period.increase["temp_files"], period.increase["temp_bytes"]
    rate = period.per_second("temp_bytes")
    return Aspect(
        clause=(
            f"{counted(files, 'temporary file')} of {bytes_in_words(size)} in {period.in_words}"
            if files
            else f"no temporary file in {period.in_words}"
        ),
        findings=tuple(
            diagnose_temporary_files(
                period,
                row["work_mem"],
                thresholds.temporary_files_bytes_per_day,
                are_logged=row["log_temp_files"] != "-1",
            )
        ),
        facts={"temporary_files": files, "temporary_files_bytes": size},
        samples=() if rate is None else (Sample("temporary_files_bytes_per_second", rate),),
        state=now.to_state(),
    )


def diagnose_temporary_files(
    period: Period, work_mem: str, limit_bytes_per_day: int, *, are_logged: bool
) -> Iterator[Finding]:
    """Warn where more is written than the limit allows in the period, which counts as a day at least."""
    files, size = period.increase["temp_files"], period.increase["temp_bytes"]
    days = max(1.0, (period.seconds or 0.0) / DAY_SECONDS)
    if not files or size <= limit_bytes_per_day * days:
        return
    yield Finding(
        code="temporary-files",
        severity=Severity.WARNING,
        subject="work_mem",
        sentence=(
            f"Queries wrote {bytes_in_words(size)} to {counted(files, 'temporary file')} in"
            f" {period.in_words}, {bytes_in_words(size / files)} each on average: sorts and hashes"
            f" that did not fit into work_mem ({work_mem})."
        ),
        evidence={
            "files": files,
            "size_bytes": size,
            "mean_bytes": size / files,
            "period_seconds": period.seconds,
            "limit_bytes_per_day": limit_bytes_per_day,
            "work_mem": work_mem,
        },
        advice=(
            "Find the statements first (analysis queries shows their temporary blocks, the server's log"
            " each file that log_temp_files is set for), then give work_mem to their role alone: every sort of every"
            " connection may take that much. A sort needs several times its file's size in memory."
        ),
        commands=()
        if are_logged
        else ("ALTER SYSTEM SET log_temp_files = '10MB';", "SELECT pg_reload_conf();"),
        undo=()
        if are_logged
        else ("ALTER SYSTEM SET log_temp_files = -1;", "SELECT pg_reload_conf();"),
    )
