"""Every page of ours in a real browser, in the light and in the dark, on a desk and on a phone.

Each is loaded once and looked at four times: what a strict policy refuses, who else is asked for anything, and
what does not fit are counted, and have to be none.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Page

from maintenance.conf import configuration
from maintenance.core.attention.mutes import mute
from maintenance.core.scheduling.pausing import pause
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import (
    Blackout,
    Notification,
    NotificationKind,
    NotificationState,
    Run,
    RunState,
    ScheduleRow,
    StoredFinding,
)
from tests.browser.accessibility import faults
from tests.browser.conftest import OpenPage
from tests.browser.test_lists import some_history
from tests.ledger_rows import finished_run

ADMIN = "/admin/maintenance/"
RUN_NOW = f"{ADMIN}run/run-now/"
VIEWS = [("light", 1280), ("light", 390), ("dark", 1280), ("dark", 390)]
#: axe-core takes a second a look; between them these have every colour and both layouts.
AXE_VIEWS = [("light", 1280), ("dark", 390)]

#: What a person finds where there is nothing yet.
EMPTY = {
    "run/": "Nothing has run yet.",
    "run/?state=failed": "Nothing fits what is chosen above.",
    "storedfinding/": "No run has found anything yet.",
    "schedulerow/": "There are no schedules yet",
    "schedulepolicy/": "the defaults hold",
    "blackout/": "There is no blackout",
    "acceptedtarget/": "The targets of the configuration are in force.",
}

_NOTE_VIOLATIONS = """
window.refused = [];
document.addEventListener("securitypolicyviolation", event =>
    window.refused.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Inspector:
    """Looks at one page after the other, and counts what is wrong with them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.found: dict[str, list[str]] = {}
        self.looks = 0
        self._hosts: set[str] = set()
        page.add_init_script(_NOTE_VIOLATIONS)
        page.on("request", lambda request: self._hosts.add(urlsplit(request.url).netloc))

    def look_at(self, name: str) -> None:
        """Look at the page as it is, four times."""
        for scheme, width in VIEWS:
            self._page.set_viewport_size({"width": width, "height": 900})
            self._page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            # Django's links change their colours slowly: halfway they have another contrast.
            self._page.evaluate(
                "Promise.allSettled(document.getAnimations().map(each => each.finished))"
            )
            needed = self._page.evaluate("document.documentElement.scrollWidth")
            wrong = [f"needs {needed} px"] if needed > width else []
            if (scheme, width) in AXE_VIEWS:
                wrong += faults(self._page)
            if wrong:
                self.found[f"{name}, {scheme}, {width} px"] = wrong
            self.looks += 1
        own = urlsplit(self._page.url).netloc
        strangers = [f"asks {host}" for host in self._hosts - {own, ""}]
        if refused := [*self._page.evaluate("window.refused"), *strangers]:
            self.found[name] = refused


def pages_of_a_crew_at_work() -> dict[str, str]:
    """Fill a ledger; return the address of each page, by name."""
    run = some_history()
    sync_schedules(configuration())
    plan = finished_run("trim_streams", "main", summary="8 members would be removed.")
    Run.objects.filter(id=plan.id).update(options={"dry_run": True})
    Run.objects.filter(state=RunState.RUNNING).update(
        phase="public.library_status",
        progress_done=7,
        progress_total=31,
        progress_unit="tables",
        progress_since=F("heartbeat_at") - timedelta(minutes=2),
        progress_from=0,
    )
    running = Run.objects.get(state=RunState.RUNNING)
    paused, other = ScheduleRow.objects.filter(name__startswith="maintenance: weekly")[:2]
    pause(paused, "ann", "the disk is being replaced")
    now = timezone.now()
    Blackout.objects.create(
        reason="stocktaking", starts_at=now + timedelta(days=2), ends_at=now + timedelta(days=3)
    )
    muted, finding = StoredFinding.objects.filter(run=run).order_by("id")[:2]
    week = now + timedelta(days=7)
    mute(muted, reason="a larger disk is ordered, and comes next week", by="ann", until=week)
    some_messages()
    return {
        "dashboard": ADMIN,
        "dashboard-target": f"{ADMIN}?target=default",
        "runs": f"{ADMIN}run/",
        "run": f"{ADMIN}run/{run.id}/change/",
        "run-at-work": f"{ADMIN}run/{running.id}/change/",
        "run-plan": f"{ADMIN}run/{plan.id}/change/",
        "run-cancel": f"{ADMIN}run/{running.id}/cancel/",
        "run-choose": RUN_NOW,
        "run-form": f"{RUN_NOW}?task=vacuum_analyze",
        "findings": f"{ADMIN}storedfinding/",
        "finding-mute": f"{ADMIN}storedfinding/{finding.pk}/mute/",
        "muted": f"{ADMIN}mutedfinding/",
        "messages": f"{ADMIN}notification/",
        "schedules": f"{ADMIN}schedulerow/",
        "schedule-pause": f"{ADMIN}schedulerow/{other.pk}/pause/",
        "schedule-resume": f"{ADMIN}schedulerow/{paused.pk}/resume/",
        "calendar": f"{ADMIN}schedulerow/calendar/",
        "calendar-day": f"{ADMIN}schedulerow/calendar/?day={timezone.localdate()}",
        "policies": f"{ADMIN}schedulepolicy/",
        "blackouts": f"{ADMIN}blackout/",
        "targets": f"{ADMIN}acceptedtarget/",
    }


def some_messages() -> None:
    """Write a message in each state, the titles as long as those of alarms are."""
    now = timezone.now()
    for state in NotificationState:
        Notification.objects.create(
            kind=NotificationKind.ALARM,
            key=f"alarm:{state.value}",
            channel="apprise:on-call",
            title="Critical: disk-space on local (/var/lib/postgresql/16/main/pg_wal)",
            state=state,
            created_at=now - timedelta(hours=1),
            due_at=now + timedelta(minutes=5),
            sent_at=now if state == NotificationState.SENT else None,
            reason="smtp.example:587 does not answer." * (state == NotificationState.FAILED),
        )


def test_no_page_is_refused_anything_asks_a_stranger_or_is_too_wide(
    open_page: OpenPage, settings: Any
) -> None:
    databases = {"default": {"alias": "default", "allow": ["reindex"]}}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "databases": databases}
    pages = pages_of_a_crew_at_work()
    page = open_page()
    inspector = Inspector(page)
    for name, url in pages.items():
        answer = page.goto(url)
        assert answer is not None
        assert answer.status == 200, name
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        inspector.look_at(name)
    page.goto(f"{RUN_NOW}?task=reindex_bloated_indexes")
    page.get_by_label("Dry run").uncheck()
    page.get_by_role("button", name="Run now").click()
    page.get_by_label("I have read what it does").check()
    inspector.look_at("run-confirm")

    assert inspector.looks == (len(pages) + 1) * len(VIEWS)
    assert inspector.found == {}


@pytest.mark.parametrize("view", [("light", 1280), ("dark", 390)], ids=str)
def test_a_list_without_rows_says_what_that_means(
    open_page: OpenPage, keep_picture: Callable[[Page, str], None], view: tuple[str, int]
) -> None:
    page = open_page(scheme=view[0], width=view[1])
    found = {}
    for address, sentence in EMPTY.items():
        page.goto(f"{ADMIN}{address}")
        assert sentence in page.locator("#content-main").inner_text(), address
        keep_picture(page, f"empty-{address.partition('/')[0]}-{view[0]}-{view[1]}")
        found[address] = faults(page)

    assert found == {address: [] for address in EMPTY}
