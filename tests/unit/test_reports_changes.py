"""A report says on its own page what changed since the previous one."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from maintenance.core.reports import ReportDocument
from maintenance.reports.changes import FINDINGS_SHOWN, NUMBERS_SHOWN, ChangesContent
from maintenance.reports.composition import content_of
from maintenance.reports.formats import FORMATS
from maintenance.reports.json_format import parse_json
from maintenance.reports.publication import of_document
from tests.golden.example_report import DOCUMENT, EARLIER_DOCUMENT

STORED = Path(__file__).parents[1] / "golden" / "files" / "stored_before_charts.json"


def changes(new: ReportDocument, old: ReportDocument) -> ChangesContent:
    found = content_of(of_document(new, old)).changes
    assert found is not None
    return found


def test_what_came_went_and_moved_is_named_with_the_reports_own_numbers() -> None:
    found = changes(DOCUMENT, EARLIER_DOCUMENT)

    assert found.previous == "2026-11-16 04:00 UTC"
    assert found.sentence.startswith("Findings: ")
    named = {fate.title: fate.findings[0] for fate in found.fates}
    assert list(named) == ["New", "Worse", "Better", "Fixed", "Not measured again"]
    assert (named["Fixed"].subject, named["Fixed"].sentence) == (
        "public.old_sessions",
        "Half of it is bloat.",
    )
    # Whose sentence names it is not named twice.
    assert named["Worse"].subject == ""
    assert "public.library_notification" in named["Worse"].sentence
    assert "critical → warning" in [f.word for fate in found.fates for f in fate.findings]
    (tables, *_) = [number for number in found.numbers if number.label == "tables"]
    assert (tables.before, tables.now, tables.share) == ("211", "212", "+0.5 %")


def test_it_stays_brief_however_much_changed() -> None:
    first = DOCUMENT.report.findings[0]
    many = tuple(replace(first, subject=f"t{number}") for number in range(FINDINGS_SHOWN + 4))
    facts = {f"n{number}": number for number in range(NUMBERS_SHOWN + 5)}
    new = replace(DOCUMENT, report=replace(DOCUMENT.report, findings=many, facts=facts))

    found = changes(new, EARLIER_DOCUMENT)

    fresh = next(fate for fate in found.fates if fate.title == "New")
    assert (len(fresh.findings), fresh.more) == (FINDINGS_SHOWN, 4)
    assert len(found.numbers) == NUMBERS_SHOWN
    assert found.more_numbers.endswith("of tables and findings.")


@pytest.mark.parametrize("format_name", ["text", "markdown", "html"])
def test_whoever_reads_gets_the_comparison(format_name: str) -> None:
    page = FORMATS[format_name].render(of_document(DOCUMENT, EARLIER_DOCUMENT))

    words = " ".join(re.sub("<[^>]*>", " ", page).split())
    assert re.search(r"Since the previous report \(?2026-11-16 04:00 UTC", words)
    assert "public.old_sessions" in words
    assert format_name == "text" or "<script>" not in page


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_report_that_was_stored_before_there_were_charts_still_renders(format_name: str) -> None:
    stored = parse_json(STORED.read_text(encoding="utf-8"))

    page = FORMATS[format_name].render(of_document(stored, stored))

    assert stored.report.plots == stored.report.bars == ()
    assert "public.library_importitem" in page
    assert "2 of 16 tables are bloated" in page
