"""One rich document for the golden files and the tests of the renderers.

It holds what a report can hold: every severity, a finding without a number, commands with undo,
every verdict, names that attack each format, text in several scripts, an empty table.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, ReportDocument, RunFacts, Sample, Table

MIB = 1024**2
HOSTILE_NAME = "evil\"';<script>alert(1)</script>|`x`\x1b[31m\u202etxt"

FINDINGS = (
    Finding(
        code="table-bloat",
        severity=Severity.WARNING,
        subject="public.library_work",
        sentence="31.4 % of public.library_work is bloat; a rewrite would free about 35 MB.",
        evidence={"size_bytes": 112 * MIB, "bloat_bytes": 35 * MIB, "bloat_ratio": 0.314},
        advice="Rewrite it in a quiet hour; pg_repack does so without a long lock.",
        commands=("VACUUM (FULL, ANALYZE) public.library_work;",),
        runbook="https://www.postgresql.org/docs/current/routine-vacuuming.html",
    ),
    Finding(
        code="table-bloat",
        severity=Severity.CRITICAL,
        subject="public.library_notification",
        sentence="72.9 % of public.library_notification is bloat; a rewrite would free about 1.4 GB.",
        evidence={
            "size_bytes": 1_932_735_283,
            "bloat_bytes": 1_408_963_021,
            "bloat_ratio": 0.729,
            "dead_rows": 4_201_337,
            "last_autovacuum_at": "2026-11-02T03:14:15+00:00",
        },
        advice=(
            "Autovacuum cannot keep up here: lower its scale factor for this table first,"
            " then rewrite the table once."
        ),
        commands=(
            "ALTER TABLE public.library_notification\n  SET (autovacuum_vacuum_scale_factor = 0.02);",
            "VACUUM (FULL, ANALYZE) public.library_notification;",
        ),
        undo=("ALTER TABLE public.library_notification RESET (autovacuum_vacuum_scale_factor);",),
        runbook="docs/runbooks/table-bloat.md",
    ),
    unavailable(
        "table-bloat",
        "public.audit_log",
        "bloat of public.audit_log",
        'GRANT SELECT ON public.audit_log TO "maintenance"',
    ),
    Finding(
        code="odd-name",
        severity=Severity.WARNING,
        subject=HOSTILE_NAME,
        sentence=f"A table is called {HOSTILE_NAME} and was measured all the same.",
        evidence={"owner": "=cmd|' /C calc'!A0", "dsn": "postgres://bob:hunter2@db.example/site"},
        commands=("COMMENT ON TABLE \"evil\" IS '```';",),
    ),
    Finding(
        code="table-size",
        severity=Severity.INFO,
        subject="public.書籍_Žluťoučký",
        sentence="public.書籍_Žluťoučký grew by 8.1 % in 7 days and is the largest table now.",
        evidence={"size_bytes": 2_469_606_195, "growth_ratio": 0.081, "window_seconds": 604_800},
    ),
    Finding(
        code="autovacuum",
        severity=Severity.OK,
        subject="default",
        sentence="Autovacuum is on, and 209 of 212 tables need nothing.",
        evidence={"tables": 212, "waiting": 0},
    ),
)

OUTCOMES = (
    Outcome(
        action=Action(
            kind="vacuum",
            subject="public.library_status",
            statement="VACUUM (ANALYZE, TRUNCATE FALSE) public.library_status",
            reason="48 120 dead rows are more than the threshold of 20 050",
            predicted={"dead_rows": 0},
        ),
        verdict=Verdict.WORKED,
        sentence="No dead row is left.",
        before={"dead_rows": 48_120, "size_bytes": 112 * MIB},
        after={"dead_rows": 0, "size_bytes": 112 * MIB},
        duration_seconds=123.4,
    ),
    Outcome(
        action=Action(
            kind="vacuum",
            subject="public.library_follow",
            statement="VACUUM (ANALYZE, TRUNCATE FALSE) public.library_follow",
            reason="9 300 dead rows are more than the threshold of 2 050",
        ),
        verdict=Verdict.BLOCKED,
        sentence="9 300 dead rows cannot be removed yet: session 4711 (report_builder) holds a snapshot.",
        before={"dead_rows": 9_300},
        after={"dead_rows": 9_300},
        duration_seconds=0.34,
    ),
    Outcome(
        action=Action(
            kind="reindex",
            subject="public.library_work_title_idx",
            statement="REINDEX INDEX CONCURRENTLY public.library_work_title_idx",
            reason="64.0 % of it is bloat",
            predicted={"size_bytes": 18 * MIB},
            undo="-- nothing to undo: the old index is gone only when the new one is valid",
        ),
        verdict=Verdict.PLANNED,
    ),
    Outcome(
        action=Action("vacuum", "public.a|b", 'VACUUM "a|b"', "asked for"),
        verdict=Verdict.NO_GAIN,
        sentence="Nothing was there to remove.",
    ),
    Outcome(
        action=Action("reindex", "public.big_idx", "REINDEX INDEX CONCURRENTLY public.big_idx", ""),
        verdict=Verdict.REFUSED,
        sentence="Needs 4.2 GB of free disk, 1.1 GB are there.",
    ),
    Outcome(
        action=Action("vacuum", "public.gone", "VACUUM (ANALYZE) public.gone", "asked for"),
        verdict=Verdict.FAILED,
        sentence='relation "public.gone" does not exist',
        duration_seconds=0.004,
    ),
)

TABLES = (
    Table.of(
        "Largest tables",
        [
            {
                "table": "public.library_notification",
                "size_bytes": 1_932_735_283,
                "bloat_bytes": 1_408_963_021,
                "bloat_ratio": 0.729,
                "rows": 1_204_551,
                "last_vacuum_at": "2026-11-02T03:14:15+00:00",
            },
            {
                "table": "public.library_work",
                "size_bytes": 112 * MIB,
                "bloat_bytes": 35 * MIB,
                "bloat_ratio": 0.314,
                "rows": 250_000,
                "last_vacuum_at": "2026-11-23T04:00:09+00:00",
            },
            {
                "table": "public.書籍_Žluťoučký",
                "size_bytes": 2_469_606_195,
                "bloat_bytes": 104_857,
                "bloat_ratio": 0.00004,
                "rows": 9_100_000,
                "last_vacuum_at": None,
            },
            {
                "table": HOSTILE_NAME,
                "size_bytes": 8192,
                "bloat_bytes": None,
                "bloat_ratio": None,
                "rows": 1,
                "last_vacuum_at": None,
            },
        ],
    ),
    Table.of(
        "Slowest queries",
        [
            {
                "queryid": -8765432109876543210,
                "calls": 1_234_567,
                "mean_ms": 153.27,
                "total_seconds": 189_221.4,
                "query": (
                    "SELECT s.id, s.content, u.username\n  FROM library_status s\n"
                    "  JOIN library_user u ON u.id = s.user_id\n WHERE s.deleted IS FALSE AND"
                    " s.privacy = $1 AND u.is_active ORDER BY s.published_at DESC LIMIT $2"
                ),
            },
            {
                "queryid": 42,
                "calls": 12,
                "mean_ms": 0.31,
                "total_seconds": 0.00372,
                "query": "UPDATE library_user SET password = 'hunter2' WHERE id = $1",
            },
        ],
    ),
    Table.of("Tables that autovacuum skips", []),
    Table("Invalid indexes", ("index", "size_bytes"), ()),
)

REPORT = Report(
    title="Table bloat of default",
    summary="One table wastes 1.3 GB and needs a decision; 2 more deserve a look.",
    findings=FINDINGS,
    outcomes=OUTCOMES,
    tables=TABLES,
    facts={
        "tables": 212,
        "total_bytes": 6_871_947_673,
        "free_bytes": 1_448_000_000,
        "free_ratio": 0.211,
        "sampled_blocks": 42_400,
        "measured_for_seconds": 12.345,
        "cluster_name": None,
    },
    samples=(
        Sample("total_bytes", 6_871_947_673.0),
        Sample("bloat_ratio", 0.314, "public.library_work"),
    ),
    state={"cursor": "never rendered"},
)

STARTED = datetime(2026, 11, 23, 4, 0, 1, tzinfo=UTC)

RUN = RunFacts(
    run_id="0199c0de-7a11-7000-8000-00000000beef",
    task="maintenance.report_table_bloat",
    target="default",
    schedule="weekly table bloat",
    trigger="beat",
    actor="",
    state="succeeded",
    reason="",
    attempt=2,
    options={"dry_run": False, "schemas": ["public", "Ω"], "api_token": "hunter2"},
    queued_at=STARTED - timedelta(seconds=1),
    started_at=STARTED,
    finished_at=STARTED + timedelta(minutes=2, seconds=3),
)

DOCUMENT = ReportDocument(RUN, REPORT)

QUIET_REPORT = Report(
    title="Invalid indexes of default",
    summary="No index is invalid.",
    findings=(Finding("invalid-index", Severity.OK, "default", "All 431 indexes are valid."),),
    facts={"indexes": 431},
)


def _a_week_earlier() -> ReportDocument:
    """Return what the example may have said a week before: each fate a finding can have."""
    by_code = {finding.code: finding for finding in FINDINGS}
    notification, work = FINDINGS[1], FINDINGS[0]
    largest = TABLES[0]
    rows = (
        ("public.library_notification", 1_503_238_553, 901_943_131, 0.6, 1_104_551, None),
        *largest.rows[1:2],
        ("public.old_sessions", 524_288_000, 0, 0.0, 80_000, None),
    )
    return ReportDocument(
        run=replace(
            RUN,
            run_id="0199c0de-7a11-7000-8000-00000000cafe",
            finished_at=STARTED - timedelta(days=7),
        ),
        report=replace(
            REPORT,
            summary="2 tables deserve a look.",
            findings=(
                replace(
                    notification,
                    severity=Severity.WARNING,
                    evidence={**notification.evidence, "bloat_ratio": 0.6, "dead_rows": 901_337},
                ),
                replace(work, severity=Severity.CRITICAL),
                replace(work, subject="public.old_sessions", sentence="Half of it is bloat."),
                replace(work, subject="public.audit_log", sentence="41 % of it is bloat."),
                by_code["autovacuum"],
            ),
            tables=(Table(largest.title, largest.columns, rows), *TABLES[1:]),
            facts={**REPORT.facts, "total_bytes": 6_442_450_944, "tables": 211},
        ),
    )


EARLIER_DOCUMENT = _a_week_earlier()
