"""The lists as a person sees them: on a desk and on a phone, in the light and in the dark."""

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import Page, expect

from maintenance.conf import configuration
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import Run, RunState
from tests.browser.conftest import OpenPage
from tests.ledger_rows import finished_run, queued_run, running_run, warning

DISK = "maintenance: weekly check_disk_space on local"


def some_history() -> Run:
    """Write a week of runs; return one with findings of every severity."""
    for day in range(5):
        finished_run("vacuum_analyze", "default", age=timedelta(days=day + 1), checklist="monthly")
    finished_run(
        "review_slow_queries",
        "default",
        state=RunState.FAILED,
        reason="The server db.example:5432 does not answer.",
        summary="Failed after 3 attempts: the server db.example:5432 does not answer.",
        findings=[
            Finding("run-failed", Severity.CRITICAL, "default", "The server does not answer.")
        ],
    )
    finished_run(
        "trim_streams",
        "main",
        state=RunState.SKIPPED,
        reason="Another run of trim_streams on main has been at work since 02:30.",
        summary="Skipped: another run of trim_streams on main has been at work since 02:30.",
    )
    running_run("report_table_bloat", "default")
    queued_run("check_data_integrity", "default", actor="ann")
    long = "public.library_status_with_a_name_that_takes_room_on_every_screen_pkey"
    return finished_run(
        findings=[
            Finding(
                "disk-space",
                Severity.CRITICAL,
                "/var/lib/postgresql",
                "The file system is 96 % full and is full in 3 days at this pace.",
                {"used_bytes": 96 * 2**30, "size_bytes": 100 * 2**30, "used_ratio": 0.96},
                advice="Free space, or enlarge the volume.",
                commands=("du -xh /var/lib/postgresql | sort -h | tail",),
            ),
            warning(),
            Finding("disk-space", Severity.INFO, long, "Nothing to do, but good to know."),
            unavailable("inodes", "/srv", "the number of inodes", "a file system that counts them"),
            Finding("disk-space", Severity.OK, "/", "12 % of 100 GB are used."),
        ],
        summary="1 of 4 file systems needs attention.",
        checklist="weekly",
    )


def test_the_lists_lead_to_each_other(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    some_history()
    page = open_page()

    page.goto("/admin/maintenance/run/")
    keep_picture(page, "runs")
    expect(page.locator("#result_list")).to_contain_text("1 of 4 file systems needs attention.")
    page.goto("/admin/maintenance/storedfinding/")
    keep_picture(page, "findings")
    row = page.get_by_role("row", name="is 96 % full")
    expect(row).to_contain_text("critical")
    row.get_by_role("link", name="Check disk space").click()
    expect(page.locator(".report-finding:target")).to_contain_text("is 96 % full")


def test_a_paused_schedule_looks_paused(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    some_history()
    sync_schedules(configuration())
    page = open_page()
    page.goto("/admin/maintenance/schedulerow/")
    row = page.get_by_role("row", name="Monitor disk space usage")
    expect(row).to_contain_text("At 04:20, only on Monday")
    expect(row).to_contain_text("in ")
    looks = "row => getComputedStyle(row).background + getComputedStyle(row.cells[1]).fontStyle"
    before = row.evaluate(looks)

    row.get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("pause")
    page.locator("button[name=index]").click()
    expect(page.get_by_role("heading", name="Pause this schedule?")).to_be_visible()
    keep_picture(page, "pause")
    page.get_by_label("Reason").fill("the disk is being replaced")
    page.get_by_role("button", name="Pause").click()

    expect(page.get_by_text("1 schedule is paused.")).to_be_visible()
    expect(row).to_contain_text("the disk is being replaced · ann")
    expect(row).to_contain_text("not while paused")
    assert row.evaluate(looks) != before
    keep_picture(page, "schedules")

    row.get_by_role("link", name="Run now").click()
    expect(page.get_by_role("heading", name="Start “Check disk space”")).to_be_visible()


def test_several_schedules_are_run_after_a_look_at_them(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    sync_schedules(configuration())
    page = open_page()
    page.goto("/admin/maintenance/schedulerow/")
    for line in ("Monitor disk space usage", "Trim streams periodically"):
        page.get_by_role("row", name=line).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("run_selected")
    page.locator("button[name=index]").click()
    keep_picture(page, "run-selected")
    assert page.get_by_label("Dry run").is_checked()
    page.get_by_role("button", name="Run these 2 now").click()

    expect(page.get_by_text("2 runs are started.")).to_be_visible()
    assert {run.short_task for run in Run.objects.all()} == {"check_disk_space", "trim_streams"}
