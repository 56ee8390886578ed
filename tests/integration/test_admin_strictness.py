"""No page of ours needs more of a browser than ``default-src 'self'`` allows."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import ScheduleRow
from tests.ledger_rows import finished_run, queued_run, running_run, warning


class InlineFinder(HTMLParser):
    """Collects what a strict Content-Security-Policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.refused.append(f"<{tag}>")
        self.refused += [
            f"<{tag} {name}>" for name in given if name == "style" or name.startswith("on")
        ]
        for name in ("src", "href", "action"):
            value = given.get(name) or ""
            if value.startswith(("javascript:", "data:")):
                self.refused.append(f"<{tag} {name}={value[:20]}>")
            if tag in {"script", "link", "img"} and "//" in value:
                self.refused.append(f"<{tag} {name}={value[:40]}>")


def pages(client: Client) -> Iterator[tuple[str, Any]]:
    finished = finished_run(findings=[warning()])
    running, queued = running_run("check_data_integrity", "default"), queued_run()
    run_now = "/admin/maintenance/run/run-now/"
    for url in (
        "/admin/maintenance/",
        "/admin/maintenance/run/",
        f"/admin/maintenance/run/{finished.id}/change/",
        f"/admin/maintenance/run/{running.id}/change/",
        f"/admin/maintenance/run/{queued.id}/cancel/",
        "/admin/maintenance/storedfinding/",
        "/admin/maintenance/schedulerow/",
        "/admin/maintenance/schedulerow/calendar/",
        f"/admin/maintenance/schedulerow/calendar/?day={timezone.localdate()}&q=trim",
        run_now,
        f"{run_now}?task=vacuum_analyze",
        f"{run_now}?task=vacuum_analise",
    ):
        yield url, client.get(url)
    yield "confirmation", client.post(f"{run_now}?task=trim_streams", {"target": "main"})
    yield (
        "confirmation of a pause",
        client.post(
            "/admin/maintenance/schedulerow/",
            {
                "action": "pause",
                "_selected_action": list(ScheduleRow.objects.values_list("pk", flat=True)),
            },
        ),
    )
    yield (
        "confirmation of several",
        client.post(
            "/admin/maintenance/schedulerow/",
            {
                "action": "run_selected",
                "_selected_action": list(ScheduleRow.objects.values_list("pk", flat=True)),
            },
        ),
    )


@pytest.mark.usefixtures("db")
def test_no_page_has_inline_code_or_style_nor_asks_another_host(operator: Client) -> None:
    sync_schedules(configuration())
    found: dict[str, list[str]] = {}
    for name, answer in pages(operator):
        assert answer.status_code in {200, 404}, name
        finder = InlineFinder()
        finder.feed(answer.content.decode())
        found[name] = finder.refused

    assert len(found) == 15
    assert {name: refused for name, refused in found.items() if refused} == {}


def test_every_field_of_a_form_has_a_label(operator: Client) -> None:
    text = operator.get("/admin/maintenance/run/run-now/?task=vacuum_analyze").content.decode()

    ids = [part.partition('"')[0] for part in text.split(' id="id_')[1:]]
    labelled = {name for name in ids if f'for="id_{name}"' in text}
    fields = {name for name in ids if not name.endswith("_helptext")}
    assert "option-dry_run" in fields
    assert fields == labelled
