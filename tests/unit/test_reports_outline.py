"""The outline of a tall report: every entry leads to a heading that is there."""

import re
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.core.reports import Report, ReportDocument, Table
from maintenance.reports import html
from maintenance.reports.outline import FEWEST_PLACES
from maintenance.reports.publication import Publication, of_document, of_report, of_reports
from tests.golden.report_strategies import documents


def entries(page: str) -> list[tuple[str, str]]:
    """Return anchor and words of each entry of the outline."""
    outline = re.search(r'<details class="report-outline">.*?</details>', page, re.DOTALL)
    if outline is None:
        return []
    return re.findall(r'<a href="#([^"]+)">([^<]*)</a>', outline[0])


def page_of(publication: Publication) -> str:
    return html.render_publication(publication)


def with_tables(count: int) -> Report:
    tables = (Table.of(f"table {n}", [{"name": "a"}]) for n in range(count))
    return Report(title="Audit", summary="All is well.", tables=tuple(tables))


def test_a_page_with_few_headings_has_none() -> None:
    assert entries(page_of(of_report(with_tables(FEWEST_PLACES - 1)))) == []


def test_a_tall_page_names_each_of_its_tables_in_their_order() -> None:
    found = entries(page_of(of_report(with_tables(FEWEST_PLACES))))

    assert [words for _, words in found] == [f"table {n}" for n in range(FEWEST_PLACES)]


def test_tables_that_begin_alike_stand_together_under_what_they_share() -> None:
    names = ["Subjects", "review site: Sizes (the first 15 of 20)", "review site: Ages", "a: b"]
    more = tuple(Table.of(name, [{"name": "a"}]) for name in names)
    tall = with_tables(FEWEST_PLACES)

    page = page_of(of_report(replace(tall, tables=more + tall.tables)))

    assert [words for _, words in entries(page)][:4] == ["Subjects", "Sizes", "Ages", "a: b"]
    assert page.count("<span>review site</span>") == 1


def test_of_several_reports_it_names_the_reports() -> None:
    reports = [replace(with_tables(2), title=f"Report {n}") for n in range(FEWEST_PLACES)]

    found = entries(page_of(of_reports("Weekly", reports)))

    assert [words for _, words in found] == [f"Report {n}" for n in range(FEWEST_PLACES)]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents, st.integers(0, FEWEST_PLACES))
def test_each_entry_leads_to_one_heading(document: ReportDocument, empty: int) -> None:
    more = (Table("empty", (), ()),) * empty + with_tables(FEWEST_PLACES).tables
    tall = replace(document, report=replace(document.report, tables=document.report.tables + more))

    page = page_of(of_document(tall))

    anchors = [anchor for anchor, _ in entries(page)]
    headings = re.findall(r'<h\d id="([^"]+)"', page)
    assert len(anchors) >= FEWEST_PLACES
    assert [name for name in headings if name in anchors] == anchors
