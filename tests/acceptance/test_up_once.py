"""`manage.py up --once`: checklists through the real broker and workers, then the end."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maintenance.schedules import CHECKLISTS
from service.sample_site.truth import Truth
from tests.up_process import FREE_PORTS, ROOT, UpProcess, clean_environment, manage

SCALE = "0.05"


@pytest.fixture(scope="module")
def daily(server_root: Path) -> Iterator[UpProcess]:
    """The daily checklist on a small sample site, run to its end."""
    arguments = ("--sample-site", "--scale", SCALE, "--once", "daily")
    with UpProcess(server_root / "once", *arguments) as process:
        process.exit_code = process.wait(120)
        yield process


def test_it_ends_well_when_no_run_failed(daily: UpProcess) -> None:
    assert daily.exit_code == 0, daily.output


def test_every_line_of_the_checklist_has_its_verdict(daily: UpProcess) -> None:
    lines = daily.output.splitlines()
    for task, word in {
        "trim_streams": "warning",
        "invalidate_caches": "info",
        "warm_caches": "ok",
        "check_queue_depths": "warning",
        "check_redis_memory": "warning",
        "review_error_rates": "critical",
        "prove_slots": "critical",
        "send_digest": "ok",
    }.items():
        assert any(line.startswith(f"{word:<10}{task}") for line in lines), task


def test_serious_findings_are_told_in_sentences(daily: UpProcess) -> None:
    assert "- warning: 1,480 messages wait in low_priority" in daily.output


def test_the_end_of_each_run_is_told_as_it_comes(daily: UpProcess) -> None:
    assert "daily 1/16: " in daily.output
    assert "daily 16/16: " in daily.output
    assert "trim_streams on site succeeded after" in daily.output


def test_every_report_lies_in_the_folder_that_is_named(daily: UpProcess) -> None:
    reports = daily.state / "reports"
    assert f"the reports lie in {reports}" in daily.output
    written = list(reports.rglob("daily-*.json"))
    assert len(written) == 16
    for path in written:
        assert json.loads(path.read_text())["run"]["trigger"] == "cli"
        assert path.with_suffix(".txt").exists()
        assert path.with_suffix(".html").exists()


def test_each_run_left_one_line_in_the_run_log(daily: UpProcess) -> None:
    lines = (daily.state / "logs" / "runs.jsonl").read_text().splitlines()
    tasks = [json.loads(line)["task"] for line in lines]
    # Sending what the others have to tell is a run of its own, now and then.
    assert len([task for task in tasks if task != "maintenance.send_notifications"]) == 16


def test_what_is_planted_stands_beside_what_was_named(daily: UpProcess) -> None:
    truth = Truth.read(daily.state / "sample-site-truth.json")
    assert truth.scale == float(SCALE)
    assert str(daily.state / "sample-site-truth.json") in daily.output
    assert "MISSING" not in daily.output
    assert "planted faults are named in a report" in daily.output


def test_nothing_of_it_stays(daily: UpProcess) -> None:
    assert not (daily.state / "runtime.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(daily.pid, 0)


def test_a_terminal_shows_the_runs_in_a_live_table(server_root: Path) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "manage.py", "up", "--once", "quarterly"),
            *("--state", str(server_root / "terminal")),
        ],
        cwd=ROOT,
        env=clean_environment(TERM="xterm-256color", COLUMNS="150", LINES="50"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = read_terminal(controller)
    assert process.wait(60) == 0, shown
    lines = len(CHECKLISTS["quarterly"])
    assert f"quarterly: {lines} of {lines} done" in shown
    assert "\x1b[" in shown


def read_terminal(controller: int) -> str:
    """Return what was shown until the last program closed the terminal."""
    parts = []
    with os.fdopen(controller, "rb", buffering=0) as stream:
        while True:
            try:
                part = stream.read(65536)
            except OSError:  # Linux answers EIO when nobody has the other end open
                break
            if not part:
                break
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


def test_an_unknown_checklist_is_answered_with_the_nearest_name(server_root: Path) -> None:
    result = manage("up", "--once", "weakly", state=server_root / "unknown")
    assert result.returncode == 2
    assert 'Unknown checklist "weakly". Did you mean "weekly"?' in result.stderr
    assert not (server_root / "unknown").exists()


def test_every_fault_of_a_configuration_is_told_at_once(server_root: Path) -> None:
    broken = server_root / "broken.toml"
    broken.write_text('[databasess.site]\nalias = "default"\n[redis.a]\nurl = "nothing"\n')
    folder = server_root / "misconfigured"
    result = manage("up", *FREE_PORTS, state=folder, MAINTENANCE_CONFIG=str(broken))
    assert result.returncode == 2
    assert 'databasess: unknown setting. Did you mean "databases"?' in result.stderr
    assert "redis.a.url: must be a URL" in result.stderr


def test_a_configuration_that_is_not_toml_is_refused_in_a_sentence(server_root: Path) -> None:
    broken = server_root / "not.toml"
    broken.write_text("[databases")
    folder = server_root / "not-toml"
    result = manage("up", *FREE_PORTS, state=folder, MAINTENANCE_CONFIG=str(broken))
    assert result.returncode == 2
    assert "is not TOML" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_does_not_answer_is_refused_without_its_password(server_root: Path) -> None:
    url = "postgres://someone:h1dden@127.0.0.1:1/ledger"
    result = manage("up", *FREE_PORTS, state=server_root / "no-database", DATABASE_URL=url)
    assert result.returncode == 2
    assert "The database of DATABASE_URL (postgres://127.0.0.1:1/ledger)" in result.stderr
    assert "h1dden" not in result.stdout + result.stderr


def test_variables_for_other_databases_do_not_count_on_a_server_of_its_own(
    server_root: Path,
) -> None:
    others = {"PGSERVICE": "of-the-shop", "PGSSLMODE": "require", "PGHOSTADDR": "192.0.2.1"}
    with UpProcess(server_root / "variables", "--once", "quarterly", **others) as up:
        assert up.wait(120) == 0, up.output


def test_a_run_that_fails_makes_the_exit_code_1(server_root: Path) -> None:
    config = server_root / "unreachable.toml"
    config.write_text('[brokers.gone]\nurl = "redis://127.0.0.1:1/0"\nqueues = ["celery"]\n')
    folder = server_root / "failing"
    with UpProcess(folder, "--once", "daily", MAINTENANCE_CONFIG=str(config)) as up:
        assert up.wait(150) == 1
        assert "FAILED    check_queue_depths" in up.output
        assert "127.0.0.1:1" in up.output


def test_a_site_that_is_built_again_on_the_same_folder_is_read_anew(daily: UpProcess) -> None:
    """Logs and slots that the first crew has read are those of a site that is gone."""
    arguments = ("--sample-site", "--scale", SCALE, "--once", "daily")
    with UpProcess(daily.state, *arguments) as again:
        again.exit_code = again.wait(120)

    assert again.exit_code == 0, again.output
    assert "MISSING" not in again.output
    for task in ("review_error_rates", "prove_slots"):
        assert any(line.startswith(f"critical  {task}") for line in again.output.splitlines()), (
            again.output
        )
