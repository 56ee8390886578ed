"""What holds for every document in every format."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.core.errors import UnknownName
from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, ReportDocument, Table
from maintenance.reports import html
from maintenance.reports.columns import display_width
from maintenance.reports.composition import ROW_LIMIT
from maintenance.reports.csv_format import render_table
from maintenance.reports.formats import FORMATS, render, render_all, render_report
from maintenance.reports.formatting import NO_VALUE
from maintenance.reports.json_format import parse_json, render_json
from maintenance.reports.markdown import render_markdown
from maintenance.reports.plain import plain_document
from maintenance.reports.publication import of_document, of_reports
from maintenance.reports.text import render_text
from tests.golden.example_report import DOCUMENT, HOSTILE_NAME, QUIET_REPORT, REPORT, RUN
from tests.golden.report_strategies import documents

FEWER = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
HUMAN_FORMATS = ("text", "markdown", "html")


class PageReader(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values_of(self, attribute: str) -> list[str]:
        return [value for name, value in self.attributes if name == attribute]


def table_report(row_count: int) -> Report:
    rows = [{"table": f"t{number:03}", "rows": number} for number in range(row_count)]
    return Report("Tables", "All is well.", tables=(Table.of("Largest", rows),))


@FEWER
@given(documents)
def test_a_document_survives_the_way_through_json(document: ReportDocument) -> None:
    again = parse_json(render_json(document))
    assert again == plain_document(document)
    assert render_json(again) == render_json(document)


def without_commands(document: ReportDocument) -> ReportDocument:
    report = document.report
    return replace(
        document,
        report=replace(
            report,
            findings=tuple(replace(f, commands=(), undo=()) for f in report.findings),
            outcomes=tuple(
                replace(o, action=replace(o.action, statement="", undo="")) for o in report.outcomes
            ),
        ),
    )


@FEWER
@given(documents, st.integers(40, 150))
def test_text_keeps_within_its_width_but_for_commands(document: ReportDocument, width: int) -> None:
    text = render_text(without_commands(document), width=width)
    assert max(display_width(line) for line in text.split("\n")) <= width


@FEWER
@given(documents, st.integers(-5, 300))
def test_every_document_can_be_written_as_text(document: ReportDocument, width: int) -> None:
    text = render_text(document, width=width)
    assert text.endswith("\n")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


@FEWER
@given(documents)
def test_rows_of_markdown_tables_have_the_cells_of_their_header(document: ReportDocument) -> None:
    cells_of_table = 0
    fence = ""
    for line in render_markdown(document).split("\n"):
        opening = re.match("`{3,}", line)
        if opening and fence in {"", opening.group()}:
            fence = "" if fence else opening.group()
        if fence or not line.startswith("| "):
            cells_of_table = 0
            continue
        cells = len(re.split(r"(?<!\\)(?:\\\\)*\|", line))
        assert cells == (cells_of_table or cells)
        cells_of_table = cells


@FEWER
@given(documents)
def test_no_text_becomes_markup_in_html(document: ReportDocument) -> None:
    page = PageReader(render(document, "html"))
    assert {"script", "img", "iframe", "form", "object"} & set(page.tags) == set()
    assert page.values_of("style") == []
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    ids = page.values_of("id")
    assert len(ids) == len(set(ids))
    assert set(page.values_of("aria-labelledby")) <= set(ids)
    inside = {value.removeprefix("#") for value in page.values_of("href") if value[:1] == "#"}
    assert inside <= set(ids)


@FEWER
@given(documents)
def test_csv_holds_every_row_of_every_table(document: ReportDocument) -> None:
    for table in document.report.tables:
        rows = list(csv.reader(io.StringIO(render_table(table), newline="")))
        assert len(rows) == 1 + len(table.rows)
        assert [len(row) for row in rows] == [len(table.columns), *map(len, table.rows)]


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'Unknown format "htm"\. Did you mean "html"\?'):
        render(DOCUMENT, "htm")


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_password_is_in_any_rendering(format_name: str) -> None:
    assert "hunter2" not in render(DOCUMENT, format_name)
    assert "***" in render(DOCUMENT, format_name).replace("\\*", "*")


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_state_for_the_next_run_is_in_no_rendering(format_name: str) -> None:
    assert "never rendered" not in render(DOCUMENT, format_name)


@pytest.mark.parametrize("format_name", HUMAN_FORMATS)
def test_control_characters_of_names_are_written_out(format_name: str) -> None:
    text = render(DOCUMENT, format_name)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "x1b" in text


def test_hostile_names_are_read_back_from_json_as_they_were() -> None:
    subjects = [finding.subject for finding in parse_json(render_json(DOCUMENT)).report.findings]
    assert HOSTILE_NAME in subjects


@pytest.mark.parametrize("format_name", HUMAN_FORMATS)
def test_long_tables_are_cut_and_say_how_much_is_missing(format_name: str) -> None:
    text = render_report(table_report(ROW_LIMIT + 21), format_name)
    assert "t199" in text
    assert "t200" not in text
    assert "21 more rows are left out here; JSON and CSV hold all." in text


@pytest.mark.parametrize("format_name", ["json", "csv"])
def test_machines_get_tables_whole(format_name: str) -> None:
    text = render_report(table_report(ROW_LIMIT + 21), format_name)
    assert "t220" in text


def test_a_table_of_exactly_the_limit_is_not_called_cut() -> None:
    assert "left out" not in render_report(table_report(ROW_LIMIT), "text")
    assert "1 more row is left out" in render_report(table_report(ROW_LIMIT + 1), "text")


@pytest.mark.parametrize("format_name", HUMAN_FORMATS)
def test_findings_stand_worst_first(format_name: str) -> None:
    page = render(DOCUMENT, format_name)
    text = " ".join(PageReader(page).words) if format_name == "html" else page
    findings = text[text.index("Findings") :]
    subjects = ["public.library_notification", "public.library_work", "public.audit_log"]
    places = [findings.index(subject) for subject in subjects]
    assert places == sorted(places)


@pytest.mark.parametrize("format_name", HUMAN_FORMATS)
def test_the_verdict_stands_before_the_facts_of_the_run(format_name: str) -> None:
    text = render(DOCUMENT, format_name)
    assert text.index("One table wastes") < text.index("maintenance.report_table_bloat")


@pytest.mark.parametrize("format_name", HUMAN_FORMATS)
def test_each_severity_has_its_word(format_name: str) -> None:
    page = render(DOCUMENT, format_name)
    text = " ".join(PageReader(page).words) if format_name == "html" else page
    assert {"critical", "warning", "unavailable", "info", "ok"} <= set(
        re.findall(r"\w+", text.lower())
    )


def test_a_failed_run_never_looks_as_if_all_were_well() -> None:
    failed = ReportDocument(
        replace(RUN, state="failed", reason="The server at db.example:5432 did not answer."),
        Report("Table bloat of default", "Failed: the server did not answer."),
    )
    text = render(failed, "text")
    assert "[!!] FAILED: Failed: the server did not answer." in text
    assert "reason     The server at db.example:5432 did not answer." in text
    assert "OK" not in text


def test_commands_are_never_broken_over_lines() -> None:
    command = "REINDEX INDEX CONCURRENTLY " + "public.a_long_name_" * 10
    finding = Finding("x", Severity.INFO, "s", "A sentence.", commands=(command,))
    text = render_report(Report("T", "S", findings=(finding,)), "text")
    assert f"      {command}\n" in text


def test_wide_characters_do_not_push_columns_out_of_line() -> None:
    rows = [{"table": "書籍", "rows": 1}, {"table": "book", "rows": 20}]
    lines = render_report(Report("T", "S", tables=(Table.of("All", rows),)), "text").splitlines()
    wide, narrow = lines[-2:]
    assert display_width(wide) == display_width(narrow)


def test_the_file_loads_nothing_from_anywhere() -> None:
    page = render(DOCUMENT, "html")
    reader = PageReader(page)
    assert "default-src 'none'" in " ".join(reader.values_of("content"))
    assert reader.values_of("src") == []
    assert re.findall(r"url\(|@import", page) == []
    links = [v for v in reader.values_of("href") if not v.startswith(("data:", "#"))]
    assert links == ["https://www.postgresql.org/docs/current/routine-vacuuming.html"]


def test_a_runbook_is_a_link_only_where_it_is_an_address_of_the_web() -> None:
    finding = Finding("x", Severity.INFO, "s", "A sentence.", runbook="javascript:alert(1)")
    reader = PageReader(render_report(Report("T", "S", findings=(finding,)), "html"))
    assert "a" not in reader.tags
    assert "javascript:alert(1)" in reader.words


def test_the_body_starts_at_the_heading_level_it_is_given() -> None:
    body = html.render_body(of_document(DOCUMENT), heading_level=2)
    assert re.findall("<h([1-6])", body)[:5] == ["2", "3", "3", "4", "4"]
    assert "<html" not in body


def test_several_reports_stand_under_one_verdict_over_all() -> None:
    text = render_all("Performance", [REPORT, QUIET_REPORT], "text")
    assert "1 of 2 reports needs attention: 1 critical, 2 warnings, 1 unavailable." in text
    assert text.index("Performance") < text.index("Table bloat of default")
    assert text.index("Table bloat of default") < text.index("Invalid indexes of default")


def test_several_quiet_reports_say_so() -> None:
    assert of_reports("All", [QUIET_REPORT]).summary == "Nothing needs attention in 1 report."
    assert of_reports("All", []).summary == "Nothing was measured."


def test_several_reports_keep_their_shape_in_json() -> None:
    body = json.loads(render_all("Performance", [REPORT, QUIET_REPORT], "json"))
    assert body["severity"] == "critical"
    assert [report["title"] for report in body["reports"]] == [REPORT.title, QUIET_REPORT.title]


def test_json_of_another_schema_or_shape_is_refused_with_the_reason() -> None:
    body = json.loads(render_json(DOCUMENT))
    with pytest.raises(ValueError, match="schema version 99"):
        parse_json(json.dumps({**body, "schema_version": 99}))
    with pytest.raises(ValueError, match="no whole report document"):
        parse_json(json.dumps({**body, "run": None}))
    with pytest.raises(ValueError, match="no whole report document"):
        parse_json("[1, 2]")


def test_spreadsheets_get_no_formula_from_a_name() -> None:
    table = Table("T", ("name", "value"), (("=HYPERLINK(1)", -5), ("-x", 1), ("plain", 2)))
    assert render_table(table).splitlines() == [
        "name,value",
        "'=HYPERLINK(1),-5",
        "'-x,1",
        "plain,2",
    ]


@pytest.mark.parametrize("name", HUMAN_FORMATS)
def test_what_an_action_gained_had_no_value_before(name: str) -> None:
    action = Action(
        "reindex", "an_index", "REINDEX", "bloat", predicted={"gain_bytes": 9, "seconds": None}
    )
    outcome = Outcome(
        action, Verdict.WORKED, before={"scans": 12}, after={"scans": 13, "gained_bytes": 2048}
    )
    report = Report(title="Rebuild", summary="1 index rebuilt.", outcomes=(outcome,))

    page = render_report(report, name)

    words = " ".join(PageReader(page).words) if name == "html" else page
    assert re.search(r"gained\W+2048 bytes", words)
    assert re.search(r"scans\W+12\W+(to\W+)?13", words)
    assert NO_VALUE not in words
