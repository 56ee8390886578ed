"""Pings of scheduled runs, to a real server that speaks healthchecks.io's protocol."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection

from maintenance.core.errors import Skipped
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger, pings, recording
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.models import Run, RunState, StoredReport, Trigger
from service.embedded.postgres import EmbeddedPostgres
from tests.made_tasks import TaskFactory
from tests.postgres_clients import ask

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "d1665499-e827-441f-bf13-8f15e8f4c0b9"
NIGHTLY = "maintenance: daily trim_streams on main"


class Watcher(ThreadingHTTPServer):
    """Answers 200 unless told otherwise, and keeps what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pings: list[tuple[str, str, str]] = []
        self.answers: list[int] = []
        self.hangs = threading.Event()
        self.may_answer = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Watcher

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        parts = urlsplit(self.path)
        [run_id] = parse_qs(parts.query)["rid"]
        self.server.pings.append((parts.path.removeprefix(f"/{SECRET}"), run_id, body))
        if self.server.hangs.is_set():
            self.server.may_answer.wait(30)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Keep the tests' output quiet."""


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    server = Watcher()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pinged(
    watcher: Watcher, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """The configuration of the ping; what was begun is ended with the test."""
    monkeypatch.setenv("CHECK_URL", watcher.url)
    monkeypatch.setattr(pings, "PAUSE_SECONDS", 0.01)
    target: dict[str, Any] = {"url": "env:CHECK_URL"}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "pings": {"all": target}}
    yield target
    watcher.may_answer.set()
    assert pings.flush(30)


def reconfigure(settings: Any, target: dict[str, Any]) -> None:
    settings.MAINTENANCE = {**settings.MAINTENANCE, "pings": {"all": target}}


def answers(_job: Any) -> Report:
    return Report("Made", "Nothing to do; password=hunter2 was seen.")


def breaks(_job: Any) -> Report:
    raise ValueError("the table is gone")


def declines(_job: Any) -> Report:
    raise Skipped("no target is configured")


def run_of(spec: Any, schedule: str = NIGHTLY) -> Run:
    origin = Origin(trigger=Trigger.BEAT if schedule else Trigger.CLI, schedule=schedule)
    run = work_here(ledger.create_run(spec, "", {}, origin))
    assert pings.flush(30)
    return run


def test_a_run_is_told_at_its_start_and_at_its_end(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory
) -> None:
    run = run_of(task_that(answers))
    assert run.state == RunState.SUCCEEDED
    assert watcher.pings == [
        ("/start", str(run.id), "daily trim_streams on main: running"),
        (
            "",
            str(run.id),
            "daily trim_streams on main: Nothing to do; password=*** was seen.",
        ),
    ]


@pytest.mark.parametrize(("work", "signal"), [(breaks, "/fail"), (declines, "/log")])
def test_a_failure_is_one_and_a_skipped_run_is_no_success(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory, work: Any, signal: str
) -> None:
    run_of(task_that(work))
    assert [ping[0] for ping in watcher.pings] == ["/start", signal]
    assert watcher.pings[1][2].endswith(("the table is gone", "no target is configured"))


def test_a_run_by_hand_and_one_of_another_schedule_say_nothing(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory, settings: Any
) -> None:
    spec = task_that(answers)
    run_of(spec, schedule="")
    reconfigure(settings, {**pinged, "schedules": ["weekly *", "monthly *"]})
    run_of(spec)
    assert watcher.pings == []
    reconfigure(settings, {**pinged, "schedules": ["daily trim_streams *"]})
    run_of(spec)
    assert len(watcher.pings) == 2


def test_an_end_that_is_told_late_says_nothing_against_a_later_run(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory
) -> None:
    spec, now = task_that(breaks), ledger_now()
    for schedule, hours in ((NIGHTLY, 2), ("maintenance: hourly look", 1), (NIGHTLY, 1)):
        due_at = now - timedelta(hours=hours)
        origin = Origin(trigger=Trigger.BEAT, schedule=schedule, scheduled_for=due_at)
        run = ledger.create_run(spec, "", {}, origin)
        if (schedule, hours) == (NIGHTLY, 1):
            work_here(run)
        else:  # its worker was killed behind its end
            run = claims.claim(run.id, spec, "", {}, "worker@crew")
            ledger.finish(run, RunState.SUCCEEDED, Report("Made", "All is well."))
    StoredReport.objects.exclude(record_due_at=None).update(record_due_at=now)

    assert recording.complete_unrecorded() == 2
    assert pings.flush(30)
    told = [(signal, body.partition(":")[0]) for signal, _run, body in watcher.pings]
    assert told == [
        ("/start", "daily trim_streams on main"),
        ("/fail", "daily trim_streams on main"),
        ("/log", "daily trim_streams on main"),
        ("", "hourly look"),
    ]


def test_a_slot_that_never_began_says_nothing(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory
) -> None:
    origin = Origin(trigger=Trigger.BEAT, schedule=NIGHTLY)
    run = ledger.create_run(task_that(answers), "", {}, origin)
    for state, expected in ((RunState.SKIPPED, []), (RunState.FAILED, ["/fail"])):
        run.state = state
        pings.run_ended(ledger.run_facts(run), "missed by 2 days")
        assert pings.flush(30)
        assert [ping[0] for ping in watcher.pings] == expected


def test_a_watcher_that_blinks_is_asked_again_and_one_that_refuses_is_not(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory
) -> None:
    watcher.answers = [503, 429, 200, 404]
    run_of(task_that(answers))
    assert [ping[0] for ping in watcher.pings] == ["/start", "/start", "/start", ""]


def test_a_watcher_that_hangs_holds_up_nothing(
    pinged: dict[str, Any], watcher: Watcher, task_that: TaskFactory
) -> None:
    watcher.hangs.set()
    spec, origin = task_that(answers), Origin(trigger=Trigger.BEAT, schedule=NIGHTLY)
    runs = [work_here(ledger.create_run(spec, "", {}, origin)) for _ in range(3)]
    # All have ended while the first of six pings still waits for its answer.
    assert [run.state for run in runs] == [RunState.SUCCEEDED] * 3
    assert len(watcher.pings) <= 1
    assert not pings.flush(0.01)
    watcher.hangs.clear()
    watcher.may_answer.set()
    assert pings.flush(30)
    assert len(watcher.pings) == 6


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:1/{SECRET}", f"http://127.0.0.1:x/{SECRET}", f"ftp://example/{SECRET}", ""],
)
def test_a_watcher_that_is_not_there_fails_no_run_and_its_url_stands_in_no_log(
    pinged: dict[str, Any],
    task_that: TaskFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    url: str,
) -> None:
    monkeypatch.setenv("CHECK_URL", url)
    with caplog.at_level(logging.DEBUG):
        run = run_of(task_that(answers))
    assert run.state == RunState.SUCCEEDED
    assert "Ping failed: start of run" in caplog.text
    assert "to all" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("pinged")
@pytest.mark.parametrize("patience_seconds", [60.0, -1.0])
def test_a_ledger_that_blinks_after_the_end_costs_no_ping(
    watcher: Watcher,
    task_that: TaskFactory,
    postgres_server: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    patience_seconds: float,
) -> None:
    asks = ledger.previous_document

    def asks_when_it_blinks(run: Run) -> Any:
        if run.state == RunState.SUCCEEDED and not blinked:
            pid = connection.connection.info.backend_pid
            blinked.extend(ask(postgres_server.url(), f"SELECT pg_terminate_backend({pid}, 20000)"))
        return asks(run)

    blinked: list[Any] = []
    monkeypatch.setattr(ledger, "previous_document", asks_when_it_blinks)
    monkeypatch.setattr(
        "maintenance.core.runs.ledger_patience.FINISH_PATIENCE_SECONDS", patience_seconds
    )
    origin = Origin(trigger=Trigger.BEAT, schedule=NIGHTLY)
    run = work_here(ledger.create_run(task_that(answers), "", {}, origin))

    assert pings.flush(30)
    assert blinked == [(True,)]
    assert run.state == RunState.SUCCEEDED
    assert [ping[0] for ping in watcher.pings] == ["/start", ""]
