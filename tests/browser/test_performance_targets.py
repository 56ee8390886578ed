"""Performance targets as a person sees them: a proposal, and the one click that accepts it."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from maintenance.core.runs.accepted_targets import configuration_in_force
from maintenance.models import StoredReport
from tests.browser.accessibility import faults
from tests.browser.conftest import OpenPage
from tests.ledger_rows import finished_run

PROPOSAL = {
    "setting": "response_p95_ms",
    "target": "",
    "name": "response time, p95",
    "current": 500.0,
    "value": 200.0,
    "current_in_words": "500 ms",
    "value_in_words": "200 ms",
    "kind": "tighter",
    "reason": "it held on all 90 measured days, and 19 of 20 were at 160 ms or better",
}


def test_a_proposal_is_accepted_by_one_click(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    run = finished_run("review_performance_targets", "", summary="1 proposal.")
    StoredReport.objects.filter(run=run).update(state={"proposals": [PROPOSAL]})
    page = open_page(width=390)
    page.goto("/admin/maintenance/acceptedtarget/")
    expect(page.get_by_text("it held on all 90 measured days")).to_be_visible()
    keep_picture(page, "performance-targets")
    assert faults(page) == []
    page.get_by_role("button", name="Accept 200 ms").click()
    expect(page.get_by_text("is 200 ms from now on")).to_be_visible()
    expect(page.get_by_role("row", name="response_p95_ms")).to_contain_text("in force")
    keep_picture(page, "performance-targets-accepted")
    assert configuration_in_force().thresholds.response_p95_ms == 200
