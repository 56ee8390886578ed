"""Reports, the facts of their runs, and the document that is stored."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import SCHEMA_VERSION, Report, ReportDocument, RunFacts, Table, joined
from tests.golden.report_strategies import documents, reports, runs


@given(reports)
def test_a_report_survives_json_text(original: Report) -> None:
    body = json.loads(json.dumps(original.to_json()))

    assert Report.from_json(body) == original


@given(runs())
def test_the_facts_of_a_run_survive_json_text(original: RunFacts) -> None:
    assert RunFacts.from_json(json.loads(json.dumps(original.to_json()))) == original


@given(documents)
def test_a_document_survives_json_text(original: ReportDocument) -> None:
    assert ReportDocument.from_json(json.loads(json.dumps(original.to_json()))) == original


@given(documents)
def test_a_document_of_another_schema_is_refused(original: ReportDocument) -> None:
    body = {**original.to_json(), "schema_version": SCHEMA_VERSION + 1}

    with pytest.raises(ValueError, match=f"schema version {SCHEMA_VERSION + 1}"):
        ReportDocument.from_json(body)


def test_the_state_for_the_next_run_is_no_part_of_the_report() -> None:
    report = Report("Title", "Verdict.", state={"cursor": 7})

    assert "state" not in report.to_json()
    assert Report.from_json(report.to_json()).state == {}


def test_a_report_is_as_serious_as_its_worst_finding() -> None:
    findings = tuple(Finding("c", s, "x", "y") for s in (Severity.INFO, Severity.WARNING))

    assert Report("Title", "Verdict.", findings=findings).severity is Severity.WARNING
    assert Report("Title", "Verdict.").severity is Severity.OK


def test_a_table_takes_its_columns_from_the_first_row() -> None:
    table = Table.of("Sizes", [{"name": "a", "size_bytes": 1}, {"size_bytes": 2, "name": "b"}])

    assert table.columns == ("name", "size_bytes")
    assert table.rows == (("a", 1), ("b", 2))
    assert Table.of("Empty", []) == Table("Empty", (), ())


def test_joined_reports_keep_all_they_say_and_the_worst_comes_first() -> None:
    note = Finding("a", Severity.INFO, "x", "A note.")
    warning = Finding("b", Severity.WARNING, "y", "A warning.")
    one = Report("One", "Same.", (note,), facts={"a": 1}, state={"version": 1})
    other = Report("Other", "Same.", (warning,), facts={"b": 2})

    both = joined("Both", (one, other))

    assert (both.title, both.summary) == ("Both", "Same.")
    assert both.findings == (warning, note)
    assert both.facts == {"a": 1, "b": 2}
    assert both.state == {"version": 1}


def test_a_run_has_a_duration_once_it_has_both_ends() -> None:
    start = datetime(2026, 11, 23, 4, tzinfo=UTC)
    facts = RunFacts(
        run_id="1",
        task="maintenance.x",
        target="",
        schedule="",
        trigger="cli",
        actor="",
        state="running",
        reason="",
        attempt=1,
        options={},
        queued_at=start,
        started_at=start,
        finished_at=None,
    )

    assert facts.duration_seconds is None
    body = {**facts.to_json(), "finished_at": (start + timedelta(seconds=90)).isoformat()}
    assert RunFacts.from_json(body).duration_seconds == 90
