"""`up` killed with -9, or left by its reader: nothing stays behind, nothing is lost."""

import os
import signal as signals
import subprocess
import sys
from pathlib import Path

import psutil

from service.embedded.state import StateFolder
from service.runtime import write_runtime
from tests.polling import eventually
from tests.up_process import (
    FREE_PORTS,
    READY_LINE,
    ROOT,
    UpProcess,
    are_gone,
    clean_environment,
    command_of,
)

SECONDS_TO_BE_GONE = 5


def test_a_killed_up_leaves_no_process_and_the_next_one_finishes_its_run(server_root: Path) -> None:
    folder = server_root / "killed"
    with UpProcess(folder, *FREE_PORTS) as up:
        up.wait_until_ready()
        commands = " ".join(command_of(process) for process in up.family())
        for word in (
            "postgres",
            "valkey",
            "high@",
            "medium@",
            "low@",
            "beat",
            "gunicorn",
            "flower",
        ):
            assert word in commands
        with up.blocked_run() as run_id:
            family = up.family()
            up.kill()
            eventually(
                lambda: are_gone(family),
                SECONDS_TO_BE_GONE,
                "servers, workers, beat, web and Flower are gone",
            )
    assert (folder / "runtime.json").exists()

    with UpProcess(folder, *FREE_PORTS) as again:
        again.wait_for("runs that killed workers held, now queued again: 1")
        again.wait_until_ready()
        query = "SELECT state, attempt FROM maintenance_run WHERE id = %s"
        eventually(
            lambda: again.rows(query, (run_id,)) == [("succeeded", 2)],
            30,
            "the run that was at work is done by a second attempt",
        )


def test_nothing_of_a_killed_up_s_variables_comes_back(server_root: Path) -> None:
    folder = server_root / "stale"
    with StateFolder.open(folder):
        pass
    config = server_root / "former.toml"
    config.write_text('[databases.former]\nurl = "postgres://h/former"\n')
    left = {"MAINTENANCE_CONFIG": str(config), "EMAIL_BACKEND": "former.Backend"}
    write_runtime(folder, left)

    with UpProcess(folder, *FREE_PORTS) as up:
        up.wait_until_ready()
        (worker,) = up.children_of("high@")
        assert not left.keys() & worker.environ().keys()
        assert not left.keys() & up.runtime().keys()
        query = "SELECT 1 FROM django_celery_beat_periodictask WHERE name LIKE %s"
        assert up.rows(query, ("% on former",)) == []


def test_a_second_ctrl_c_hands_running_work_back_at_once(server_root: Path) -> None:
    folder = server_root / "hurried"
    with UpProcess(folder, *FREE_PORTS) as up:
        up.wait_until_ready()
        with up.blocked_run() as run_id:
            up.signal(signals.SIGINT)
            up.wait_for("stopping on SIGINT")
            up.signal(signals.SIGINT)
            assert up.wait(20) == 0

    with UpProcess(folder, *FREE_PORTS) as again:
        again.wait_until_ready()
        query = "SELECT state, attempt FROM maintenance_run WHERE id = %s"
        eventually(
            lambda: again.rows(query, (run_id,)) == [("succeeded", 2)],
            30,
            "the run that was handed back is done by a second attempt",
        )


def test_a_server_that_dies_is_started_again_and_work_goes_on(server_root: Path) -> None:
    with UpProcess(server_root / "server-dies", *FREE_PORTS) as up:
        up.wait_until_ready()
        (postgres,) = up.children_of("postgres", "-D")
        (valkey,) = up.children_of("valkey-server")
        postgres.kill()
        valkey.kill()
        up.wait_for("postgres ended unexpectedly")
        up.wait_for("valkey ended unexpectedly")
        eventually(lambda: bool(up.children_of("postgres", "-D")), 30, "PostgreSQL runs again")
        eventually(lambda: bool(up.children_of("valkey-server")), 30, "Valkey runs again")
        eventually(lambda: succeeds_by_hand(up), 60, "a run succeeds again")


def succeeds_by_hand(up: UpProcess) -> bool:
    """Send a run through broker and worker; tell whether it succeeded."""
    result = subprocess.run(
        [sys.executable, "manage.py", "maintenance", "run", "check_disk_space", "--timeout", "20"],
        cwd=ROOT,
        env=clean_environment(MAINTENANCE_STATE=str(up.state)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return result.returncode == 0


def test_a_reader_who_goes_away_ends_the_service_in_order(server_root: Path) -> None:
    folder = server_root / "unread"
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up", "--state", str(folder), *FREE_PORTS],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        os.close(writing)
        with os.fdopen(reading, "r") as stream:
            for line in stream:
                if READY_LINE in line:
                    break
            family = psutil.Process(process.pid).children(recursive=True)
        # The next line that any process prints finds no reader; a killed worker makes one.
        worker = next(child for child in family if "low@" in command_of(child))
        worker.kill()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert are_gone(family)
    assert not (folder / "runtime.json").exists()


def test_runs_that_no_worker_took_are_cancelled_when_once_is_interrupted(
    server_root: Path,
) -> None:
    folder = server_root / "interrupted"
    with UpProcess(folder, "--once", "weekly") as up:
        eventually(lambda: bool(up.children_of("low@")), 60, "the worker of low is started")
        (worker,) = up.children_of("low@")
        worker.suspend()
        up.wait_for("check_disk_space on local succeeded")
        up.signal(signals.SIGINT)
        up.wait_for("stopping on SIGINT")
        up.signal(signals.SIGINT)  # nobody waits for a worker that cannot end
        assert up.wait(60) == 1

    with UpProcess(folder, *FREE_PORTS) as again:
        again.wait_until_ready()
        states = again.rows("SELECT task, state FROM maintenance_run WHERE queue = 'low'")
        assert states
        assert {state for _task, state in states} == {"cancelled"}
