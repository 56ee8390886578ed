"""`manage.py up` until it is stopped: addresses, secrets, restarts, refusals."""

import http.client
import re
import signal as signals
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import flower_pages
from tests.polling import eventually
from tests.up_process import FREE_PORTS, UpProcess, are_gone, command_of, manage


@pytest.fixture(scope="module")
def up(server_root: Path) -> Iterator[UpProcess]:
    """A started service of this module; its output goes to a file, not to a terminal."""
    with UpProcess(server_root / "service", *FREE_PORTS) as process:
        yield process.wait_until_ready()


def get(url: str) -> tuple[int, str]:
    """Return status and body of a page, without following redirects."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.request("GET", parts.path)
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()


def flower(up: UpProcess, path: str, *, logged_in: bool = True) -> tuple[int, str]:
    """Return status and body of a page of Flower's."""
    login = f"admin:{up.secrets()['flower_password']}" if logged_in else ""
    status, _headers, body = flower_pages.ask(flower_port(up), path, login)
    return status, body


def flower_port(up: UpProcess) -> int:
    return urlsplit(up.address("Flower")).port or 0


def test_the_admin_shows_its_login_page(up: UpProcess) -> None:
    status, body = get(up.address("Admin") + "login/")
    assert status == 200
    assert 'name="username"' in body


def test_a_probe_is_told_that_a_scheduler_is_at_work_and_nothing_else(up: UpProcess) -> None:
    url = up.address("Admin").removesuffix("admin/") + "health/"
    eventually(lambda: get(url) == (200, "ok\n"), 30, "the probe finds a scheduler at work")


def test_flower_opens_with_its_login_only(up: UpProcess) -> None:
    assert flower_pages.what_a_stranger_is_shown(flower_port(up)) == []
    assert flower(up, "/workers")[0] == 200


def test_flower_sees_the_three_workers(up: UpProcess) -> None:
    def are_listed() -> bool:
        _status, body = flower(up, "/workers")
        return all(f"{queue}@" in body for queue in ("high", "medium", "low"))

    eventually(are_listed, 30, "Flower lists the workers")


def test_what_flower_leaves_open_names_nothing_of_the_crew(up: UpProcess) -> None:
    open_paths = [path for page, path in flower_pages.pages() if page in flower_pages.OPEN]
    said = {path: flower(up, path, logged_in=False) for path in open_paths}
    assert said["/healthcheck"] == (200, "OK")
    for path, (status, body) in said.items():
        assert status in {200, 404}, path
        assert not re.search(r"@|maintenance\.|redis://|127\.0\.0\.1", body), path


def test_prometheus_reads_flowers_metrics_with_the_login(up: UpProcess) -> None:
    def workers() -> set[str]:
        status, body = flower(up, "/metrics")
        assert status == 200
        return {
            sample.labels["worker"].partition("@")[0]
            for family in text_string_to_metric_families(body)
            if family.name == "flower_worker_online"
            for sample in family.samples
        }

    eventually(lambda: workers() == {"high", "medium", "low"}, 30, "all workers are online")


def test_the_table_names_the_next_runs_and_folders(up: UpProcess) -> None:
    assert str(up.state) in up.output
    assert str(up.state / "reports") in up.output
    assert re.search(r"Next run .*\d\d:\d\d UTC", up.output)


def test_output_to_a_file_has_no_terminal_sequences(up: UpProcess) -> None:
    assert "\x1b" not in up.output


def test_lines_carry_the_name_of_their_process(up: UpProcess) -> None:
    assert re.search(r"^worker-high +\| .*high@.* is ready for work$", up.output, re.MULTILINE)
    assert re.search(r"^beat +\| .*beat is ready for work$", up.output, re.MULTILINE)


def test_passwords_stand_in_the_table_only_and_server_passwords_nowhere(up: UpProcess) -> None:
    secrets = up.secrets()
    for name in ("postgres_password", "valkey_password", "django_secret_key"):
        assert secrets[name] not in up.output
    for name in ("admin_password", "flower_password"):
        holders = [line for line in up.output.splitlines() if secrets[name] in line]
        assert len(holders) == 1
        assert holders[0].startswith("│")


def test_no_secret_stands_in_an_argument_list(up: UpProcess) -> None:
    secrets = up.secrets().values()
    for process in up.family():
        command = command_of(process)
        assert not any(secret in command for secret in secrets)


def test_files_with_secrets_are_for_the_owner_alone(up: UpProcess) -> None:
    for name in ("secrets.json", "runtime.json"):
        assert (up.state / name).stat().st_mode & 0o077 == 0


def test_another_command_finds_the_running_servers(up: UpProcess) -> None:
    result = manage("sync_schedules", state=up.state)
    assert result.returncode == 0, result.stderr
    assert "0 created, 0 updated, 0 disabled" in result.stdout


def test_what_an_operator_changed_is_kept_and_said(up: UpProcess) -> None:
    name = "maintenance: weekly check_disk_space on local"
    up.rows(
        "UPDATE django_celery_beat_periodictask SET enabled = false WHERE name = %s RETURNING id",
        (name,),
    )
    result = manage("sync_schedules", state=up.state)
    assert result.returncode == 0, result.stderr
    assert f"kept as an operator set it: {name}: enabled is False" in result.stdout


def test_a_second_up_on_the_same_folder_is_refused(up: UpProcess) -> None:
    result = manage("up", *FREE_PORTS, state=up.state)
    assert result.returncode == 2
    assert f"{up.state} is in use by another running instance (pid {up.pid})" in result.stderr


def test_an_occupied_port_is_refused_before_anything_starts(server_root: Path) -> None:
    folder = server_root / "occupied"
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = str(occupant.getsockname()[1])
        result = manage("up", "--web-port", port, "--flower-port", "0", state=folder)
    assert result.returncode == 2
    assert f"Port {port}, wanted for the admin, is taken" in result.stderr
    assert "--web-port" in result.stderr
    assert not (folder / "postgres").exists()


def test_a_killed_worker_is_started_again_and_named(up: UpProcess) -> None:
    (worker,) = up.children_of("worker", "low@")
    pool = worker.children(recursive=True)
    assert pool

    worker.kill()

    eventually(lambda: are_gone(pool), 5, "the pool of the killed worker is gone")
    up.wait_for("worker-low ended unexpectedly (signal SIGKILL); starting it again in 1 s")
    said = up.output.count("low@")
    eventually(lambda: up.output.count("low@") > said, 30, "the worker is ready again")
    assert len(up.children_of("worker", "low@")) == 1


def test_ctrl_c_ends_everything_in_order_and_the_next_start_has_the_same_data(
    server_root: Path,
) -> None:
    folder = server_root / "stopped"
    with UpProcess(folder, *FREE_PORTS) as first:
        first.wait_until_ready()
        family = first.family()
        port = urlsplit(first.runtime()["DATABASE_URL"]).port
        manage("maintenance", "run", "check_disk_space", state=folder)
        assert first.stop(signals.SIGINT) == 0
        assert are_gone(family)
        assert not (folder / "runtime.json").exists()
        assert "killed" not in first.output

    with UpProcess(folder, *FREE_PORTS) as second:
        second.wait_until_ready()
        assert urlsplit(second.runtime()["DATABASE_URL"]).port == port
        runs = second.rows("SELECT state FROM maintenance_run WHERE trigger = 'cli'")
        assert runs == [("succeeded",)]
        assert second.stop(signals.SIGTERM) == 0


def test_a_run_at_work_is_finished_before_the_end(server_root: Path) -> None:
    folder = server_root / "finished"
    with UpProcess(folder, *FREE_PORTS) as up:
        up.wait_until_ready()
        with up.blocked_run() as run_id:
            up.signal(signals.SIGINT)
            up.wait_for("stopping on SIGINT")
        assert up.wait(60) == 0

    with UpProcess(folder, *FREE_PORTS) as again:
        again.wait_until_ready()
        assert again.rows(
            "SELECT state, attempt FROM maintenance_run WHERE id = %s", (run_id,)
        ) == [("succeeded", 1)]
