"""Metrics and API for programs: closed without a token, right with one, and never telling it."""

import json
import logging
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from maintenance.commands.health.registry import CHECKS
from maintenance.commands.measuring import not_measured
from maintenance.conf import parse_configuration
from maintenance.core.errors import ConfigurationError, MissingRights
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.machines import health
from maintenance.machines.health import WORKING, answers, said
from maintenance.machines.tokens import closed_pages
from maintenance.models import Leader, Run, RunState, StoredSample, Trigger
from tests.command_line import DOWN, PASSWORD
from tests.ledger_rows import finished_run, queued_run, running_run, warning

pytestmark = pytest.mark.django_db

METRICS = "/maintenance/metrics"
API = "/maintenance/api/v1/"
TOKENS = {name: f"{name}-" + "0123456789abcdef" * 2 for name in ("metrics", "read", "run")}

Ask = Callable[..., Any]


@pytest.fixture
def tokens(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tokens, each in its variable."""
    for name, token in TOKENS.items():
        monkeypatch.setenv(f"TOKEN_{name.upper()}", token)
    access = {name: f"env:TOKEN_{name.upper()}" for name in TOKENS}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "access": access}


@pytest.fixture
def ask() -> Ask:
    """Ask with a token by name: ``ask("read", "runs/")``; a body is sent by POST."""
    client = Client(enforce_csrf_checks=True)

    def answer(token: str, path: str, body: Any = None, **query: str) -> Any:
        url = path if path.startswith("/") else f"{API}{path}"
        headers = {"authorization": f"Bearer {TOKENS.get(token, token)}"} if token else {}
        if body is None:
            return client.get(url, query, headers=headers)
        return client.post(url, body, content_type="application/json", headers=headers)

    return answer


def scrape(ask: Ask) -> dict[str, dict[tuple[str, ...], float]]:
    answer = ask("metrics", METRICS)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        family.name: {tuple(s.labels.values()): s.value for s in family.samples}
        for family in text_string_to_metric_families(answer.content.decode())
    }


# --- Who may ask -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [METRICS, f"{API}runs/", f"{API}findings/", f"{API}openapi.json"])
def test_without_a_configured_token_there_is_no_such_page(ask: Ask, path: str) -> None:
    assert ask("", path).status_code == 404
    assert ask("read", path).status_code == 404


@pytest.mark.parametrize(
    ("path", "opened_by"),
    [
        (METRICS, {"metrics"}),
        (f"{API}runs/", {"read"}),
        (f"{API}findings/", {"read"}),
        (f"{API}openapi.json", {"read", "run"}),
    ],
)
def test_each_token_opens_what_it_is_for(
    ask: Ask, tokens: None, path: str, opened_by: set[str]
) -> None:
    for name in TOKENS:
        assert ask(name, path).status_code == (200 if name in opened_by else 401), name
    closed = ask("", path)
    assert closed.status_code == 401
    assert closed.headers["WWW-Authenticate"].startswith("Bearer")
    assert ask(f"{TOKENS['read']}x", path).status_code == 401
    assert ask("ümlaut", path).status_code == 401


def test_only_the_token_to_run_starts_anything(ask: Ask, tokens: None) -> None:
    order = {"task": "check_disk_space", "target": "local"}

    assert ask("", "runs/", order).status_code == 401
    assert ask("read", "runs/", order).status_code == 401
    assert not Run.objects.exists()


@pytest.mark.parametrize("token", [None, "short", "0123456789 0123456789 with blanks"])
def test_a_token_that_cannot_be_used_closes_the_page_and_is_never_said(
    ask: Ask,
    tokens: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    token: str | None,
) -> None:
    if token is None:
        monkeypatch.delenv("TOKEN_READ")
    else:
        monkeypatch.setenv("TOKEN_READ", token)
    with caplog.at_level(logging.ERROR, "maintenance.machines"):
        answer = ask(token or "", "runs/")

    assert answer.status_code == 503
    assert ("TOKEN_READ" if token is None else "access.read") in caplog.text
    assert token is None or token not in caplog.text + answer.content.decode()


def test_a_closed_page_is_logged_by_its_name_and_once_a_minute(
    ask: Ask,
    tokens: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("TOKEN_READ")
    forged = f"{HEALTH}x%0AERROR%20root:%20forged/"

    with caplog.at_level(logging.ERROR, "maintenance.machines"):
        statuses = [ask("", address).status_code for address in ("findings/", forged, forged)]

    assert statuses == [503, 503, 503]
    ours = [each.getMessage() for each in caplog.records if each.name == "maintenance.machines"]
    pages = [sentence.partition(" ")[0] for sentence in ours]
    assert pages == ["maintenance:api-findings", "maintenance:health-check"]
    assert not any("forged" in sentence for sentence in ours)


def test_a_token_stands_nowhere_in_the_configuration() -> None:
    secret = TOKENS["read"]
    with pytest.raises(ConfigurationError, match=r"access\.read: must be a reference") as refusal:
        parse_configuration({"access": {"read": secret}})
    assert secret not in str(refusal.value)


# --- Metrics -----------------------------------------------------------------------------------


def test_metrics_say_what_ran_what_was_found_and_what_was_measured(ask: Ask, tokens: None) -> None:
    finished_run(findings=[warning()], age=timedelta(days=3))
    run = finished_run(findings=[warning(), Finding("x", Severity.CRITICAL, "/", "Full.")])
    started = run.queued_at + timedelta(seconds=2)
    Run.objects.filter(id=run.id).update(
        scheduled_for=run.queued_at,
        schedule="daily",
        started_at=started,
        finished_at=started + timedelta(seconds=5),
    )
    finished_run("review_activity", "default", state=RunState.FAILED, reason="away")
    running_run("report_index_bloat", "default")
    queued_run("trim_streams", "main")
    now = ledger_now()
    for metric, subject, value in (
        ("disk_used_ratio", "/", 0.85),
        ("disk_used_ratio", "/var", 0.2),
    ):
        StoredSample.objects.create(
            run=run, target="local", metric=metric, subject=subject, value=value, measured_at=now
        )
    Leader.objects.create(
        name="scheduler",
        holder="b",
        since=now,
        expires_at=now,
        ticked_at=now - timedelta(seconds=4),
    )
    found = scrape(ask)

    assert found["maintenance_runs_last_day"] == {
        ("check_disk_space", "succeeded"): 1,
        ("review_activity", "failed"): 1,
    }
    assert found["maintenance_runs_last_day_duration_seconds"]["check_disk_space", "succeeded"] == 5
    assert set(found["maintenance_slot_lateness_seconds"].values()) == {2.0}
    assert sum(found["maintenance_runs_at_work"].values()) == 1
    assert sum(found["maintenance_runs_waiting"].values()) == 1
    assert found["maintenance_run_newest_success"] == {
        ("check_disk_space", "local"): 1,
        ("review_activity", "default"): 0,
    }
    findings = found["maintenance_findings"]
    assert findings["local", "warning"] == 1, "those of the run before do not count any more"
    assert findings["local", "critical"] == 1
    assert found["maintenance_sample"] == {
        ("disk_used_ratio", "local", "/"): 0.85,
        ("disk_used_ratio", "local", "/var"): 0.2,
    }
    assert found["maintenance_samples_cut"] == {(): 0}
    assert found["maintenance_scheduler_silent_seconds"][()] >= 4


def test_metrics_of_an_empty_ledger_have_no_number_that_nobody_measured(
    ask: Ask, tokens: None
) -> None:
    assert scrape(ask) == {"maintenance_samples_cut": {(): 0}}


def test_more_samples_than_a_scrape_should_have_are_cut_and_say_so(
    ask: Ask, tokens: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.machines.metrics.MOST_SAMPLES", 3)
    run, now = finished_run(), ledger_now()
    StoredSample.objects.bulk_create(
        StoredSample(run=run, target="local", metric="m", subject=s, value=1, measured_at=now)
        for s in ("b", "a", "", "c")
    )
    found = scrape(ask)

    assert set(found["maintenance_sample"]) == {("m", "local", s) for s in ("", "a", "b")}
    assert found["maintenance_samples_cut"] == {(): 1}


# --- Reading -----------------------------------------------------------------------------------


def test_runs_are_listed_page_by_page_and_filtered(ask: Ask, tokens: None) -> None:
    runs = [finished_run(age=timedelta(hours=n)) for n in range(5)]
    other = queued_run("trim_streams", "main", age=timedelta(hours=9))

    first = ask("read", "runs/", task="check_disk_space", limit="3").json()
    assert [each["run_id"] for each in first["runs"]] == [str(run.id) for run in runs[:3]]
    second = ask("read", "runs/", limit="3", before=first["next_before"]).json()
    assert [each["run_id"] for each in second["runs"]] == [
        str(run.id) for run in (*runs[3:], other)
    ]
    assert second["next_before"] is None
    waiting = ask("read", "runs/", state="queued").json()["runs"]
    assert [each["task"] for each in waiting] == ["trim_streams"]


def test_pages_lose_no_run_of_those_that_were_queued_at_one_time(ask: Ask, tokens: None) -> None:
    runs = [queued_run("trim_streams", f"server-{number}") for number in range(5)]
    tick = runs[0].queued_at
    Run.objects.update(queued_at=tick)
    older = queued_run(age=timedelta(hours=1))

    pages, query = [], {"limit": "2"}
    while len(pages) < 9:
        page = ask("read", "runs/", **query).json()
        pages.append([each["run_id"] for each in page["runs"]])
        if page["next_before"] is None:
            break
        query["before"] = page["next_before"]

    newest_first = sorted((str(run.id) for run in runs), reverse=True)
    assert [run for page in pages for run in page] == [*newest_first, str(older.id)]
    assert [len(page) for page in pages] == [2, 2, 2]
    alone = ask("read", "runs/", before=tick.isoformat()).json()["runs"]
    assert [each["run_id"] for each in alone] == [str(older.id)]


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "x"}, {"limit": "501"}, {"limit": "0000000019999999999"}, {"state": "gone"}, {"before": "yesterday"},
     {"before": "2026-02-30T00:00Z"}, {"before": "2026-11-23T00:00"}, {"before": "2026-11-23T00:00Z,1"}, {"before": "2026-11-23T00:00Z,"}, {"target": "\0"}, {"target": "x" * 101}, {"task": "trim_streems"}],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_answered_with_a_sentence(
    ask: Ask, tokens: None, query: dict[str, str]
) -> None:
    answer = ask("read", "runs/", **query)

    assert answer.status_code == 400
    assert answer.json()["error"].endswith((".", "?"))


def test_a_report_is_given_without_secrets(ask: Ask, tokens: None) -> None:
    run = finished_run(
        summary="postgres://crew:hunter2@db/x does not answer.", findings=[warning()]
    )

    report = ask("read", f"runs/{run.id}/report/")
    assert report.json()["report"]["findings"][0]["code"] == "disk-space"
    shown = ask("read", f"runs/{run.id}/")
    assert shown.json()["state"] == "succeeded"
    assert "hunter2" not in (report.content + shown.content).decode()
    assert "postgres://crew:***@db/x" in report.content.decode()


def test_what_is_not_there_is_404(ask: Ask, tokens: None) -> None:
    waiting = queued_run()
    assert ask("read", f"runs/{uuid.uuid4()}/").status_code == 404
    assert ask("read", f"runs/{uuid.uuid4()}/report/").status_code == 404
    assert ask("read", f"runs/{waiting.id}/report/").status_code == 404


def test_findings_are_those_of_the_newest_runs(ask: Ask, tokens: None) -> None:
    finished_run(findings=[warning("/old")], age=timedelta(hours=1))
    finished_run(findings=[warning("/var"), Finding("x", Severity.OK, "/", "Well.")])

    found = ask("read", "findings/").json()
    assert {each["subject"] for each in found["findings"]} == {"/var", "/"}
    assert found["is_complete"] is True
    only = ask("read", "findings/", severity="warning", target="local", limit="1").json()
    assert [each["subject"] for each in only["findings"]] == ["/var"]
    assert ask("read", "findings/", target="elsewhere").json()["findings"] == []
    assert ask("read", "findings/", severity="bad").status_code == 400


def test_findings_come_the_worst_first_and_are_read_to_their_end(ask: Ask, tokens: None) -> None:
    full = Finding("disk-space", Severity.CRITICAL, "/var", "The disk is full.")
    fine = Finding("x", Severity.OK, "/", "Well.")
    finished_run(findings=[full, *(warning(f"/{n}") for n in range(4)), fine])

    page = ask("read", "findings/", limit="2").json()
    assert page["findings"][0]["severity"] == "critical"
    seen = [*page["findings"]]
    while page["next_before"]:
        page = ask("read", "findings/", limit="2", before=page["next_before"]).json()
        seen += page["findings"]

    assert page["is_complete"] is True
    assert [each["severity"] for each in seen] == ["critical", *["warning"] * 4, "ok"]
    assert {each["subject"] for each in seen} == {"/var", "/0", "/1", "/2", "/3", "/"}


@pytest.mark.parametrize("before", ["warning", "bad,7", "warning,x", f"ok,{'9' * 30}", "ok,-1"])
def test_what_leads_on_from_no_finding_is_refused(ask: Ask, tokens: None, before: str) -> None:
    answer = ask("read", "findings/", before=before)

    assert answer.status_code == 400
    assert "next_before" in answer.json()["error"]


def test_what_leads_on_from_a_run_can_be_pasted_into_an_address(ask: Ask, tokens: None) -> None:
    runs = {str(finished_run().id) for _ in range(2)}

    first = ask("read", "runs/", limit="1").json()
    address = f"{API}runs/?limit=1&before={first['next_before']}"
    second = ask("read", address).json()

    assert {each["run_id"] for page in (first, second) for each in page["runs"]} == runs


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_is_none_in_utc_is_refused(ask: Ask, tokens: None, time: str) -> None:
    assert ask("read", "runs/", before=time).status_code == 400


# --- Starting ----------------------------------------------------------------------------------


def test_a_program_starts_a_run(ask: Ask, tokens: None) -> None:
    answer = ask("run", "runs/", {"task": "check_disk_space", "target": "local"})

    assert answer.status_code == 202
    run = Run.objects.get()
    assert answer.json()["run_id"] == str(run.id)
    assert answer.headers["Location"] == f"{API}runs/{run.id}/"
    assert (run.state, run.trigger, run.actor) == (RunState.QUEUED, Trigger.API, "api")
    assert ask("run", f"runs/{run.id}/").status_code == 200


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        ({"task": "check_disk_spice", "target": "local"}, 400, "did you mean"),
        ({"task": "check_disk_space", "target": "lokal"}, 400, "did you mean"),
        ({"task": "check_disk_space", "target": "local", "option": {}}, 400, "Unknown: option"),
        (
            {"task": "check_disk_space", "target": "local", "options": {"x": 1}},
            400,
            "Unknown option",
        ),
        ({"task": 7}, 400, "task and target are text"),
        ([], 400, "Send a JSON object"),
        ({"task": "trim_streams", "target": "main"}, 400, "dry_run"),
        ({"task": "vacuum_full", "target": "default"}, 403, "a person runs it"),
    ],
)
def test_what_cannot_be_started_is_refused_with_a_sentence(
    ask: Ask, tokens: None, order: Any, status: int, words: str
) -> None:
    answer = ask("run", "runs/", order)

    assert (answer.status_code, words.lower() in answer.json()["error"].lower()) == (status, True)
    assert not Run.objects.exists()


def test_a_body_that_is_no_json_or_too_long_is_refused(ask: Ask, tokens: None) -> None:
    assert ask("run", "runs/", "{").status_code == 400
    # JSON of Python has it, that of PostgreSQL has not.
    endless = '{"task": "vacuum_analyze", "target": "default", "options": {"dry_run": true, "time_budget_seconds": NaN}}'
    answer = ask("run", "runs/", endless)
    assert (answer.status_code, "are no JSON" in answer.json()["error"]) == (400, True)
    assert ask("run", "runs/", json.dumps({"task": "x" * 70_000})).status_code == 400
    assert ask("run", "runs/", "[" * 60_000).status_code == 400


def test_a_task_that_writes_is_started_where_its_dry_run_is_said(ask: Ask, tokens: None) -> None:
    order = {"task": "trim_streams", "target": "main", "options": {"dry_run": True}}

    assert ask("run", "runs/", order).status_code == 202
    assert Run.objects.get().options == {"dry_run": True}


def test_the_document_names_the_address_it_is_read_from(ask: Ask, tokens: None) -> None:
    assert ask("read", "openapi.json").json()["servers"] == [
        {"url": "http://testserver/maintenance/api/v1"}
    ]


# --- Health checks -----------------------------------------------------------------------------

HEALTH = "/maintenance/health/checks/"


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    """Let no test see the answers of another one, nor be told less for what it logged."""
    answers.forget()
    closed_pages.forget()


def test_health_checks_answer_as_django_health_check_does(ask: Ask, tokens: None) -> None:
    assert ask("", HEALTH).status_code == 401
    assert ask("run", HEALTH).status_code == 401

    one = ask("read", f"{HEALTH}database/")

    assert (one.status_code, one.json()) == (200, {"database": WORKING})
    wrong = ask("read", f"{HEALTH}databse/")
    assert wrong.status_code == 404
    assert 'Did you mean "database"?' in wrong.json()["error"]


def test_all_checks_are_answered_and_one_that_is_critical_makes_it_500(
    ask: Ask, tokens: None, settings: Any
) -> None:
    down = {"gone": {"url": DOWN}}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "databases": down}

    answer = ask("read", HEALTH)

    assert answer.status_code == 500
    assert set(answer.json()) == set(CHECKS)
    assert answer.json()["database"].startswith("critical: unavailable: ")
    assert PASSWORD not in answer.content.decode()
    assert answer.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")


def test_a_warning_is_said_and_is_no_failure() -> None:
    assert said([Report("Disk", "", findings=(warning(),))]) == "warning: The disk is 85 % full."
    assert said([Report("Disk", "All is well.")]) == WORKING


def test_a_check_that_may_not_look_is_not_called_working(
    ask: Ask, tokens: None, settings: Any, redis_url: str
) -> None:
    address = urlsplit(redis_url)
    denied = f"redis://blind:{PASSWORD}@{address.hostname}:{address.port}/0"
    settings.MAINTENANCE = {**settings.MAINTENANCE, "redis": {"main": {"url": denied}}}
    with redis.Redis.from_url(redis_url) as server:
        server.execute_command("ACL", "SETUSER", "blind", "on", f">{PASSWORD}", "+ping")
        answer = ask("read", f"{HEALTH}redis_activity/")
        server.acl_deluser("blind")

    assert answer.status_code == 500
    assert answer.json()["redis_activity"].startswith("unavailable: ")


def test_a_check_that_could_look_at_some_says_what_it_could_not(ask: Ask, tokens: None) -> None:
    denied = not_measured("Log", "web", MissingRights("The folder may not be read."))

    assert said([Report("Log", "All is well."), denied]) == (
        "unavailable: The folder may not be read."
    )


def test_a_check_of_which_nothing_is_configured_works(
    ask: Ask, tokens: None, settings: Any
) -> None:
    settings.MAINTENANCE = {**settings.MAINTENANCE, "logs": {}}
    answer = ask("read", f"{HEALTH}access_log/")

    assert (answer.status_code, answer.json()) == (200, {"access_log": WORKING})


def test_who_may_view_runs_needs_no_token(client_with: Any) -> None:
    assert client_with("view_run").get(f"{HEALTH}disk/").status_code in {200, 500}
    assert client_with("cancel_run", username="bob").get(f"{HEALTH}disk/").status_code == 404


def test_one_look_serves_all_who_ask_within_ten_seconds(
    ask: Ask, tokens: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(name: str) -> list[Report]:
        looks.append(name)
        return []

    monkeypatch.setattr(health, "_measured", look)
    for _number in range(3):
        assert ask("read", f"{HEALTH}disk/").json() == {"disk": WORKING}

    assert looks == ["disk"]
