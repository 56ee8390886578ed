"""From the button to the report, in a real browser, through a real broker and worker."""

from collections.abc import Callable
from pathlib import Path

import redis
from celery import Celery
from playwright.sync_api import Page, expect

from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.models import Run, RunState, Trigger
from tests.browser.conftest import OpenPage
from tests.celery_nodes import WorkerFactory
from tests.ledger_rows import running_run
from tests.polling import eventually

MEMBERS = 25
KEPT = 10  # streams.home.max_length of the embedding project


def fill_streams(app: Celery) -> redis.Redis:
    """Put three streams over their length into the server that the project trims."""
    client: redis.Redis = redis.Redis.from_url(app.conf.broker_url)
    for user in range(3):
        client.zadd(f"{user}-home", {str(status): status for status in range(MEMBERS)})
    return client


def choose(page: Page, task: str) -> None:
    page.goto("/admin/maintenance/")
    page.get_by_role("link", name="Run a task").click()
    page.get_by_role("link", name=task, exact=True).click()


def test_a_task_that_reads_runs_until_its_report_shows(
    open_page: OpenPage, make_worker: WorkerFactory, keep_picture: Callable[[Page, str], None]
) -> None:
    page = open_page()
    choose(page, "Check disk space")
    keep_picture(page, "run-now-form-reading")
    page.get_by_label("Target").select_option("local")
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/change/")
    expect(page.get_by_text("waiting for a worker").first).to_be_visible()
    keep_picture(page, "run-queued")

    make_worker()

    report = page.locator(".maintenance-report")
    expect(report).to_be_visible()
    run = Run.objects.get()
    assert (run.state, run.trigger, run.actor) == (RunState.SUCCEEDED, Trigger.ADMIN, "ann")
    expect(report).to_contain_text(run.summary)
    keep_picture(page, "run-with-report")


def test_a_dry_run_changes_nothing_and_a_confirmed_run_trims(
    open_page: OpenPage,
    make_worker: WorkerFactory,
    celery_setup_app: Celery,
    keep_picture: Callable[[Page, str], None],
) -> None:
    make_worker()
    streams = fill_streams(celery_setup_app)
    page = open_page()

    choose(page, "Trim streams")
    keep_picture(page, "run-now-form-writing")
    assert page.get_by_label("Dry run").is_checked()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".maintenance-report")).to_be_visible()
    expect(page.locator(".maintenance-report")).to_contain_text("planned")
    keep_picture(page, "dry-run-with-report")
    assert streams.zcard("0-home") == MEMBERS

    page.get_by_role("link", name="Run again").click()
    page.get_by_label("Dry run").uncheck()
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("heading", name="Start “Trim streams” for real?")).to_be_visible()
    keep_picture(page, "run-now-confirmation")
    page.get_by_role("button", name="Yes, run it for real").click()
    expect(page.locator(".maintenance-report")).to_be_visible()
    keep_picture(page, "trim-with-report")
    assert [streams.zcard(f"{user}-home") for user in range(3)] == [KEPT] * 3
    streams.close()

    page.get_by_role("link", name="Previous run").click()
    expect(page.locator(".maintenance-report")).to_contain_text("planned")


def test_progress_moves_without_a_reload_and_a_run_can_be_cancelled(
    open_page: OpenPage,
    make_worker: WorkerFactory,
    tmp_path: Path,
    keep_picture: Callable[[Page, str], None],
) -> None:
    make_worker()
    page = open_page()
    page.goto("/admin/maintenance/run/run-now/?task=wait_at_gate")
    page.get_by_label("Gate").fill(str(tmp_path / "gate-that-stays-shut"))
    page.get_by_role("button", name="Run now").click()
    page.get_by_role("button", name="Yes, run it for real").click()

    page.evaluate("window.stillTheSamePage = true")
    expect(page.locator(".maintenance-phase")).to_have_text("waiting at the gate")
    first = page.locator(".maintenance-live").inner_text()
    expect(page.locator(".maintenance-live")).not_to_have_text(first)
    assert page.evaluate("window.stillTheSamePage") is True
    keep_picture(page, "run-at-work")

    page.get_by_role("link", name="Cancel").click()
    keep_picture(page, "cancel-confirmation")
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(page.locator(".maintenance-report")).to_contain_text("cancelled")
    assert Run.objects.get().state == RunState.CANCELLED
    keep_picture(page, "run-cancelled")


def test_nobody_asks_for_progress_while_nobody_looks(
    open_page: OpenPage, make_worker: WorkerFactory, tmp_path: Path
) -> None:
    page = open_page()
    gate = tmp_path / "gate"
    page.goto("/admin/maintenance/run/run-now/?task=wait_at_gate")
    page.get_by_label("Gate").fill(str(gate))
    page.get_by_role("button", name="Run now").click()
    page.get_by_role("button", name="Yes, run it for real").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    look_away(page, hidden=True)
    asked.clear()  # the page may have asked once before
    page.wait_for_timeout(3_000)  # longer than the period of two seconds: an absence has no event
    assert [url for url in asked if "/progress/" in url] == []

    look_away(page, hidden=False)
    make_worker()
    gate.touch()
    expect(page.locator(".maintenance-report")).to_contain_text("Passed the gate")
    assert any("/progress/" in url for url in asked)


def test_a_server_that_does_not_answer_is_asked_less_and_less_and_said(
    open_page: OpenPage, make_worker: WorkerFactory, tmp_path: Path
) -> None:
    page = open_page()
    gate = tmp_path / "gate"
    page.goto("/admin/maintenance/run/run-now/?task=wait_at_gate")
    page.get_by_label("Gate").fill(str(gate))
    page.get_by_role("button", name="Run now").click()
    page.get_by_role("button", name="Yes, run it for real").click()
    note = page.locator("[data-live-note]")
    expect(note).to_have_text("Refreshes by itself.")

    page.route("**/progress/?*", lambda route: route.fulfill(status=200, body="no JSON"))
    for seconds in (4, 8):
        expect(note).to_have_text(f"The server does not answer; the next try is in {seconds} s.")
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    page.unroute("**/progress/?*")
    page.evaluate("window.dispatchEvent(new Event('focus'))")  # asks at once
    expect(note).to_have_text("Refreshes by itself.")

    make_worker()
    gate.touch()
    expect(page.locator(".maintenance-report")).to_contain_text("Passed the gate")


def test_the_list_follows_its_runs_to_their_end(
    open_page: OpenPage, make_worker: WorkerFactory, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    page = open_page()
    page.goto("/admin/maintenance/run/run-now/?task=wait_at_gate")
    page.get_by_label("Gate").fill(str(gate))
    page.get_by_role("button", name="Run now").click()
    page.get_by_role("button", name="Yes, run it for real").click()
    page.goto("/admin/maintenance/run/")
    row = page.get_by_role("row", name="Wait at gate")
    expect(row).to_contain_text("waiting for a worker")
    page.evaluate("window.stillTheSamePage = true")
    row.get_by_role("link", name="Cancel").focus()

    make_worker()
    expect(row.get_by_role("progressbar")).to_be_visible()
    expect(row).to_contain_text("running")
    assert page.evaluate("document.activeElement.textContent") == "Cancel", "the focus stays"
    gate.touch()
    expect(row).to_contain_text("Passed the gate")
    expect(row).to_contain_text("succeeded")
    expect(row.get_by_role("link", name="Cancel")).to_have_count(0)
    expect(page.locator("[data-live-note]")).to_have_text("Nothing here is at work any more.")
    assert page.evaluate("window.stillTheSamePage") is True


def test_what_a_run_ends_with_is_text_in_its_row(open_page: OpenPage) -> None:
    hostile = '<img src="/nowhere" onerror="document.title = 1"><b>index</b>'
    run = running_run()
    page = open_page()
    page.goto("/admin/maintenance/run/")
    row = page.get_by_role("row", name="Check disk space")
    expect(row).to_contain_text("running")
    page.evaluate("window.stillTheSamePage = true")

    ledger.finish(run, RunState.SUCCEEDED, Report(title="Disk space", summary=hostile), "")

    expect(row).to_contain_text(hostile)
    expect(row.locator(".field-short_summary").locator("img, b")).to_have_count(0)
    assert page.evaluate("window.stillTheSamePage") is True


def look_away(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_task_is_run_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/admin/maintenance/run/run-now/?task=check_disk_space")

    page.get_by_label("Target").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "Run now"
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")

    eventually(lambda: Run.objects.filter(actor="ann").count() == 1, 10, "the run is recorded")
