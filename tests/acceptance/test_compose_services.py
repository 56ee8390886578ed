"""docker-compose.yml, executed service by service: it starts, works, bears faults, and ends in time."""

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests import flower_pages
from tests.local_compose import LocalCompose
from tests.polling import eventually

pytestmark = pytest.mark.timeout(900)
SCALE = {"worker-high": 2}


@pytest.fixture(scope="module")
def compose(server_root: Path) -> Iterator[LocalCompose]:
    """The profile "all" with two beats and four workers, every service healthy."""
    folder = server_root / "compose"
    folder.mkdir()
    with LocalCompose(folder, SCALE) as running:
        yield running.up()


def test_each_service_starts_after_what_it_depends_on_and_becomes_healthy(
    compose: LocalCompose,
) -> None:
    for service in compose.services.values():
        first = min(compose.started.index(each) for each in compose.instances(service.name))
        for before in service.depends_on:
            assert compose.started.index(compose.instances(before)[-1]) < first
    assert sum(instance.startswith("beat") for instance in compose.started) == 2
    assert sum(instance.startswith("worker") for instance in compose.started) == 4


def test_a_task_of_a_checklist_runs_to_success_on_a_worker(compose: LocalCompose) -> None:
    command = ["python", "manage.py", "maintenance", "run", "review_activity", "--target", "own"]
    done = compose.run("web-1", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    [(state, worker)] = compose.ledger(
        "SELECT state, worker FROM maintenance_run WHERE task LIKE '%%review_activity'"
    )
    assert state == "succeeded"
    assert worker.startswith(("high@", "medium@", "low@"))


def test_web_and_flower_are_closed_without_a_login(compose: LocalCompose) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", compose.ports["web"])) as client:
        headers = {"X-Forwarded-Proto": "https", "Host": "localhost"}
        client.request("GET", "/admin/", headers=headers)
        assert client.getresponse().status == 302
    assert flower_pages.what_a_stranger_is_shown(compose.ports["flower"]) == []


def test_no_secret_of_the_files_stands_on_a_page_of_flower(compose: LocalCompose) -> None:
    login = f"admin:{compose.secret('flower_password')}"
    ended = compose.ledger("SELECT id FROM maintenance_run WHERE state = 'succeeded'")
    runs = [str(run) for (run,) in ended]
    assert runs
    said = dict(flower_pages.what_flower_says(compose.ports["flower"], login, runs))
    assert sum(path.startswith("/worker/") for path in said) == 4
    leaks = [path for path, text in said.items() for one in planted(compose) if one in text]
    assert not leaks


def planted(compose: LocalCompose) -> list[str]:
    """Return the secrets that the service was given."""
    names = ("postgres_password", "redis_password", "django_secret_key", "flower_password")
    return [compose.secret(name) for name in names]


def test_no_secret_stands_in_a_process_list_or_in_what_a_process_was_started_with(
    compose: LocalCompose,
) -> None:
    secrets = planted(compose)
    for process in compose.processes.values():
        if process.poll() is not None:  # migrate
            continue
        one = psutil.Process(process.pid)
        for child in (one, *one.children(recursive=True)):
            said = " ".join([*child.cmdline(), *child.environ().values()])
            assert not [secret for secret in secrets if secret in said], child
    logs = "".join(path.read_text(errors="replace") for path in compose.folder.glob("*.log"))
    assert not [secret for secret in secrets if secret in logs]


def test_a_worker_that_hangs_is_unhealthy(compose: LocalCompose) -> None:
    alive = compose.folder / "worker-low-1.alive"
    os.kill(compose.processes["worker-low-1"].pid, signal.SIGSTOP)
    try:
        an_hour_ago = time.time() - 3600
        os.utime(alive, (an_hour_ago, an_hour_ago))
        assert not compose.is_healthy("worker-low-1")
    finally:
        os.kill(compose.processes["worker-low-1"].pid, signal.SIGCONT)
    eventually(lambda: compose.is_healthy("worker-low-1"), 60, "it is healthy again")


EVERY_SECOND = """
import json
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.create(
    name="each second", task="maintenance.check_disk_space", interval=every, queue="high",
    kwargs=json.dumps({"target": "local", "options": {}}),
)
"""
OF_EACH_SECOND = "FROM maintenance_run WHERE schedule = 'each second'"


def slots_go_on_and_none_is_lost_or_doubled(compose: LocalCompose) -> None:
    [(cut_at,)] = compose.ledger("SELECT clock_timestamp()")
    after = f"SELECT 1 {OF_EACH_SECOND} AND scheduled_for > %s AND state = 'succeeded'"
    eventually(lambda: bool(compose.ledger(after, [cut_at])), 120, "slots are run again")
    slots = f"SELECT scheduled_for, state {OF_EACH_SECOND} AND scheduled_for <= %s ORDER BY 1"
    ended = {"succeeded", "skipped"}
    eventually(
        lambda: {state for _slot, state in compose.ledger(slots, [cut_at])} <= ended,
        180,
        "every slot until then has ended well",
    )
    due = [slot for slot, _state in compose.ledger(slots, [cut_at])]
    assert {(later - slot).total_seconds() for slot, later in pairwise(due)} == {1.0}


def test_a_killed_beat_and_a_killed_worker_lose_and_double_no_slot(compose: LocalCompose) -> None:
    created = compose.run("web-1", "python", "manage.py", "shell", "-c", EVERY_SECOND)
    assert created.returncode == 0, created.stderr
    runs = f"SELECT worker {OF_EACH_SECOND} AND worker <> '' ORDER BY started_at DESC"
    eventually(lambda: len(compose.ledger(runs)) > 2, 120, "slots are run")

    [(holder,)] = compose.ledger("SELECT holder FROM maintenance_leader")
    [leader] = [
        name for name, process in compose.processes.items() if holder.endswith(f":{process.pid}")
    ]
    worker = compose.ledger(runs)[0][0].partition("@")[2]
    assert leader.startswith("beat-")
    assert worker.startswith("worker-high-")
    for instance in (leader, worker):
        compose.restart(instance)  # restart: unless-stopped

    for instance in (leader, worker):
        compose.await_health(instance)
    changed = "SELECT holder FROM maintenance_leader WHERE holder <> %s"
    eventually(lambda: bool(compose.ledger(changed, [holder])), 120, "another beat leads")
    slots_go_on_and_none_is_lost_or_doubled(compose)


@pytest.mark.parametrize("server", ["redis-1", "postgres-1"])
def test_a_server_that_goes_and_comes_back_loses_and_doubles_no_slot(
    compose: LocalCompose, server: str
) -> None:
    compose.restart(server)
    for service in compose.services.values():
        for instance in compose.instances(service.name) if service.health else []:
            compose.await_health(instance)
    slots_go_on_and_none_is_lost_or_doubled(compose)
    compose.logs_are_quiet_from_here()


def test_each_ends_within_its_grace_and_without_an_error(compose: LocalCompose) -> None:
    codes = compose.down()
    failed = [
        f"{name} ended with {code}:\n{compose.log(name)[-4000:]}"
        for name, code in codes.items()
        if code
    ]
    assert not failed, "\n".join(failed)
    assert not [name for name in codes if "Traceback" in compose.log(name, quiet=True)]
