"""Comparing two reports of one task."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Report, ReportDocument, Table
from maintenance.reports.columns import display_width
from maintenance.reports.diff import Fate, IncomparableReports, NumberChange, compare
from maintenance.reports.diff_text import render_diff
from maintenance.reports.diff_words import verdict
from tests.golden.example_report import DOCUMENT, RUN
from tests.golden.report_strategies import documents

FEWER = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def finding(subject: str, severity: Severity = Severity.WARNING, **evidence: float) -> Finding:
    return Finding("table-bloat", severity, subject, f"{subject} is bloated.", evidence)


def document(
    findings: Sequence[Finding] = (),
    tables: Sequence[Table] = (),
    facts: dict[str, float] | None = None,
    **run: str,
) -> ReportDocument:
    report = Report("T", "S.", tuple(findings), tables=tuple(tables), facts=facts or {})
    return ReportDocument(replace(RUN, **run), report)  # type: ignore[arg-type]


def fates(old: ReportDocument, new: ReportDocument) -> dict[str, Fate]:
    return {change.current.subject: change.fate for change in compare(old, new).findings}


def test_each_finding_has_a_fate() -> None:
    old = [
        finding("gone"),
        finding("same"),
        finding("up"),
        finding("down", Severity.CRITICAL),
    ]
    new = [finding("same"), finding("up", Severity.CRITICAL), finding("down"), finding("fresh")]
    assert fates(document(old), document(new)) == {
        "gone": Fate.FIXED,
        "same": Fate.PERSISTING,
        "up": Fate.WORSE,
        "down": Fate.BETTER,
        "fresh": Fate.NEW,
    }


def test_nothing_is_fixed_by_a_run_that_failed() -> None:
    old = document([finding("a")])
    assert fates(old, document(state="failed")) == {"a": Fate.UNKNOWN}


def test_nothing_is_fixed_where_it_could_not_be_measured_again() -> None:
    blind = unavailable("table-bloat", "default", "bloat", "GRANT SELECT")
    result = fates(document([finding("a")]), document([blind]))
    assert result == {"default": Fate.NEW, "a": Fate.UNKNOWN}


def test_one_subject_that_cannot_be_read_says_nothing_of_the_others() -> None:
    blind = unavailable("table-bloat", "secret", "bloat", "GRANT SELECT")
    old = document([blind, finding("a")])
    assert fates(old, document([blind]))["a"] is Fate.FIXED
    new = document([blind, finding("b")])
    assert fates(document([finding("a"), finding("b")]), new)["a"] is Fate.FIXED


def test_a_finding_whose_number_is_withheld_now_is_unknown() -> None:
    blind = unavailable("table-bloat", "a", "bloat", "GRANT SELECT")
    assert fates(document([finding("a")]), document([blind])) == {"a": Fate.UNKNOWN}


def test_two_findings_of_one_subject_count_as_the_worse() -> None:
    old = document([finding("a"), finding("a", Severity.CRITICAL)])
    assert fates(old, document([finding("a")])) == {"a": Fate.BETTER}


def test_changed_evidence_is_told_with_its_finding() -> None:
    old = document([finding("a", bloat_ratio=0.3, size_bytes=100)])
    new = document([finding("a", bloat_ratio=0.4, size_bytes=100)])
    (change,) = compare(old, new).findings
    assert change.evidence == (NumberChange("evidence", "a", "bloat_ratio", 0.3, 0.4),)


def test_changed_facts_and_cells_are_found_by_their_row() -> None:
    def table(*rows: tuple[object, ...]) -> Table:
        return Table("Largest", ("table", "size_bytes", "oid"), rows)

    old = document(tables=[table(("a", 1, 7), ("b", 2, 8))], facts={"tables": 2, "same": 1})
    new = document(tables=[table(("b", 3, 9), ("c", 4, 10))], facts={"tables": 3, "same": 1})
    diff = compare(old, new)
    assert diff.numbers == (
        NumberChange("facts", "", "tables", 2, 3),
        NumberChange("Largest", "b", "size_bytes", 2, 3),
    )
    assert [(row.subject, row.added) for row in diff.rows] == [("c", True), ("a", False)]


def test_rows_are_told_apart_by_as_many_leading_cells_as_it_takes() -> None:
    def table(size: int) -> Table:
        rows = (("public", "a", size), ("public", "b", 5))
        return Table("Largest", ("schema", "table", "size_bytes"), rows)

    diff = compare(document(tables=[table(1)]), document(tables=[table(2)]))
    assert diff.numbers == (NumberChange("Largest", "public a", "size_bytes", 1, 2),)


def test_rows_that_nothing_tells_apart_are_named_not_guessed() -> None:
    table = Table("Twins", ("a",), (("x",), ("x",)))
    diff = compare(document(tables=[table]), document(tables=[table]))
    assert diff.incomparable_tables == ("Twins",)
    assert 'Rows of "Twins" cannot be told apart' in render_diff(diff)


def test_a_table_that_was_empty_gains_its_rows() -> None:
    full = Table.of("Largest", [{"table": "a", "size_bytes": 1}])
    diff = compare(document(tables=[Table.of("Largest", [])]), document(tables=[full]))
    assert [(row.subject, row.added) for row in diff.rows] == [("a", True)]


def test_reports_of_two_tasks_are_not_compared() -> None:
    with pytest.raises(IncomparableReports, match="Choose two reports of the same task"):
        compare(document(task="maintenance.a"), document(task="maintenance.b"))


def test_the_verdict_counts_what_changed() -> None:
    old = document([finding("a")])
    assert verdict(compare(old, document([finding("b")]))) == "Findings: 1 new, 1 fixed."
    assert verdict(compare(old, old)) == "No finding changed: 1 persisting."
    assert verdict(compare(document(), document())) == "Nothing changed that would need attention."


def test_what_was_in_order_and_still_is_is_not_told() -> None:
    quiet = document([finding("a", Severity.OK)])
    assert "a is bloated" not in render_diff(compare(quiet, quiet))


def test_growth_is_told_in_per_cent_but_not_of_ratios() -> None:
    old = document(facts={"size_bytes": 102_400, "hit_ratio": 0.5})
    new = document(facts={"size_bytes": 204_800, "hit_ratio": 0.6})
    text = render_diff(compare(old, new))
    assert "100 kB -> 200 kB (+100.0 %)" in text
    assert "50.0 % -> 60.0 %\n" in text


def test_passwords_stay_out_of_comparisons() -> None:
    assert "hunter2" not in render_diff(compare(DOCUMENT, DOCUMENT))


@FEWER
@given(documents)
def test_a_report_compared_with_itself_has_not_changed(drawn: ReportDocument) -> None:
    drawn = replace(drawn, run=replace(drawn.run, state="succeeded"))
    diff = compare(drawn, drawn)
    assert {change.fate for change in diff.findings} <= {Fate.PERSISTING}
    assert diff.numbers == ()
    assert diff.rows == ()


@FEWER
@given(documents, documents)
def test_any_two_reports_of_a_task_can_be_compared_and_told(
    old: ReportDocument, new: ReportDocument
) -> None:
    later = new.run.queued_at + timedelta(days=1)
    new = replace(new, run=replace(new.run, task=old.run.task, queued_at=later))
    diff = compare(old, new)
    told = {(change.current.code, change.current.subject) for change in diff.findings}
    everything = (*old.report.findings, *new.report.findings)
    assert len(told) <= len(diff.findings) <= len(everything)
    assert render_diff(diff, width=60).startswith(verdict(diff)[:20])
    assert display_width(verdict(diff)) > 0
