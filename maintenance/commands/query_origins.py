"""Slow statements joined with the lines of code that send them and with the server's plan.

Three sources have one statement in different words: the server's counters (``$1``), the profiler's
log (``?``) and EXPLAIN. They meet by the digest of the statement's shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import MissingRights, Skipped
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.reports import Report, Table
from maintenance.postgres.connection import connect
from maintenance.postgres.queries.generic_plans import GenericPlan, generic_plans
from maintenance.postgres.queries.review import review_slow_queries
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.sql_files import query
from maintenance.web.logger_names import REQUEST_LOGGER, TASK_LOGGER
from maintenance.web.performance_log import LogReading, PerformanceLog, path_of_log
from maintenance.web.profile_tally import LoggedGroup, ProfileTally
from maintenance.web.statements import digest_of, shape

_SUBJECT = "query "
#: Lines of code that are named of a statement, those with most calls.
LINES = 3

#: Groups of the performance log by digest.
_Lines = Mapping[str, Sequence[LoggedGroup]]


def profile_statements(
    job: Job[DatabaseTarget, SlowQueryOptions], thresholds: Thresholds, log_path: str
) -> Report:
    """Return the review of slow queries, each with its lines of code and its generic plan.

    Raises what :func:`review_slow_queries` raises.
    """
    report = review_slow_queries(job, thresholds)
    identifiers = [
        finding.subject.removeprefix(_SUBJECT)
        for finding in report.findings
        if finding.subject.startswith(_SUBJECT)
    ]
    if not identifiers:
        return report
    lines, unread = _lines_of_code(log_path)
    with connect(job.target, purpose="plans") as conn:
        schema = str(query(conn, "statement_statistics")[0]["schema"] or "")
        rows = query(
            conn,
            "statement_texts",
            {"query_ids": [int(identifier) for identifier in identifiers]},
            identifiers={"schema": schema},
        )
        by_identifier = {row["query_id"]: row["text"] for row in rows}
        texts = {i: by_identifier[i] for i in identifiers if i in by_identifier}
        planned = generic_plans(conn, texts)
    sent_from = {i: lines.get(digest_of(shape(text)), ()) for i, text in texts.items()}
    return replace(
        report,
        findings=tuple(_joined(finding, sent_from, planned.plans) for finding in report.findings),
        tables=(*report.tables, *_tables(sent_from, planned.plans)),
        facts={
            **report.facts,
            "lines_of_code": unread or "from the performance log",
            "generic_plans": f"withheld: {planned.withheld}" if planned.withheld else "read",
            "plans_tried": planned.tried,
            "own_index_scans": planned.own_scans,
        },
    )


def _lines_of_code(configured: str) -> tuple[_Lines, str]:
    """Return what the performance log has, by digest; or why it has nothing."""
    tally = ProfileTally()
    try:
        path = path_of_log(configured, (REQUEST_LOGGER, TASK_LOGGER))
        for profile in PerformanceLog(path).profiles({}, LogReading(is_first=True)):
            tally.add(profile)
    except (Skipped, MissingRights) as error:
        return {}, f"not known: {error}"
    found: dict[str, list[LoggedGroup]] = {}
    for group in sorted(tally.groups.values(), key=lambda g: (-g.calls, g.at)):
        if group.at:
            found.setdefault(group.digest, []).append(group)
    return found, ""


def _joined(finding: Finding, sent_from: _Lines, plans: Mapping[str, GenericPlan]) -> Finding:
    identifier = finding.subject.removeprefix(_SUBJECT)
    groups = sent_from.get(identifier, ())[:LINES]
    plan = plans.get(identifier)
    advice = finding.advice
    evidence: dict[str, Any] = dict(finding.evidence)
    if groups:
        lines = ", ".join(f"{g.at} ({', '.join(list(g.names)[:1])})" for g in groups)
        advice = f"It is sent from {lines}. {advice}"
        evidence["lines_of_code"] = [group.at for group in groups]
    if plan is not None:
        evidence["generic_plan"] = plan.steps
        if plan.reads_whole:
            advice = f"Its plan reads all of {', '.join(plan.reads_whole)}. {advice}"
    return replace(finding, advice=advice, evidence=evidence)


def _tables(sent_from: _Lines, plans: Mapping[str, GenericPlan]) -> tuple[Table, ...]:
    origins = [
        {
            "query_id": identifier,
            "at": group.at,
            "sent_by": ", ".join(group.names),
            "logged_calls": group.calls,
            "logged_ms": round(group.milliseconds, 3),
        }
        for identifier, groups in sent_from.items()
        for group in groups[:LINES]
    ]
    planned = [
        {"query_id": identifier, "cost": plan.cost, "estimated_rows": plan.rows, "plan": plan.steps}
        for identifier, plan in plans.items()
    ]
    return tuple(
        Table.of(title, rows)
        for title, rows in (
            ("Lines of code that send them", origins),
            ("Generic plans, without values", planned),
        )
        if rows
    )
