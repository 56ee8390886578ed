"""The list of runs and the page of one run."""

import json
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from maintenance.admin import base as admin_base
from maintenance.core.findings import Finding, Severity
from maintenance.core.runs import ledger
from maintenance.models import Run, RunState, StoredReport
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run, queued_run, running_run, warning

RUNS = "/admin/maintenance/run/"
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def page(run: Run) -> str:
    return reverse("admin:maintenance_run_change", args=[run.id])


def part_of(client: Client, run: Run, name: str) -> str:
    """Return what the script of the run's page gets for one part of it."""
    answer = client.get(f"{RUNS}{run.id}/progress/").json()
    return str(answer["runs"][str(run.id)]["parts"][name])


def test_the_list_says_state_task_target_and_verdict_in_words(operator: Client) -> None:
    finished_run(findings=[warning()], summary="One of two file systems is nearly full.")

    text = operator.get(RUNS).content.decode()

    assert "succeeded" in text
    assert "Check disk space" in text
    assert "One of two file systems is nearly full." in text
    assert "maintenance-is-warning" in text


def test_the_list_costs_the_same_few_queries_however_many_runs_there_are(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        finished_run(age=timedelta(hours=number))

    with django_assert_max_num_queries(9):
        answer = operator.get(RUNS)

    assert answer.content.decode().count('class="field-state_with_sign"') == 50


def test_the_list_says_that_there_are_more_than_it_counted_and_counts_what_is_chosen(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_base, "MOST_COUNTED", 2)
    for number in range(4):
        finished_run(age=timedelta(hours=12 * number))

    whole, chosen = (operator.get(url).content.decode() for url in (RUNS, f"{RUNS}?days=1"))

    assert "more than 2 runs: choose a filter to see how many" in whole
    assert "more than" not in chosen
    assert "2 runs" in chosen


def test_the_list_offers_neither_adding_nor_deleting(operator: Client) -> None:
    run = finished_run()

    text = operator.get(RUNS).content.decode()

    assert "/run/add/" not in text
    assert "delete_selected" not in text
    assert operator.get(f"{RUNS}add/").status_code == 403
    assert operator.post(f"{RUNS}{run.id}/delete/", {"post": "yes"}).status_code == 403
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=failed", {"failed"}),
        ("severity=warning", {"warned"}),
        ("checklist=weekly", {"weekly"}),
        ("trigger=admin", {"by hand"}),
        ("task=maintenance.vacuum_analyze", {"vacuum"}),
        ("target=default", {"vacuum"}),
        ("q=by+hand", {"by hand"}),
    ],
)
def test_a_filter_keeps_the_runs_that_it_names(
    operator: Client, query: str, found: set[str]
) -> None:
    finished_run(summary="failed", state=RunState.FAILED, reason="no route")
    finished_run(summary="warned", findings=[warning()])
    finished_run(summary="weekly", checklist="weekly")
    finished_run(summary="by hand", actor="bob")
    finished_run("vacuum_analyze", "default", summary="vacuum")

    shown = operator.get(f"{RUNS}?{query}").context["cl"].result_list

    assert {run.summary for run in shown} == found


@pytest.mark.parametrize(
    ("name", "count"),
    [(name, 0) for name in ("state", "severity", "checklist", "trigger", "task", "target")]
    + [("days", 1), ("q", None)],  # Django takes a NUL out of a search
)
def test_a_value_that_no_row_can_have_is_no_error(
    operator: Client, name: str, count: int | None
) -> None:
    finished_run()

    for value in ("\0", "gone"):
        answer = operator.get(RUNS, {name: value})
        assert answer.status_code == 200
        assert count is None or len(answer.context["cl"].result_list) == count


def test_runs_of_a_target_that_is_gone_are_found_by_their_address(operator: Client) -> None:
    finished_run(target="of-before")
    finished_run()

    shown = operator.get(RUNS, {"target": "of-before"}).context["cl"].result_list

    assert [run.target for run in shown] == ["of-before"]


def test_a_run_is_found_by_its_id(operator: Client) -> None:
    wanted = finished_run()
    finished_run()

    shown = operator.get(RUNS, {"q": str(wanted.id)}).context["cl"].result_list

    assert [run.id for run in shown] == [wanted.id]


def test_the_page_of_a_finished_run_shows_its_report_and_its_neighbours(operator: Client) -> None:
    before = finished_run(age=timedelta(days=2))
    run = finished_run(findings=[warning()], age=timedelta(days=1))
    after = finished_run()
    finished_run("check_data_integrity", "default")

    text = operator.get(page(run)).content.decode()

    assert "The disk is 85 % full." in text
    assert f'href="{page(before)}" rel="prev"' in text
    assert f'href="{page(after)}" rel="next"' in text
    assert "run_progress.js" not in text


def test_the_page_of_a_run_costs_few_queries_however_many_findings_it_has(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = finished_run(findings=[warning(subject=f"/mount/{n}") for n in range(150)])

    # Two for the lives of findings, two for what persons did to the run.
    with django_assert_max_num_queries(13):
        answer = operator.get(page(run))

    assert answer.content.decode().count("The disk is 85 % full.") == 150


def test_only_a_run_that_a_person_did_something_to_leads_to_its_log(operator: Client) -> None:
    untouched, cancelled = finished_run(), queued_run()
    operator.post(f"{page(cancelled)[: -len('change/')]}cancel/")

    assert "/history/" not in operator.get(page(untouched)).content.decode()
    assert "/history/" in operator.get(page(cancelled)).content.decode()


def test_a_task_of_the_site_itself_keeps_its_name_and_says_that_nobody_watched(
    operator: Client,
) -> None:
    run = queued_run()
    Run.objects.filter(id=run.id).update(
        task="library.send_newsletter", target="", state=RunState.SENT
    )

    text = operator.get(page(run)).content.decode()

    assert "<h1>library.send_newsletter</h1>" in text
    assert "how it ended is not known here" in text


def test_failed_attempts_are_told_with_their_reasons(operator: Client) -> None:
    run = running_run()
    ledger.record_failed_attempt(run, "connection refused")
    ledger.requeue(run, 60.0)

    text = operator.get(page(run)).content.decode()

    assert "Attempt 1" in text
    assert "connection refused" in text
    assert "waiting for its next attempt" in text


def test_what_a_target_names_itself_is_never_markup(operator: Client) -> None:
    finding = Finding("disk-space", Severity.WARNING, HOSTILE, HOSTILE, advice=HOSTILE)
    run = finished_run(findings=[finding], summary=HOSTILE, actor=HOSTILE)
    Run.objects.filter(id=run.id).update(
        target=HOSTILE[:100], failures=[{"attempt": 1, "at": HOSTILE, "reason": HOSTILE}]
    )
    live = running_run("check_data_integrity", "default")
    Run.objects.filter(id=live.id).update(phase=HOSTILE[:200], worker=HOSTILE)

    pages = [
        operator.get(url).content.decode()
        for url in (RUNS, page(run), page(live), "/admin/maintenance/storedfinding/?shown=all")
    ]
    progress = part_of(operator, live, "progress")

    for text in (*pages, progress):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "&lt;script&gt;alert" in text


def test_what_ends_while_somebody_looks_is_never_markup(operator: Client) -> None:
    waiting = queued_run()
    ended = finished_run("vacuum_analyze", "default", summary=HOSTILE)
    Run.objects.filter(id=waiting.id).update(
        available_at=timezone.now() + timedelta(hours=1), reason=HOSTILE
    )

    answer = operator.get(f"{RUNS}progress/", {"run": [str(waiting.id), str(ended.id)]}).json()

    for run in (waiting, ended):
        shown = answer["runs"][str(run.id)]["parts"]["summary"]
        assert "<script" not in shown
        assert "<img" not in shown
        assert "&lt;script&gt;alert" in shown


@pytest.mark.parametrize("key", [str(uuid.UUID(int=1)), "no-id-at-all", "1"])
def test_a_run_that_does_not_exist_is_not_found(operator: Client, key: str) -> None:
    assert operator.get(f"{RUNS}{key}/change/").status_code == 404


def test_pages_of_runs_are_closed_without_the_permission(client_with: ClientFactory) -> None:
    run = finished_run()
    client = client_with("view_user")

    for url in (
        RUNS,
        page(run),
        f"{RUNS}{run.id}/progress/",
        f"{RUNS}{run.id}/report/json/",
        f"{RUNS}{run.id}/cancel/",
    ):
        answer = client.get(url)
        assert answer.status_code == 403
        assert "You may not" in answer.content.decode()


def test_strangers_are_sent_to_the_login(db: None) -> None:
    run = finished_run()

    for url in (RUNS, page(run), f"{RUNS}{run.id}/report/json/", f"{RUNS}run-now/"):
        answer = Client().get(url)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


# --- Progress ----------------------------------------------------------------------------------


def test_the_page_of_a_running_run_asks_for_its_progress(operator: Client) -> None:
    run = running_run()
    ledger.heartbeat(
        run, phase="weighing", progress_done=250, progress_total=1000, progress_unit="keys"
    )

    text = operator.get(page(run)).content.decode()
    answer = operator.get(f"{RUNS}{run.id}/progress/").json()

    assert f'data-live-url="{RUNS}{run.id}/progress/" data-live-reload' in text
    assert "run_progress.js" in text
    assert answer["runs"][str(run.id)]["finished"] is False
    assert answer["announcement"] == "weighing"
    assert 'max="1000" value="250"' in part_of(operator, run, "progress")
    assert "250 of 1,000 keys (25.0 %)" in part_of(operator, run, "progress")


def test_a_run_that_does_not_know_its_total_has_a_bar_without_a_value(operator: Client) -> None:
    run = running_run()
    ledger.heartbeat(run, phase="looking", progress_done=7, progress_unit="keys")

    html = part_of(operator, run, "progress")

    assert "<progress" in html
    assert "value=" not in html
    assert "7 keys" in html


def test_rate_and_time_left_are_told_from_where_the_count_began(operator: Client) -> None:
    run = running_run()
    ledger.heartbeat(
        run, counts_anew=True, progress_from=100, progress_done=100, progress_unit="keys"
    )
    assert "keys/" not in part_of(operator, run, "progress")
    run.refresh_from_db()
    assert run.progress_since is not None
    Run.objects.filter(id=run.id).update(
        heartbeat_at=run.progress_since + timedelta(seconds=30),
        progress_done=400,
        progress_total=1000,
    )

    for html in (part_of(operator, run, "progress"), operator.get(RUNS).content.decode()):
        assert "400 of 1,000 keys (40.0 %) · 10 keys/s, about 1 min left" in html


def test_progress_of_a_finished_run_says_only_that(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = finished_run()

    with django_assert_max_num_queries(5):
        answer = operator.get(f"{RUNS}{run.id}/progress/").json()
    assert answer["runs"] == {str(run.id): {"finished": True, "parts": {}}}


def test_the_list_keeps_its_rows_fresh_with_the_same_few_queries(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    at_work = running_run()
    waiting = [queued_run("trim_streams", f"server-{number}") for number in range(20)]
    ended = finished_run("vacuum_analyze", "default", summary="All vacuumed.")
    text = operator.get(RUNS).content.decode()
    assert f'data-live-url="{RUNS}progress/"' in text
    shown = {run.id for run in (at_work, *waiting)}
    assert {str(run) for run in shown} == set(re.findall(r'data-live-run="([^"]+)"', text))

    ids = [str(run.id) for run in (at_work, *waiting, ended)]
    with django_assert_max_num_queries(5):
        answer = operator.get(f"{RUNS}progress/", {"run": [*ids, "no-id"]}).json()

    assert set(answer["runs"]) == set(ids)
    assert "<progress" in answer["runs"][str(at_work.id)]["parts"]["summary"]
    assert "/cancel/" in answer["runs"][str(waiting[0].id)]["parts"]["cancel"]
    parts = answer["runs"][str(ended.id)]["parts"]
    assert parts["summary"] == "All vacuumed."
    assert "/cancel/" not in parts["cancel"]
    assert answer["announcement"] == "Vacuum analyze on default has ended: succeeded."


def test_a_list_on_which_all_has_ended_asks_for_nothing(operator: Client) -> None:
    finished_run()

    text = operator.get(RUNS).content.decode()

    assert "run_progress.js" not in text
    assert "data-live" not in text


def test_a_worker_that_fell_silent_is_named(operator: Client) -> None:
    run = running_run()
    Run.objects.filter(id=run.id).update(
        heartbeat_at=run.heartbeat_at - timedelta(seconds=ledger.LEASE_SECONDS + 5)
    )

    assert "has not been heard of" in part_of(operator, run, "progress")
    assert "its worker is silent" in operator.get(RUNS).content.decode()


# --- Downloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix", "content_type"),
    [
        ("json", ".json", "application/json"),
        ("markdown", ".md", "text/markdown; charset=utf-8"),
        ("text", ".txt", "text/plain; charset=utf-8"),
        ("html", ".html", "text/html; charset=utf-8"),
        ("csv", ".csv", "text/csv; charset=utf-8"),
    ],
)
def test_a_report_is_downloaded_in_each_format(
    operator: Client, name: str, suffix: str, content_type: str
) -> None:
    run = finished_run(findings=[warning()])

    answer = operator.get(f"{RUNS}{run.id}/report/{name}/")

    assert answer.headers["Content-Type"] == content_type
    expected = f'{run.queued_at:%Y-%m-%d}-check_disk_space-local-{str(run.id)[:8]}{suffix}"'
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{expected}'
    assert "The disk is 85 % full." in answer.content.decode()


def test_a_downloaded_json_is_the_whole_document(operator: Client) -> None:
    run = finished_run(findings=[warning()])

    document = json.loads(operator.get(f"{RUNS}{run.id}/report/json/").content)

    assert document["run"]["run_id"] == str(run.id)
    assert document["report"]["findings"][0]["code"] == "disk-space"


def test_a_file_name_holds_nothing_that_a_header_minds(operator: Client) -> None:
    run = finished_run()
    Run.objects.filter(id=run.id).update(target='a"b\r\nc/ü')

    disposition = operator.get(f"{RUNS}{run.id}/report/json/").headers["Content-Disposition"]

    assert "a_b_c_" in disposition
    assert disposition.count('"') == 2


def test_there_is_no_download_before_the_end_nor_in_an_unknown_format(operator: Client) -> None:
    finished, running = finished_run(), running_run()

    assert operator.get(f"{RUNS}{finished.id}/report/jsn/").status_code == 404
    assert operator.get(f"{RUNS}{running.id}/report/json/").status_code == 404


def test_a_report_of_another_release_says_who_can_read_it(operator: Client) -> None:
    run = finished_run()
    StoredReport.objects.filter(run=run).update(schema_version=99)

    text = operator.get(page(run)).content.decode()

    assert "schema version 99" in text


# --- Cancelling --------------------------------------------------------------------------------


@pytest.fixture
def log_store(tmp_path: Path, settings: object) -> Path:
    """The folder that reports are written to in this test."""
    storages = dict(settings.STORAGES)  # type: ignore[attr-defined]
    storages["maintenance"] = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path)},
    }
    settings.STORAGES = storages  # type: ignore[attr-defined]
    return tmp_path


def test_cancelling_asks_first(operator: Client) -> None:
    run = queued_run()

    text = operator.get(f"{RUNS}{run.id}/cancel/").content.decode()

    run.refresh_from_db()
    assert "It will not begin." in text
    assert run.state == RunState.QUEUED


def test_a_queued_run_is_cancelled_at_once_with_a_report_that_names_the_person(
    operator: Client, log_store: Path
) -> None:
    run = queued_run()

    answer = operator.post(f"{RUNS}{run.id}/cancel/", follow=True)

    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    assert run.reason == "Cancelled by ann while it was queued."
    assert "Cancelled by ann" in answer.content.decode()
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Cancel requested."]
    assert len(run.report.files) > 0
    assert all((log_store / name).exists() for name in run.report.files)


def test_a_running_run_is_asked_to_stop(operator: Client) -> None:
    run = running_run()

    answer = operator.post(f"{RUNS}{run.id}/cancel/", follow=True)

    run.refresh_from_db()
    text = answer.content.decode()
    assert run.cancel_requested
    assert run.state == RunState.RUNNING
    assert ledger.heartbeat(run) == "ann"
    assert "Cancel requested" in text
    assert f"{RUNS}{run.id}/cancel/" not in text


def test_a_finished_run_stays_as_it_is(operator: Client) -> None:
    run = finished_run()

    answer = operator.post(f"{RUNS}{run.id}/cancel/", follow=True)

    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED
    assert not run.cancel_requested
    assert "has ended already" in answer.content.decode()
    assert not LogEntry.objects.exists()


def test_whoever_may_not_look_at_runs_is_shown_none_to_cancel(client_with: ClientFactory) -> None:
    run = queued_run()
    answer = client_with("cancel_run").get(f"/admin/maintenance/run/{run.id}/cancel/")

    assert answer.status_code == 403
    assert "Can view run" in answer.content.decode()


def test_whoever_may_not_cancel_sees_no_button_and_is_refused(client_with: ClientFactory) -> None:
    run = queued_run()
    client = client_with("view_run")

    assert f"{RUNS}{run.id}/cancel/" not in client.get(page(run)).content.decode()
    assert client.post(f"{RUNS}{run.id}/cancel/").status_code == 403
    run.refresh_from_db()
    assert run.state == RunState.QUEUED


# --- Flower ------------------------------------------------------------------------------------


def test_flower_is_linked_where_it_is_configured(
    operator: Client, settings: object, with_flower: Callable[[str], None]
) -> None:
    run = finished_run()
    assert "Flower" not in operator.get("/admin/maintenance/").content.decode()
    assert "Flower" not in operator.get(page(run)).content.decode()

    with_flower("https://crew.example/flower/")

    assert "https://crew.example/flower/" in operator.get("/admin/maintenance/").content.decode()
    assert f"https://crew.example/flower/task/{run.id}" in operator.get(page(run)).content.decode()


@pytest.fixture
def with_flower(settings: object) -> Callable[[str], None]:
    """Configure Flower's address for the rest of a test."""

    def configure(url: str) -> None:
        settings.MAINTENANCE = {**settings.MAINTENANCE, "flower_url": url}  # type: ignore[attr-defined]

    return configure
