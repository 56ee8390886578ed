"""Runbooks as data, and the walk through one: what speaks for a cause, and what against it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.commands.diagnosing import ANALYSES
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Report
from maintenance.postgres import analyses
from maintenance.reports.plain import plain_report
from maintenance.runbooks import RUNBOOKS, Runbook
from maintenance.runbooks.links import RUNBOOK_OF_CODE, linked
from maintenance.runbooks.model import Source
from maintenance.runbooks.walk import Verdict, walk

ROOT = Path(__file__).resolve().parents[2]
#: Codes that are put together where they are made.
COMPOSED = {"response-time-p95", "response-time-p99"}


def finding(code: str, severity: Severity = Severity.WARNING, subject: str = "site") -> Finding:
    """One finding that was measured."""
    return Finding(code, severity, subject, f"{code} of {subject}.", {"size_bytes": 1})


def healthy(runbook: Runbook) -> dict[Source, tuple[Report, ...]]:
    """Answers of every source, in all of which nothing was found."""
    return {s: (Report(str(s), f"{s} is well."),) for s in runbook.sources}


def verdicts(report: Report) -> dict[str, str]:
    """The verdict on each cause by its title."""
    (table,) = report.tables
    return {
        row[table.columns.index("cause")]: row[table.columns.index("verdict")] for row in table.rows
    }


def row_of(report: Report, place: int) -> dict[str, object]:
    """One row of the table of causes."""
    (table,) = report.tables
    return dict(zip(table.columns, table.rows[place - 1], strict=True))


@pytest.mark.parametrize("runbook", RUNBOOKS.values(), ids=list(RUNBOOKS))
def test_every_code_of_a_runbook_is_one_that_a_measurement_finds(runbook: Runbook) -> None:
    text = "".join(
        path.read_text()
        for path in (ROOT / "maintenance").rglob("*.py")
        if path.parent.name != "runbooks"
    )

    assert {code for code in runbook.codes - COMPOSED if f'"{code}"' not in text} == set()


def test_every_source_that_is_an_analysis_has_its_name() -> None:
    assert {source.value for source in ANALYSES} <= set(analyses.ANALYSES)


@pytest.mark.parametrize("runbook", RUNBOOKS.values(), ids=list(RUNBOOKS))
def test_each_cause_is_told_by_its_own_evidence_and_names_the_next_step(runbook: Runbook) -> None:
    for place, cause in enumerate(runbook.causes, 1):
        code = min(cause.codes)
        source = cause.sources[0]
        answers = healthy(runbook) | {source: (Report("x", "y", findings=(finding(code),)),)}

        report = walk(runbook, answers)

        assert verdicts(report)[cause.title] == Verdict.LIKELY
        assert row_of(report, place)["because"] == f"{code} of site."
        assert row_of(report, place)["next_step"] == cause.next_step


def test_the_first_likely_cause_decides_the_next_step() -> None:
    runbook = RUNBOOKS["slow-pages"]
    answers = healthy(runbook) | {
        Source.BLOCKING: (Report("b", "c", findings=(finding("blocking", Severity.CRITICAL),)),),
        Source.QUERIES: (Report("q", "r", findings=(finding("slow-query"),)),),
        Source.PERFORMANCE_LOG: (
            Report("p", "l", findings=(finding("n-plus-one", Severity.INFO),)),
        ),
    }

    report = walk(runbook, answers)

    assert report.facts["next_step"] == runbook.causes[1].next_step
    assert "3 causes of 9 have evidence" in report.summary
    assert "Most likely: single statements are slow." in report.summary
    assert verdicts(report)[runbook.causes[0].title] == Verdict.POSSIBLE


def test_what_was_measured_and_not_found_speaks_against_a_cause() -> None:
    runbook = RUNBOOKS["redis-memory"]

    report = walk(runbook, healthy(runbook))

    assert set(verdicts(report).values()) == {Verdict.RULED_OUT}
    assert row_of(report, 1)["because"] == "streams is well."
    assert report.facts["symptom_now"] == "no"
    assert report.summary.startswith("It is not so now. Nothing speaks for any of 9 causes.")
    assert report.facts["next_step"] == runbook.otherwise
    assert report.severity is Severity.OK


def test_what_could_not_be_measured_speaks_neither_way() -> None:
    runbook = RUNBOOKS["database-cpu"]
    away = unavailable("slow-queries", "site", "which statements are slow", "pg_stat_statements")
    answers = healthy(runbook) | {Source.QUERIES: (Report("q", "r", findings=(away,)),)}
    del answers[Source.CHECKPOINTS]

    report = walk(runbook, answers)

    found = verdicts(report)
    assert found[runbook.causes[0].title] == Verdict.UNKNOWN
    assert row_of(report, 1)["because"] == away.sentence
    assert found[runbook.causes[7].title] == Verdict.UNKNOWN
    assert row_of(report, 8)["because"] == "checkpoints was not measured."
    assert "2 could not be judged" in report.summary


def test_an_answer_that_is_missing_of_something_else_leaves_a_cause_ruled_out() -> None:
    runbook = RUNBOOKS["redis-memory"]
    other = unavailable("redis-hot-keys", "site", "hot keys", "an LFU policy")
    answers = healthy(runbook) | {Source.REDIS_MEMORY: (Report("m", "well", findings=(other,)),)}

    assert set(verdicts(walk(runbook, answers)).values()) == {Verdict.RULED_OUT}


def test_the_symptom_is_said_first_and_its_findings_lead_to_the_page() -> None:
    runbook = RUNBOOKS["redis-memory"]
    high = finding("redis-memory-high")
    answers = healthy(runbook) | {Source.REDIS_MEMORY: (Report("m", "n", findings=(high,)),)}

    report = walk(runbook, answers)

    assert report.summary.startswith("It is so now: redis-memory-high of site.")
    assert [f.runbook for f in report.findings] == ["docs/runbooks.md#redis-memory"]
    assert report.findings[0].evidence["symptom"] is True


def test_a_cause_with_many_findings_shows_a_few_and_counts_them_all() -> None:
    runbook = RUNBOOKS["slow-pages"]
    many = tuple(finding("slow-query", subject=f"query {n}") for n in range(30))
    answers = healthy(runbook) | {Source.QUERIES: (Report("q", "r", findings=many),)}

    report = walk(runbook, answers)

    assert len(report.findings) == 5
    assert row_of(report, 2)["findings"] == 30
    assert str(row_of(report, 2)["because"]).endswith("(and 25 more)")


@given(
    st.dictionaries(
        st.sampled_from(list(Source)),
        st.lists(
            st.builds(
                finding,
                st.sampled_from(sorted(RUNBOOK_OF_CODE)),
                st.sampled_from(list(Severity)),
                st.text(max_size=5),
            ),
            max_size=4,
        ),
    ),
    st.sampled_from(sorted(RUNBOOKS)),
)
def test_whatever_was_found_every_cause_has_one_verdict_and_there_is_a_next_step(
    found: dict[Source, list[Finding]], name: str
) -> None:
    answers = {s: (Report(str(s), "said", findings=tuple(f)),) for s, f in found.items()}

    report = walk(RUNBOOKS[name], answers)

    assert list(verdicts(report)) == [cause.title for cause in RUNBOOKS[name].causes]
    assert report.facts["next_step"]
    assert report.summary.endswith(report.facts["next_step"])


# --- from a finding to its runbook ---


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("response-time-p95", "slow-pages"),
        ("slow-query", "slow-pages"),
        ("database-cpu-high", "database-cpu"),
        ("process-memory-growing", "memory"),
        ("redis-memory-high", "redis-memory"),
        ("redis-growth", "redis-memory"),
        ("machine-memory-low", "memory"),
    ],
)
def test_a_finding_leads_to_its_runbook(code: str, name: str) -> None:
    command = f"python manage.py maintenance diagnose {name}"

    assert linked(finding(code)).runbook == command
    assert plain_report(Report("t", "s", findings=(finding(code),))).findings[0].runbook == command


def test_what_has_a_link_or_was_not_measured_or_is_in_no_runbook_stays_as_it_is() -> None:
    own = Finding("slow-query", Severity.INFO, "s", "x", runbook="https://example.org/")
    withheld = unavailable("slow-query", "s", "a number", "a right")
    unknown = finding("checksums-off")

    assert [linked(f) for f in (own, withheld, unknown)] == [own, withheld, unknown]


def test_the_page_of_runbooks_has_every_cause_and_step() -> None:
    page = " ".join((ROOT / "docs" / "runbooks.md").read_text().split())

    for book in RUNBOOKS.values():
        assert f"## {book.name}" in page
        for cause in book.causes:
            assert cause.title in page, cause.title
