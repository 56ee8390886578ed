"""A report on its page: charts, comparison, copying a command, printing; accessible in any light."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from maintenance.core.findings import Finding, Severity
from maintenance.core.plots import Bar, BarChart, Foretold, Line, Plot
from maintenance.core.reports import Report, Table
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger
from tests.browser.accessibility import faults
from tests.browser.conftest import OpenPage
from tests.ledger_rows import WORKER

DAY = 86_400.0
LONG = "public.library_status_with_a_name_that_takes_room_on_every_screen"
HOSTILE = "evil\"';<script>alert(1)</script><b onclick=x>"
COMMAND = f'VACUUM (FULL, ANALYZE) "public"."{LONG}"'


def report(bloat_bytes: float) -> Report:
    points = tuple((1.79e9 + n * DAY, 0.2 + n / 100) for n in range(30))
    last_at, last = points[-1]
    bloat = Finding(
        "table-bloat",
        Severity.CRITICAL,
        LONG,
        f"{LONG} is bloated.",
        {"bloat_bytes": bloat_bytes},
        advice="Rewrite it in a quiet hour.",
        commands=(COMMAND,),
        undo=("-- nothing to undo",),
    )
    slow = Finding("slow-query", Severity.WARNING, HOSTILE, "Slow.", advice="Look at its plan.")
    return Report(
        title="Table bloat",
        summary="One table wastes 1.3 GB and needs a decision.",
        findings=(bloat, slow),
        facts={"reclaimable_bytes": bloat_bytes},
        tables=(Table.of("Tables", [{"table": LONG, "size_bytes": 2**30, "rows": 12_345}]),),
        bars=(
            BarChart(
                "Size of tables",
                "size_bytes",
                ("live", "bloat"),
                (Bar(LONG, (2.0**29, bloat_bytes)), Bar(HOSTILE, (2.0**20, 2.0**19))),
                stacked=True,
            ),
            BarChart(
                "Time of a call", "mean_ms", ("before", "now"), (Bar("query 1", (9.0, 40.0)),)
            ),
        ),
        plots=(
            Plot("Response times", "p95_seconds", points, 0.5, "p95", (Line("p99", points[5:]),)),
            Plot(
                "Size",
                "x_ratio",
                points,
                0.9,
                foretold=(Foretold(last_at + 20 * DAY, last, last + 0.2, last + 0.3),),
            ),
        ),
    )


def finished(bloat_bytes: float, age: timedelta) -> Run:
    spec = task_named("report_table_bloat")
    run = ledger.create_run(spec, "default", {}, Origin(trigger=Trigger.BEAT))
    run.queued_at -= age
    run.save(update_fields=["queued_at"])
    run = claims.claim(run.id, spec, "default", {}, WORKER)
    ledger.finish(run, RunState.SUCCEEDED, report(bloat_bytes), "")
    return run


def opened(page: Page) -> Page:
    finished(2.0**29, timedelta(days=7))
    run = finished(2.0**30, timedelta(0))
    page.goto(f"/admin/maintenance/run/{run.id}/change/")
    return page


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_is_accessible_and_nothing_is_cut_off(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None], width: int, scheme: str
) -> None:
    page = opened(open_page(width=width, scheme=scheme))

    keep_picture(page, f"report-{width}-{scheme}")
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.get_by_role("heading", name="Since the previous report")).to_be_visible()
    assert page.get_by_text("<script>alert(1)</script>").count() > 0


def test_a_command_is_copied_and_paper_gets_the_report_alone(
    open_page: OpenPage, tmp_path: Path
) -> None:
    page = opened(open_page())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    page.get_by_role("button", name="Copy").first.click()

    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == COMMAND
    page.evaluate("window.print = () => { document.title = 'printed'; }")
    page.get_by_role("button", name="Print or save as PDF").click()
    expect(page).to_have_title("printed")

    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Copy").first).to_be_hidden()
    expect(page.get_by_role("navigation", name="This run")).to_be_hidden()
    paper = tmp_path / "report.pdf"
    page.pdf(path=paper, prefer_css_page_size=True)
    assert paper.read_bytes().startswith(b"%PDF")
