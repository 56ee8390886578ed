"""What an exit code says about reports and runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.commands.exit_codes import ExitCode, of_reports, of_run, was_measured
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Report, Sample, Table

HEALTHY = Report("Healthy", "All is well.")
NOT_THERE = unavailable("statements", "site", "the slow queries", "pg_stat_statements")
UNMEASURED = Report("Unmeasured", "Not measured.", findings=(NOT_THERE,))


def report(severity: Severity) -> Report:
    return Report("Report", "Verdict.", findings=(Finding("c", severity, "s", "A sentence."),))


@given(st.lists(st.sampled_from(Severity), min_size=1), st.sampled_from(Severity))
def test_the_code_is_one_exactly_where_a_finding_reaches_the_limit(
    severities: list[Severity], fail_on: Severity
) -> None:
    answers = {"checks": [report(severity) for severity in severities]}

    code = of_reports(answers, fail_on, each_is_required=True)

    reached = any(severity.rank >= fail_on.rank for severity in severities)
    assert code is (ExitCode.FINDINGS if reached else ExitCode.HEALTHY)


def test_a_report_without_findings_is_a_healthy_answer() -> None:
    assert was_measured(HEALTHY)
    assert of_reports({"a": [HEALTHY]}, Severity.INFO, each_is_required=True) is ExitCode.HEALTHY


@pytest.mark.parametrize(
    "measured",
    [
        Report("T", "S.", (NOT_THERE,), tables=(Table("t", ("a",), ((1,),)),)),
        Report("T", "S.", (NOT_THERE,), samples=(Sample("size_bytes", 1.0),)),
        Report("T", "S.", (NOT_THERE, Finding("c", Severity.INFO, "s", "x"))),
    ],
    ids=["a table", "a sample", "a finding"],
)
def test_partly_unavailable_is_still_measured(measured: Report) -> None:
    assert was_measured(measured)
    assert not was_measured(UNMEASURED)


def test_a_named_question_without_any_answer_is_not_measured() -> None:
    answers = {"bloat": [HEALTHY], "queries": [UNMEASURED]}

    code = of_reports(answers, Severity.WARNING, each_is_required=True)

    assert code is ExitCode.NOT_MEASURED


def test_where_nothing_was_named_one_answer_is_enough() -> None:
    answers = {"bloat": [HEALTHY], "queries": [UNMEASURED]}

    code = of_reports(answers, Severity.WARNING, each_is_required=False)

    assert code is ExitCode.HEALTHY
    nothing = {"bloat": [UNMEASURED], "queries": [UNMEASURED]}
    assert of_reports(nothing, Severity.INFO, each_is_required=False) is ExitCode.NOT_MEASURED


def test_one_target_that_answers_is_enough_for_a_question() -> None:
    answers = {"bloat": [UNMEASURED, HEALTHY]}

    code = of_reports(answers, Severity.WARNING, each_is_required=True)

    assert code is ExitCode.HEALTHY


@pytest.mark.parametrize("state", ["failed", "skipped", "cancelled", "running"])
def test_a_run_that_did_not_do_its_work_is_not_measured(state: str) -> None:
    assert of_run(state, HEALTHY, Severity.WARNING) is ExitCode.NOT_MEASURED


def test_a_run_that_succeeded_is_judged_by_its_findings() -> None:
    assert of_run("succeeded", HEALTHY, Severity.WARNING) is ExitCode.HEALTHY
    assert of_run("succeeded", report(Severity.CRITICAL), Severity.WARNING) is ExitCode.FINDINGS
    assert of_run("succeeded", report(Severity.INFO), Severity.WARNING) is ExitCode.HEALTHY
    assert of_run("succeeded", UNMEASURED, Severity.CRITICAL) is ExitCode.NOT_MEASURED
