"""``maintenance tail``: each event once and in order, from now on or from a time in the past."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from maintenance.commands.crew.tail import look
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.following import Event, Follower, News
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.registry import task_named
from maintenance.management.commands.maintenance import Command
from maintenance.models import Run, RunState
from tests.command_line import ROOT, ledger_url
from tests.ledger_rows import WORKER, finished_run, queued_run, warning

pytestmark = pytest.mark.django_db(transaction=True)

Told = list[tuple[Event, Run]]


def told(follower: Follower) -> Told:
    return [(news.event, news.run) for news in follower.news()]


def claim(run: Run) -> Run:
    return claims.claim(run.id, task_named(run.task), run.target, {}, WORKER)


def end(run: Run, *findings: Finding) -> None:
    ledger.finish(run, RunState.SUCCEEDED, Report("Report", "All is well.", findings=findings))


def tail(*words: str) -> list[dict[str, Any]]:
    out = StringIO()
    call_command("maintenance", "tail", "--json", "--for", "0", *words, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_event_of_a_run_is_told_once() -> None:
    finished_run()
    follower = Follower(ledger_now())
    assert told(follower) == []

    run = queued_run()
    assert told(follower) == []
    run = claim(run)
    assert told(follower) == [(Event.STARTED, run)]
    assert told(follower) == []
    ledger.requeue(run, 3600, reason="3 statements wait for locks.")
    assert told(follower) == [(Event.WAITS, run)]
    assert told(follower) == []
    Run.objects.update(available_at=None)
    again = claim(run)
    end(again)
    assert told(follower) == [(Event.STARTED, run), (Event.ENDED, run)]
    assert told(follower) == []


def test_a_run_that_came_and_went_between_two_looks_is_told_whole() -> None:
    follower = Follower(ledger_now())
    told(follower)

    run = finished_run()

    assert told(follower) == [(Event.STARTED, run), (Event.ENDED, run)]


def test_a_row_that_became_visible_late_is_not_missed() -> None:
    follower = Follower(ledger_now() - timedelta(minutes=5))
    told(follower)

    run = queued_run(age=timedelta(seconds=30))  # its transaction took so long
    end(claim(run))

    assert [event for event, _run in told(follower)] == [Event.STARTED, Event.ENDED]


def test_what_is_remembered_does_not_grow_with_the_history() -> None:
    follower = Follower(ledger_now())
    for _number in range(3):
        run = finished_run()
        Run.objects.filter(id=run.id).update(
            queued_at=run.queued_at - timedelta(hours=1),
            finished_at=run.queued_at - timedelta(hours=1),
        )
        told(follower)

    assert len(follower._seen) <= 1


def test_it_goes_on_from_a_time_in_the_past() -> None:
    finished_run()
    cut = ledger_now()
    run = finished_run(findings=[warning()])

    rows = tail("--since", cut.isoformat())

    assert [row["event"] for row in rows] == ["started", "ended", "finding"]
    assert {row["id"] for row in rows} == {str(run.id)}
    assert rows[1]["verdict"].startswith("All is well. (")
    assert rows[2]["sentence"] == "The disk is 85 % full."
    assert [row["event"] for row in tail("--since", rows[1]["at"])] == ["ended", "finding"]
    assert datetime.fromisoformat(rows[0]["at"]) >= cut


def test_findings_come_worst_first_and_from_the_wanted_severity_on() -> None:
    cut = ledger_now().isoformat()
    full = Finding("disk-space", Severity.CRITICAL, "/", "The disk is full.")
    note = Finding("disk-space", Severity.INFO, "/opt", "It is a disk.")
    finished_run(findings=[note, warning(), full])

    def found(*words: str) -> list[str]:
        rows = tail("--since", cut, *words)
        return [row["severity"] for row in rows if row["event"] == "finding"]

    assert found() == ["critical", "warning"]
    assert found("--severity", "info") == ["critical", "warning", "info"]
    assert found("--target", "local", "--task", "check_disk_space") == ["critical", "warning"]
    assert found("--task", "trim_streams") == []
    with pytest.raises(CommandError, match='Did you mean "warning"'):
        tail("--severity", "warnin")


def test_what_a_look_could_not_read_of_comes_with_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follower, untold = Follower(ledger_now()), list[News]()
    run = finished_run(findings=[warning()])
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE maintenance_storedfinding RENAME TO away")
    try:
        assert look(Command(), follower, untold) == []
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO maintenance_storedfinding")
    assert "The ledger at " in capsys.readouterr().err

    (_started, none), (ended, findings) = look(Command(), follower, untold)
    assert (ended.run, len(none), [found.subject for found in findings]) == (run, 0, ["/var"])
    assert look(Command(), follower, untold) == []


def test_no_number_of_runs_is_as_many_queries(django_assert_num_queries: Any) -> None:
    cut = ledger_now().isoformat()
    for number in (1, 4):
        for _run in range(number):
            finished_run(findings=[warning()])
        with django_assert_num_queries(3):
            tail("--since", cut)


@contextmanager
def tailing() -> Iterator["subprocess.Popen[str]"]:
    """Run the command as a shell does, its output in a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-u", "manage.py", "maintenance", "tail"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": ledger_url(),
            "DJANGO_SETTINGS_MODULE": "service.settings",
            "MAINTENANCE_CONFIG": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_follows_what_happens_and_ctrl_c_ends_it_without_a_word() -> None:
    with tailing() as process:
        first = ""
        while not first:  # what happens before its first look is none of its business
            finished_run(findings=[warning()])
            first = read_within(process, 1.0)
        assert process.stdout is not None
        ended, finding = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _rest, errors = process.communicate(timeout=20)

    assert re.match(
        r"\[\.\.\] \d\d:\d\d:\d\d  [0-9a-f]{8} started   check_disk_space on local: on w", first
    )
    assert "succeeded check_disk_space on local: All is well." in ended
    assert re.fullmatch(
        r"\[!\]  [\d:]{8} +check_disk_space on local: The disk is 85 % full\.\n", finding
    )
    assert (process.returncode, errors) == (0, "")


def read_within(process: "subprocess.Popen[str]", seconds: float) -> str:
    """Return a line where one comes within this time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""
