"""The audit as a pure function of reports: targets, changes, what is missing."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maintenance.audit.report import TABLE_ROWS, audit_report
from maintenance.audit.run import LIVE_CHECKS
from maintenance.audit.subjects import LEFT_OUT, Subject, audited_tasks
from maintenance.audit.targets import METRICS, SUBJECTS, Course, read_courses
from maintenance.commands.health.registry import CHECKS
from maintenance.conf import parse_configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import YEAR_SECONDS, NoHistory, Point
from maintenance.core.reports import Report, ReportDocument, RunFacts, Table
from maintenance.postgres.analyses import ANALYSES
from maintenance.schedules import CHECKLISTS

NOW = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
CONFIGURATION = parse_configuration(
    {"brokers": {"b": {"url": "redis://x/0", "queues": ["q"], "max_pending": 50}}}
)
DEPTH = "queue_depth_messages"
BLOAT = Finding("table-bloat", Severity.WARNING, "public.a", "a is bloated.", {"bloat_ratio": 0.4})
UNUSED = Finding("unused-index", Severity.INFO, "public.i", "i is unused.")


def document(
    *findings: Finding, task: str = "report_table_bloat", days_ago: float = 0, rows: int = 1
) -> ReportDocument:
    """A report of a run that ended so many days ago."""
    ended = NOW - timedelta(days=days_ago)
    run = RunFacts(
        *("1" * 32, f"maintenance.{task}", "site", "", "beat", "", "succeeded", "", 1),
        *({}, ended, ended, ended),
    )
    table = Table.of("Tables", [{"table": f"t{n}", "size_bytes": n} for n in range(rows)])
    return ReportDocument(run, Report("Bloat", "Said.", findings=findings, tables=(table,)))


def subject(
    now: ReportDocument | None, before: ReportDocument | None = None, **changes: Any
) -> Subject:
    """What one task said."""
    facts = {"task": "report_table_bloat", "target": "site", "state": "succeeded", "reason": ""}
    return Subject(**{**facts, **changes}, now=now, before=before)


def audit(subjects: Sequence[Subject], courses: Sequence[Course] = ()) -> Report:
    """An audit without a live part."""
    return audit_report(subjects, (), courses, CONFIGURATION, NOW)


def rows(report: Report, title: str) -> list[dict[str, Any]]:
    """The rows of one table."""
    (table,) = [table for table in report.tables if table.title == title]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def course(metric: str, *values: float, target: str = "site", days: float = 15) -> Course:
    """Values that lie so many days apart, the last one now."""
    (found,) = [m for m in METRICS if m.metric == metric]
    last = NOW.timestamp()
    points = [Point(last - n * days * 86_400, v) for n, v in enumerate(reversed(values))]
    return Course(found, target, "", tuple(reversed(points)))


def test_what_changed_since_a_month_ago_is_told() -> None:
    worse = Finding("table-bloat", Severity.CRITICAL, "public.a", "a is all bloat.")
    gone = Finding("table-bloat", Severity.WARNING, "public.gone", "gone was bloated.")

    report = audit([subject(document(worse, UNUSED), document(BLOAT, gone, days_ago=31))])

    assert [
        (r["change"], r["subject"]) for r in rows(report, "What changed since a month ago")
    ] == [
        ("worse", "public.a"),
        ("new", "public.i"),
        ("fixed", "public.gone"),
    ]
    (row,) = rows(report, "Subjects")
    assert row["since_a_month_ago"] == "1 worse, 1 new, 1 fixed"
    assert "1 critical, 0 warnings. Since a month ago 1 findings are new" in report.summary
    assert report.severity is Severity.CRITICAL
    assert [f.subject for f in report.findings] == ["site: public.a"]


def test_what_two_tasks_say_of_one_subject_is_counted_once() -> None:
    other = subject(document(BLOAT, task="check_data_integrity"), task="check_data_integrity")

    report = audit([subject(document(BLOAT)), other])

    assert [f.evidence["task"] for f in report.findings] == ["report_table_bloat"]
    assert "0 critical, 1 warning." in report.summary
    assert len(rows(report, "All findings, worst first")) == 2


def test_without_an_earlier_report_nothing_is_called_new() -> None:
    report = audit([subject(document(BLOAT))])

    (row,) = rows(report, "Subjects")
    assert row["since_a_month_ago"] is None
    (finding,) = rows(report, "All findings, worst first")
    assert finding["since_a_month_ago"] is None
    assert "There is no report of a month ago to compare with." in report.summary
    assert all(table.title != "What changed since a month ago" for table in report.tables)


@pytest.mark.parametrize(
    ("one", "code", "severity"),
    [
        (subject(None, state="skipped", reason="not configured"), "missing", Severity.INFO),
        (subject(None, state=""), "missing", Severity.INFO),
        (subject(document(), state="failed", reason="down"), "failed", Severity.WARNING),
        (subject(document(days_ago=40)), "stale", Severity.WARNING),
    ],
)
def test_what_was_not_audited_is_named(one: Subject, code: str, severity: Severity) -> None:
    (finding,) = audit([one]).findings

    assert (finding.code, finding.severity) == (f"audit-subject-{code}", severity)
    assert finding.commands == (
        "python manage.py maintenance run report_table_bloat --target site",
    )


def test_a_quarterly_report_is_not_old_after_two_months() -> None:
    one = subject(document(task="assess_scaling", days_ago=60), task="assess_scaling")

    assert audit([one]).findings == ()


class _BusyDays(NoHistory):
    """Queues that are deep by day and empty at night, when the audit is made."""

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> Mapping[str, Sequence[Point]]:
        queues = [f"q{number}" for number in range(SUBJECTS + 1)]
        return {queue: [Point(NOW.timestamp(), 0)] for queue in queues} if metric == DEPTH else {}

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        return Point(NOW.timestamp() - 36_000, 7_800 if subject == f"q{SUBJECTS}" else 0)


def test_what_is_measured_in_moments_is_judged_by_the_highest_of_the_month() -> None:
    courses = read_courses(CONFIGURATION, lambda _target: _BusyDays())

    *quiet, busy = rows(audit([], courses), "Key performance metrics and their targets")

    assert (busy["now"], busy["highest_of_30_days"], busy["verdict"]) == ("0", "7,800", "missed")
    assert busy["metric"] == f"pending tasks b q{SUBJECTS}"
    assert {row["verdict"] for row in quiet} == {"met"}


def test_targets_are_those_of_the_guide_and_of_the_configuration() -> None:
    report = audit(
        [],
        [
            course("response_p95_seconds", 0.3, 0.4, 0.6),
            course("database_cache_hit_ratio", 0.99),
            course("queue_depth_messages", 60, target="b"),
        ],
    )

    met = rows(report, "Key performance metrics and their targets")
    assert [(r["metric"], r["target"], r["now"], r["a_month_ago"], r["verdict"]) for r in met] == [
        ("p95 site", "< 500 ms", "600 ms", "300 ms", "missed"),
        ("database cache hits site", "> 95.0 %", "99.0 %", None, "met"),
        ("pending tasks b", "< 50", "60", None, "missed"),
    ]
    assert "2 of 3 targets missed: p95 site, pending tasks b." in report.summary
    assert [plot.limit for plot in report.plots] == [0.5, 0.95, 50]


def test_long_tables_are_cut_and_say_so() -> None:
    report = audit([subject(document(rows=40))])

    title = f"report_table_bloat site: Tables (the first {TABLE_ROWS} of 40)"
    assert len(rows(report, title)) == TABLE_ROWS


def test_every_analysis_and_every_health_check_is_in_the_audit() -> None:
    audited = {spec.short_name for spec in audited_tasks()}
    scheduled = {schedule.task for lines in CHECKLISTS.values() for schedule in lines}
    of_checks = {
        "database": {"review_activity", "review_database_cache_hit_ratio"},
        "redis_activity": {"check_redis_memory"},
        "cache": {"review_cache_hit_ratios"},
        "access_log": {"review_error_rates"},
        "disk": {"check_disk_space"},
    }

    analysed = {part.task for analysis in ANALYSES.values() for part in analysis.parts}
    assert analysed | {"check_data_integrity"} <= audited & scheduled
    assert set(CHECKS) == set(of_checks) | set(LIVE_CHECKS)
    assert set().union(*of_checks.values()) <= audited & scheduled
    assert scheduled - audited == LEFT_OUT
