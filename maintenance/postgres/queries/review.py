"""Which statements cost most since the last review, from pg_stat_statements."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, unavailable
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.connection import connect
from maintenance.postgres.queries.changes import Periods
from maintenance.postgres.queries.cost import costs_of
from maintenance.postgres.queries.report import TITLE, slow_query_report, slow_texts
from maintenance.postgres.queries.rules import SlowQueryOptions, SlowQueryRules
from maintenance.postgres.queries.server_log import ServerLogReading, read_server_log
from maintenance.postgres.queries.slow_log import (
    event_findings,
    log_facts,
    log_in_words,
    log_samples,
    log_tables,
    statement_findings,
)
from maintenance.postgres.queries.statement_counters import Snapshot, StatementCounters, use_between
from maintenance.postgres.sql_files import query, server_major

#: pg_stat_statements 1.9 came with 14: "toplevel" and the time of the last reset.
OLDEST_EXTENSION = (1, 9)

# Columns follow the version of the extension, which an upgrade of the server leaves behind.
_MAJOR_OF_EXTENSION: dict[tuple[int, ...], int] = {
    (1, 9): 14,
    (1, 10): 15,
    (1, 11): 17,
    (1, 12): 18,
}


@dataclass(frozen=True, slots=True)
class StatementStatistics:
    """Whether and where pg_stat_statements can be read; a row of ``sql/statement_statistics.sql``."""

    version: str | None
    schema: str | None
    is_loaded: bool
    track: str | None
    compute_query_id: str | None
    is_installed: bool
    may_use_schema: bool
    may_select: bool
    quoted_schema: str | None
    role: str
    block_bytes: int

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The extension's version, so that 1.10 is later than 1.9."""
        return tuple(int(part) for part in (self.version or "0").split(".") if part.isdigit())

    def needs(self) -> str:
        """Say what must be set or granted before it can be read; empty where nothing is missing."""
        if not self.is_installed and self.version is None:
            return (
                "the extension pg_stat_statements, which is not installed on the server"
                " (package postgresql-contrib)"
            )
        needed = (
            (
                not self.is_loaded,
                "shared_preload_libraries = 'pg_stat_statements' in postgresql.conf and a restart"
                + ("" if self.version else ", then CREATE EXTENSION pg_stat_statements"),
            ),
            (self.version is None, "CREATE EXTENSION pg_stat_statements in this database"),
            (
                self.version_numbers < OLDEST_EXTENSION,
                (
                    f"ALTER EXTENSION pg_stat_statements UPDATE, because version {self.version} is"
                    " older than 1.9"
                ),
            ),
            (
                not self.may_use_schema,
                f"GRANT USAGE ON SCHEMA {self.quoted_schema} TO {self.role}",
            ),
            (
                not self.may_select,
                (
                    f"GRANT SELECT ON {self.quoted_schema}.pg_stat_statements,"
                    f" {self.quoted_schema}.pg_stat_statements_info TO {self.role}"
                ),
            ),
            (self.track == "none", "pg_stat_statements.track = 'top' instead of 'none'"),
            (self.compute_query_id == "off", "compute_query_id = 'auto' instead of 'off'"),
        )
        return next((words for missing, words in needed if missing), "")


def review_slow_queries(
    job: Job[DatabaseTarget, SlowQueryOptions], thresholds: Thresholds
) -> Report:
    """Rank the statements since the previous review; name the slow and the slower ones.

    The first review, and one after a reset, counts since the statistics began. Nothing is reset.
    Slow calls that the server logged since the previous review are named beside it, of statements
    that are not named as slow already; alone where the extension cannot be read. Raises what :func:`connect` raises.
    """
    rules = SlowQueryRules.of(job.options, thresholds)
    with connect(job.target, purpose="slow-queries") as conn:
        log = read_server_log(conn, job.target, job.previous_state.get("log", {}))
        statistics = StatementStatistics(**query(conn, "statement_statistics")[0])
        needs = statistics.needs()
        if needs:
            return _without_statistics(needs, job.previous_state, log, rules)
        snapshot, hidden = take_snapshot(conn, statistics)
    use = use_between(job.previous_state, snapshot)
    if hidden:
        use = replace(use, whole="the time of the statements that this role may see")
    periods = Periods(job.previous_state, snapshot)
    used = periods.used(use)
    report = slow_query_report(
        use,
        costs_of(used, use, block_bytes=statistics.block_bytes, reset_at=snapshot.reset_at),
        rules,
        extra=(_hidden_finding(hidden, statistics.role),) if hidden else (),
        state={**snapshot.to_state(), "shapes": periods.to_state(used)},
    )
    return _with_log(report, log, rules)


def _with_log(report: Report, log: ServerLogReading, rules: SlowQueryRules) -> Report:
    """Add what the log says: of a statement that is fast on average it alone knows the slow calls."""
    found = (*statement_findings(log, rules, slow_texts(report)), *event_findings(log))
    summary = report.summary if log.reading is None else f"{report.summary} {log_in_words(log)}"
    return replace(
        report,
        summary=summary,
        findings=(*report.findings, *found),
        tables=(*report.tables, *log_tables(log, rules)),
        facts={**report.facts, **log_facts(log)},
        samples=(*report.samples, *log_samples(log)),
        state={**report.state, "log": dict(log.state)},
    )


def take_snapshot(conn: Connection, statistics: StatementStatistics) -> tuple[Snapshot, int]:
    """Read the counters of this database; also return how many statements are hidden from us."""
    identifiers = {"schema": statistics.schema or ""}
    version = _MAJOR_OF_EXTENSION.get(statistics.version_numbers[:2], server_major(conn))
    rows = query(conn, "statement_counters", identifiers=identifiers, version=version)
    # After the counters: a statement that is counted from later on is not among them.
    window = query(conn, "statement_window", identifiers=identifiers, version=version)[0]
    visible = [row for row in rows if row["query_id"] is not None]
    snapshot = Snapshot(
        statements=tuple(StatementCounters(**row) for row in visible),
        server_major=server_major(conn),
        **window,
    )
    return snapshot, len(rows) - len(visible)


def _without_statistics(
    needs: str, previous_state: Mapping[str, Any], log: ServerLogReading, rules: SlowQueryRules
) -> Report:
    finding = unavailable("slow-queries", "pg_stat_statements", "which queries are slow", needs)
    report = Report(
        title=TITLE,
        summary="The server's statement statistics cannot be read.",
        findings=(finding,),
        # Kept, so that the counters that come back are compared with what was there before.
        state=dict(previous_state),
    )
    return _with_log(report, log, rules)


def _hidden_finding(count: int, role: str) -> Finding:
    return unavailable(
        "hidden-queries",
        "pg_stat_statements",
        f"what {count:,} statements of other roles cost",
        f"GRANT pg_read_all_stats TO {role}",
    )
