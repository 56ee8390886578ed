"""A report as paper gets it: nothing beyond the edge, plots drawn, one file that loads nothing."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from maintenance.core.plots import Plot
from maintenance.core.reports import Report, Table
from maintenance.reports.html import render_publication
from maintenance.reports.publication import of_report

#: A4 without its margins of 14 mm, at 96 dots an inch.
PAPER_WIDTH = 688
DAY = 86_400.0


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    """An audit's page with its plots and a table of fourteen columns."""
    wide = {f"a_long_name_{n}_bytes": n * 10**9 for n in range(13)}
    points = tuple((n * DAY, 0.2 + n / 100) for n in range(30))
    report = Report(
        title="Performance audit",
        summary="Well.",
        tables=(Table.of("Wide", [{"name": "public.library_status", **wide}] * 20),),
        plots=(Plot("p95 site", "response_p95_seconds", points, 0.5),) * 4,
    )
    path = tmp_path / "audit.html"
    path.write_text(render_publication(of_report(report)), encoding="utf-8")
    return path


def test_a_wide_table_fits_on_paper_and_plots_are_drawn(chromium: Browser, page_file: Path) -> None:
    context = chromium.new_context(viewport={"width": PAPER_WIDTH, "height": 980})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.emulate_media(media="print")
    page.goto(page_file.as_uri())

    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER_WIDTH + 2
    box = page.locator(".report-plot-line").first.bounding_box()
    assert box is not None
    assert box["width"] > 150
    assert box["height"] > 10
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert said == []
    context.close()
